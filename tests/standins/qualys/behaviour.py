"""Misbehave as told: what qscanner was ever seen, or feared, to do."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from standins.engine.behaviour import misbehave
from standins.engine.record import Record
from standins.qualys.failure import FailureError
from standins.qualys.log import Log


class Behaviour(NamedTuple):
    """What a run shall do. Several things can go together; they happen in this order, when it has the cache."""

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
    """Fail with this exit code, before anything was scanned."""
    message: str = ""
    """The last line of the log before `exit`, if not the usual one."""
    findings: int = 0
    """Report this many made-up vulnerabilities, without pulling the image."""
    status: str = ""
    """How the last scan in ScanResult.json ended: `FAILED`, or `partial`."""
    sbom: str = ""
    """Spoil the SBOMs, as `report` says."""
    not_ready: int = 0
    """The report is not ready for this many polls; if that is more than the retries allow, the run fails with 40."""
    report: str = ""
    """Spoil the reports: `missing`, `empty`, `truncated`, `not-json` or `not-utf8`; `link` puts a symbolic link in
    the place of each, `two` adds one without vulnerabilities, `sarif-only` writes SARIF whatever was asked for."""
    depth: int = 0
    """Write the files this many directories below the output directory."""
    vulnerabilities: str = ""
    """Instead of VulnerabilityReport: `null`, `absent`, or `null-list` for a report whose list is null."""
    spelling: str = ""
    """How the JSON report names things, if not as configured."""
    policy: str = ""
    """The verdict of the policy, `deny` or `audit`, which only the mode evaluate-policy asks for."""


def act(behaviour: Behaviour, record: Record, log: Log) -> None:
    """Do what comes before the scan. Raises FailureError."""
    if behaviour.print_arguments:
        log.line("info", f"Arguments: {sys.argv}")
        for name, value in os.environ.items():
            log.line("info", f"{name}={value}")
    misbehave(behaviour, record)
    if behaviour.exit:
        raise FailureError(behaviour.exit, behaviour.message)
