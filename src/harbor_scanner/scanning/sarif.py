"""Findings as SARIF 2.1.0 (OASIS), in the way that code scanning of GitHub and others reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from harbor_scanner.harbor.models import Finding, Severity
from harbor_scanner.scanning.report import Report
from harbor_scanner.scanning.subject import Subject

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {
    Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning",
    Severity.LOW: "note", Severity.NEGLIGIBLE: "note", Severity.UNKNOWN: "note",
}  # fmt: skip
_SCORES = {Severity.CRITICAL: 9.5, Severity.HIGH: 8.0, Severity.MEDIUM: 5.5, Severity.LOW: 2.0}
"""Where the scanner tells no score: one in the middle of what CVSS 3 calls so. GitHub sorts by the score alone."""
_LONGEST = 1024
"""Characters of a rule's short description."""


def as_sarif(subject: Subject, report: Report, shown: Sequence[Finding]) -> bytes:
    """Return the log of the findings that are shown: a rule for each vulnerability, a result for each package."""
    rules: dict[str, Finding] = {}
    for finding in shown:
        # The most severe comes first, and speaks for all.
        rules.setdefault(finding.id, finding)
    places = {name: place for place, name in enumerate(rules)}
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": report.scanner.name,
                "organization": report.scanner.vendor,
                "version": report.scanner.version,
                "rules": [_rule(finding) for finding in rules.values()],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": notice}} for notice in report.notices if notice
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, places[finding.id], subject) for finding in shown],
        "properties": {
            "imageName": subject.name,
            "imageDigest": subject.artifact.digest,
            **({"imagePlatform": subject.platform} if subject.platform else {}),
        },
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _rule(finding: Finding) -> dict[str, Any]:
    description = finding.description.strip() or finding.id
    short = description.splitlines()[0]
    rule: dict[str, Any] = {
        "id": finding.id,
        "shortDescription": {"text": short if len(short) <= _LONGEST else f"{short[: _LONGEST - 1]}…"},
        "fullDescription": {"text": description},
        "help": {"text": "\n".join([description, *finding.links])},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {
            "tags": ["security", "vulnerability", *dict.fromkeys(finding.cwe_ids)],
            "security-severity": _score(finding),
        },
    }
    if finding.links:
        rule["helpUri"] = _uri(finding.links[0])
    return rule


def _score(finding: Finding) -> str:
    cvss = finding.preferred_cvss
    score = cvss.score_v3 if cvss is not None and cvss.score_v3 is not None else _SCORES.get(finding.severity, 0.0)
    return f"{score:.1f}"


def _result(finding: Finding, rule: int, subject: Subject) -> dict[str, Any]:
    artifact = subject.artifact
    fix = f"; fixed in {finding.fix_version}" if finding.fix_version else "; there is no fix yet"
    package = f"{finding.package} {finding.version}".strip()
    # The same finding keeps its identity in the next build of the image.
    identity = f"{finding.id}\n{finding.package}\n{artifact.repository}"
    return {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.id} ({finding.severity}) in {package}{fix}."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(artifact.repository, safe="/")},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": f"{artifact.repository}@{artifact.digest}: {package}"}],
            }
        ],
        "partialFingerprints": {"vulnerability/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {
            "package": finding.package,
            "installedVersion": finding.version,
            "fixedVersion": finding.fix_version,
            "severity": finding.severity,
        },
    }


def _uri(link: str) -> str:
    """Return a link with all that a URI may not hold encoded (RFC 3986)."""
    return quote(link, safe="!#$%&'()*+,/:;=?@[]~-._")
