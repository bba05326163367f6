"""Misbehave as told: what trivy was ever seen, or feared, to do."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from standins.engine.behaviour import misbehave
from standins.engine.record import Record
from standins.trivy import log


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
    """Report this many made-up vulnerabilities, without pulling the image."""
    report: str = ""
    """Spoil the report: `missing`, `empty`, `truncated`, `not-json` or `not-utf8`."""


def act(behaviour: Behaviour, record: Record) -> int:
    """Do what comes before the scan. Return the exit code; 0 means that the scan goes on."""
    if behaviour.print_arguments:
        log.line("INFO", f"Arguments: {sys.argv}, environment: {dict(os.environ)}")
    misbehave(behaviour, record)
    if behaviour.message:
        log.line("FATAL", behaviour.message)
    return behaviour.exit
