"""JSON files of `qscanner`: how they are read within bounds, and names whose spelling varies."""

from __future__ import annotations

import json
import math
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from harbor_scanner.errors import BadReportError, DiskError

SIZE_LIMIT = 256 * 2**20
"""Bytes of a file. Larger ones are not read: a report takes about three times its size in memory."""

ADVICE = (
    "Run the scan again. If it happens every time, set scannerArgs.log-level to debug to see what qscanner does, and "
    "see whether this version of qscanner writes reports as JSON."
)

Members: TypeAlias = dict[str, msgspec.Raw]
"""The members of a JSON object, not decoded yet, by their folded names."""

_NULL = b"null"
_NOTHING = re.compile(rb'\s*(?:null|\[\s*\]|\{\s*\}|"\s*")\s*')
_NUMBERS = (int, float)
_NUMERIC = (int, float, str)
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raw_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|(?P<nul>u0000)|.)",
    re.DOTALL,
)


def load(path: Path, limit: int = SIZE_LIMIT) -> bytes:
    """Return the content of a regular file. Raises BadReportError if it is none, or larger than `limit` bytes."""
    try:
        with open(path, "rb", opener=_open) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BadReportError(
                    f"qscanner wrote a file too large to read: {path.name} has {size:,} bytes, the limit is {limit:,}.",
                    "Scan a smaller image, or look at this one in the Qualys platform.",
                )
            return file.read(limit)
    except OSError as error:
        raise DiskError(
            f"{path.name}, which qscanner wrote, cannot be read: {error.strerror or error}.",
            "Look after the volume of SCANNER_DATA_DIR.",
        ) from error


def members(document: bytes, what: str) -> Members:
    """Return the members of the JSON object in a file; `what` names it in messages.

    What is no Unicode is replaced. Raises BadReportError if `document` is no JSON object, or contradicts itself.
    """
    if not document or document.isspace():
        raise BadReportError(f"{what} is empty.", ADVICE)
    try:
        return _folded(_raw_members(document))
    except (ValueError, RecursionError):
        pass
    try:
        return _folded(_raw_members(mended(document)))
    except (ValueError, RecursionError) as error:
        raise BadReportError(f"{what} cannot be read as such: {error}.", ADVICE) from error


def mended(document: bytes) -> bytes:
    """Return JSON without NULs and a byte order mark, and with U+FFFD for what is no Unicode.

    The escape of a NUL is valid JSON, but PostgreSQL cannot hold the character; that of half a surrogate pair stands
    for no character at all.
    """
    if not document.isascii():
        document = document.decode("utf-8-sig", "replace").encode()
    return _ESCAPE.sub(_mended_escape, document) if b"\\u" in document else document


def _mended_escape(escape: re.Match[bytes]) -> bytes:
    return {"nul": b"", "lone": b"\\ufffd"}.get(escape.lastgroup or "", escape[0])


def inner_members(raw: msgspec.Raw | None) -> Members | None:
    """Return the members of an object, or None if it is no object. Raises BadReportError if it contradicts itself."""
    try:
        return _folded(_raw_members(raw)) if raw is not None else None
    except ValueError:
        return None


def elements(raw: msgspec.Raw | None) -> list[msgspec.Raw] | None:
    """Return the elements of a list, or None if it is no list."""
    try:
        return _raw_elements(raw) if raw is not None else None
    except ValueError:
        return None


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a value is `null`."""
    return bytes(memoryview(raw)[:5]) == _NULL


def is_nothing(raw: msgspec.Raw) -> bool:
    """Whether a value is `null`, or an empty list, object or text."""
    return _NOTHING.fullmatch(memoryview(raw)) is not None


def value(raw: msgspec.Raw | None) -> Any:
    """Return a value of a document, decoded; None if it cannot be, such as a number too large for a double."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(bytes(raw).decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def folded(entry: Any) -> dict[str, Any]:
    """Return the members of `entry` that are not null, by their folded names; none if it is no object.

    Where two spellings of a name have values that differ, both are in one list.
    """
    if not isinstance(entry, dict):
        return {}
    named = [(fold(name), item) for name, item in entry.items() if item is not None]
    found = dict(named)
    if len(found) < len(named):
        found = {}
        for name, item in named:
            found[name] = _both(found[name], item) if name in found else item
    return found


def _both(one: Any, other: Any) -> Any:
    if one == other or other in ("", [], {}):
        return one
    if one in ("", [], {}):
        return other
    return [*listed(one), *listed(other)]


def listed(item: Any) -> list[Any]:
    """Return a list as it is, and anything else as the only element of one."""
    return item if isinstance(item, list) else [item]


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return a name without case and separators: `cve-ids` and `CveIDs` are one name, as are `QID` and `qid`.

    Which spelling a version of qscanner has is not documented; programs that read its reports guard for several.
    """
    return name.lower().replace("-", "").replace("_", "")


def text(item: Any, limit: int = 1024) -> str:
    """Return a text, or a number as one, trimmed and of at most `limit` characters; empty for anything else."""
    if isinstance(item, str):
        return item.strip()[:limit]
    if item is not None and isinstance(item, _NUMBERS) and not isinstance(item, bool):
        return str(item)[:limit]
    return ""


def number(item: Any, least: float, most: float) -> float | None:
    """Return a number from `least` to `most`, or a text of one; None for anything else."""
    if item is None or isinstance(item, bool) or not isinstance(item, _NUMERIC):
        return None
    try:
        figure = float(item)
    except (ValueError, OverflowError):
        return None
    return figure if math.isfinite(figure) and least <= figure <= most else None


def whole(item: Any, least: int, most: int) -> int | None:
    """Return a whole number from `least` to `most`, or a text of one; None for anything else."""
    figure = number(item, least, most)
    return int(figure) if figure is not None and figure.is_integer() else None


def true(item: Any) -> bool:
    """Whether a flag is set, as `true` or a text of it."""
    return item is True or (isinstance(item, str) and item.strip().lower() == "true")


def texts(item: Any, limit: int = 1024) -> list[str]:
    """Return the texts of a list, or of a single one, without empty ones."""
    return [found for entry in listed(item) if (found := text(entry, limit))]


def _folded(raw: Members) -> Members:
    found: Members = {}
    for name, item in raw.items():
        key = fold(name)
        known = found.get(key)
        if known is None or is_null(known) or (is_nothing(known) and not is_null(item)):
            found[key] = item
        elif not is_nothing(item) and bytes(item) != bytes(known):
            raise BadReportError(
                f"What qscanner wrote contradicts itself: an object has several values of {key[:64]!r}.", ADVICE
            )
    return found


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
