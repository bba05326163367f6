"""Turns documents into the files of the database, all of them or none."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import msgspec

from harbor_scanner.osv import ecosystems
from harbor_scanner.osv.advisory import Advisory, decode
from harbor_scanner.osv.building import Builder
from harbor_scanner.osv.database import NEW, About, Database, quoted, unwritable
from harbor_scanner.osv.documents import Documents
from harbor_scanner.osv.errors import DatabaseError, UnreadableAdvisoryError

NAMED = 20
"""How many of the documents that cannot be read are named; the others are only counted."""

_UNREADABLE_SHARE = 100
"""One in so many documents may be unreadable."""
_STEP = 500
"""Documents between two looks at the progress."""


class Origin(msgspec.Struct, frozen=True):
    """Where documents come from."""

    source: str
    """For people: a path, or a URL without credentials."""
    url: str = ""
    etag: str = ""
    last_modified: str = ""


class Imported(msgspec.Struct, frozen=True):
    """What became of one ecosystem."""

    about: About
    unreadable: tuple[str, ...]
    """Documents that could not be read, the first of them, each with the reason."""
    unreadable_count: int
    """How many there are of these in all."""
    before: int
    """How many advisories there were before."""


class _Reading:
    """What is known of the documents so far."""

    def __init__(self) -> None:
        self.documents = 0
        self.unreadable = 0
        self.named: list[str] = []
        self.common: frozenset[str] | None = None
        """Ecosystems that all advisories are about."""

    def refuse_if_unreadable(self) -> None:
        if self.unreadable * _UNREADABLE_SHARE > self.documents:
            lines = "".join(f"\n  {line}" for line in self.named)
            more = f"\n  and {self.unreadable - len(self.named)} more" if self.unreadable > len(self.named) else ""
            raise DatabaseError(
                f"{self.unreadable} of {self.documents} advisories cannot be read, too many to go without them; "
                f"nothing was changed:{lines}{more}\n",
                "Get the advisories again, and report what cannot be read to where they come from.",
            )


def import_documents(
    database: Database,
    documents: Documents,
    origin: Origin,
    *,
    only: Collection[str] = (),
    add: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Imported]:
    """Replace what there is of the ecosystems that the documents are about; call it while `writing`.

    The ecosystems are those of `only`; without it the ones that all documents are about, such as those of one export,
    and if there is none, every one that is named. Those that cannot be matched are left out. With `add` the documents
    come on top of what there is. A database that shrinks to less than half is refused, unless `force`: what is missing
    would look clean.
    Raises DatabaseError; nothing is changed then. `progress` is told documents, done and in total (0: not known).
    """
    builders: dict[str, Builder] = {}
    try:
        reading = _read(database, documents, builders, frozenset(only), add=add, progress=progress)
        reading.refuse_if_unreadable()
        chosen = sorted((not only and reading.common) or builders)
        if not chosen:
            about = f" of {', '.join(sorted(only))}" if only else " that could be matched"
            raise DatabaseError(
                f"There are no advisories{about} in {origin.source}.",
                "It must hold advisories in the format of osv.dev, as JSON files or in a zip archive.",
            )
        imported = [_finished(database, builders[name], reading, origin, add=add, force=force) for name in chosen]
        for name in chosen:
            database.replace(name, builders[name].path)
    except (OSError, sqlite3.Error) as error:
        raise _failed(database.directory, origin, error) from error
    finally:
        for builder in builders.values():
            with contextlib.suppress(OSError, sqlite3.Error):
                builder.drop()
    return imported


def _read(
    database: Database,
    documents: Documents,
    builders: dict[str, Builder],
    only: frozenset[str],
    *,
    add: bool,
    progress: Callable[[int, int], None],
) -> _Reading:
    reading = _Reading()
    for document in documents:
        reading.documents += 1
        if reading.documents % _STEP == 0:
            progress(reading.documents, documents.total)
        try:
            advisory = decode(document.read())
        except UnreadableAdvisoryError as error:
            reading.unreadable += 1
            if len(reading.named) < NAMED:
                reading.named.append(f"{document.name}: {error}")
            continue
        named = frozenset(_ecosystems(advisory))
        if named:
            reading.common = named if reading.common is None else reading.common & named
        for name in named & only if only else named:
            if name not in builders:
                builders[name] = _builder(database, name, add=add)
            builders[name].add(advisory)
    progress(reading.documents, reading.documents)
    return reading


def _ecosystems(advisory: Advisory) -> Iterator[str]:
    for affected in advisory.affected:
        if affected.package and (name := ecosystems.base(affected.package.ecosystem)) in ecosystems.SUPPORTED:
            yield name


def _builder(database: Database, name: str, *, add: bool) -> Builder:
    file = database.file(name)
    base = file if add and database.about(name) is not None else None
    return Builder(file.with_name(file.name + NEW), name, base=base)


def _finished(
    database: Database, builder: Builder, reading: _Reading, origin: Origin, *, add: bool, force: bool
) -> Imported:
    name = builder.ecosystem
    before = database.about(name)
    kept = before if add else None
    about = builder.finish(
        source=kept.source if kept else origin.source,
        unreadable=reading.unreadable + (kept.unreadable if kept else 0),
        url=kept.url if kept else origin.url,
        etag=kept.etag if kept else origin.etag,
        last_modified=kept.last_modified if kept else origin.last_modified,
    )
    if before and about.advisories * 2 < before.advisories and not force:
        raise DatabaseError(
            f"{origin.source} has {about.advisories} advisories of {name}, and there are {before.advisories} here; "
            "nothing was changed.",
            f"If the source is right, use `--force`: what it lacks would look clean. ({quoted(name)})",
        )
    return Imported(about, tuple(reading.named), reading.unreadable, before.advisories if before else 0)


def _failed(directory: Path, origin: Origin, error: Exception) -> DatabaseError:
    """Return what to tell: reading a source fails with the name of a file, writing to our directory mostly does not."""
    place = getattr(error, "filename", None)
    if isinstance(place, str | Path) and not Path(place).is_relative_to(directory):
        return DatabaseError(f"{origin.source} cannot be read: {getattr(error, 'strerror', None) or error}.")
    return unwritable(directory, error)
