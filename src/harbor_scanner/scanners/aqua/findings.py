"""From the report of `scannercli` to findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.harbor.models import Finding, FindingStatus, Layer, Severity
from harbor_scanner.scanners.aqua.ratings import RATING_FIELDS, Ratings, given_ratings, ratings
from harbor_scanner.scanners.aqua.report import Number, Report, Resource, Summary, Vulnerability, number
from harbor_scanner.scanners.base import ScanResult

_FILE = 1
"""Type of a resource that is a plain file, known by its content: it often has no name and no version."""

_SEVERITIES = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "low": Severity.LOW,
    "negligible": Severity.NEGLIGIBLE,
}
"""The words of Aqua's JSON reports; any other means Unknown."""

_SEVERITY_FIELDS = ("aqua_severity", "vendor_severity", "vendor_severity_v3", "nvd_severity_v3", "nvd_severity")
_severity_words = attrgetter(*_SEVERITY_FIELDS)

_INHERITED = (_SEVERITY_FIELDS, RATING_FIELDS, ("description",), ("fix_version", "solution"))
"""What a vulnerability takes over from its advisory, group by group, where it has nothing of a group itself."""

_VENDOR_FIELDS = (
    "solution", "vendor_statement", "classification", "aqua_severity_classification", "aqua_score_classification",
    "publish_date", "modification_date", "fix_publish_date", "vendor_publish_date",
)  # fmt: skip
_vendor_values = attrgetter(*_VENDOR_FIELDS)

_RESOURCE_FIELDS = ("path", "arch", "format", "license", "src_name", "src_version", "cpe", "hash")
_PLAIN_VERSION = re.compile(r"v?\d[\w.:+~-]*")
_WILL_NOT_FIX = re.compile(r"\b(?:will not (?:be )?fix|won['\u2019]?t (?:be )?fix|wontfix)", re.IGNORECASE)
_LARGEST = 2.0**53
_EXAMINE = "Look in the Aqua console which parts of the image were examined, and scan again."


class _Place(msgspec.Struct, frozen=True):
    """A resource as all of its findings show it."""

    package: str
    version: str
    layer: Layer | None
    attributes: dict[str, str]


def to_result(report: Report) -> ScanResult:
    """Return what a report says. Raises BadReportError if it lists nothing, yet does not say that nothing is there.

    The report is used up: resources go as their findings come, so that the two never fill memory together.
    Findings share parts of their vendor attributes, which must not be changed in place.
    """
    resources, report.resources = report.resources or [], None
    listed = len(resources)
    examined = sum(entry.resource is not None and entry.scanned is not False for entry in resources)
    missing = _counted(report.vulnerability_summary) - sum(len(entry.vulnerabilities or ()) for entry in resources)
    rate = cache(ratings)
    findings: list[Finding] = []
    resources.reverse()
    while resources:
        entry = resources.pop()
        place = _place(entry.resource or Resource())
        findings += [
            _finding(vulnerability, advisory, place, rate(given_ratings(vulnerability)))
            for vulnerability, advisory in _vulnerabilities(entry.vulnerabilities or ())
        ]
    if not findings:
        _require_clean(report, listed, examined)
    return ScanResult(findings, list(_notices(report, skipped=listed - examined, missing=missing)))


def _require_clean(report: Report, listed: int, examined: int) -> None:
    """Raise BadReportError unless a report without vulnerabilities says that the image was examined."""
    if report.partial_results:
        raise BadReportError("Aqua examined only part of the image, and found nothing in that part.", _EXAMINE)
    summary = report.vulnerability_summary
    total = None
    if summary is not None:
        total = number(summary.total, _LARGEST)
        if counted := _counted(summary):
            raise BadReportError(
                f"The report of scannercli counts {counted} vulnerabilities, but lists none of them.", _EXAMINE
            )
    if not examined and (listed or total is None):
        raise BadReportError(
            "The report of scannercli does not say that anything was examined: "
            "it has no scanned resources, and no vulnerability_summary with a total of zero.",
            _EXAMINE,
        )


def _counted(summary: Summary | None) -> int:
    """Return how many vulnerabilities Aqua counted, but for negligible ones."""
    if summary is None:
        return 0
    by_severity = (summary.critical, summary.high, summary.medium, summary.low)
    return max(_count(summary.total), sum(map(_count, by_severity)))


def _notices(report: Report, *, skipped: int, missing: int) -> Iterator[str]:
    """Yield what must be said of the report as a whole, in words that fit every image: Harbor keeps the first ones."""
    if report.partial_results or skipped:
        yield "The results are partial: Aqua examined only part of the image, which may have more vulnerabilities."
    if missing > 0:
        yield "Aqua counted more vulnerabilities than its report lists: see the Aqua console."
    summary = report.vulnerability_summary
    if summary is not None and _count(summary.malware):
        yield "Aqua also found malware in the image: see the Aqua console."
    if summary is not None and _count(summary.sensitive):
        yield "Aqua also found sensitive data in the image: see the Aqua console."


def _count(value: Number) -> int:
    return int(number(value, _LARGEST) or 0)


def _place(resource: Resource) -> _Place:
    is_file = number(resource.type, _LARGEST) == _FILE
    names = (resource.path, resource.name) if is_file else (resource.name, resource.path)
    return _Place(
        package=next(filter(None, (*names, resource.cpe, resource.hash)), ""),
        version=resource.version or "",
        layer=Layer(resource.layer_digest) if resource.layer_digest else None,
        attributes={field: value for field in _RESOURCE_FIELDS if (value := getattr(resource, field))},
    )


def _vulnerabilities(
    listed: Sequence[Vulnerability], advisory: Vulnerability | None = None
) -> Iterator[tuple[Vulnerability, Vulnerability | None]]:
    """Yield vulnerabilities with the advisory, if any, under which they are listed.

    Harbor's allow lists name CVEs: so a `DSA-…` or `RHSA-…` gives way to the CVEs that it lists.
    """
    for vulnerability in listed:
        if vulnerability.ref_vulns:
            for nested in vulnerability.ref_vulns:
                _inherit(nested, vulnerability)
            yield from _vulnerabilities(vulnerability.ref_vulns, vulnerability)
        else:
            yield vulnerability, advisory


def _inherit(nested: Vulnerability, advisory: Vulnerability) -> None:
    for group in _INHERITED:
        if not any(getattr(nested, field) for field in group):
            for field in group:
                setattr(nested, field, getattr(advisory, field))


def _finding(vulnerability: Vulnerability, advisory: Vulnerability | None, place: _Place, rated: Ratings) -> Finding:
    fix_version = _fix_version(vulnerability.fix_version or "")
    return Finding(
        id=vulnerability.name or "",
        package=place.package,
        version=place.version,
        severity=_severity(vulnerability),
        fix_version=fix_version,
        description=vulnerability.description or "",
        links=_links(vulnerability.nvd_url, vulnerability.vendor_url, advisory.vendor_url if advisory else None),
        status=FindingStatus.FIXED if fix_version else _status_unfixed(vulnerability),
        preferred_cvss=rated.preferred,
        cwe_ids=[weakness.id for weakness in vulnerability.cwe_info or () if weakness.id],
        layer=place.layer,
        vendor_attributes=_attributes(vulnerability, advisory, place, rated),
    )


def _fix_version(text: str) -> str:
    """Return the versions that fix a vulnerability, as a comma list.

    For files the report may have several lines, versions among prose; prose alone stays, as one line.
    """
    if "\n" not in text:
        return text.strip()
    parts = (part.strip() for line in text.splitlines() for part in line.split(","))
    versions = dict.fromkeys(part for part in parts if _PLAIN_VERSION.fullmatch(part))
    return ", ".join(versions) or " ".join(text.split())


def _severity(vulnerability: Vulnerability) -> Severity:
    """Return Aqua's own severity, which the console shows, or where it is absent the first one of others."""
    word = next(filter(None, _severity_words(vulnerability)), "")
    return _SEVERITIES.get(word.strip().lower(), Severity.UNKNOWN)


def _status_unfixed(vulnerability: Vulnerability) -> FindingStatus:
    for text in (vulnerability.vendor_statement, vulnerability.classification):
        if text and _WILL_NOT_FIX.search(text):
            return FindingStatus.WILL_NOT_FIX
    return FindingStatus.AFFECTED


def _links(*urls: str | None) -> list[str]:
    links: list[str] = []
    for url in urls:
        if url and url.startswith(("https://", "http://")) and url not in links:
            links.append(url)
    return links


def _attributes(
    vulnerability: Vulnerability, advisory: Vulnerability | None, place: _Place, rated: Ratings
) -> dict[str, Any]:
    """Return what has no place in Harbor's own fields, in the report's words, without what is empty."""
    values = zip(_VENDOR_FIELDS, _vendor_values(vulnerability), strict=True)
    attributes: dict[str, Any] = {field: value for field, value in values if value}
    if rated.by_source:
        attributes["CVSS"] = rated.by_source
    if advisory is not None and advisory.name:
        attributes["advisory"] = advisory.name
    probability = number(vulnerability.epss_score, 1)
    if probability is not None:
        percentile = number(vulnerability.epss_percentile, 1)
        epss = {"score": probability, "percentile": percentile, "date": vulnerability.epss_date}
        attributes["epss"] = _given(epss)
    if vulnerability.cisa_publish_date or vulnerability.cisa_due_date:
        cisa = {"published": vulnerability.cisa_publish_date, "due": vulnerability.cisa_due_date}
        attributes["cisa"] = _given(cisa)
    if place.attributes:
        attributes["resource"] = place.attributes
    return attributes


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
