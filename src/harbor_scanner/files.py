"""The files that settings come from, as they are at one moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

LIMIT = 128 * 1024
"""Bytes, far more than any settings need: a larger file would take seconds to read."""


class Content(msgspec.Struct, frozen=True):
    """What is known of a file."""

    data: bytes | None = None
    """None if there is no such file, or it cannot be read."""
    problem: str = ""
    """Why it cannot be read; empty if there simply is none."""
    kept: str = ""
    """Why `data` is what the file held before: the file is missing, or empty."""


class Files:
    """Reads each file once, so that whoever asks sees the same."""

    def __init__(self, before: Mapping[Path, Content] | None = None) -> None:
        self._before = before or {}
        self._contents: dict[Path, Content] = {}

    def read(self, path: Path) -> Content:
        """Return the content of a file. Of one that is gone or empty now, what it held before still counts."""
        if path not in self._contents:
            self._contents[path] = self._read(path)
        return self._contents[path]

    def again(self) -> Files:
        """Return the same files as they are now."""
        files = Files(self._contents)
        for path in self._contents:
            files.read(path)
        return files

    def taking(self, other: Files, path: Path) -> Files:
        """Return these files with one of them as `other` has it."""
        files = Files()
        files._contents = {**self._contents, path: other.contents[path]}
        return files

    @property
    def contents(self) -> Mapping[Path, Content]:
        """All that was read."""
        return self._contents

    def _read(self, path: Path) -> Content:
        before = self._before.get(path)
        if before is None or before.data is None:
            return _content(path)
        # A pipe can be read only once; and who replaces a file in two steps leaves none, or an empty one, in between.
        if not os.path.exists(path):  # noqa: PTH110 - that of pathlib raises
            return Content(before.data, kept="it is missing")
        if not os.path.isfile(path):  # noqa: PTH113 - that of pathlib raises
            return before
        content = _content(path)
        if content.data is not None and not content.data.strip() and before.data.strip():
            return Content(before.data, kept="it is empty")
        return content


def _content(path: Path) -> Content:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Content()
    except IsADirectoryError:
        return Content(problem="Is a directory (Docker makes one where it is told to mount a file that does not exist)")
    except (OSError, ValueError) as error:
        return Content(problem=getattr(error, "strerror", None) or str(error))
    return Content(data) if len(data) <= LIMIT else Content(problem="it is larger than 128 KiB")
