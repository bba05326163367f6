"""The commands; with `commands` the only place that prints."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import msgspec
import typer

from harbor_scanner import __version__
from harbor_scanner.commands import common, db, demo
from harbor_scanner.commands.common import ConfigOption, refuse
from harbor_scanner.commands.doctor import doctor
from harbor_scanner.commands.healthy import healthy
from harbor_scanner.commands.register import register
from harbor_scanner.commands.scan import scan
from harbor_scanner.config import Config, Role, load_config
from harbor_scanner.errors import SettingsError, StartError

EXIT_START = 1
"""The service cannot start on this machine."""
EXIT_SETTINGS = common.EXIT_SETTINGS
"""A setting is wrong."""

app = typer.Typer(
    help="Plugs any vulnerability scanner into a Harbor registry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(db.app, name="db")
app.command()(scan)
app.command()(register)
app.command()(demo.demo)
app.command()(healthy)
app.command()(doctor)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

RoleOption = Annotated[
    Role,
    typer.Option(help="all: API and worker in one process. api, worker: only that, to scale apart over one Redis."),
]


def main() -> None:
    """Run the command line."""
    # An option with or without a value, as Go's flags are: typer knows none.
    arguments = ["--file-logging=true" if argument == "--file-logging" else argument for argument in sys.argv[1:]]
    try:
        app(arguments, prog_name="harbor-scanner")
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        sys.stderr.write(
            f"Not everything could be written: {error.strerror}. Make room where the output goes, and in "
            "SCANNER_DATA_DIR.\n"
        )
        os._exit(1)  # Python would try to write the rest once more, and fail with a traceback


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harbor-scanner {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Plugs any vulnerability scanner into a Harbor registry."""


@app.command()
def serve(*, role: RoleOption = Role.ALL, path: ConfigOption = None) -> None:
    """Answer Harbor and run its scans, until SIGTERM or Ctrl-C.

    Settings come from the environment and from values.yaml; `harbor-scanner config` shows them all.
    """
    _serve(_load(role, path))


@app.command()
def harbor_registry_service(
    *,
    file_logging: Annotated[
        str | None,
        typer.Option(
            metavar="[=true|false]", help="Also write logs to a file in the data directory: SCANNER_LOG_FILE."
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="The least level that is logged: SCANNER_LOG_LEVEL.")
    ] = None,
    path: ConfigOption = None,
) -> None:
    """Serve with the Qualys scanner only, as Qualys' own program does: `serve` under another name.

    The defaults are those of Qualys' deployment guide, such as port 5000. These flags go before every other setting.
    """
    given = {"SCANNER_ENABLED": "qualys", "SCANNER_LOG_FILE": file_logging, "SCANNER_LOG_LEVEL": log_level}
    overrides = {name: text for name, text in given.items() if text is not None}
    _serve(_load(Role.ALL, path, overrides, chart_defaults=True))


@app.command()
def config(
    *,
    role: RoleOption = Role.ALL,
    path: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the settings as they hold now, where each came from, and what is wrong with them. Secrets are masked."""
    loaded = _load(role, path)
    rows = [
        {"name": entry.setting.name, "value": entry.setting.shown(entry.text), "origin": entry.origin}
        for entry in loaded.effective
    ]
    for line in (*loaded.unknown, *loaded.warnings):
        typer.echo(f"warning: {line}", err=True)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    from rich.console import Console  # noqa: PLC0415 - a service has no use for it
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("SETTING", "VALUE", "ORIGIN"):
        table.add_column(title, overflow="fold", no_wrap=title == "SETTING")
    for row in rows:
        table.add_row(
            row["name"], row["value"] or "-", row["origin"], style=None if row["origin"] != "default" else "dim"
        )
    console = Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False, markup=False, highlight=False)
    console.print(table)


def _load(
    role: Role, path: Path | None, overrides: Mapping[str, str] = MappingProxyType({}), *, chart_defaults: bool = False
) -> Config:
    try:
        return load_config(os.environ, role, overrides=overrides, path=path, chart_defaults=chart_defaults)
    except SettingsError as error:
        refuse(error)


def _serve(loaded: Config) -> None:
    from harbor_scanner import log  # noqa: PLC0415 - other commands do without the service's modules

    log.configure(loaded.log.level, loaded.secrets(), file=loaded.log_file)
    for line in (*loaded.unknown, *loaded.warnings):
        log.log.warning(line)
    try:
        _run(loaded)
    except StartError as error:
        typer.echo(f"harbor-scanner cannot start: {error}", err=True)
        raise typer.Exit(EXIT_START) from None


def _run(config: Config) -> None:
    """Serve on uvloop until a signal says otherwise; a second one ends the service without the grace."""
    import uvloop  # noqa: PLC0415

    from harbor_scanner.app import serve as run_service  # noqa: PLC0415

    async def until_signal() -> None:
        stopping = asyncio.Event()
        task = asyncio.current_task()

        def stop() -> None:
            if stopping.is_set() and task is not None:
                task.cancel()
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await run_service(config, stopping)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signal())
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_START) from None
