"""Why `qscanner` failed, read from its exit code and its log, and what the operator can do about it."""

from __future__ import annotations

import re

from harbor_scanner.errors import ScanError
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.causes import Cause, error_lines, with_output
from harbor_scanner.scanners.qualys.causes import ANYWHERE
from harbor_scanner.scanners.qualys.exits import EXITS, REPORT_WRITTEN, UNKNOWN, Exit

__all__ = ["REPORT_WRITTEN", "failure"]

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
    errors = error_lines(outcome, _NO_ERROR)
    registry = [line for line in errors if _ABOUT_REGISTRY.search(line)]
    remote = [line for line in errors if _ABOUT_REGISTRY.search(line) or not _LOCAL.search(line)]
    for causes, evidence in ((ANYWHERE, errors), (ended.about_registry, registry), (ended.causes, remote)):
        for cause in causes:
            for line in evidence:
                if cause.shows_in(line):
                    return _error(cause, outcome, ended, line)
    return _error(ended, outcome, ended)


def _error(reason: Cause | Exit, outcome: Outcome, ended: Exit, line: str = "") -> ScanError:
    return reason.error(with_output(reason.message, outcome, line, ended.name), reason.advice)
