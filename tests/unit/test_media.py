"""Media types: one spelling, and which report a client asks for."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harbor_scanner.harbor.media import (
    GENERIC_REPORT,
    NATIVE_REPORT,
    SBOM_REPORT,
    VULNERABILITY_REPORTS,
    canonical,
    negotiate,
)

RELAXED = settings(deadline=None)
ANY_TEXT = st.text(st.characters(exclude_categories=()))
HEADER = st.one_of(ANY_TEXT, st.text(alphabet="abq=;,.*/ \"'01+-\t"))


@pytest.mark.parametrize(
    "spelling",
    [
        GENERIC_REPORT,
        "application/vnd.security.vulnerability.report;version=1.1",
        "Application/Vnd.Security.Vulnerability.Report ; Version=1.1",
        'application/vnd.security.vulnerability.report; version="1.1"',
        "application/vnd.security.vulnerability.report; version = 1.1 ;",
    ],
)
def test_one_type_has_one_canonical_spelling(spelling: str) -> None:
    assert canonical(spelling) == GENERIC_REPORT


def test_parameters_are_sorted_and_told_apart() -> None:
    assert canonical("a/b; y=2; x=1") == canonical("a/b; x=1; y=2") == "a/b; x=1; y=2"
    assert canonical("a/b; x=1") != canonical("a/b; x=2")


@pytest.mark.parametrize("accept", [None, "", "  ", "*/*", "application/*", "text/html, */*;q=0.1"])
def test_a_client_that_names_no_type_gets_the_native_report(accept: str | None) -> None:
    assert negotiate(accept) == NATIVE_REPORT


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (GENERIC_REPORT, GENERIC_REPORT),
        (NATIVE_REPORT, NATIVE_REPORT),
        ("application/vnd.security.vulnerability.report", GENERIC_REPORT),
        (f"text/plain, {GENERIC_REPORT};q=0.5", GENERIC_REPORT),
        (f"{NATIVE_REPORT};q=0.2, {GENERIC_REPORT};q=0.9", GENERIC_REPORT),
        (f"{GENERIC_REPORT}, {NATIVE_REPORT}", GENERIC_REPORT),
        (f"{GENERIC_REPORT};q=0, {NATIVE_REPORT};q=0.1", NATIVE_REPORT),
        (f"{GENERIC_REPORT};Q=0.000, {NATIVE_REPORT}", NATIVE_REPORT),
    ],
)
def test_the_most_wanted_type_is_served(accept: str, answer: str) -> None:
    assert negotiate(accept) == answer


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/vnd.security.vulnerability.report; version=1.0",
        "application/vnd.security.sbom.report+json; version=1.0",
        f"{GENERIC_REPORT};q=0",
        "*/*;q=0",
        ",;,",
    ],
)
def test_a_client_that_wants_something_else_gets_nothing(accept: str) -> None:
    assert negotiate(accept) is None


def test_without_the_native_report_the_first_one_offered_stands_in() -> None:
    assert negotiate("*/*", (GENERIC_REPORT,)) == GENERIC_REPORT
    assert negotiate(NATIVE_REPORT, (GENERIC_REPORT,)) is None


def test_what_a_client_presumably_wants_counts_only_where_it_names_no_type() -> None:
    offered = (*VULNERABILITY_REPORTS, SBOM_REPORT)
    for accept in (None, "", "*/*", "application/*"):
        assert negotiate(accept, offered, SBOM_REPORT) == SBOM_REPORT
        assert negotiate(accept, offered) == NATIVE_REPORT
        assert negotiate(accept, VULNERABILITY_REPORTS, SBOM_REPORT) in VULNERABILITY_REPORTS
    assert negotiate(GENERIC_REPORT, offered, SBOM_REPORT) == GENERIC_REPORT
    assert negotiate(SBOM_REPORT, offered) == SBOM_REPORT
    assert negotiate("application/json", offered, SBOM_REPORT) is None


@RELAXED
@given(HEADER)
@example("a/b; x=1; x*=utf-8''y")
@example("a/b; x=\ud800")
@example("a/b; q=1.0.0")
def test_no_header_can_break_the_negotiation(accept: str) -> None:
    assert negotiate(accept) in {None, *VULNERABILITY_REPORTS}


@RELAXED
@given(HEADER)
@example('a/b; x=""1""')
def test_the_canonical_spelling_is_its_own(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)
