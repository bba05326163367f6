"""The log of qscanner: lines on stderr, each with its level."""

from __future__ import annotations

import sys

LEVELS = ("debug", "info", "warn", "error")


class Log:
    """Prints what is not below a level."""

    def __init__(self, level: str) -> None:
        self._least = LEVELS.index(level)

    def line(self, level: str, text: str) -> None:
        """Print a line, unless its level is too low."""
        if LEVELS.index(level) >= self._least:
            print(f"{level.upper():<5} {text}", file=sys.stderr, flush=True)
