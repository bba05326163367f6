"""From a report of Qualys to findings: one for each CVE of a package, with all the QIDs that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

from harbor_scanner.harbor.models import Cvss, Finding, FindingStatus, Layer, Severity
from harbor_scanner.scanners.base import ScanResult
from harbor_scanner.scanners.qualys.doubts import notices, require_clean
from harbor_scanner.scanners.qualys.inventory import Inventory, System, combined
from harbor_scanner.scanners.qualys.report import QualysReport
from harbor_scanner.scanners.qualys.table import table_packages
from harbor_scanner.scanners.qualys.vulnerability import Package, Vulnerability, is_cve

SEVERITIES = (
    Severity.UNKNOWN,
    Severity.NEGLIGIBLE,
    Severity.LOW,
    Severity.MEDIUM,
    Severity.HIGH,
    Severity.CRITICAL,
)
"""Harbor's words for the severities 0 (not known) to 5, as Qualys' integrations with build pipelines map them."""

MAX_DETAILS = 20 * 1024
"""Bytes of JSON for the QIDs of a finding that are told in full, so that the limit of all vendor attributes is kept."""

MAX_NAMED = 1000
"""QIDs of a finding that are named at all."""

_MAX_EVIDENCE = 2000
_MAX_SEEN = 8
_MAX_PATHS = 10
_MAX_FIX = 256
_encode = msgspec.json.Encoder().encode
_NVD = "https://nvd.nist.gov/vuln/detail/"

Key: TypeAlias = tuple[str, str, str]
"""Id, package and version of a finding."""


class _Hit(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A QID that affects a package of one version, under whatever paths; the same for all CVEs of the QID."""

    vulnerability: Vulnerability
    package: str
    version: str
    fixes: tuple[str, ...]
    paths: tuple[str, ...]
    layer: str
    named: bool
    """Whether Qualys named the package; otherwise it is the system or the image that stands for one."""

    @property
    def rank(self) -> tuple[int, int]:
        """The most severe first, then the lowest QID."""
        return -self.vulnerability.severity, self.vulnerability.qid


class _Common(NamedTuple):
    """What all findings of the same hits share."""

    severity: Severity
    fix_version: str
    description: str
    status: FindingStatus
    cvss: Cvss | None
    layer: Layer | None
    attributes: dict[str, Any]


def to_result(
    report: QualysReport, inventory: Inventory | None, image: str, digest: str = "", *, narrow: bool
) -> ScanResult:
    """Return what a report says.

    Raises BadReportError if it lists nothing, yet nothing shows that the image, whose manifest has this digest if one
    is given, is clean.

    What Qualys found without a package stands under the operating system, or under `image`, the name of the
    repository, if that is not known. With `narrow` a CVE of a package has only one QID, the most severe, and what has
    no package is left out, as Qualys' deployment guide says of Qualys' own adapter; a notice tells how much.
    Findings share their vendor attributes, which must not be changed in place.
    """
    inventory = combined(known for known in (inventory, report.inventory) if known is not None)
    if not report.vulnerabilities:
        require_clean(report, inventory, digest)
    place = _place(report.system if report.system.name else inventory.system, image)
    groups, left_out = _groups(report.vulnerabilities, None if narrow else place)
    if narrow:
        groups = _narrowed(groups)
    common = cache(lambda *hits: _common(hits, report.risk))
    findings = [_finding(key, common(*sorted(hits, key=_rank))) for key, hits in groups.items()]
    return ScanResult(findings, list(notices(report, inventory, left_out)))


def _place(system: System, image: str) -> Package:
    return Package(system.name, system.version) if system.name else Package(image)


def _groups(vulnerabilities: Iterable[Vulnerability], place: Package | None) -> tuple[dict[Key, list[_Hit]], int]:
    """Return the hits of each finding, and how many vulnerabilities have no package and no `place` to stand under."""
    groups: dict[Key, list[_Hit]] = {}
    left_out = 0
    for vulnerability in vulnerabilities:
        hits = _hits(vulnerability, place)
        left_out += not hits
        for name in vulnerability.cves or (f"QID-{vulnerability.qid}",):
            for hit in hits:
                groups.setdefault((name, hit.package, hit.version), []).append(hit)
    return groups, left_out


def _hits(vulnerability: Vulnerability, place: Package | None) -> list[_Hit]:
    packages: Sequence[Package] = vulnerability.packages
    named = True
    if not packages and place is not None:
        packages = table_packages(vulnerability.evidence)
        if not packages:
            packages, named = [place], False
    by_version: dict[tuple[str, str], list[Package]] = {}
    for package in packages:
        by_version.setdefault((package.name, package.version), []).append(package)
    return [
        _Hit(
            vulnerability,
            *name_and_version,
            fixes=_united(_versions(package.fix) for package in copies),
            paths=_united([package.path] for package in copies),
            layer=next((package.layer for package in copies if package.layer), vulnerability.layer),
            named=named,
        )
        for name_and_version, copies in by_version.items()
    ]


def _narrowed(groups: Mapping[Key, Sequence[_Hit]]) -> dict[Key, list[_Hit]]:
    """Return of each CVE of a package, whatever its version, only the hits of its foremost QID."""
    foremost: dict[tuple[str, str], tuple[int, int]] = {}
    for (name, package, _), hits in groups.items():
        rank = min(map(_rank, hits))
        foremost[name, package] = min(rank, foremost.get((name, package), rank))
    kept = {
        (name, package, version): [hit for hit in hits if hit.rank == foremost[name, package]]
        for (name, package, version), hits in groups.items()
    }
    return {key: hits for key, hits in kept.items() if hits}


def _rank(hit: _Hit) -> tuple[int, int]:
    return hit.rank


def _finding(key: Key, common: _Common) -> Finding:
    name, package, version = key
    return Finding(
        id=name,
        package=package,
        version=version,
        severity=common.severity,
        fix_version=common.fix_version,
        description=common.description,
        links=[f"{_NVD}{name}"] if is_cve(name) else [],
        status=common.status,
        preferred_cvss=common.cvss,
        layer=common.layer,
        vendor_attributes=common.attributes,
    )


def _common(hits: Sequence[_Hit], risk: Mapping[str, Any]) -> _Common:
    """Return what follows from the hits of a finding, the most severe first."""
    cvss = next((hit.vulnerability.cvss for hit in hits if hit.vulnerability.cvss), None)
    layer = next((hit.layer for hit in hits if hit.layer), "")
    fix_version = ", ".join(_united(hit.fixes for hit in hits))
    return _Common(
        severity=SEVERITIES[hits[0].vulnerability.severity],
        fix_version=fix_version,
        description=_description(hits),
        status=FindingStatus.FIXED if fix_version else FindingStatus.AFFECTED,
        cvss=cvss,
        layer=Layer(layer) if layer else None,
        attributes=_attributes(hits, cvss, risk),
    )


def _description(hits: Sequence[_Hit]) -> str:
    """Return the titles of the QIDs, for the report has no texts, and what was seen where no package tells it."""
    lines = _united([_line(hit.vulnerability)] for hit in hits[:MAX_NAMED])
    seen = _united([hit.vulnerability.evidence.strip()] for hit in hits[:_MAX_SEEN] if not hit.named)
    shortened = (text if len(text) <= _MAX_EVIDENCE else f"{text[:_MAX_EVIDENCE]}…" for text in seen)
    return "\n\n".join(("\n".join(lines), *shortened))


def _line(vulnerability: Vulnerability) -> str:
    name = f"QID {vulnerability.qid}" if vulnerability.qid else ""
    return f"{vulnerability.title} ({name})" if vulnerability.title and name else vulnerability.title or name


def _attributes(hits: Sequence[_Hit], cvss: Cvss | None, risk: Mapping[str, Any]) -> dict[str, Any]:
    numbers = sorted({hit.vulnerability.qid for hit in hits} - {0})
    attributes: dict[str, Any] = {
        "qids": numbers[:MAX_NAMED],
        "details": _details(hits) if len(hits) > 1 else [_told(hits[0])],
    }
    if len(numbers) > MAX_NAMED:
        attributes["qidCount"] = len(numbers)
    if scores := _scores(cvss):
        attributes["CVSS"] = {"qualys": scores}
    if risk:
        attributes["truRisk"] = risk
    return attributes


def _details(hits: Sequence[_Hit]) -> list[dict[str, Any]]:
    """Return what is told of each QID, the most severe first, as far as there is room, without repetition."""
    details: dict[bytes, dict[str, Any]] = {}
    room = MAX_DETAILS
    for hit in hits:
        told = _told(hit)
        encoded = _encode(told)
        if encoded in details:
            continue
        room -= len(encoded)
        if room < 0 and details:
            break
        details[encoded] = told
    return list(details.values())


def _told(hit: _Hit) -> dict[str, Any]:
    """Return what Qualys says of a QID and of the package under it."""
    told = dict(hit.vulnerability.details)
    if hit.fixes:
        told["fix"] = ", ".join(hit.fixes)[:_MAX_FIX]
    if hit.paths:
        told["paths"] = list(hit.paths[:_MAX_PATHS])
    return told


def _scores(cvss: Cvss | None) -> dict[str, Any]:
    """Return the scores in the names that Harbor knows in `vendor_attributes.CVSS`."""
    if cvss is None:
        return {}
    named = {
        "V2Score": cvss.score_v2,
        "V2Vector": cvss.vector_v2,
        "V3Score": cvss.score_v3,
        "V3Vector": cvss.vector_v3,
    }
    return {name: item for name, item in named.items() if item is not None}


def _versions(fix: str) -> list[str]:
    return [version.strip() for version in fix.split(",")]


def _united(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the texts of all lists in their order, without empty and repeated ones."""
    return tuple(dict.fromkeys(text for listed in lists for text in listed if text))
