"""Where advisories come from: an archive, a folder of JSON files, a single file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from harbor_scanner.osv.archive import MEMBER_LIMIT, Archive
from harbor_scanner.osv.ecosystems import SUPPORTED, base
from harbor_scanner.osv.errors import DatabaseError, UnreadableAdvisoryError


class Document(NamedTuple):
    """Something that should be an advisory."""

    name: str
    read: Callable[[], bytes]
    """Raises UnreadableAdvisoryError."""


class Documents(Protocol):
    """All documents of one source, one after the other. Raises DatabaseError if the source itself is broken."""

    @property
    def total(self) -> int:
        """About how many there are; 0 if that is not known."""
        ...

    def __iter__(self) -> Iterator[Document]: ...


class ArchivedDocuments:
    """The JSON files of zip archives, in whatever folders they are."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.total = 0

    def __iter__(self) -> Iterator[Document]:
        for path in self.paths:
            with path.open("rb") as file:
                archive = Archive(file)
                self.total += archive.count
                for member in archive.members():
                    if _is_json(member.name):
                        yield Document(member.name, partial(archive.read, member))


class Folder:
    """The JSON files of a folder and of those in it."""

    total = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Document]:
        for path in self.path.rglob("*"):
            if _is_json(path.name) and path.is_file():
                yield Document(str(path), partial(_content, path))


class SingleFile:
    """One file."""

    total = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Document]:
        yield Document(str(self.path), partial(_content, self.path))


class Source(NamedTuple):
    """Documents that are imported together."""

    path: Path
    documents: Documents
    only: tuple[str, ...] = ()
    """The ecosystems that they are all there is of; none if that is for the documents to tell."""
    add: bool = False
    """Whether they come on top of what there is."""


def find_sources(path: Path) -> list[Source]:
    """Return what can be imported from a path. Raises DatabaseError.

    A folder may have the layout of the exports, `PyPI/all.zip`; then the archive of an ecosystem's single release
    counts only where there is none of all its releases. A single JSON file is one more advisory.
    """
    try:
        if path.is_dir():
            return list(_layout(path)) or [_folder(path)]
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
    except OSError as error:
        raise DatabaseError(f"{path} cannot be read: {error.strerror}.") from error
    if packed:
        ecosystem = _ecosystem(path)
        return [Source(path, ArchivedDocuments(path), (ecosystem,) if ecosystem in SUPPORTED else ())]
    if not _is_json(path.name):
        raise DatabaseError(f"{path} is neither a zip archive nor a JSON file.")
    return [Source(path, SingleFile(path), add=True)]


def _layout(path: Path) -> Iterator[Source]:
    found: dict[str, list[Path]] = {}
    for archive in sorted(path.glob("*/all.zip")):
        found.setdefault(base(_ecosystem(archive)), []).append(archive)
    for ecosystem, archives in found.items():
        if ecosystem in SUPPORTED:
            whole = [archive for archive in archives if _ecosystem(archive) == ecosystem] or archives
            yield Source(whole[0] if len(whole) == 1 else path, ArchivedDocuments(*whole), (ecosystem,))


def _folder(path: Path) -> Source:
    archive = path / "all.zip"
    if archive.is_file():
        return find_sources(archive)[0]
    return Source(path, Folder(path))


def _ecosystem(archive: Path) -> str:
    """Return the ecosystem whose export this is by the folder it is in, if it is one."""
    return unquote(archive.absolute().parent.name)


def _is_json(name: str) -> bool:
    return name.casefold().endswith(".json")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MEMBER_LIMIT + 1)
    except OSError as error:
        raise UnreadableAdvisoryError(f"it cannot be read: {error.strerror}") from None
    if len(data) > MEMBER_LIMIT:
        raise UnreadableAdvisoryError(f"it is larger than {MEMBER_LIMIT // 2**20} MiB")
    return data
