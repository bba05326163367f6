"""Small programs for tests of processes, and whether they still live."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def alive(pid: int) -> bool:
    """Tell whether a process runs. One that only waits to be reaped by its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something that certainly comes; `seconds` only keeps a failing test from waiting for ever."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} seconds")
        time.sleep(0.01)


def pid_in(file: Path) -> int:
    """Return the process id in `file`, as soon as it is there with its line break."""
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"), f"a process id in {file}")
    return int(file.read_text())
