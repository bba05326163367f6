"""Whether the clock of this machine is right, by the time that servers have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from harbor_scanner.doctor.check import Area, Verdict

CLOCK = Area("clock")

_WARN = 60.0
_FAIL = 300.0
"""Seconds. What expires after minutes, such as the tokens of registries, is then refused."""


class Offset(NamedTuple):
    """By how much the clock of a server is ahead of ours, in seconds."""

    whom: str
    seconds: float


async def look(offsets: Iterable[Offset]) -> AsyncIterator[Verdict]:
    """Yield what the clocks of those tell who were asked."""
    by_whom = {offset.whom: offset.seconds for offset in offsets}
    if not by_whom:
        yield CLOCK.unknown("time", "No server was asked that tells the time.")
        return
    nearest = min(by_whom, key=lambda whom: abs(by_whom[whom]))
    ours = by_whom[nearest]
    others = {whom: seconds for whom, seconds in by_whom.items() if abs(seconds) > _WARN and whom != nearest}
    if abs(ours) <= _WARN:
        yield CLOCK.ok("time", f"The clock of this machine agrees with {nearest}, within {max(abs(ours), 1):.0f} s.")
        for whom, seconds in others.items():
            yield CLOCK.warning(
                "time", f"The clock of {whom} is {_apart(seconds, 'ahead of', 'behind')} ours, with which {nearest} "
                "agrees.", "Have that server set its clock by NTP.",
            )  # fmt: skip
        return
    what = f"The clock of this machine is {_apart(-ours, 'ahead of', 'behind')} {_all(nearest, others)}."
    advice = "Set the clock of this machine by NTP (in a container: that of its host)."
    if abs(ours) <= _FAIL:
        yield CLOCK.warning("time", what, advice)
        return
    yield CLOCK.failure("time", f"{what} Tokens and certificates seem expired, or not valid yet.", advice)


def _apart(seconds: float, ahead: str, behind: str) -> str:
    text = f"{abs(seconds):.0f} s" if abs(seconds) < 2 * _FAIL else f"{abs(seconds) / 60:.0f} minutes"
    return f"{text} {ahead if seconds > 0 else behind}"


def _all(nearest: str, others: Iterable[str]) -> str:
    return ", ".join([f"that of {nearest}", *others])
