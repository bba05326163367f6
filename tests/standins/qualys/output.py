"""Write files into the output directory, whole or spoilt."""

from __future__ import annotations

import json
from pathlib import Path

from standins.qualys.failure import GENERIC, FailureError
from standins.qualys.log import Log
from standins.qualys.qid import Json

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_NOT_JSON = b"<html><body><h1>504 Gateway Time-out</h1></body></html>\n"


class Output:
    """The directory that a run writes its files in; it is made if need be."""

    def __init__(self, directory: Path, hash_: str, depth: int, log: Log) -> None:
        self._directory = directory.joinpath(*(f"{hash_[:8]}-{level}" for level in range(depth)))
        self._hash = hash_
        self._log = log

    def write(self, what: str, suffix: str, document: Json, spoilt: str = "") -> None:
        """Write `document` under `<hash>-<suffix>`, unless it shall be missing. Raises FailureError."""
        path = self._directory / f"{self._hash}-{suffix}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if spoilt != "missing":
                self._put(path, document, spoilt)
        except OSError as error:
            raise FailureError(GENERIC, f"failed to create {path}: {(error.strerror or '').lower()}") from error
        self._log.line("info", f"{what} created at {path}")

    def _put(self, path: Path, document: Json, spoilt: str) -> None:
        content = _spoilt(f"{_ENCODE(document)}\n".encode(), spoilt)
        if spoilt != "link":
            path.write_bytes(content)
            return
        target = path.with_suffix(".bin")
        target.write_bytes(content)
        path.symlink_to(target.name)


def _spoilt(content: bytes, how: str) -> bytes:
    if how == "empty":
        return b""
    if how == "not-json":
        return _NOT_JSON
    if how == "truncated":
        return content[: len(content) * 2 // 3]
    if how == "not-utf8":
        return content.replace(b'": "', '": "Naïve: '.encode("latin-1"))
    return content
