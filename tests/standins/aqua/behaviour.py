"""Misbehave as told: what scannercli was ever seen, or feared, to do."""

from __future__ import annotations

import sys
from typing import NamedTuple

from standins.aqua import log
from standins.engine.behaviour import misbehave
from standins.engine.record import Record

UNREACHABLE = (
    'Failed connecting to server: Get "{host}/api/v1/scanner": dial tcp 10.96.14.3:8080: connect: connection refused'
)


class Behaviour(NamedTuple):
    """What a run shall do. Several things can go together; they happen in this order."""

    print_arguments: bool = False
    """Print the command line, and with it the secrets."""
    ignore_sigterm: bool = False
    orphan: str = ""
    """Leave a process sleeping: `group` in the same process group, `session` in a session of its own."""
    stdout_megabytes: int = 0
    stderr_megabytes: int = 0
    sleep: float = 0
    hang: bool = False
    signal: int = 0
    """Die of this signal."""
    unreachable: bool = False
    """Fail as if the console did not answer."""
    exit: int = 0
    """Fail with this exit code."""
    message: str = ""
    """The last line of the log before `exit`."""
    findings: int = 0
    """Report this many made-up vulnerabilities, without pulling the image."""
    partial_results: bool = False
    report: str = ""
    """Spoil the report: `missing`, `empty`, `truncated`, `not-json` or `not-utf8`."""
    report_megabytes: int = 0
    """Make the report at least this large."""
    not_compliant: bool = False
    """The image violates a policy: exit code 4 after the report, unless only checking."""


def act(behaviour: Behaviour, record: Record, host: str) -> int:
    """Do what comes before the scan. Return the exit code; 0 means that the scan goes on."""
    if behaviour.print_arguments:
        log.line("DEBUG", "Command line", argv=sys.argv)
    misbehave(behaviour, record)
    if behaviour.unreachable:
        log.plain(UNREACHABLE.format(host=host))
        return 1
    if behaviour.message:
        log.plain(behaviour.message)
    return behaviour.exit
