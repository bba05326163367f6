"""Reading the report of scannercli: what is a report, what is an honest clean, and what is neither."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harbor_scanner.errors import BadReportError, ScanError
from harbor_scanner.harbor.models import Finding, FindingStatus, Severity
from harbor_scanner.scanners.aqua.findings import to_result
from harbor_scanner.scanners.aqua.report import SIZE_LIMIT, decode_report, load_report, number
from support.aqua import (
    GLIBC,
    LOG4J,
    LOG4SHELL,
    LOONEY_TUNABLES,
    element,
    encoded,
    finding_of,
    report,
    result_of,
)

REPORT = report(
    element(LOG4J, LOG4SHELL),
    element(GLIBC, {"name": "DSA-5514-1", "aqua_severity": "high", "ref_vulns": [LOONEY_TUNABLES]}),
)


def ids(document: Any) -> list[str]:
    return [finding.id for finding in result_of(document).findings]


# ---- what is no report


@pytest.mark.parametrize("document", [b"", b"  \n\t ", b"{", b"not json", b"{}", b"[]", b"null", b"3", b'"x"', b"\0"])
def test_what_is_no_report_is_never_a_clean_image(document: bytes) -> None:
    with pytest.raises(BadReportError) as caught:
        to_result(decode_report(document))
    assert caught.value.advice


@given(st.integers(0, len(encoded(REPORT)) - 1))
def test_a_report_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(BadReportError):
        decode_report(encoded(REPORT)[:length])


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (report(resources={}), "$.resources"),
        (report(resources=[3]), "$.resources[0]"),
        (report(element(LOG4J), vulnerability_summary=[]), "$.vulnerability_summary"),
        (report({"resource": "x"}), "$.resources[0].resource"),
        (report(element(LOG4J) | {"vulnerabilities": {"a": 1}}), "$.resources[0].vulnerabilities"),
        (report(element(LOG4J, LOG4SHELL, "x")), "$.resources[0].vulnerabilities[1]"),
        (report(element(LOG4J, LOG4SHELL | {"ref_vulns": 1})), "$.resources[0].vulnerabilities[0].ref_vulns"),
    ],
)
def test_lists_and_objects_of_another_kind_are_refused_with_their_place(document: Any, place: str) -> None:
    with pytest.raises(BadReportError) as caught:
        decode_report(encoded(document))
    assert f"`{place}`" in caught.value.message


def test_a_report_nested_too_deep_is_refused() -> None:
    nested = '{"ref_vulns":[' * 100_000
    with pytest.raises(BadReportError):
        decode_report(f'{{"resources":[{{"vulnerabilities":[{nested}'.encode())


def test_a_report_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    with path.open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(BadReportError) as caught:
        load_report(path)
    assert "268,435,457 bytes" in caught.value.message
    assert "268,435,456" in caught.value.message


def test_a_report_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(encoded(REPORT))
    assert len(to_result(load_report(path)).findings) == 2


# ---- clean images


@pytest.mark.parametrize(
    "document",
    [
        report(),
        report(resources=None),
        {"vulnerability_summary": {"total": 0}},
        {"resources": [], "vulnerability_summary": {"total": "0"}},
        report(element(GLIBC)),
        report({"resource": GLIBC, "scanned": True}),
        report({"resource": GLIBC, "scanned": True, "vulnerabilities": None}),
        {"resources": [{"resource": GLIBC}]},
        report(vulnerability_summary={"total": 0, "negligible": 38, "sensitive": 3}),
    ],
)
def test_an_image_without_vulnerabilities_is_clean(document: Any) -> None:
    assert result_of(document).findings == []


@pytest.mark.parametrize(
    "document",
    [
        {"image": "library/mongo", "os": "debian"},
        {"resources": None},
        {"resources": []},
        {"vulnerability_summary": None},
        {"vulnerability_summary": {}},
        {"resources": [{}]},
        {"resources": [], "vulnerability_summary": {"total": None}},
        report({"resource": GLIBC, "scanned": False}),
        report(vulnerability_summary={"total": 98}),
        report(element(GLIBC), vulnerability_summary={"total": 1}),
        report(element(GLIBC), vulnerability_summary={"total": "7"}),
        report(vulnerability_summary={"total": 0, "high": 2}),
        report(partial_results=True),
        report(element(GLIBC), partial_results=True),
        report(element(GLIBC), partial_results="true"),
    ],
)
def test_an_image_that_was_perhaps_not_examined_is_not_clean(document: Any) -> None:
    with pytest.raises(BadReportError) as caught:
        result_of(document)
    assert "Aqua console" in caught.value.advice


def test_a_count_without_vulnerabilities_is_told() -> None:
    with pytest.raises(BadReportError, match="counts 98 vulnerabilities"):
        result_of(report(vulnerability_summary={"total": 90, "critical": 15, "high": 83}))


def test_partial_results_are_told_with_what_was_found() -> None:
    result = result_of(report(element(LOG4J, LOG4SHELL), partial_results=True))
    assert len(result.findings) == 1
    assert "partial" in result.notices[0]


def test_malware_and_sensitive_data_are_told_without_figures_of_the_one_scan() -> None:
    summary = {"total": 1, "malware": 7, "sensitive": 3}
    notices = result_of(report(element(LOG4J, LOG4SHELL), vulnerability_summary=summary)).notices
    assert [word for word in ("malware", "sensitive") if any(word in notice for notice in notices)] == [
        "malware",
        "sensitive",
    ]
    assert not any(character.isdigit() for notice in notices for character in notice)


def test_an_ordinary_report_needs_no_notice() -> None:
    assert result_of(REPORT).notices == []


# ---- odd values


@pytest.mark.parametrize(
    "wrong",
    [{"aqua_score": "high"}, {"aqua_score": {}}, {"aqua_score": True}, {"aqua_score": 10**400}, {"cisa_due_date": 3}],
)
def test_one_wrong_value_costs_that_value_alone(wrong: Any) -> None:
    finding = finding_of(LOG4SHELL | wrong)
    assert (finding.id, finding.severity, finding.fix_version) == ("CVE-2021-44228", Severity.CRITICAL, "2.15.0")
    assert ids(report(element(LOG4J, LOG4SHELL | wrong), element(GLIBC, LOONEY_TUNABLES)))[1] == "CVE-2023-4911"


def test_a_number_may_be_a_text_or_null() -> None:
    finding = finding_of(LOG4SHELL | {"aqua_score": "9.8", "nvd_score_v3": None, "epss_score": "0.5"})
    assert finding.preferred_cvss is not None
    assert finding.preferred_cvss.score_v3 == 9.8
    assert finding.vendor_attributes["epss"]["score"] == 0.5


def test_every_field_may_be_null() -> None:
    resource, vulnerability = dict.fromkeys(LOG4J), dict.fromkeys(LOG4SHELL) | {"name": "CVE-2021-44228"}
    finding = finding_of(vulnerability, resource)
    assert finding == Finding(
        id="CVE-2021-44228",
        package="",
        version="",
        severity=Severity.UNKNOWN,
        status=FindingStatus.AFFECTED,
    )


def test_text_that_is_no_utf_8_is_replaced() -> None:
    document = encoded(REPORT).replace(b"over JNDI", b"over \xff\xfe JNDI")
    findings = to_result(decode_report(document)).findings
    assert "over \ufffd\ufffd JNDI" in findings[0].description
    assert len(findings) == 2


def test_escapes_that_stand_for_no_character_are_replaced_and_others_are_not() -> None:
    document = encoded(REPORT).replace(b"over JNDI", rb"over \ud800 \ud83d\ude00 \\ud800")
    (finding, _) = to_result(decode_report(document)).findings
    assert "over \ufffd \U0001f600 \\ud800" in finding.description
    msgspec.json.encode(finding)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert decode_report(b"\xef\xbb\xbf" + encoded(REPORT)).resources


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), (7.5, 7.5), ("9.8", 9.8), (" 5 ", 5.0), (0.0, 0.0), (10.0, 10.0), ("", None), ("high", None),
        (10.1, None), (-1.0, None), ("NaN", None), ("inf", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_numbers_are_read_within_their_range(value: Any, expected: float | None) -> None:
    assert number(value, 10) == expected


# ---- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list and object in `document` with each of its indices or names."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(entries):
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


ABSENT = object()
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), JSON | st.just(ABSENT)), min_size=1, max_size=4)


@given(CHANGES)
@example([(0, float("inf"))])
def test_whatever_a_report_holds_it_gives_sound_findings_or_a_scan_error(changes: list[tuple[int, Any]]) -> None:
    document = deepcopy(REPORT)
    for index, value in changes:
        every = list(places(document))
        container, key = every[index % len(every)]
        if value is ABSENT:
            del container[key]
        else:
            container[key] = value
        if not document:
            break
    try:
        result = result_of(document)
    except ScanError as error:
        assert error.message  # noqa: PT017 - either outcome is right
        return
    for finding in result.findings:
        assert_sound(finding)


def assert_sound(finding: Finding) -> None:
    """Fail unless every field has its type, and all of it can be encoded and read again."""
    texts = [finding.id, finding.package, finding.version, finding.fix_version, finding.description]
    cvss = finding.preferred_cvss
    numbers = [cvss.score_v2, cvss.score_v3] if cvss else []
    assert all(type(text) is str for text in [*texts, *finding.links, *finding.cwe_ids])
    assert all(score is None or (type(score) is float and 0 <= score <= 10) for score in numbers)
    assert all(link.startswith(("http://", "https://")) for link in finding.links)
    assert type(finding.severity) is Severity
    assert msgspec.json.decode(msgspec.json.encode(finding), type=Finding) == finding
    json.dumps(finding.vendor_attributes, allow_nan=False).encode()


@given(st.binary())
def test_whatever_bytes_come_they_are_a_report_or_a_bad_one(document: bytes) -> None:
    with pytest.raises(BadReportError):
        to_result(decode_report(document))


def test_reading_takes_less_than_four_times_the_size_of_the_report(tmp_path: Path) -> None:
    vulnerabilities = [
        LOG4SHELL | {"name": f"CVE-2021-{number}", "description": f"{number} {'x' * 200}"} for number in range(4000)
    ]
    elements = [element(LOG4J | {"name": f"p{n}"}, *vulnerabilities[n : n + 10]) for n in range(0, 4000, 10)]
    path = tmp_path / "report.json"
    path.write_bytes(encoded(report(*elements)))
    del vulnerabilities, elements
    result_of(REPORT)  # what is loaded and compiled once does not count
    tracemalloc.start()
    try:
        result = to_result(load_report(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.findings) == 4000
    assert peak < 4 * path.stat().st_size
