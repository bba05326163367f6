"""Causes of failure that scanner CLIs have in common, as programs written in Go tell of them in their logs."""

from __future__ import annotations

import re

import msgspec

from harbor_scanner.errors import ScanError
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.printed import plain

_LINE = 2000
"""Characters of a line that are looked at: the patterns would take seconds over much longer ones."""

DISK_FULL = r"no space left on device|disk quota exceeded"
OUT_OF_MEMORY = r"out of memory|cannot allocate memory"
UNTRUSTED = r"\bx509\b|certificate (?:is not trusted|signed by unknown|has expired|verify failed)"
UNREACHABLE = (
    r"connection (?:refused|reset)|no such host|no route to host|network is unreachable|name resolution"
    r"|server misbehaving|i/o timeout|TLS handshake|deadline exceeded|Client\.Timeout|timeout awaiting"
    r"|\b50[234] (?:Bad Gateway|Service (?:Temporarily )?Unavailable|Gateway Time-?out)"
    r"|(?:code|HTTP|status)\W{1,3}50[234]\b"
)


class Cause(msgspec.Struct, frozen=True):
    """A cause of failure: what shows it in a line of the log, and what it means."""

    pattern: str
    """A regular expression; case does not matter."""
    error: type[ScanError]
    message: str
    advice: str

    def shows_in(self, line: str) -> bool:
        """Whether a line of the log tells of this cause."""
        return re.search(self.pattern, line, re.IGNORECASE) is not None


def error_lines(outcome: Outcome, no_error: re.Pattern[str]) -> list[str]:
    """Return what a program printed, the last line first, but for lines that begin as `no_error` says."""
    lines = [line.strip()[:_LINE] for line in plain(f"{outcome.stdout}\n{outcome.stderr}").splitlines()]
    return [line for line in reversed(lines) if not no_error.match(line)]


def with_output(message: str, outcome: Outcome, line: str = "", name: str = "") -> str:
    """Return the message with the exit code, its `name` if it has one, and the last lines that were printed.

    The telling `line` stands before them if it is not among them.
    """
    printed = plain(outcome.last_lines())
    if line not in printed:
        printed = f"{line}\n{printed}"
    code = f"exit code {outcome.exit_code}, {name}" if name else f"exit code {outcome.exit_code}"
    return f"{message} ({code}).\n{printed}".rstrip()
