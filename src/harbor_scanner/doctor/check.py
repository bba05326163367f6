"""What a check is, and what it finds out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """What became of one thing that was looked at."""

    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    FAILURE = "failure"
    """Some or all scans fail for it."""
    UNKNOWN = "unknown"
    """It cannot be told from here: neither good nor bad."""
    SKIPPED = "skipped"
    """It was not looked at, for there is nothing to look at or nobody asked."""


class Verdict(msgspec.Struct, frozen=True):
    """What was found out about one thing."""

    area: str
    """`store`, `disk`, or the name of a scanner: what the list is grouped by."""
    name: str
    """What was looked at, the same from run to run: `certificate`."""
    outcome: Outcome
    what: str
    """What is so, in a sentence."""
    advice: str = ""
    """What to do; empty if there is nothing to do."""


class Area(msgspec.Struct, frozen=True):
    """Words verdicts about one area."""

    name: str

    def ok(self, name: str, what: str) -> Verdict:
        """Return a verdict on what is as it should be."""
        return Verdict(self.name, name, Outcome.OK, what)

    def warning(self, name: str, what: str, advice: str) -> Verdict:
        """Return a verdict on what works, and may not for ever."""
        return Verdict(self.name, name, Outcome.WARNING, what, advice)

    def failure(self, name: str, what: str, advice: str) -> Verdict:
        """Return a verdict on what fails scans."""
        return Verdict(self.name, name, Outcome.FAILURE, what, advice)

    def unknown(self, name: str, what: str, advice: str = "") -> Verdict:
        """Return a verdict on what cannot be told."""
        return Verdict(self.name, name, Outcome.UNKNOWN, what, advice)

    def skipped(self, name: str, what: str, advice: str = "") -> Verdict:
        """Return a verdict on what was not looked at."""
        return Verdict(self.name, name, Outcome.SKIPPED, what, advice)


class Check(msgspec.Struct, frozen=True):
    """A look at something, which goes on beside all others."""

    area: Area
    name: str
    look: Callable[[], AsyncIterator[Verdict]]
    """Yields what it finds out, as soon as it does. Whatever it raises is a failure of this check alone."""
    advice: str = ""
    """What to do if there is no end to it."""
    seconds: float = 8.0
    """After which it is given up."""


class TroubleError(Exception):
    """Something cannot be reached, or does not answer as it should. The message ends with a full stop."""

    def __init__(self, what: str, advice: str, outcome: Outcome = Outcome.FAILURE) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.outcome = outcome

    def verdict(self, area: Area, name: str) -> Verdict:
        """Return the verdict on what could not be reached."""
        what = f"The {self.what.removeprefix('the ')}" if self.what.startswith("the ") else self.what
        return Verdict(area.name, name, self.outcome, what, self.advice)
