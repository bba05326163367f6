"""Misbehave as told: what syft was ever seen, or feared, to do."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from standins.engine.behaviour import misbehave
from standins.engine.record import Record


class Behaviour(NamedTuple):
    """What a run shall do. Several things can go together; they happen in this order."""

    print_arguments: bool = False
    """Print the command line and the environment, and with them the secrets."""
    ignore_sigterm: bool = False
    orphan: str = ""
    """Leave a process sleeping: `group` in the same process group, `session` in a session of its own."""
    stdout_megabytes: int = 0
    stderr_megabytes: int = 0
    sleep: float = 0
    hang: bool = False
    signal: int = 0
    """Die of this signal."""
    exit: int = 0
    """Fail with this exit code."""
    message: str = ""
    """The last line of the log before `exit`."""
    findings: int = 0
    """List this many packages of a made-up Debian, without pulling the image; each has one vulnerability."""
    report: str = ""
    """Spoil the list of packages: `missing`, `empty`, `truncated`, `not-json` or `not-utf8`."""


def act(behaviour: Behaviour, record: Record) -> int:
    """Do what comes before the scan. Return the exit code; 0 means that the scan goes on."""
    if behaviour.print_arguments:
        _log("WARN", f"arguments: {sys.argv}, environment: {dict(os.environ)}")
    misbehave(behaviour, record)
    if behaviour.message:
        _log("ERROR", behaviour.message)
    return behaviour.exit


def _log(level: str, text: str) -> None:
    print(f"[0000] {level:>5} {text}", file=sys.stderr, flush=True)
