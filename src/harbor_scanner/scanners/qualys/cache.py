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
        """Remove the entries that nobody used for `threshold` seconds.

        A cache is passed over while a scan uses it, and if it was cleaned in the last `frequency` seconds. An entry is
        a directory with all the files that lie in it, or a file at the top: how qscanner keeps its cache is not
        documented, and a part of what belongs together must not go. It counts as used when any of it was read or
        written.
        """
        removed: list[int] = []
        for path in sorted(self.root.glob("*.lock")):
            # What is in the way of one cache does not keep the others from being cleaned.
            with contextlib.suppress(OSError):
                removed += _clean(path, threshold, frequency)
        return Cleaned(len(removed), sum(removed))


def _clean(lock_file: Path, threshold: float, frequency: float) -> list[int]:
    """Clean one cache, if it is time and nobody uses it. Return the size of each file removed."""
    now = time.time()
    if now - lock_file.stat().st_mtime < frequency or (lock := _locked(lock_file)) is None:
        return []
    with lock:
        removed = list(_remove_unused(lock_file.with_suffix(""), now - threshold))
        os.utime(lock_file)
    return removed


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


def _remove_unused(root: Path, before: float) -> Iterator[int]:
    """Remove the entries last used before that time, and directories left empty. Yield the size of each file."""
    for folder, folders, names in os.walk(root, topdown=False):
        found = {}
        for name in names:
            with contextlib.suppress(OSError):
                found[Path(folder, name)] = Path(folder, name).lstat()
        # Where reading leaves no trace (noatime), writing does.
        used = {path: max(status.st_atime, status.st_mtime) for path, status in found.items()}
        if folder != str(root) and used:
            used = dict.fromkeys(used, max(used.values()))
        for path in [path for path, last in used.items() if last < before]:
            with contextlib.suppress(OSError):
                path.unlink()
                yield found[path].st_size
        for name in folders:
            with contextlib.suppress(OSError):
                Path(folder, name).rmdir()
