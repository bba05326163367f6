"""The caches of qscanner: as many as scans run at once, for a qscanner that uses a cache blocks all others on it.

Under one root lie the directories `1`, `2`… and beside each its lock, `1.lock`. The lock also holds between processes
and machines that share the root. Its modification time tells when the cache was last cleaned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec


class CacheLease:
    """A cache that nobody else uses until it is closed."""

    def __init__(self, directory: Path, lock: IO[bytes]) -> None:
        self.directory = directory
        self._lock = lock

    def close(self) -> None:
        """Let others use the cache."""
        self._lock.close()


class Cleaned(msgspec.Struct, frozen=True):
    """What was removed."""

    files: int = 0
    size: int = 0
    """Bytes."""


class Caches:
    """The caches under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def lease(self) -> CacheLease:
        """Return the first cache that is free, made if there is none. Raises OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while (lock := _locked(self.root / f"{number}.lock")) is None:
            number += 1
        directory = self.root / str(number)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            lock.close()
            raise
        return CacheLease(directory, lock)

    def clean(self, *, threshold: float, frequency: float) -> Cleaned:
        """Remove the files that nobody used for `threshold` seconds.

        A cache is passed over while a scan uses it, and if it was cleaned in the last `frequency` seconds. A file
        counts as used when it was read or written. Raises OSError.
        """
        now = time.time()
        files = size = 0
        for path in sorted(self.root.glob("*.lock")):
            if now - path.stat().st_mtime < frequency:
                continue
            lock = _locked(path)
            if lock is None:
                continue
            with lock:
                for removed in _remove_unused(path.with_suffix(""), now - threshold):
                    files += 1
                    size += removed
                os.utime(path)
        return Cleaned(files, size)


def _locked(path: Path) -> IO[bytes] | None:
    """Return the open lock file, or None if somebody else has it."""
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except BaseException:
        lock.close()
        raise
    return lock


def _remove_unused(directory: Path, before: float) -> Iterator[int]:
    """Remove what was last used before that time, and directories that it leaves empty. Yield the size of each file."""
    for folder, folders, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                status = path.lstat()
                # Where reading leaves no trace (noatime), writing does.
                if max(status.st_atime, status.st_mtime) < before:
                    path.unlink()
                    yield status.st_size
        for name in folders:
            with contextlib.suppress(OSError):
                Path(folder, name).rmdir()
