"""The advisories that are kept on this machine: a directory with one SQLite file for each ecosystem.

A file is never changed, only replaced by a new one in one step: whoever reads goes on with the old one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import structlog

from harbor_scanner.osv import ecosystems
from harbor_scanner.osv.advisory import Advisory
from harbor_scanner.osv.errors import BusyError, DatabaseError

log = structlog.get_logger(__name__)

FORMAT = 1
"""Of the files. Another one when tables, the encoding of advisories or the normalisation of names change."""
SUFFIX = ".sqlite"
NEW = ".new"
"""Ends the names of files that are being written."""

_CHECKED = "checked.json"
_LOCK = "lock"
_DOWNLOADS = "downloads"
_WAIT = 0.2

_decoder = msgspec.json.Decoder(Advisory)


class About(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    ecosystem: str
    advisories: int
    """Withdrawn ones among them: whoever matches must know that they were taken back."""
    packages: int
    modified: str
    """When the newest advisory was changed, as it says itself; empty if none does."""
    imported_at: str
    source: str
    """Where the advisories came from: a path, or a URL without credentials."""
    unreadable: int = 0
    """How many documents of the source could not be read, and are missing here."""
    url: str = ""
    etag: str = ""
    last_modified: str = ""
    """By which the source tells whether it has changed since."""


class EcosystemInfo(msgspec.Struct, frozen=True):
    """What there is of one ecosystem."""

    ecosystem: str
    advisories: int = 0
    packages: int = 0
    modified: str = ""
    imported_at: str = ""
    checked_at: str = ""
    """When the source was last known to have nothing newer."""
    size: int = 0
    """Bytes on the disk."""
    source: str = ""
    unreadable: int = 0
    problem: str = ""
    """Why it cannot be used; empty if it can."""


class Snapshot:
    """The advisories as they are at one moment. Nothing that happens to the database later changes it."""

    def __init__(self, connections: Mapping[str, sqlite3.Connection]) -> None:
        self._connections = connections
        self.ecosystems = frozenset(connections)

    def releases(self, ecosystem: str) -> frozenset[str]:
        """Return what advisories call the ecosystem, releases included: `Debian:12`. Raises DatabaseError.

        Of a release that no advisory names nothing is known: it is not free of vulnerabilities.
        """
        return frozenset(name for (name,) in self._select(ecosystem, "SELECT name FROM releases"))

    def advisories(self, ecosystem: str, name: str) -> list[Advisory]:
        """Return all advisories that name this package in this ecosystem, for whatever release, by their ids.

        Raises DatabaseError, also if the ecosystem is not there: an empty list would look clean.
        """
        rows = self._select(
            ecosystem,
            "SELECT body FROM packages JOIN advisories ON advisories.key = packages.advisory "
            "WHERE packages.name = ? ORDER BY advisories.id",
            ecosystems.normalised(ecosystem, name),
        )
        try:
            return [_decoder.decode(zlib.decompress(body)) for (body,) in rows]
        except (zlib.error, ValueError) as error:
            raise _broken(ecosystems.base(ecosystem), error) from error

    def _select(self, ecosystem: str, statement: str, *parameters: str) -> list[Any]:
        base = ecosystems.base(ecosystem)
        if base not in self._connections:
            raise DatabaseError(f"There are no advisories of {base} here.", _update(base))
        try:
            return self._connections[base].execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise _broken(base, error) from error


class Database:
    """A directory of advisories. It may be missing, or empty: then there are none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.downloads = directory / _DOWNLOADS
        """For what is being fetched; only for whoever is `writing`."""

    @contextlib.contextmanager
    def open(self) -> Iterator[Snapshot]:
        """Yield what there is now. Files that cannot be read are logged, and missing from it."""
        with contextlib.ExitStack() as stack:
            connections = {}
            for ecosystem, path in self._files():
                try:
                    connections[ecosystem] = stack.enter_context(_opened(path))
                except DatabaseError as error:
                    log.error("advisories cannot be used", ecosystem=ecosystem, reason=str(error))  # noqa: TRY400
            yield Snapshot(connections)

    def info(self) -> list[EcosystemInfo]:
        """Return what there is of each ecosystem, by name."""
        checked = self._checked()
        return [_info(ecosystem, path, checked.get(ecosystem, "")) for ecosystem, path in self._files()]

    def about(self, ecosystem: str) -> About | None:
        """Return what the file of an ecosystem says of itself; None if there is none that can be used."""
        try:
            with _opened(self.file(ecosystem)) as connection:
                return _about(connection)
        except DatabaseError:
            return None

    def file(self, ecosystem: str) -> Path:
        """Return where the advisories of an ecosystem are, or will be."""
        return self.directory / (quote(ecosystem, safe=" ") + SUFFIX)

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Be the only one who writes; what others left half-written is removed first.

        If somebody else does, `waiting` is called once and waited for; without it BusyError is raised.
        Raises DatabaseError if the directory cannot be written to.
        """
        try:
            self.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.directory / _LOCK).open("w")
        except OSError as error:
            raise unwritable(self.directory, error) from error
        with lock:
            self._take(lock.fileno(), waiting)
            for left in self.directory.glob(f"*{NEW}"):
                left.unlink(missing_ok=True)
            yield

    def replace(self, ecosystem: str, new: Path) -> None:
        """Let the advisories of an ecosystem be those of the file `new`, which is on the disk for certain."""
        new.replace(self.file(ecosystem))
        _sync(self.directory)
        self.note_check(ecosystem)

    def note_check(self, ecosystem: str) -> None:
        """Remember that the source has nothing newer of this ecosystem now."""
        checked = {**self._checked(), ecosystem: now()}
        new = self.directory / (_CHECKED + NEW)
        new.write_bytes(msgspec.json.encode(checked))
        new.replace(self.directory / _CHECKED)

    def _take(self, lock: int, waiting: Callable[[], None] | None) -> None:
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise BusyError(f"Somebody else is writing to {self.directory} now.", "Try again later.") from None
            waiting()
            waiting = _silent
            time.sleep(_WAIT)

    def _files(self) -> list[tuple[str, Path]]:
        return sorted((unquote(path.name.removesuffix(SUFFIX)), path) for path in self.directory.glob(f"*{SUFFIX}"))

    def _checked(self) -> dict[str, str]:
        try:
            return msgspec.json.decode((self.directory / _CHECKED).read_bytes(), type=dict[str, str])
        except (OSError, ValueError):
            return {}


def now() -> str:
    """Return the time in UTC, to the second, as RFC 3339 writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unwritable(directory: Path, error: Exception) -> DatabaseError:
    """Return an error for a directory where nothing can be written."""
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return DatabaseError(
        f"{directory} cannot be written to: {reason}.",
        "Make room there, or let SCANNER_DATA_DIR name a directory that this user may write to.",
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a file that is complete and of our format. Raises DatabaseError."""
    ecosystem = unquote(path.name.removesuffix(SUFFIX))
    try:
        # Immutable: no locks, and no look at the file system later. Scans may use a snapshot from another thread.
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _broken(ecosystem, error) from error
    with contextlib.closing(connection):
        try:
            [(found,)] = connection.execute("PRAGMA user_version")
            connection.execute("SELECT 1 FROM about, advisories, packages, releases LIMIT 1").fetchall()
        except sqlite3.Error as error:
            raise _broken(ecosystem, error) from error
        if found != FORMAT:
            raise DatabaseError(
                f"The advisories of {ecosystem} were written by another version of harbor-scanner.", _update(ecosystem)
            )
        yield connection


def _about(connection: sqlite3.Connection) -> About:
    try:
        [(text,)] = connection.execute("SELECT text FROM about")
        return msgspec.json.decode(text, type=About)
    except (sqlite3.Error, ValueError) as error:
        raise DatabaseError(f"It is broken: {error}.") from error


def _info(ecosystem: str, path: Path, checked: str) -> EcosystemInfo:
    try:
        size = path.stat().st_size
        with _opened(path) as connection:
            about = _about(connection)
    except (OSError, DatabaseError) as error:
        return EcosystemInfo(ecosystem, problem=str(error))
    return EcosystemInfo(
        ecosystem=ecosystem,
        advisories=about.advisories,
        packages=about.packages,
        modified=about.modified,
        imported_at=about.imported_at,
        checked_at=checked,
        size=size,
        source=about.source,
        unreadable=about.unreadable,
    )


def _broken(ecosystem: str, error: Exception) -> DatabaseError:
    return DatabaseError(f"The advisories of {ecosystem} cannot be read: {error}.", _update(ecosystem))


def _update(ecosystem: str) -> str:
    return f"`harbor-scanner db update --force {quoted(ecosystem)}` fetches them."


def quoted(ecosystem: str) -> str:
    """Return the name as it is written on a command line."""
    return f'"{ecosystem}"' if " " in ecosystem else ecosystem


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _silent() -> None:
    pass
