"""Writes the file of one ecosystem."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zlib
from pathlib import Path

import msgspec

from harbor_scanner.osv import ecosystems
from harbor_scanner.osv.advisory import Advisory
from harbor_scanner.osv.database import FORMAT, About, now

_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA cache_size = -16384;
PRAGMA user_version = {FORMAT};
BEGIN;
CREATE TABLE IF NOT EXISTS about (text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS advisories (
  key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, modified TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS packages (
  name TEXT NOT NULL, advisory INTEGER NOT NULL, PRIMARY KEY (name, advisory)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS releases (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_encoder = msgspec.json.Encoder()


class Builder:
    """A file of advisories that is being written; nobody reads it before it is finished.

    Everything may raise OSError or sqlite3.Error, such as when the disk is full.
    """

    def __init__(self, path: Path, ecosystem: str, *, base: Path | None = None) -> None:
        """Begin at `path`: with nothing, or with what is in the file `base`."""
        self.path = path
        self.ecosystem = ecosystem
        self._releases: set[str] = set()
        path.unlink(missing_ok=True)
        if base is not None:
            shutil.copyfile(base, path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript(_SCHEMA)

    def add(self, advisory: Advisory) -> None:
        """Add an advisory. Of two with one id the later changed one holds, and of equals the last one."""
        packages = [affected.package for affected in advisory.affected if affected.package]
        ours = [package for package in packages if ecosystems.base(package.ecosystem) == self.ecosystem]
        body = zlib.compress(_encoder.encode(advisory))
        row = self._connection.execute(
            "INSERT INTO advisories (id, modified, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE "
            "SET modified = excluded.modified, body = excluded.body WHERE excluded.modified >= modified RETURNING key",
            (advisory.id, advisory.modified, body),
        ).fetchone()
        if row is None:
            return
        # Names of an earlier version may stay: whoever matches looks into the advisory itself.
        names = {ecosystems.normalised(package.ecosystem, package.name) for package in ours}
        self._connection.executemany("INSERT OR IGNORE INTO packages VALUES (?, ?)", [(name, row[0]) for name in names])
        self._releases.update(package.ecosystem for package in ours)

    def finish(self, *, source: str, unreadable: int, url: str = "", etag: str = "", last_modified: str = "") -> About:
        """Write all that is left onto the disk, and return what the file says of itself."""
        run = self._connection.execute
        self._connection.executemany("INSERT OR IGNORE INTO releases VALUES (?)", [(name,) for name in self._releases])
        [(advisories, modified)] = run("SELECT count(*), coalesce(max(modified), '') FROM advisories")
        [(packages,)] = run("SELECT count(DISTINCT name) FROM packages")
        about = About(
            ecosystem=self.ecosystem, advisories=advisories, packages=packages, modified=modified, imported_at=now(),
            source=source, unreadable=unreadable, url=url, etag=etag, last_modified=last_modified,
        )  # fmt: skip
        run("DELETE FROM about")
        run("INSERT INTO about VALUES (?)", (_encoder.encode(about),))
        run("COMMIT")
        self._connection.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return about

    def drop(self) -> None:
        """Remove what was written, unless it was put to use."""
        self._connection.close()
        self.path.unlink(missing_ok=True)
