"""What an adapter answers, read as Harbor reads it and checked for all that Harbor refuses or stores wrongly.

Harbor decodes with Go's `encoding/json`: unknown fields are ignored, and null means the same as absent. Where Go is
lenient with names in another case, and with broken Unicode, this module is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from harbor_scanner.errors import HarborScannerError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Artifact, Capability, Cvss, Metadata, ScannerInfo, Severity
from harbor_scanner.harbor.report import MAX_DOCUMENT

MAX_KEY = 2600
"""Bytes of UTF-8 in the id, package and version of a vulnerability, which share one entry of a btree index with the
registration's UUID; PostgreSQL refuses an entry of more than about 2,700 bytes."""

_REPORTS = {media.NATIVE_REPORT, media.GENERIC_REPORT, media.SBOM_REPORT}
"""The report types that Harbor knows (Harbor v2.16 src/pkg/scan/rest/v1/spec.go)."""

_MARKS = {media.SPDX: {"spdxVersion", "@context"}, media.CYCLONEDX: {"bomFormat"}}
"""Of the members of an SBOM, one that tells its format: in SPDX 2 and 3, and in CycloneDX."""

_SEVERITIES = {"None", *Severity}
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_SHOWN = 20

_T = TypeVar("_T")


class AdapterError(HarborScannerError):
    """The adapter does not do what Harbor needs; in Harbor the scan, or the registration, would fail."""


class InvalidAnswerError(AdapterError):
    """An answer that Harbor refuses or stores wrongly. `problems` lists all of them, a line each."""

    def __init__(self, answer: str, problems: list[str]) -> None:
        shown = problems[:_SHOWN]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(f"{answer}: {problem}" for problem in shown))
        self.problems = problems


class ReportedVulnerability(msgspec.Struct, frozen=True):
    """One vulnerability of a report (spec schema `VulnerabilityItem`), in the words of any adapter."""

    id: str | None = None
    package: str | None = None
    version: str | None = None
    fix_version: str | None = None
    severity: str | None = None
    description: str | None = None
    links: list[str] | None = None
    status: str | None = None
    preferred_cvss: Cvss | None = None
    cwe_ids: list[str] | None = None
    vendor_attributes: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Id, package and version, which Harbor stores once."""
        return (self.id or "", self.package or "", self.version or "")


class VulnerabilityReport(msgspec.Struct, frozen=True):
    """A report of any adapter (spec schema `HarborVulnerabilityReport`)."""

    vulnerabilities: list[ReportedVulnerability]
    generated_at: datetime | None = None
    artifact: Artifact | None = None
    scanner: ScannerInfo | None = None
    severity: str | None = None


class SbomReport(msgspec.Struct, frozen=True):
    """An SBOM report of any adapter (spec v1.2, schema `HarborSbomReport`)."""

    sbom: dict[str, Any] | None = None
    """The document. It is there, and not empty, in a report that passed `check_sbom`."""
    media_type: str | None = None
    generated_at: datetime | None = None
    artifact: Artifact | None = None
    scanner: ScannerInfo | None = None


class _Scanner(msgspec.Struct):
    name: str | None = None
    vendor: str | None = None
    version: str | None = None


class _Capability(msgspec.Struct):
    type: str | None = None
    consumes_mime_types: list[str] | None = None
    produces_mime_types: list[str] | None = None
    additional_attributes: dict[str, Any] | None = None


class _Metadata(msgspec.Struct):
    scanner: _Scanner | None = None
    capabilities: list[_Capability] | None = None
    properties: dict[str, str] | None = None


def decode(answer: str, document: bytes, kind: type[_T]) -> _T:
    """Return `document` as a `kind`, or raise InvalidAnswerError under the name `answer`."""
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidAnswerError(answer, [f"Harbor cannot decode it: {error}"]) from None


def check_metadata(document: bytes) -> Metadata:
    """Return the metadata of an adapter that Harbor would register, or raise InvalidAnswerError.

    Rules of Harbor v2.16 src/pkg/scan/rest/v1/models.go, `ScannerAdapterMetadata.Validate`.
    """
    metadata = decode("metadata", document, _Metadata)
    scanner = metadata.scanner or _Scanner()
    capabilities = metadata.capabilities or []
    problems = [f"scanner.{name} is empty" for name in ("name", "vendor", "version") if not getattr(scanner, name)]
    if not capabilities:
        problems.append("capabilities is empty")
    for place, capability in enumerate(capabilities):
        if media.DOCKER_MANIFEST not in (capability.consumes_mime_types or ()):
            problems.append(f"capabilities[{place}] does not consume {media.DOCKER_MANIFEST}")
        if _REPORTS.isdisjoint(capability.produces_mime_types or ()):
            problems.append(f"capabilities[{place}] produces none of {', '.join(sorted(_REPORTS))}")
    if problems:
        raise InvalidAnswerError("metadata", problems)
    return Metadata(
        scanner=msgspec.convert(scanner, ScannerInfo, from_attributes=True),
        capabilities=tuple(
            Capability(
                type=capability.type or "vulnerability",
                consumes_mime_types=tuple(capability.consumes_mime_types or ()),
                produces_mime_types=tuple(capability.produces_mime_types or ()),
                additional_attributes=capability.additional_attributes,
            )
            for capability in capabilities
        ),
        properties=metadata.properties or {},
    )


def check_report(document: bytes) -> VulnerabilityReport:
    """Return the report in `document`, or raise InvalidAnswerError if Harbor could not store it as it is.

    Rules of Harbor v2.16 src/pkg/scan/postprocessors/report_converters.go and of its database's columns.
    """
    report = decode("report", document, VulnerabilityReport)
    problems = [*_problems_of_document(document, report), *_duplicates(report.vulnerabilities)]
    for place, item in enumerate(report.vulnerabilities):
        problems += (f"vulnerabilities[{place}] ({item.id}) {problem}" for problem in _problems_of_item(item))
    if problems:
        raise InvalidAnswerError("report", problems)
    return report


def check_sbom(document: bytes, media_type: str = media.SPDX) -> SbomReport:
    """Return the SBOM report in `document`, or raise InvalidAnswerError if it holds no SBOM in the format `media_type`.

    Harbor v2.16 src/pkg/scan/sbom/sbom.go pushes whatever is under `sbom` to its registry, a null too, and always as
    SPDX: it decodes the report, but looks at nothing else.
    """
    report = decode("SBOM report", document, SbomReport)
    problems = list(_problems_of_sbom(report, media_type))
    if problems:
        raise InvalidAnswerError("SBOM report", problems)
    return report


def _problems_of_sbom(report: SbomReport, media_type: str) -> Iterator[str]:
    if media.canonical(report.media_type or "") != media_type:
        yield f"media_type is {report.media_type!r}; {media_type} was asked for"
    if not report.sbom:
        yield "there is no SBOM; Harbor would push an accessory that says nothing"
    elif not _MARKS[media_type] & report.sbom.keys():
        yield f"sbom is no document in the format {media_type}: it has no {' or '.join(sorted(_MARKS[media_type]))}"


def _problems_of_document(document: bytes, report: VulnerabilityReport) -> Iterator[str]:
    if len(document) > MAX_DOCUMENT:
        yield f"Harbor passes over a report of {len(document):,} bytes; {MAX_DOCUMENT:,} is the most"
    if _NUL.search(document):
        yield "there is a NUL character, which PostgreSQL refuses"
    if report.severity and not _known(report.severity):
        yield f"severity {report.severity!r} is unknown to Harbor"


def _duplicates(items: Iterable[ReportedVulnerability]) -> Iterator[str]:
    for key, count in Counter(item.key for item in items).items():
        if count > 1:
            yield f"{' '.join(key)} is there {count} times; Harbor stores it once"


def _problems_of_item(item: ReportedVulnerability) -> Iterator[str]:
    if not item.id:
        yield "has no id"
    if not _known(item.severity or ""):
        yield f"has the severity {item.severity!r}, which is unknown to Harbor"
    if sum(len(part.encode()) for part in item.key) > MAX_KEY:
        yield f"has an id, package and version of more than {MAX_KEY:,} bytes, which PostgreSQL refuses"
    yield from (f"has a link that Harbor splits at its '|': {link}" for link in item.links or () if "|" in link)
    yield from (f"has a CWE id that Harbor splits at its ',': {cwe}" for cwe in item.cwe_ids or () if "," in cwe)
    scores = (item.vendor_attributes or {}).get("CVSS")
    for source in scores.values() if isinstance(scores, dict) else ():
        if isinstance(source, dict) and "V3Score" in source and type(source["V3Score"]) not in {int, float}:
            yield "has a vendor attribute CVSS with a V3Score that is no number, on which Harbor crashes"


def _known(severity: str) -> bool:
    """Whether Harbor takes `severity` for more than Unknown (Harbor v2.16 src/pkg/scan/vuln/severity.go)."""
    return severity[:1].upper() + severity[1:] in _SEVERITIES
