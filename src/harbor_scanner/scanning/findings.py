"""Our own document of findings: `--format json`. `docs/scan.md` describes it; it only ever grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from harbor_scanner.harbor.models import Finding
from harbor_scanner.scanning.report import Report, count
from harbor_scanner.scanning.subject import Subject

SCHEMA = "harbor-scanner/findings/1"


def as_json(subject: Subject, report: Report, shown: Sequence[Finding]) -> bytes:
    """Return the document of the findings that are shown."""
    artifact = subject.artifact
    document = {
        "schema": SCHEMA,
        "generated_at": report.generated_at,
        "image": {
            "name": subject.name,
            "repository": artifact.repository,
            "tag": artifact.tag,
            "digest": artifact.digest,
            "platform": subject.platform or None,
            "media_type": artifact.mime_type,
        },
        "scanner": report.scanner,
        "summary": {
            "total": len(shown),
            "fixable": sum(bool(finding.fix_version) for finding in shown),
            "severities": {str(severity): number for severity, number in count(shown).items()},
            "not_shown": len(report.findings) - len(shown),
        },
        "notices": report.notices,
        "findings": [_finding(finding) for finding in shown],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _finding(finding: Finding) -> dict[str, Any]:
    """Every member is always there."""
    return {
        "id": finding.id,
        "severity": finding.severity,
        "package": finding.package,
        "version": finding.version,
        "fix_version": finding.fix_version or None,
        "status": finding.status,
        "description": finding.description,
        "links": finding.links,
        "cwe_ids": finding.cwe_ids,
        "cvss": finding.preferred_cvss,
        "layer": finding.layer.digest if finding.layer else None,
        "attributes": finding.vendor_attributes,
    }
