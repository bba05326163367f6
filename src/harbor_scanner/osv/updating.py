"""Brings the database up to date from osv.dev, or from a mirror of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx2
import msgspec
import structlog

from harbor_scanner.osv import ecosystems, fetching
from harbor_scanner.osv.database import Database, unwritable
from harbor_scanner.osv.documents import ArchivedDocuments
from harbor_scanner.osv.errors import BusyError, DatabaseError
from harbor_scanner.osv.fetching import WAITS, Download, Version
from harbor_scanner.osv.importing import Imported, Origin, import_documents
from harbor_scanner.osv.settings import OsvDatabaseSettings

log = structlog.get_logger(__name__)

FETCHED_AT_ONCE = 4
LOOK_SECONDS = 60.0
"""Between two looks whether an update is due."""
RETRY_SECONDS = 900.0
"""After a failure of which only time may be the remedy."""

_CENTURY = 100 * 365 * 86400.0
_Result = TypeVar("_Result")


class Outcome(msgspec.Struct, frozen=True):
    """What became of one ecosystem in an update."""

    ecosystem: str
    imported: Imported | None = None
    """None if there is nothing new, or if it failed."""
    problem: DatabaseError | None = None
    """Why it failed; what there was before is still there."""


class Observer:
    """Is told how an update goes, from several threads, though never at once for one ecosystem. Inherit from it."""

    def fetching(self, ecosystem: str, done: int, total: int) -> None:
        """Take note of bytes; a total of 0 is not known."""

    def importing(self, ecosystem: str, done: int, total: int) -> None:
        """Take note of advisories; a total of 0 is not known."""

    def ended(self, outcome: Outcome) -> None:
        """Take note of an ecosystem that is done."""


class Updater:
    """Fetches archives of ecosystems below one URL into a database."""

    def __init__(
        self, database: Database, url: str, observer: Observer | None = None, *, waits: Sequence[float] = WAITS
    ) -> None:
        self._database = database
        self._url = url
        self._observer = observer or Observer()
        self._waits = waits
        self._fetching = asyncio.Semaphore(FETCHED_AT_ONCE)
        # One after the other: two would only share one interpreter, and take the memory of both.
        self._importing = asyncio.Lock()

    async def update(self, wanted: Iterable[str], *, force: bool = False) -> list[Outcome]:
        """Fetch and import what changed; call it while `writing`. What fails is told by the outcomes.

        With `force` everything is fetched, and taken even if it is much less than before.
        """
        names = list(dict.fromkeys(wanted))
        try:
            self._sweep(names)
            client = await asyncio.to_thread(fetching.client)
        except (OSError, ValueError) as error:
            problem = DatabaseError(
                f"No connection can be made with this environment: {error}.", "Check SSL_CERT_FILE and the proxies."
            )
            return [self._ended(Outcome(name, problem=problem)) for name in names]
        async with client:
            return list(await asyncio.gather(*(self._update(client, name, force=force) for name in names)))

    async def _update(self, client: httpx2.AsyncClient, ecosystem: str, *, force: bool) -> Outcome:
        try:
            return self._ended(Outcome(ecosystem, await self._renew(client, ecosystem, force=force)))
        except DatabaseError as error:
            return self._ended(Outcome(ecosystem, problem=error))
        except OSError as error:
            return self._ended(Outcome(ecosystem, problem=unwritable(self._database.directory, error)))

    async def _renew(self, client: httpx2.AsyncClient, ecosystem: str, *, force: bool) -> Imported | None:
        url = f"{self._url}/{quote(ecosystem)}/all.zip"
        about = None if force else self._database.about(ecosystem)
        known = Version(about.url, about.etag, about.last_modified) if about else None
        download = Download(client, url, self._part(ecosystem), self._waits)
        async with self._fetching:
            version = await download.fetch(known, lambda done, total: self._observer.fetching(ecosystem, done, total))
        if version is None:
            self._database.note_check(ecosystem)
            return None
        try:
            async with self._importing:
                return await _in_thread(
                    lambda going: self._import(ecosystem, download.path, version, going, force=force)
                )
        finally:
            download.remove()

    def _import(
        self, ecosystem: str, path: Path, version: Version, going: Callable[[], None], *, force: bool
    ) -> Imported:
        def progress(done: int, total: int) -> None:
            going()
            self._observer.importing(ecosystem, done, total)

        origin = Origin(version.url, version.url, version.etag, version.last_modified)
        [imported] = import_documents(
            self._database, ArchivedDocuments(path), origin, only=[ecosystem], force=force, progress=progress
        )
        return imported

    def _ended(self, outcome: Outcome) -> Outcome:
        self._observer.ended(outcome)
        return outcome

    def _part(self, ecosystem: str) -> Path:
        return self._database.downloads / f"{quote(ecosystem, safe=' ')}.zip"

    def _sweep(self, names: Iterable[str]) -> None:
        """Remove what earlier updates left, but for what this one can go on with."""
        parts = tuple(self._part(name).name for name in names)
        for left in self._database.downloads.iterdir():
            if not left.name.startswith(parts):
                left.unlink(missing_ok=True)


async def keep_updated(database: Database, settings: Callable[[], OsvDatabaseSettings]) -> None:
    """Bring the database up to date as often as the settings say, until cancelled. Failures are logged.

    What was never fetched, or is too old, is due at once. Running scans go on with what they began with.
    """
    while True:
        current = settings()
        failed = await update_due(database, current) if current.update_every else False
        await asyncio.sleep(RETRY_SECONDS if failed else LOOK_SECONDS)


async def update_due(database: Database, settings: OsvDatabaseSettings, *, waits: Sequence[float] = WAITS) -> bool:
    """Update what was not looked at for as long as the settings say; return whether any of it failed."""
    limit = (datetime.now(UTC) - timedelta(seconds=min(settings.update_every, _CENTURY))).strftime("%Y-%m-%dT%H:%M:%SZ")
    infos = {info.ecosystem: info for info in database.info() if not info.problem}
    wanted = settings.ecosystems or ecosystems.SUPPORTED
    due = [name for name in wanted if name not in infos or infos[name].checked_at <= limit]
    if not due:
        return False
    try:
        with database.writing():
            outcomes = await Updater(database, settings.url, waits=waits).update(due)
    except BusyError:
        log.info("advisories are being updated by another process")
        return False
    except DatabaseError as error:
        log.error("advisories cannot be updated", reason=error.message, advice=error.advice)  # noqa: TRY400
        return True
    except Exception:
        log.exception("advisories could not be updated for a defect of this service")
        return True
    for outcome in outcomes:
        _log(outcome)
    return any(outcome.problem for outcome in outcomes)


def _log(outcome: Outcome) -> None:
    if outcome.problem is not None:
        log.error(
            "advisories could not be updated; those from before stay",
            ecosystem=outcome.ecosystem, reason=outcome.problem.message, advice=outcome.problem.advice,
        )  # fmt: skip
    elif outcome.imported is not None:
        about = outcome.imported.about
        log.info("advisories are updated", ecosystem=about.ecosystem, advisories=about.advisories)
        if outcome.imported.unreadable_count:
            log.warning(
                "advisories could not be read, and are missing",
                ecosystem=about.ecosystem, count=outcome.imported.unreadable_count, first=outcome.imported.unreadable,
            )  # fmt: skip


class _StoppedError(Exception):
    """Nobody waits for the thread any more."""


async def _in_thread(work: Callable[[Callable[[], None]], _Result]) -> _Result:
    """Run `work` in a thread. If this is cancelled, what `work` is given raises when it calls it, and is waited for."""
    stopped = False

    def going() -> None:
        if stopped:
            raise _StoppedError

    running = asyncio.ensure_future(asyncio.to_thread(work, going))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped = True
        with contextlib.suppress(Exception):
            await running
        raise
