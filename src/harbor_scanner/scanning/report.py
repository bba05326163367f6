"""What a scan found, read from the report that Harbor would get: the same one for every way of output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from harbor_scanner.harbor.checks import InvalidAnswerError
from harbor_scanner.harbor.models import Finding, ScannerInfo, Severity
from harbor_scanner.harbor.report import NOTICE_PACKAGE


class Report(msgspec.Struct, frozen=True):
    """Findings, most severe first and among them those with a fix, and what must be known of them as a whole."""

    findings: tuple[Finding, ...]
    notices: tuple[str, ...]
    scanner: ScannerInfo
    generated_at: str
    """RFC 3339."""

    @classmethod
    def read(cls, document: bytes) -> Report:
        """Read the report that an adapter sends. Raises InvalidAnswerError."""
        try:
            found = msgspec.convert(_without_nulls(msgspec.json.decode(document)), _Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidAnswerError("report", [f"it cannot be decoded: {error}"]) from None
        findings = [finding for finding in found.vulnerabilities if finding.package != NOTICE_PACKAGE]
        return cls(
            tuple(sorted(findings, key=_order)),
            tuple(finding.description for finding in found.vulnerabilities if finding.package == NOTICE_PACKAGE),
            found.scanner,
            found.generated_at,
        )

    def fixable_only(self) -> Report:
        """Return the report without findings that no version fixes."""
        return msgspec.structs.replace(self, findings=tuple(one for one in self.findings if one.fix_version))

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings that are as severe, or more."""
        return tuple(finding for finding in self.findings if finding.severity.rank >= severity.rank)


def count(findings: Iterable[Finding]) -> dict[Severity, int]:
    """Return how many there are of each severity, the most severe first; none is missing."""
    counts = dict.fromkeys(reversed(Severity), 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


class _Document(msgspec.Struct):
    vulnerabilities: list[Finding]
    scanner: ScannerInfo
    generated_at: str = ""


def _order(finding: Finding) -> tuple[int, bool, str, str, str]:
    return (-finding.severity.rank, not finding.fix_version, finding.package, finding.id, finding.version)


def _without_nulls(value: Any) -> Any:
    """Other adapters may send null for what they do not know."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
