"""The directories that the service and its scanners write to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from harbor_scanner.config import Config
from harbor_scanner.doctor.check import Area, Verdict
from harbor_scanner.presence import services

DISK = Area("disk")

_FEW_INODES = 1000


async def data(config: Config) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the data directory."""
    path = config.worker.data_dir
    advice = "Let SCANNER_DATA_DIR name a directory on a local disk that the user of the service may write to."
    for verdict in await asyncio.to_thread(lambda: list(_data(path, config.worker.disk_floor, advice))):
        yield verdict


async def scanner(config: Config, name: str, path: Path) -> AsyncIterator[Verdict]:
    """Yield what is to be said of a directory that scans by the scanner `name` write to."""
    advice = f"Create it for the user of the service, or have the setting of {name} for it name another one."
    for verdict in await asyncio.to_thread(lambda: list(_of_scanner(config, path, advice))):
        yield verdict


def _data(path: Path, floor: int, advice: str) -> Iterator[Verdict]:
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if there != path:
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            yield DISK.ok("directory", f"{path} is not there yet; the service makes it in {there}.")
            yield from _room(there, floor)
        else:
            yield DISK.failure(
                "directory", f"{path} is not there, and {_who().lower()} may not make it in {there}.", advice
            )
        return
    yield from _directory(path, floor, advice)
    if os.geteuid() == 0:
        yield from _owned_by_others(path)
        return
    for name in ("store", "store.key", "scratch", "osv", "log"):
        yield from _usable(path / name)


def _of_scanner(config: Config, path: Path, advice: str) -> Iterator[Verdict]:
    floor, parent = config.worker.disk_floor, path.parent
    if os.path.lexists(path) or not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)) or _runs(config):
        yield from _directory(path, floor, advice)
        return
    yield DISK.ok("directory", f"{path} is not there yet; the service makes it in {parent} when it starts.")
    yield from _room(parent, floor)


def _runs(config: Config) -> bool:
    """Whether a service runs here, which makes no more directories."""
    with contextlib.suppress(OSError):
        return bool(services(config.worker.data_dir))
    return False


def _directory(path: Path, floor: int, advice: str) -> Iterator[Verdict]:
    try:
        with tempfile.NamedTemporaryFile(prefix=".harbor-scanner-doctor-", dir=path) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        yield DISK.failure("directory", f"{_who()} cannot write to {path}: {error.strerror or error}.", advice)
        if not path.is_dir():
            return
    else:
        yield DISK.ok("directory", f"{_who()} can write to {path}.")
    yield from _room(path, floor)


def _room(path: Path, floor: int) -> Iterator[Verdict]:
    free = shutil.disk_usage(path).free
    shown = f"{free / 2**20:,.0f} MiB are free in {path}"
    if free < floor:
        yield DISK.failure(
            "space", f"{shown}, less than SCANNER_DISK_FLOOR ({floor / 2**20:,.0f} MiB): scans wait.",
            "Make room there, or name a directory on a larger disk.",
        )  # fmt: skip
    elif free < 2 * floor:
        yield DISK.warning(
            "space", f"{shown}; with less than {floor / 2**20:,.0f} MiB (SCANNER_DISK_FLOOR) scans wait.",
            "Make room there: images are unpacked while they are scanned.",
        )  # fmt: skip
    else:
        yield DISK.ok("space", f"{shown}.")
    about = os.statvfs(path)
    if about.f_files and about.f_favail < _FEW_INODES:
        few = DISK.failure if about.f_favail == 0 else DISK.warning
        yield few(
            "inodes", f"Only {about.f_favail} more files can be made on the disk of {path} (inodes).",
            "Remove files there; an image may hold many thousands.",
        )  # fmt: skip


def _owned_by_others(path: Path) -> Iterator[Verdict]:
    owner = path.stat().st_uid
    if owner != 0:
        yield DISK.warning(
            "owner",
            f"{path} belongs to user {owner}, and this runs as root, who may write everywhere.",
            "Run this as the user of the service: only that tells what the service may do.",
        )


def _usable(path: Path) -> Iterator[Verdict]:
    """Yield a verdict if something is there that somebody else left for himself."""
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
        yield DISK.failure(
            "owner",
            f"{path} belongs to user {path.lstat().st_uid}, and {_who().lower()} may not read and write it.",
            f"Give it to the user of the service (`chown -R {os.geteuid()} {path}`), or run this as that user.",
        )


def _who() -> str:
    return f"User {os.geteuid()}"
