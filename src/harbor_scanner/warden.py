"""Ends the scanners of a service that died without ending them itself.

Runs as a small process of its own (`python -I -S warden.py MARKER`), imports next to nothing, and reads lines from a
pipe whose other end only the service holds: `+PGID` for a process group that started, `-PGID` for one that ended. When
the pipe closes, for whatever reason, every group still known is killed, then every process whose environment carries
MARKER: a program may have left its group, but hardly its environment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator


def marked_processes(marker: bytes) -> Iterator[int]:
    """Yield the ids of all processes, other than this one, whose environment has `marker`, or a path below it."""
    own = os.getpid()
    below = marker + b"/"
    for entry in os.listdir("/proc"):  # noqa: PTH208, RUF100 - pathlib would triple this process's memory
        if not entry.isdigit() or int(entry) == own:
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123
                environment = file.read()
        except OSError:
            continue
        if any(item == marker or item.startswith(below) for item in environment.split(b"\0")):
            yield int(entry)


def kill_marked(marker: bytes) -> int:
    """Kill all processes carrying `marker`, also those that they start meanwhile. Return how many were found."""
    killed: set[int] = set()
    for _ in range(10):
        found = list(marked_processes(marker))
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except OSError:
                continue
    return len(killed)


def main() -> None:
    """Wait for the service to end, then end what it left."""
    marker = os.fsencode(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if not line.endswith("\n"):
            break  # the service died while it wrote: this is a part of another number
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue
    kill_marked(marker)


if __name__ == "__main__":
    main()
