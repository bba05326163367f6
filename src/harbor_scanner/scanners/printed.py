"""What scanner CLIs print, made readable."""

from __future__ import annotations

import re

from harbor_scanner.process import Outcome

_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")
_VERSION_LENGTH = 100
_VERSION = re.compile(r"(?<![\w.:/-])v?(\d+(?:\.\d+)+\w*(?:[.+-]\w+)*)")


def plain(text: str) -> str:
    """Return `text` without colours and other sequences for terminals."""
    return _COLOURS.sub("", text)


def printed_version(outcome: Outcome) -> str:
    """Return the first version number that a program printed, or else its first line; empty if it printed nothing."""
    printed = plain(f"{outcome.stdout}\n{outcome.stderr}")
    number = _VERSION.search(printed)
    line = next((line.strip() for line in printed.splitlines() if line.strip()), "")
    return (number[1] if number else line)[:_VERSION_LENGTH]
