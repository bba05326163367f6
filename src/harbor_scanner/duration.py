"""Durations as Go writes them (`15s`, `1h`, `1m30s`, `500ms`, `4320h0m0s`), in seconds here."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # U+00B5, the micro sign
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+", re.ASCII)
_LONGEST = Fraction(2**63, 10**9)
"""Seconds, about 292 years: Go counts nanoseconds in 64 bits."""


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration, as Go's `time.ParseDuration` reads it. Raises ValueError."""
    if text in {"0", "+0", "-0"}:
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a Go duration")
    total = sum((Fraction(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)), Fraction())
    if total >= _LONGEST:
        raise ValueError("it is longer than 2562047h47m16s")
    return float(-total if text.startswith("-") else total)


def format_duration(seconds: float) -> str:
    """Return `seconds` in Go's syntax, without zero parts: `90.0` is `1m30s`, `0.5` is `500ms`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    nanoseconds = round(Fraction(seconds) * 10**9)
    if nanoseconds == 0:
        return "0s"
    parts = []
    for unit, size in (("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)):
        count, nanoseconds = divmod(nanoseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
