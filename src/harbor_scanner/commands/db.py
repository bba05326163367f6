"""`harbor-scanner db`: the advisories that are kept on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harbor_scanner.commands.common import ConfigOption, load_groups
from harbor_scanner.groups import WorkerSettings
from harbor_scanner.osv.errors import DatabaseError
from harbor_scanner.osv.settings import OsvDatabaseSettings, spelled

if TYPE_CHECKING:
    from harbor_scanner.osv.database import Database
    from harbor_scanner.osv.documents import Source
    from harbor_scanner.osv.updating import Outcome

EXIT_FAILED = 1
"""Something could not be done; what could be is done."""

_URL = re.compile(r"https?://", re.IGNORECASE)

app = typer.Typer(
    help="Keep the advisories of osv.dev on this machine, for the scanner `osv`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Take what is there even if it has less than half of the advisories of before."),
]


def _spelled(text: str) -> str:
    try:
        return spelled(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command()
def update(
    ecosystems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ECOSYSTEM]...", parser=_spelled, help="Such as PyPI; else those of SCANNER_OSV_ECOSYSTEMS."
        ),
    ] = None,
    *,
    force: ForceOption = False,
    path: ConfigOption = None,
) -> None:
    """Fetch what changed from osv.dev, or from the mirror that SCANNER_OSV_URL names.

    A scan that runs meanwhile goes on with what it began with. Ends with 1 if any ecosystem failed.
    """
    database, settings = _database(path)
    with _told(), database.writing(_tell_waiting):
        _update(database, settings.url, ecosystems or _wanted(settings), force=force)


@app.command(name="import")
def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|DIR|URL", help="An archive, a folder, a JSON file, or the address of one."),
    ],
    *,
    force: ForceOption = False,
    path: ConfigOption = None,
) -> None:
    """Take advisories from a disk, or from any address.

    A folder may be laid out as osv.dev's exports (`PyPI/all.zip`), or hold JSON files. All of an ecosystem is
    replaced, but a single JSON file is added to what there is, until the next update brings something new.
    """
    database, settings = _database(path)
    with _told(), database.writing(_tell_waiting):
        if not _URL.match(source):
            _import(database, Path(source), force=force)
        elif source.casefold().endswith((".zip", ".json")):
            with _fetched(database, source) as file:
                _import(database, file, source, force=force)
        else:
            _update(database, source.rstrip("/"), _wanted(settings), force=force)


@app.command()
def info(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    path: ConfigOption = None,
) -> None:
    """Show which advisories there are, from when, and what is missing or too old."""
    from harbor_scanner.commands import inventory  # noqa: PLC0415 - only now is it of use

    database, settings = _database(path)
    rows = inventory.rows(database, _wanted(settings))
    if as_json:
        typer.echo(inventory.as_json(database.directory, rows))
    else:
        inventory.show(database.directory, rows)


def _database(path: Path | None) -> tuple[Database, OsvDatabaseSettings]:
    from harbor_scanner.osv.database import Database  # noqa: PLC0415 - other commands do without

    worker, settings = load_groups(path, WorkerSettings, OsvDatabaseSettings)
    return Database(worker.data_dir / "osv"), settings


def _wanted(settings: OsvDatabaseSettings) -> list[str]:
    from harbor_scanner.osv.ecosystems import SUPPORTED  # noqa: PLC0415

    return list(settings.ecosystems or SUPPORTED)


def _update(database: Database, url: str, wanted: list[str], *, force: bool) -> None:
    from harbor_scanner.commands.progress import observing  # noqa: PLC0415
    from harbor_scanner.osv.updating import Updater  # noqa: PLC0415

    async def run() -> list[Outcome]:
        with observing() as observer:
            return await Updater(database, url, observer).update(wanted, force=force)

    outcomes = asyncio.run(run())
    failed = [outcome.ecosystem for outcome in outcomes if outcome.problem]
    if failed:
        rest = " The others are done." if len(failed) < len(outcomes) else ""
        typer.echo(f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed)}.{rest}", err=True)
        raise typer.Exit(EXIT_FAILED)


def _import(database: Database, path: Path, name: str = "", *, force: bool) -> None:
    from harbor_scanner.osv.documents import find_sources  # noqa: PLC0415
    from harbor_scanner.osv.ecosystems import SUPPORTED  # noqa: PLC0415

    sources = find_sources(path)
    if name and len(parts := name.split("/")) > 1 and (ecosystem := parts[-2].replace("%20", " ")) in SUPPORTED:
        sources = [source._replace(only=(ecosystem,)) for source in sources]
    failed = [source for source in sources if not _import_source(database, source, name or str(source.path), force)]
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _import_source(database: Database, source: Source, name: str, force: bool) -> bool:
    from harbor_scanner.commands.progress import Lines, observing  # noqa: PLC0415
    from harbor_scanner.osv.fetching import without_user  # noqa: PLC0415
    from harbor_scanner.osv.importing import Origin, import_documents  # noqa: PLC0415

    shown = without_user(name)
    try:
        with observing() as observer:
            imported = import_documents(
                database, source.documents, Origin(shown), only=source.only, add=source.add, force=force,
                progress=lambda done, total: observer.importing(shown, done, total),
            )  # fmt: skip
    except DatabaseError as error:
        typer.echo(f"{shown}: {error}", err=True)
        return False
    for each in imported:
        Lines().tell(each)
    return True


@contextlib.contextmanager
def _fetched(database: Database, url: str) -> Iterator[Path]:
    """Yield the file that is at `url`, fetched."""
    from harbor_scanner.commands.progress import observing  # noqa: PLC0415
    from harbor_scanner.osv import fetching  # noqa: PLC0415

    path = database.downloads / f"import{Path(url).suffix.casefold()}"

    async def run() -> None:
        with observing() as observer:
            async with fetching.client() as client:
                download = fetching.Download(client, url, path)
                await download.fetch(None, lambda done, total: observer.fetching(path.name, done, total))

    asyncio.run(run())
    try:
        yield path
    finally:
        for left in database.downloads.glob(f"{path.name}*"):
            left.unlink()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell of what cannot be done, and end."""
    try:
        yield
    except DatabaseError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"It cannot be done: {error}.")


def _fail(line: str) -> NoReturn:
    typer.echo(line, err=True)
    raise typer.Exit(EXIT_FAILED) from None


def _tell_waiting() -> None:
    typer.echo("Another process is writing the advisories; waiting for it. Ctrl-C ends the wait.", err=True)
