"""Why a program cannot be started, and what to do about it."""

from __future__ import annotations

import errno
import os
import platform
import shutil
from pathlib import Path


def is_foreign(program: str, path: str | None) -> bool:
    """Whether a program on `path` is for another processor than this interpreter (`e_machine` of ELF)."""
    found = shutil.which(program, path=path)
    try:
        head, own = (_head(Path(file)) for file in (found or "", "/proc/self/exe"))
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and head[18:20] != own[18:20]


def for_this_machine(program: str) -> str:
    """Return what to do about a program for another one."""
    return f"Install the {program} for {platform.machine()} Linux."


def advice(program: str, error: OSError, path: str | None) -> str:
    """Return what to do about a program whose start ended in `error`; `path` is where it is looked for."""
    if error.errno == errno.ENOEXEC:
        return for_this_machine(program)
    if error.errno == errno.EACCES:
        return (
            f"Make it executable by this user ({os.geteuid()}), with `chmod a+rx`, and see that the volume on which it "
            "lies is not mounted with noexec."
        )
    if error.errno == errno.ENOENT and (found := shutil.which(program, path=path)):
        return (
            f"{found} is there, but not what it starts with (its loader or interpreter): install one for this system."
        )
    return f"Install {program}, executable by this user, in a directory of PATH."


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(20)
