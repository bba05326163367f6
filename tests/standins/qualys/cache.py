"""The local cache: layers by their digests, for one instance at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from standins.qualys.failure import GENERIC, FailureError


def default_directory() -> Path:
    """Return where the cache lies if no flag tells, by Go's rule. Raises FailureError."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "qualys", "qscanner")
    if home := os.environ.get("HOME"):
        return Path(home, ".cache", "qualys", "qscanner")
    raise FailureError(GENERIC, "failed to initialize cache: neither $XDG_CACHE_HOME nor $HOME are defined")


class Cache:
    """The cache in a directory, which waits for other instances, and then is this run's to its end."""

    def __init__(self, directory: Path) -> None:
        self.hits: list[str] = []
        """Digests of the layers that were there."""
        self.misses: list[str] = []
        self._layers = directory / "layers"
        try:
            self._layers.mkdir(parents=True, exist_ok=True)
            # Held until the process ends, however it ends.
            self._lock = (directory / "qscanner.lock").open("w")
        except OSError as error:
            problem = (error.strerror or "").lower()
            raise FailureError(GENERIC, f"failed to initialize cache: open {directory}: {problem}") from error
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def get(self, digest: str) -> bytes | None:
        """Return a layer if it is there, and note its use in the times of its file."""
        path = self._path(digest)
        try:
            blob = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            self.misses.append(digest)
            return None
        self.hits.append(digest)
        return blob

    def put(self, digest: str, blob: bytes) -> None:
        """Keep a layer. It is there as a whole, or not at all."""
        path = self._path(digest)
        written = path.with_suffix(".new")
        try:
            written.write_bytes(blob)
            written.replace(path)
        except OSError as error:
            raise FailureError(GENERIC, f"failed to write cache: {path}: {error.strerror}") from error

    def _path(self, digest: str) -> Path:
        return self._layers / digest.replace(":", "-")
