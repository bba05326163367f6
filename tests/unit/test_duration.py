"""Durations are read and written as Go does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.duration import format_duration, parse_duration

RELAXED = settings(deadline=None)
"""Time never decides."""

NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
LONGEST = 2**63 - 1


# What Go 1.26 makes of each text, in nanoseconds.
@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("+0", 0),
        ("0s", 0),
        ("5s", 5 * 10**9),
        ("+5s", 5 * 10**9),
        ("-5s", -5 * 10**9),
        ("5.s", 5 * 10**9),
        (".5s", 5 * 10**8),
        ("15s", 15 * 10**9),
        ("1h", 3600 * 10**9),
        ("1m30s", 90 * 10**9),
        ("30s1m", 90 * 10**9),
        ("1s1s", 2 * 10**9),
        ("500ms", 5 * 10**8),
        ("4320h0m0s", 4320 * 3600 * 10**9),
        ("1µs", 1000),
        ("1μs", 1000),
        ("1us", 1000),
        ("12ns", 12),
        ("9007199254.740993ms", 9007199254740993),
        ("0.100000000000000000000h", 360 * 10**9),
        ("0.3333333333333333333h", 1200 * 10**9),
        ("2562047h47m16.854775807s", LONGEST),
    ],
)
def test_a_duration_means_what_it_means_to_go(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == pytest.approx(nanoseconds / 10**9, rel=1e-15, abs=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "00", "s", ".", ".s", "-", "+", "-.", "- 5s", "5 s", " 5s", "5s ", "5s\n", "1S", "1d", "1w", "1e3s",
        "1h-1m", "+-5s", "1,5s", "1..5s", "٣s", "1_0s", "inf", "nan", "0x5s", "3000000h", "2562047h47m16.854775808s",
        "9223372036854775808ns", "9" * 400 + "h",
    ],
)  # fmt: skip
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


@RELAXED
@given(st.text())
def test_any_other_text_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert abs(seconds) <= (LONGEST + 1) / 10**9


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["1" * 100_000, "1." + "1" * 100_000, "1h" * 50_000 + "1"])
def test_a_long_text_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


PARTS = st.tuples(
    st.integers(0, 10**5),
    st.from_regex(r"(\.[0-9]{0,9})?", fullmatch=True),
    st.sampled_from(sorted(NANOSECONDS)),
)


@RELAXED
@given(st.sampled_from(["", "+", "-"]), st.lists(PARTS, min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(sign: str, parts: list[tuple[int, str, str]]) -> None:
    text = sign + "".join(f"{whole}{fraction}{unit}" for whole, fraction, unit in parts)
    total = 0
    for whole, fraction, unit in parts:
        digits = fraction.removeprefix(".")
        scaled = (whole * 10 ** len(digits) + int(digits or "0")) * NANOSECONDS[unit]
        total += scaled * 10 ** (9 - len(digits))
    expected = total / 10**18
    assert parse_duration(text) == pytest.approx(-expected if sign == "-" else expected, rel=1e-12)


@RELAXED
@given(st.integers(-(2**53), 2**53))
def test_writing_and_reading_gives_the_same_duration(nanoseconds: int) -> None:
    seconds = nanoseconds / 10**9
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (15, "15s"),
        (60, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (0.5, "500ms"),
        (1.5, "1s500ms"),
        (1e-6, "1us"),
        (1e-9, "1ns"),
        (-90, "-1m30s"),
        (4320 * 3600, "4320h"),
    ],
)
def test_durations_are_written_without_zero_parts(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
