"""What the machine or the container allows the service: memory and open files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from harbor_scanner.config import Config
from harbor_scanner.doctor.check import Area, Verdict

LIMITS = Area("limits")

_SERVICE = 80 * 2**20
"""Bytes that the service takes itself (docs/operations.md)."""
_SCANNER = 512 * 2**20
"""Bytes to plan for a scanner at work. A rule of thumb: what it takes is decided by the images."""
_FILES = 1024
"""Harbor keeps up to a hundred connections open, and every scan needs some files."""


async def look(config: Config) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the limits of this process, which are those of the service if it is started alike."""
    slots = sum(enabled.workers for enabled in config.scanners) if config.role.scans else 0
    limit, whence = await asyncio.to_thread(memory_limit)
    need = _SERVICE + slots * _SCANNER
    shown = f"{limit / 2**20:,.0f} MiB of memory ({whence}) for the service and {slots} scans at once"
    if limit < need:
        yield LIMITS.warning(
            "memory", f"There are {shown}: less than {need / 2**20:,.0f} MiB, so scanners may be killed.",
            "Give it more memory, or lower SCANNER_WORKERS (service.workerThreads).",
        )  # fmt: skip
    else:
        yield LIMITS.ok("memory", f"There are {shown}.")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _FILES:
        yield LIMITS.warning(
            "files", f"Only {files} files and connections may be open at once.",
            f"Raise it to {_FILES}: `ulimit -n`, or LimitNOFILE in a systemd unit.",
        )  # fmt: skip
    else:
        yield LIMITS.ok("files", f"{'Any number of' if files == resource.RLIM_INFINITY else files} files may be open.")


def memory_limit(root: Path = Path("/")) -> tuple[int, str]:
    """Return the bytes that this process may use with all its children, and what says so. `root` is there for tests."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [(total, "of this machine")]
    for file in _limit_files(root):
        with contextlib.suppress(OSError, ValueError):
            found.append((int(file.read_text(encoding="ascii")), "its limit by cgroup"))  # `max` is no number
    return min(found, key=lambda one: one[0])


def _limit_files(root: Path) -> Iterator[Path]:
    """Yield the files with the limits of this process's control groups, of version 2 or 1, and of those around."""
    groups = root / "sys/fs/cgroup"
    lines = []
    with contextlib.suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        here = Path(path.lstrip("/"))
        for place in (here, *here.parents):
            yield base / place / name
