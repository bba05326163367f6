"""Why `qscanner` failed, read from its exit code and its log, and what the operator can do about it."""

from __future__ import annotations

import re

from harbor_scanner.errors import ScanError
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.printed import plain
from harbor_scanner.scanners.qualys.causes import ANYWHERE, Cause
from harbor_scanner.scanners.qualys.exits import EXITS, REPORT_WRITTEN, UNKNOWN, Exit

__all__ = ["REPORT_WRITTEN", "failure"]

_LINE = 2000
"""Characters of a line that are looked at: the patterns would take seconds over much longer ones."""

_NO_ERROR = re.compile(r"(?:[\dT:.,/Z+-]+\s+){0,2}(?:level=)?\[?(?:TRACE|DEBUG|INFO|WARN(?:ING)?)\b", re.IGNORECASE)
"""Begins lines of the log that tell of no error."""

_LOCAL = re.compile(r"dial unix|\.sock\b|docker daemon", re.IGNORECASE)
"""Found in lines about a container runtime of this machine; qscanner may look there before it asks the registry."""

_ABOUT_REGISTRY = re.compile(
    r"/v2/|\bmanifests?\b|\bblobs?\b|\bpull(?:ing)?\b|(?<!-)\bregistry\b(?!-)|\bremote (?:error|image)\b",
    re.IGNORECASE,
)
"""Found in lines about the registry. Other lines are about the Qualys platform, unless the exit code says otherwise."""


def failure(outcome: Outcome) -> ScanError:
    """Return the error that tells why `qscanner` failed, with the last lines that it printed."""
    ended = EXITS.get(outcome.exit_code, UNKNOWN)
    lines = [line.strip()[:_LINE] for line in plain(f"{outcome.stdout}\n{outcome.stderr}").splitlines()]
    errors = [line for line in reversed(lines) if not _NO_ERROR.match(line)]
    registry = [line for line in errors if _ABOUT_REGISTRY.search(line)]
    remote = [line for line in errors if _ABOUT_REGISTRY.search(line) or not _LOCAL.search(line)]
    for causes, evidence in ((ANYWHERE, errors), (ended.about_registry, registry), (ended.causes, remote)):
        for cause in causes:
            for line in evidence:
                if re.search(cause.pattern, line, re.IGNORECASE):
                    return _error(cause, outcome, ended, line)
    return _error(ended, outcome, ended)


def _error(reason: Cause | Exit, outcome: Outcome, ended: Exit, line: str = "") -> ScanError:
    """Return an error with the exit code and the last lines printed, after the telling `line` if it is not there."""
    printed = plain(outcome.last_lines())
    if line not in printed:
        printed = f"{line}\n{printed}"
    code = f"exit code {outcome.exit_code}, {ended.name}" if ended.name else f"exit code {outcome.exit_code}"
    return reason.error(f"{reason.message} ({code}).\n{printed}".rstrip(), reason.advice)
