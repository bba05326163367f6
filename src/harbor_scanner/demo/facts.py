"""The advisories that the demo brings, each a document in the format of osv.dev."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harbor_scanner.osv.database import Database
from harbor_scanner.osv.documents import Document, Folder
from harbor_scanner.osv.importing import Imported, Origin, import_documents

UNAFFECTED = frozenset({"CVE-2023-37920", "CVE-2021-44906"})
"""Advisories that do not concern the image: the one is mended in its version, the package of the other was removed."""

_ADVISORIES = Path(__file__).with_name("advisories")


class Facts:
    """The documents, as if they were of today: a scanner warns of advisories of which the newest is old."""

    def __init__(self) -> None:
        self._folder = Folder(_ADVISORIES)
        self.total = len(list(self._folder))

    def __iter__(self) -> Iterator[Document]:
        today = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for document in self._folder:
            yield Document(document.name, partial(_dated, document, today))


def import_facts(directory: Path) -> list[Imported]:
    """Make a database in a directory. Raises DatabaseError."""
    database = Database(directory)
    with database.writing():
        return import_documents(database, Facts(), Origin("harbor-scanner demo"))


def expected() -> frozenset[str]:
    """Return the ids that the report of the image must hold, and no others."""
    return frozenset(path.stem for path in _ADVISORIES.glob("*.json")) - UNAFFECTED


def _dated(document: Document, date: str) -> bytes:
    return json.dumps({**json.loads(document.read()), "modified": date}).encode()
