"""Scratch space: a private directory for each scan, and nothing left of scans whose service died."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from harbor_scanner import process
from harbor_scanner.errors import DiskError, StartError
from harbor_scanner.log import redacting
from harbor_scanner.process import Outcome, Processes
from harbor_scanner.settings import PROXIES

log = structlog.get_logger(__name__)

PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR", "NO_PROXY", "no_proxy",
    *PROXIES,
)  # fmt: skip
"""Variables of the service's own environment that scanners see; all others stay with the service."""

_RUN = "run-"
_LOCK = "lock"
_ELSEWHERE = "elsewhere"


class ScanWorkspace:
    """The workspace of one run: a directory for the scanner, its programs, and files that it had to put elsewhere."""

    def __init__(self, base: Path, area: Area, environment: Mapping[str, str]) -> None:
        self._base = base
        self._area = area
        self._environment = environment
        self.directory = base / "work"
        self.directory.mkdir(mode=0o700)

    async def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str], time_limit: float, secrets: Sequence[str] = ()
    ) -> Outcome:
        """Run a scanner CLI (see `scanners.base.Workspace`)."""
        here = str(self.directory)
        with redacting(secrets) as redact, self._area.counted():
            return await self._area.processes.run(
                argv,
                environment={**self._environment, "HOME": here, "TMPDIR": here, **environment},
                directory=self.directory,
                time_limit=time_limit,
                redact=redact,
            )

    def temporary_file(self, directory: Path, prefix: str, suffix: str) -> Path:
        """Create an empty file (mode 0600) in `directory`, which is removed when the run ends, or after a crash.

        Raises OSError, and DiskError if there is no room in the workspace.
        """
        path = directory / f"{prefix}{secrets.token_hex(8)}{suffix}"
        try:
            # Noted first: a file that nobody knows of would stay for ever.
            with (self._base / _ELSEWHERE).open("ab") as file:
                file.write(os.fsencode(path) + b"\0")
        except OSError as error:
            raise _no_room(self._base, error) from error
        path.touch(mode=0o600, exist_ok=False)
        return path


class Area:
    """What one scanner has of the scratch space: a directory for as long as the service runs, and workspaces."""

    def __init__(self, scratch: Path, scanner: str, processes: Processes) -> None:
        self._scratch = scratch
        self.directory = scratch / f"scanner-{scanner}"
        """Made by whoever needs it first."""
        self.processes = processes
        self.running = 0
        """How many programs of this scanner run now."""

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a program while it runs."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    @contextlib.asynccontextmanager
    async def workspace(self) -> AsyncIterator[ScanWorkspace]:
        """Yield a workspace; afterwards end what still runs in it, and remove it. Raises DiskError."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            base = Path(tempfile.mkdtemp(dir=self._scratch))
            workspace = ScanWorkspace(base, self, environment)
        except OSError as error:
            raise _no_room(self._scratch, error) from error
        try:
            yield workspace
        finally:
            await asyncio.shield(asyncio.to_thread(_remove, base))


class Scratch:
    """The scratch space of one process, in a directory that only it uses."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    @contextlib.contextmanager
    def open(cls, data_dir: Path) -> Iterator[Scratch]:
        """Take a directory of our own under `data_dir`, having removed those whose process died.

        Raises StartError if there is no place to write.
        """
        root = data_dir / "scratch"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            # One process at a time: a directory is seen by others only when it is locked.
            with (data_dir / "scratch.lock").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                _sweep(root)
                directory = Path(tempfile.mkdtemp(prefix=_RUN, dir=root))
                lock = (directory / _LOCK).open("w")
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise StartError(
                f"The data directory {data_dir} cannot be written to: {error.strerror}.",
                "Let SCANNER_DATA_DIR name a directory that this user may write to.",
            ) from error
        with lock:
            try:
                yield cls(directory)
            finally:
                _remove(directory)

    def area(self, scanner: str, processes: Processes) -> Area:
        """Return the part of the scanner with this name."""
        return Area(self.directory, scanner, processes)


def _no_room(directory: Path, error: OSError) -> DiskError:
    return DiskError(
        f"There is no room for a scan in {directory}: {error.strerror}.",
        "Make room there, or let SCANNER_DATA_DIR name another place.",
    )


def free_bytes(*directories: Path) -> int:
    """Return the free space of the fullest file system among those of `directories` that can be looked at."""
    free = []
    for directory in directories:
        with contextlib.suppress(OSError):
            free.append(shutil.disk_usage(directory).free)
    return min(free, default=0)


def _sweep(root: Path) -> None:
    """Remove the directories of processes that died: their lock is free. What we did not make stays."""
    for directory in root.glob(f"{_RUN}*"):
        if directory.is_symlink():
            continue
        with contextlib.suppress(OSError):
            directory.rmdir()  # one that was cut off before it got its lock
        try:
            with (directory / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for base in directory.iterdir():
                    _remove(base)
        except OSError:
            continue
        shutil.rmtree(directory, ignore_errors=True)
        log.info("removed the scratch of an earlier run", directory=str(directory))


def _remove(base: Path) -> None:
    """Remove a workspace, what runs in it, and the files that it put elsewhere."""
    process.sweep(base)
    with contextlib.suppress(OSError):
        # A name without its end was being written when the service died.
        for name in (base / _ELSEWHERE).read_bytes().split(b"\0")[:-1]:
            with contextlib.suppress(OSError):
                Path(os.fsdecode(name)).unlink()
    shutil.rmtree(base, ignore_errors=True)
