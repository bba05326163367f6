"""`harbor-scanner scan`: one image, without Harbor."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Coroutine, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harbor_scanner.commands.common import ConfigOption, refuse
from harbor_scanner.commands.stopping import StoppedError, until_signal
from harbor_scanner.errors import HarborScannerError, ScanError, SettingsError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, Severity

if TYPE_CHECKING:
    from harbor_scanner.config import Config
    from harbor_scanner.scanning.credentials import Account
    from harbor_scanner.scanning.oneshot import Scanned, Tell
    from harbor_scanner.scanning.order import Order
    from harbor_scanner.scanning.report import Report

EXIT_FOUND = 1
"""There is what --fail-on names."""
EXIT_FAILED = 3
"""The scan failed: nothing is known of the image."""


class Format(StrEnum):
    """What is written."""

    TABLE = "table"
    JSON = "json"
    HARBOR = "harbor"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"
    SPDX = "spdx"

    @property
    def kind(self) -> str:
        """What the scanner is asked for (`ScanRequest.reports`)."""
        return {Format.CYCLONEDX: media.CYCLONEDX, Format.SPDX: media.SPDX}.get(self, VULNERABILITY)


class Level(StrEnum):
    """Severities, as they are typed."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NEGLIGIBLE = "negligible"
    UNKNOWN = "unknown"

    @property
    def severity(self) -> Severity:
        """The same in Harbor's words."""
        return Severity(self.capitalize())


def scan(  # noqa: PLR0913 - the options of a command
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="A name such as debian:12 or ghcr.io/owner/app@sha256:…, or the path of an OCI layout or of an "
            "archive of `docker save`; PATH:NAME where it holds several images.",
        ),
    ],
    *,
    scanner: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as osv; else the first of SCANNER_ENABLED.")
    ] = None,
    output_format: Annotated[
        Format, typer.Option("--format", "-f", help="cyclonedx and spdx are SBOMs; harbor is what Harbor would get.")
    ] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, and not to the terminal.")
    ] = None,
    severity: Annotated[Level, typer.Option(help="The least severe that is shown.")] = Level.UNKNOWN,
    fail_on: Annotated[
        Level | None, typer.Option(help="End with 1 if there is a finding as severe as this, or more.")
    ] = None,
    ignore_unfixed: Annotated[
        bool, typer.Option("--ignore-unfixed", help="Neither show nor count what no version fixes.")
    ] = False,
    platform: Annotated[
        str | None,
        typer.Option(metavar="OS/ARCH", help="Of an image for several platforms; else that of this machine's Linux."),
    ] = None,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="Of the account at the registry.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password of that account from stdin.")
    ] = False,
    via: Annotated[
        str | None, typer.Option(metavar="URL", help="Have the adapter that runs there scan, and not this machine.")
    ] = None,
    path: ConfigOption = None,
) -> None:
    """Scan one image, without Harbor.

    Ends with 0, or with 1 if --fail-on finds something, 2 if an option or a setting is wrong, 3 if the scan failed.
    The account at the registry is that of the options, of HARBOR_SCANNER_REGISTRY_USERNAME and
    HARBOR_SCANNER_REGISTRY_PASSWORD, or of docker's configuration.
    """
    _check(output_format, output, counting=fail_on is not None or ignore_unfixed or severity is not Level.UNKNOWN)
    if output_format is Format.HARBOR and (ignore_unfixed or severity is not Level.UNKNOWN):
        raise typer.BadParameter(
            "harbor is the report with everything in it; --severity and --ignore-unfixed need another format",
            param_hint="--format",
        )
    if via is not None and (scanner is not None or path is not None):
        raise typer.BadParameter("the adapter has a scanner and settings of its own", param_hint="--via")
    order = _order(image, platform, output_format.kind, _account(username, from_stdin=password_stdin), via)
    config = None if via is not None else _load(path, scanner)
    scanned = _perform(order, config, via)
    with _failing():
        failed = _write(scanned, output_format, output, severity.severity, ignore_unfixed, fail_on)
    if failed:
        raise typer.Exit(EXIT_FOUND)


def _check(output_format: Format, output: Path | None, *, counting: bool) -> None:
    """Refuse what makes no sense, before minutes are spent on it."""
    if counting and output_format.kind != VULNERABILITY:
        raise typer.BadParameter(
            f"{output_format} lists packages and no vulnerabilities; --severity, --fail-on and --ignore-unfixed need "
            "another format",
            param_hint="--format",
        )
    if output is not None and (output.is_dir() or not os.access(output.absolute().parent, os.W_OK | os.X_OK)):
        raise typer.BadParameter(f"{str(output)!r} cannot be written", param_hint="--output")


def _account(username: str | None, *, from_stdin: bool) -> Account | None:
    from harbor_scanner.scanning.credentials import Account  # noqa: PLC0415 - other commands do without

    if (username is not None) != from_stdin:
        raise typer.BadParameter("one needs the other", param_hint="--username and --password-stdin")
    return Account(username, sys.stdin.read().rstrip("\r\n")) if username is not None else None


def _order(image: str, platform: str | None, kind: str, account: Account | None, via: str | None) -> Order:
    from harbor_scanner.scanning import remote  # noqa: PLC0415
    from harbor_scanner.scanning.order import Files, Order, target_of  # noqa: PLC0415
    from harbor_scanner.scanning.platform import Platform  # noqa: PLC0415

    with _usage("--platform"):
        wanted = Platform.parse(platform) if platform is not None else Platform.of_this_machine()
    with _usage("IMAGE"):
        target = target_of(image)
    with _usage("--via"):
        if via is not None:
            remote.check_url(via)
            if isinstance(target, Files):
                raise ValueError("the adapter pulls from a registry; push the image to one that it reaches")
    return Order(target, wanted, kind, account, os.environ)


@contextlib.contextmanager
def _usage(hint: str) -> Iterator[None]:
    """Make a wrong option of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None


def _load(path: Path | None, scanner: str | None) -> Config:
    from harbor_scanner.config import load_config  # noqa: PLC0415

    overrides = {"SCANNER_ENABLED": scanner} if scanner is not None else {}
    try:
        config = load_config(os.environ, overrides=overrides, path=path)
    except SettingsError as error:
        refuse(error)
    for line in (*config.unknown, *config.warnings):
        typer.echo(f"warning: {line}", err=True)
    return config


def _perform(order: Order, config: Config | None, via: str | None) -> Scanned:
    """Scan, on this machine or by the adapter at `via`, and tell on a terminal how it goes."""
    from harbor_scanner import log  # noqa: PLC0415

    # What goes wrong is told at the end; nothing else is of interest here.
    log.configure("error", config.secrets() if config is not None else ())
    with _failing(), _telling() as tell:
        if config is not None:
            return _run(order.here(config, tell))
        assert via is not None  # noqa: S101 - one of the two is there
        return _run(order.by(via, tell))


def _run(work: Coroutine[Any, Any, Scanned]) -> Scanned:
    """Run to the end, or until a signal."""
    import uvloop  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(until_signal(work))


@contextlib.contextmanager
def _telling() -> Iterator[Tell]:
    """Yield what tells how it goes: on a terminal, and nowhere else."""
    if not sys.stderr.isatty():
        yield lambda _words: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task("")
        yield lambda words: progress.update(task, description=words)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Tell why nothing is known of the image, and end."""
    try:
        yield
    except ScanError as error:
        _fail(error.message, error.advice)
    except (HarborScannerError, OSError) as error:
        _fail(str(error))
    except StoppedError as stopped:
        typer.echo("The scan was stopped.", err=True)
        raise typer.Exit(stopped.code) from None


def _fail(message: str, advice: str = "") -> NoReturn:
    text = f"The scan failed: {message}\n{advice}".rstrip()
    # What registries and scanners say must not move the cursor.
    typer.echo("".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text), err=True)
    raise typer.Exit(EXIT_FAILED) from None


def _write(
    scanned: Scanned, output_format: Format, output: Path | None, least: Severity, fixable: bool, fail_on: Level | None
) -> bool:
    """Write what was found, and return whether there is what `fail_on` names."""
    if output_format.kind != VULNERABILITY:
        for notice in scanned.notices:
            typer.echo(f"Note: {notice}", err=True)
        _put(scanned.document, output)
        return False
    from harbor_scanner.scanning.report import Report  # noqa: PLC0415

    report = Report.read(scanned.document)
    if fixable:
        report = report.fixable_only()
    _put(_document(scanned, report, output_format, least, screen=output is None and sys.stdout.isatty()), output)
    return fail_on is not None and bool(report.at_least(fail_on.severity))


def _document(scanned: Scanned, report: Report, output_format: Format, least: Severity, *, screen: bool) -> bytes:
    from harbor_scanner.scanning import findings, sarif, table  # noqa: PLC0415

    shown = report.at_least(least)
    if output_format is Format.HARBOR:
        return scanned.document
    if output_format is Format.JSON:
        return findings.as_json(scanned.subject, report, shown)
    if output_format is Format.SARIF:
        return sarif.as_sarif(scanned.subject, report, shown)
    if screen:
        table.show(scanned.subject, report, shown, sys.stdout, screen=True)
        return b""
    text = io.StringIO()
    table.show(scanned.subject, report, shown, text, screen=False)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _put(document: bytes, output: Path | None) -> None:
    """Raises OSError."""
    if output is not None:
        output.write_bytes(document)
        return
    with contextlib.suppress(BrokenPipeError):  # who reads has seen enough
        sys.stdout.flush()
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()
