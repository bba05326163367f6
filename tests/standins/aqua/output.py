"""Write the report, whole or spoilt."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from standins.aqua import synthetic
from standins.aqua.behaviour import Behaviour
from standins.aqua.finding import Json
from standins.engine.behaviour import MEGABYTE

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_SEPARATOR = b",\n"


def write(path: str, head: Json, resources: Iterable[Json], behaviour: Behaviour) -> None:
    """Write the report to `path`, or to stdout if that is empty. Raises OSError."""
    if behaviour.report == "missing":
        return
    chunks = _spoilt(_render(head, resources, behaviour.report_megabytes), behaviour.report)
    if not path:
        sys.stdout.buffer.writelines(chunks)
        return
    with Path(path).open("wb") as file:
        file.writelines(chunks)


def _render(head: Json, resources: Iterable[Json], megabytes: int) -> Iterator[bytes]:
    yield f'{_ENCODE(head)[:-1]}, "resources": ['.encode()
    between = b""
    for resource in resources:
        yield between + _ENCODE(resource).encode()
        between = _SEPARATOR
    if megabytes:
        # The same block again and again, as fast as the disk takes it.
        block = _SEPARATOR.join(_ENCODE(resource).encode() for resource in synthetic.resources(1000))
        for _ in range(megabytes * MEGABYTE // len(block) + 1):
            yield between + block
            between = _SEPARATOR
    yield b"]}\n"


def _spoilt(chunks: Iterable[bytes], how: str) -> Iterable[bytes]:
    if how == "empty":
        return []
    if how == "not-json":
        return [b"<html><body><h1>504 Gateway Time-out</h1></body></html>\n"]
    if how == "truncated":
        whole = b"".join(chunks)
        return [whole[: len(whole) * 2 // 3]]
    if how == "not-utf8":
        return [b"".join(chunks).replace(b'"description": "', '"description": "Naïve: '.encode("latin-1"))]
    return chunks
