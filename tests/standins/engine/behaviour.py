"""Misbehave as told: what any scanner CLI was ever seen, or feared, to do before it scans."""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from standins.engine.record import Record

LONG = 600
MEGABYTE = 1024 * 1024


class Misbehaviour(Protocol):
    """What a run shall do before it scans. Several things can go together; they happen in this order."""

    @property
    def ignore_sigterm(self) -> bool: ...

    @property
    def orphan(self) -> str:
        """Leave a process sleeping: `group` in the same process group, `session` in a session of its own."""

    @property
    def stdout_megabytes(self) -> int: ...

    @property
    def stderr_megabytes(self) -> int: ...

    @property
    def sleep(self) -> float: ...

    @property
    def hang(self) -> bool: ...

    @property
    def signal(self) -> int:
        """Die of this signal."""


def choose(entries: list[dict[str, Any]], directory: Path, repository: str) -> dict[str, Any]:
    """Return the first behaviour that is forced for a repository and not used up; an empty one if there is none."""
    for entry in entries:
        if fnmatch.fnmatchcase(repository, entry["repository"]) and _claim(directory / entry["id"], entry["times"]):
            forced: dict[str, Any] = entry["behaviour"]
            return forced
    return {}


def misbehave(how: Misbehaviour, record: Record) -> None:
    """Do what comes before the scan."""
    if how.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how.orphan:
        record.note("orphan", pid=_leave_process(new_session=how.orphan == "session"))
    _print_much(sys.stdout.fileno(), how.stdout_megabytes)
    _print_much(sys.stderr.fileno(), how.stderr_megabytes)
    time.sleep(how.sleep)
    while how.hang:
        time.sleep(LONG)
    if how.signal:
        os.kill(os.getpid(), how.signal)


def _claim(counter: Path, times: int | None) -> bool:
    """Take one of `times` uses: each is a file, which only one process can make."""
    if times is None:
        return True
    for use in range(times):
        try:
            counter.with_suffix(f".{use}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


def _leave_process(*, new_session: bool) -> int:
    import subprocess

    # It holds on to our output, as processes left behind do.
    return subprocess.Popen(["sleep", str(LONG)], start_new_session=new_session).pid


def _print_much(stream: int, megabytes: int) -> None:
    line = b"DEBUG\textracted another file of the image, which is worth a line of its own to the log\n"
    with open(stream, "wb", closefd=False) as file:
        file.writelines(line * (MEGABYTE // len(line) + 1) for _ in range(megabytes))
