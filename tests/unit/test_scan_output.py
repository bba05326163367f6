"""What is found is shown in the order of what matters, and in documents that programs can rely on."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from harbor_scanner.harbor.checks import InvalidAnswerError
from harbor_scanner.harbor.models import (
    Artifact,
    Cvss,
    Finding,
    FindingStatus,
    Layer,
    Registry,
    ScannerInfo,
    Severity,
)
from harbor_scanner.harbor.report import render
from harbor_scanner.scanning import findings, sarif, table
from harbor_scanner.scanning.report import Report
from harbor_scanner.scanning.subject import Subject

DIGEST = f"sha256:{'ab' * 32}"
SUBJECT = Subject(
    "debian:12", Registry("https://registry-1.docker.io"), Artifact("library/debian", DIGEST, tag="12"), "linux/amd64"
)
FOUND = [
    Finding("CVE-1", "acl", "1.2", Severity.HIGH),
    Finding("CVE-2", "tar", "1.3", Severity.HIGH, fix_version="1.4", links=["https://example.com/CVE-2"]),
    Finding("CVE-3", "curl", "7", Severity.CRITICAL),
    Finding(
        "CVE-4", "bash", "5", Severity.LOW, fix_version="6", description="Bad.\nVery bad.", cwe_ids=["CWE-79"],
        status=FindingStatus.FIXED, preferred_cvss=Cvss(score_v3=3.1), layer=Layer(DIGEST),
        links=["https://example.com/a b|c"], vendor_attributes={"aliases": ["GHSA-1"]},
    ),
    Finding("CVE-2", "libtar", "1.3", Severity.MEDIUM),
    Finding("CVE-5", "odd", "1", Severity.UNKNOWN),
]  # fmt: skip


def report(found: Sequence[Finding] = FOUND, notices: Sequence[str] = ()) -> Report:
    rendered = render(SUBJECT.artifact, ScannerInfo("OSV", "V", "1.18"), found, notices, datetime.now(UTC))
    return Report.read(gzip.decompress(rendered.body))


def screen(report: Report, shown: Sequence[Finding] | None = None, *, screen: bool = False) -> str:
    text = io.StringIO()
    table.show(SUBJECT, report, report.findings if shown is None else shown, text, screen=screen)
    return text.getvalue()


def test_the_most_severe_stand_first_and_among_them_what_can_be_fixed() -> None:
    order = [(finding.id, finding.package) for finding in report().findings]
    assert order == [("CVE-3", "curl"), ("CVE-2", "tar"), ("CVE-1", "acl"), ("CVE-2", "libtar"), ("CVE-4", "bash"),
                     ("CVE-5", "odd")]  # fmt: skip


def test_notices_are_no_findings() -> None:
    found = report([], ["The database is old."])
    assert found.findings == ()
    assert found.notices == ("The database is old.",)


@pytest.mark.parametrize(("least", "count"), [("Critical", 1), ("High", 3), ("Medium", 4), ("Low", 5), ("Unknown", 6)])
def test_findings_as_severe_or_more(least: str, count: int) -> None:
    assert len(report().at_least(Severity(least))) == count


def test_what_no_version_fixes_can_be_left_out() -> None:
    assert {finding.id for finding in report().fixable_only().findings} == {"CVE-2", "CVE-4"}


def test_null_means_absent_and_what_is_no_report_is_told() -> None:
    item = {"id": "CVE-1", "package": "p", "version": "1", "severity": "High", "links": None, "fix_version": None}
    document = {"scanner": {"name": "n", "vendor": "v", "version": "1"}, "vulnerabilities": [item]}
    assert Report.read(msgspec.json.encode(document)).findings[0].links == []
    for wrong in (b"", b"[]", b'{"vulnerabilities": [{}]}', msgspec.json.encode({**document, "vulnerabilities": [1]})):
        with pytest.raises(InvalidAnswerError):
            Report.read(wrong)


def test_lines_for_programs_have_no_colours_and_one_finding_each() -> None:
    text = screen(report())
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == f"debian:12  linux/amd64  {DIGEST[:19]}  by OSV 1.18"
    assert [line.split()[0] for line in lines[3:9]] == ["Critical", "High", "High", "Medium", "Low", "Unknown"]
    assert lines[4].split() == ["High", "CVE-2", "tar", "1.3", "1.4", "https://example.com/CVE-2"]
    assert lines[5].split() == ["High", "CVE-1", "acl", "1.2", "-"]
    assert lines[-1] == "6 vulnerabilities: 1 Critical, 2 High, 1 Medium, 1 Low, 1 Unknown; 2 can be fixed."


@pytest.mark.parametrize("columns", [80, 200])
def test_a_screen_has_colours_and_no_line_is_wider(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    long = [*FOUND, Finding("CVE-2026-123456", "a-package-with-a-long-name", "1:2.3.4+really5.6.7-8+deb12u9",
                            Severity.HIGH, fix_version="1:2.3.4+really5.6.7-8+deb12u10")]  # fmt: skip
    text = screen(report(long), screen=True)
    assert "\x1b[1;31mCritical" in text
    plain = re.sub(r"\x1b\]8;[^\\]*\\|\x1b\[[0-9;]*m|\x1b\\", "", text)
    assert max(map(len, plain.splitlines())) <= columns
    assert "CVE-2026-123456" in plain
    assert ("https://example.com/CVE-2" in plain) == (columns == 200)


def test_what_is_not_shown_is_counted() -> None:
    found = report()
    assert "5 less severe are not shown." in screen(found, found.at_least(Severity.CRITICAL))
    assert screen(report([])).splitlines()[-1] == "No vulnerability was found."
    assert "1 vulnerability: 1 High; none can be fixed yet." in screen(report(FOUND[:1]))


def test_what_an_image_says_does_not_move_the_cursor() -> None:
    evil = [Finding("CVE-1", "p\x1b[2J", "1\r\n2", Severity.HIGH, fix_version="\x1b]0;x\x07")]
    for wanted in (True, False):
        text = screen(report(evil, ["\x1b[2Jgone"]), screen=wanted)
        assert "\x1b[2J" not in text
        assert "\x1b]0" not in text
        assert "\r" not in text


def test_the_document_of_findings_says_all_that_is_known() -> None:
    found = report(notices=["Old."])
    document = json.loads(findings.as_json(SUBJECT, found, found.at_least(Severity.LOW)))
    assert document["schema"] == "harbor-scanner/findings/1"
    assert document["image"] == {
        "name": "debian:12", "repository": "library/debian", "tag": "12", "digest": DIGEST, "platform": "linux/amd64",
        "media_type": None,
    }  # fmt: skip
    assert document["scanner"] == {"name": "OSV", "vendor": "V", "version": "1.18"}
    assert document["notices"] == ["Old."]
    severities = {"Critical": 1, "High": 2, "Medium": 1, "Low": 1, "Negligible": 0, "Unknown": 0}
    assert document["summary"] == {"total": 5, "fixable": 2, "severities": severities, "not_shown": 1}
    assert document["findings"][4] == {
        "id": "CVE-4", "severity": "Low", "package": "bash", "version": "5", "fix_version": "6", "status": "fixed",
        "description": "Bad.\nVery bad.", "links": ["https://example.com/a%20b%7Cc"], "cwe_ids": ["CWE-79"],
        "cvss": {"score_v3": 3.1}, "layer": DIGEST,
        "attributes": document["findings"][4]["attributes"],
    }  # fmt: skip
    assert document["findings"][4]["attributes"]["aliases"] == ["GHSA-1"]
    assert all(finding.keys() == document["findings"][4].keys() for finding in document["findings"])


def logged(found: Report) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sarif.as_sarif(SUBJECT, found, found.findings))
    return document


def test_sarif_has_a_rule_for_each_vulnerability_and_a_result_for_each_package() -> None:
    document = logged(report(notices=["Old."]))
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert [rule["id"] for rule in rules] == ["CVE-3", "CVE-2", "CVE-1", "CVE-4", "CVE-5"]
    assert len(results) == 6
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert [result["level"] for result in results] == ["error", "error", "error", "warning", "note", "note"]
    notification = {"level": "warning", "message": {"text": "Old."}}
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": [notification]}]
    assert "fixed in 1.4" in results[1]["message"]["text"]


def test_sarif_keeps_to_what_the_standard_and_its_readers_want() -> None:
    [run] = logged(report())["runs"]
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"]
        assert "\n" not in rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert 0 <= float(rule["properties"]["security-severity"]) <= 10
        assert re.fullmatch(r"[!#-;=?-\[\]_a-z~%$]+", rule.get("helpUri", "x"))
        assert len(set(rule["properties"]["tags"])) == len(rule["properties"]["tags"])
    assert run["tool"]["driver"]["rules"][3]["properties"]["security-severity"] == "3.1"
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place == {"artifactLocation": {"uri": "library/debian"}, "region": {"startLine": 1}}
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    fingerprints = {result["partialFingerprints"]["vulnerability/v1"] for result in run["results"]}
    assert len(fingerprints) == 6


def test_a_finding_keeps_its_fingerprint_when_the_image_is_built_again() -> None:
    again = msgspec.structs.replace(SUBJECT, artifact=Artifact("library/debian", f"sha256:{'cd' * 32}"))
    found = report()
    prints = [
        [
            result["partialFingerprints"]
            for result in json.loads(sarif.as_sarif(of, found, found.findings))["runs"][0]["results"]
        ]
        for of in (SUBJECT, again)
    ]
    assert prints[0] == prints[1]
