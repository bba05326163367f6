"""Run a scanner CLI: its own process group, a time limit, bounded output, and no process left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from harbor_scanner import startable, warden
from harbor_scanner.errors import MemoryLimitError, ScannerConfigurationError, TimeLimitError
from harbor_scanner.redact import Redactor

log = structlog.get_logger(__name__)

MARKER = "HARBOR_SCANNER_WORKSPACE"
"""Environment variable that every scanner process, and what it starts, carries; its value lies under the scratch."""

OUTPUT_LIMIT = 64 * 1024
"""Bytes kept of each output stream: the last ones."""

TERM_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

_RAGGED = 4 * 1024
"""Characters in which the first whole line of shortened output is looked for; longer than any secret."""

_OF_SHELLS = {2, 126, 127}
"""Exit codes of a shell that cannot run what it is given."""

_SHORTAGES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

_LINE = 500
"""Characters shown of a line."""

_DRAIN = 0.2
"""Seconds to wait for the rest of the output when a process that left the group still holds the pipe."""


class Outcome(msgspec.Struct, frozen=True):
    """How a program ended. Its output is redacted and bounded to the last 64 KiB of each stream."""

    program: str
    exit_code: int
    """As the shell has it: the program's own code, or 128 + the signal that ended it."""
    timed_out: bool
    time_limit: float
    seconds: float
    stdout: str
    stderr: str

    def last_lines(self, count: int = 12) -> str:
        """Return the last lines that the program printed: its log on stderr, or else stdout."""
        text = self.stderr if self.stderr.strip() else self.stdout
        lines = [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
        return "\n".join(line if len(line) <= _LINE else f"{line[:_LINE]}…" for line in lines)

    def require_own_end(self) -> None:
        """Raise TimeLimitError or MemoryLimitError if the program did not end by itself."""
        if self.timed_out:
            raise TimeLimitError(
                f"{self.program} was ended after its limit of {self.time_limit:g} seconds.\n{self.last_lines()}",
                "Raise the scan time limit if images of this size need longer, or look for what it waits for above.",
            )
        if self.exit_code == 128 + signal.SIGKILL:
            raise MemoryLimitError(
                f"{self.program} was killed from outside after {self.seconds:.0f} seconds, "
                f"as the kernel does when memory runs out.\n{self.last_lines()}",
                "Give the service more memory, or lower SCANNER_WORKERS so that fewer scans share it.",
            )


class Processes:
    """Starts scanner CLIs and answers for them: none outlives `close`, nor the service itself."""

    def __init__(self, scratch: Path) -> None:
        self._marker = f"{MARKER}={scratch}"
        self._groups: set[int] = set()
        self._warden: asyncio.subprocess.Process | None = None
        self._pipe = -1
        self._telling = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Processes]:
        """Stand by until the block ends, then end what still runs."""
        await self._start_warden()
        try:
            yield self
        finally:
            for group in list(self._groups):
                _signal_group(group, signal.SIGKILL)
            self._close_pipe()
            if self._warden is not None:
                await self._warden.wait()

    @contextlib.asynccontextmanager
    async def adopt(self, pid: int) -> AsyncIterator[None]:
        """Answer for a process group that somebody else started and ends, while the block lasts."""
        await self._tell_warden("+", pid)
        try:
            yield
        finally:
            await self._tell_warden("-", pid)

    async def run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        time_limit: float,
        redact: Redactor,
    ) -> Outcome:
        """Run `argv` in `directory` until it ends, at most `time_limit` seconds.

        The program gets SIGTERM at the limit and SIGKILL five seconds later, with all of its group; so does what it
        leaves running when it ends by itself. Raises ScannerConfigurationError if it cannot be started.
        """
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            output, errors = _Tail(), _Tail()
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=stack.enter_context(output.pipe()),
                    stderr=stack.enter_context(errors.pipe()),
                    env={**environment, MARKER: str(directory)},
                    cwd=directory,
                    start_new_session=True,
                )
            except OSError as error:
                if error.errno in _SHORTAGES:
                    raise MemoryLimitError(
                        f"{argv[0]} cannot be started now: {error.strerror}.",
                        "Give the service more memory, processes or open files, or lower SCANNER_WORKERS.",
                    ) from error
                raise ScannerConfigurationError(
                    f"{argv[0]} cannot be started: {error.strerror or error}.",
                    startable.advice(argv[0], error, environment.get("PATH")),
                ) from error
            output.close_writer()
            errors.close_writer()
            timed_out = False
            try:
                await self._tell_warden("+", process.pid)
                async with asyncio.timeout(time_limit):
                    await process.wait()
            except TimeoutError:
                timed_out = True
            finally:
                await asyncio.shield(self._end(process))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await output.ended.wait()
                    await errors.ended.wait()
        code = process.returncode or 0
        # A program that the kernel does not know how to run was handed to a shell, which made nothing of it.
        if code in _OF_SHELLS and startable.is_foreign(argv[0], environment.get("PATH")):
            raise ScannerConfigurationError(
                f"{argv[0]} cannot be started: it is built for another processor.",
                startable.for_this_machine(argv[0]),
            )
        return Outcome(
            program=Path(argv[0]).name,
            exit_code=code if code >= 0 else 128 - code,
            timed_out=timed_out,
            time_limit=time_limit,
            seconds=time.monotonic() - started,
            stdout=output.text(redact),
            stderr=errors.text(redact),
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """End the group: politely if the program still runs, then for certain."""
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TERM_GRACE):
                    await process.wait()
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        await self._tell_warden("-", process.pid)

    async def _start_warden(self) -> None:
        # A pipe of our own: uvloop's does not tell reliably that its reader has died.
        reader, writer = os.pipe()
        try:
            self._warden = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", warden.__file__, self._marker,
                stdin=reader, start_new_session=True, env={},
            )  # fmt: skip
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._close_pipe()
        self._pipe = writer
        for group in self._groups:
            os.write(writer, f"+{group}\n".encode())

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    async def _tell_warden(self, sign: str, group: int) -> None:
        (self._groups.add if sign == "+" else self._groups.discard)(group)
        # One at a time: a second new warden would take the first one's pipe away, and so have it kill every scanner.
        async with self._telling:
            if self._pipe < 0:
                return
            try:
                os.write(self._pipe, f"{sign}{group}\n".encode())
            except BrokenPipeError:
                log.warning("the warden of scanner processes had ended, and was started again")
                await self._start_warden()


def sweep(directory: Path) -> int:
    """Kill what still runs on behalf of the workspace `directory`, in whatever group. Return how many were found."""
    return warden.kill_marked(os.fsencode(f"{MARKER}={directory}"))


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Tail:
    """The end of an output stream, read from a pipe of our own.

    asyncio's own pipes keep `wait()` from returning while a grandchild holds them (cpython issue 119710).
    """

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._shortened = False
        self._writer = -1

    @contextlib.contextmanager
    def pipe(self) -> Iterator[int]:
        """Open the pipe, yield its writing end, and close both when the block ends."""
        loop = asyncio.get_running_loop()
        reader, self._writer = os.pipe()
        os.set_blocking(reader, False)
        loop.add_reader(reader, self._read, reader)
        try:
            yield self._writer
        finally:
            self.close_writer()
            loop.remove_reader(reader)
            os.close(reader)

    def close_writer(self) -> None:
        """Close our copy of the writing end, so that the stream ends with the program."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def text(self, redact: Redactor) -> str:
        """Return what was kept, redacted, and with whatever is no UTF-8 replaced."""
        kept = b"".join(self._chunks)
        text = redact(kept[-OUTPUT_LIMIT:].decode(errors="replace"))
        if self._shortened or len(kept) > OUTPUT_LIMIT:
            # It may begin in the middle of a secret, whose rest nobody would recognise.
            line_break = text.find("\n", 0, _RAGGED)
            text = text[_RAGGED if line_break < 0 else line_break + 1 :]
        return text

    def _read(self, reader: int) -> None:
        try:
            chunk = os.read(reader, OUTPUT_LIMIT)
        except BlockingIOError:
            return
        if not chunk:
            asyncio.get_running_loop().remove_reader(reader)
            self.ended.set()
            return
        self._chunks.append(chunk)
        self._size += len(chunk)
        while self._size - len(self._chunks[0]) >= OUTPUT_LIMIT:
            self._size -= len(self._chunks.popleft())
            self._shortened = True
