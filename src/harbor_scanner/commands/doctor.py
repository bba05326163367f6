"""`harbor-scanner doctor`: whether scans will work, seen from where they are run."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer

from harbor_scanner import __version__
from harbor_scanner.commands.common import ConfigOption
from harbor_scanner.commands.stopping import StoppedError, until_signal
from harbor_scanner.config import Role, load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.settings import mask_user

if TYPE_CHECKING:
    from harbor_scanner.doctor.check import Verdict
    from harbor_scanner.doctor.examination import Wanted

EXIT_FAILED = 1
"""Something fails scans."""
SCHEMA = "harbor-scanner/doctor/1"
_MARKS = {
    "ok": ("✔", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "failure": ("✘", "x", "bold red"),
    "unknown": ("?", "?", "cyan"),
    "skipped": ("-", "-", "dim"),
}
"""For each outcome a mark, one that every terminal has, and a style."""
_COUNTED = {
    "failure": ("failure", "failures"),
    "warning": ("warning", "warnings"),
    "unknown": ("unknown", "unknown"),
    "skipped": ("skipped", "skipped"),
    "ok": ("ok", "ok"),
}


def doctor(
    *,
    role: Annotated[Role, typer.Option(help="What the service is started as: `serve --role`.")] = Role.ALL,
    registry: Annotated[
        str | None,
        typer.Option(metavar="URL|HOST", help="Harbor's registry, to see whether it is reached and trusted."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="REFERENCE", help="An image in Harbor, to see whether it can be read.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    path: ConfigOption = None,
) -> None:
    """Check what Harbor's TEST CONNECTION does not: settings, store, disk, scanners, consoles, certificates, clock.

    Nothing is scanned, and a service that runs is not disturbed. Ends with 0, with 1 if something fails scans, with 2
    if an option is wrong. The account for --image is that of HARBOR_SCANNER_REGISTRY_USERNAME and
    HARBOR_SCANNER_REGISTRY_PASSWORD, or of docker's configuration.
    """
    wanted = _wanted(registry, image)
    began = time.monotonic()
    verdicts = _examine(role, path, wanted)
    with contextlib.suppress(BrokenPipeError):  # who reads has seen enough
        if as_json:
            _write_json(verdicts, role, time.monotonic() - began)
        else:
            _show(verdicts)
    _end(EXIT_FAILED if any(verdict.outcome == "failure" for verdict in verdicts) else 0)


def _wanted(registry: str | None, image: str | None) -> Wanted:
    from harbor_scanner.doctor.examination import Wanted  # noqa: PLC0415 - other commands do without
    from harbor_scanner.scanning.reference import Reference  # noqa: PLC0415

    try:
        reference = Reference.parse(image) if image is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--image") from None
    if registry is None:
        return Wanted(reference.url if reference else "", reference)
    try:
        # An address is read as that of an image there: by TLS, unless it is this machine or says otherwise.
        url = Reference.parse(f"{registry.rstrip('/')}/any").url
    except ValueError:
        url = ""
    if not url or registry.rstrip("/").removeprefix("http://").removeprefix("https://").count("/"):
        raise typer.BadParameter(
            f"{mask_user(registry)!r} is no address such as https://harbor.example, without user and path",
            param_hint="--registry",
        )
    return Wanted(url, reference)


def _examine(role: Role, path: Path | None, wanted: Wanted) -> list[Verdict]:
    from harbor_scanner import log  # noqa: PLC0415
    from harbor_scanner.doctor.examination import examine  # noqa: PLC0415
    from harbor_scanner.doctor.settings import refused  # noqa: PLC0415

    try:
        config = load_config(os.environ, role, path=path)
    except SettingsError as error:
        return refused(error)
    # What parts of the service would log is told by the verdicts.
    log.configure("fatal", config.secrets())

    import uvloop  # noqa: PLC0415

    loop = uvloop.new_event_loop()
    try:
        with _telling() as tell:
            return loop.run_until_complete(until_signal(examine(config, wanted, tell)))
    except StoppedError as stopped:
        typer.echo("Stopped; nothing is left behind.", err=True)
        _end(stopped.code)


@contextlib.contextmanager
def _telling() -> Iterator[Callable[[Sequence[str]], None]]:
    """Yield what tells the areas that are still looked at: on a terminal, and nowhere else."""
    if not sys.stderr.isatty():
        yield lambda _areas: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status("Looking around") as status:
        yield lambda areas: status.update(f"Looking at {', '.join(areas)}")


def _show(verdicts: Sequence[Verdict]) -> None:
    screen = sys.stdout.isatty()
    marks = {outcome: mark[0] if _can_print(mark[0]) else mark[1] for outcome, mark in _MARKS.items()}
    for area, group in itertools.groupby(verdicts, lambda verdict: verdict.area):
        (_show_on_screen if screen else _show_in_lines)(area, list(group), marks)
    counts = Counter(verdict.outcome.value for verdict in verdicts)
    totals = ", ".join(
        f"{counts[outcome]} {words[counts[outcome] != 1]}" for outcome, words in _COUNTED.items() if counts[outcome]
    )
    typer.echo(f"{'Scans will fail' if counts['failure'] else 'Nothing was found that fails scans'}: {totals}.")


def _show_on_screen(area: str, verdicts: Sequence[Verdict], marks: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2), pad_edge=True)
    for _ in range(3):
        table.add_column(overflow="fold")  # a path or a command that is cut off is of no use
    for verdict in verdicts:
        style = _MARKS[verdict.outcome][2]
        what = Text(verdict.what, style="dim" if verdict.outcome == "skipped" else "")
        if verdict.advice:
            what.append(f"\nTo do: {verdict.advice}", style="dim" if verdict.outcome == "skipped" else "italic")
        table.add_row(Text(f"{marks[verdict.outcome]} {verdict.outcome}", style=style), verdict.name, what)
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(Text(area, style="bold"))
    console.print(table)
    console.print()


def _show_in_lines(area: str, verdicts: Sequence[Verdict], marks: Mapping[str, str]) -> None:
    typer.echo(area)
    for verdict in verdicts:
        typer.echo(f"  {marks[verdict.outcome]} {verdict.outcome:<8} {verdict.name}: {_one_line(verdict.what)}")
        if verdict.advice:
            typer.echo(f"             To do: {_one_line(verdict.advice)}")
    typer.echo()


def _one_line(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _write_json(verdicts: Sequence[Verdict], role: Role, seconds: float) -> None:
    counts = Counter(verdict.outcome.value for verdict in verdicts)
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "role": role.value,
        "healthy": not counts["failure"],
        "seconds": round(seconds, 3),
        "totals": {outcome: counts[outcome] for outcome in _MARKS},
        "checks": verdicts,
    }
    typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())


def _end(code: int) -> NoReturn:
    """End now: a look-up of a name, or a disk, that hangs in a thread would hold up any other end."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
