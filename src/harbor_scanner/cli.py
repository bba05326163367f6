"""The commands; the only place that prints."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated, NoReturn

import msgspec
import typer

from harbor_scanner import __version__
from harbor_scanner.config import Config, Role, load_config
from harbor_scanner.errors import SettingsError, StartError

EXIT_START = 1
"""The service cannot start on this machine."""
EXIT_SETTINGS = 2
"""A setting is wrong."""

app = typer.Typer(
    help="Plugs any vulnerability scanner into a Harbor registry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RoleOption = Annotated[
    Role,
    typer.Option(help="all: API and worker in one process. api, worker: only that, to scale apart over one Redis."),
]


def main() -> None:
    """Run the command line."""
    app(prog_name="harbor-scanner")


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
def serve(role: RoleOption = Role.ALL) -> None:
    """Answer Harbor and run its scans, until SIGTERM or Ctrl-C.

    Settings come from the environment; `harbor-scanner config` shows them all.
    """
    from harbor_scanner import log  # noqa: PLC0415 - other commands do without the service's modules

    loaded = _load(role)
    log.configure(loaded.log.level, loaded.secrets())
    for line in loaded.unknown:
        log.log.warning(line)
    try:
        _run(loaded)
    except StartError as error:
        typer.echo(f"harbor-scanner cannot start: {error}", err=True)
        raise typer.Exit(EXIT_START) from None


@app.command()
def config(
    *,
    role: RoleOption = Role.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the settings as they hold now, where each came from, and what is wrong with them. Secrets are masked."""
    loaded = _load(role)
    rows = [
        {"name": entry.setting.name, "value": entry.setting.shown(entry.text), "origin": entry.origin}
        for entry in loaded.effective
    ]
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
    console = Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False)
    console.print(table)
    for line in loaded.unknown:
        typer.echo(f"warning: {line}", err=True)


def _load(role: Role) -> Config:
    try:
        return load_config(os.environ, role)
    except SettingsError as error:
        _refuse(error.problems)


def _refuse(problems: list[str]) -> NoReturn:
    count = "A setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    typer.echo(f"{count} wrong:", err=True)
    for problem in problems:
        typer.echo(f"  - {problem}", err=True)
    typer.echo("`docs/configuration.md` lists all settings.", err=True)
    raise typer.Exit(EXIT_SETTINGS)


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

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await run_service(config, stopping)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signal())
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_START) from None
