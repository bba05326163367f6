"""QIDs, as the platform finds them in an image: each is an update or a problem, with several CVEs, one or none.

The facts are those of the engine; numbers, severities, scores of Qualys and threat intelligence are made up of them,
always in the same way.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple

from standins.engine import facts
from standins.engine.facts import Fact
from standins.engine.model import Inventory, Package

Json = dict[str, Any]

THREATS = (
    "activeAttacks",
    "zeroDay",
    "publicExploit",
    "easyExploit",
    "exploitKit",
    "malware",
    "denialOfService",
    "highLateralMovement",
    "highDataLoss",
    "noPatch",
    "ransomware",
)

CUSTOMER_SEVERITIES = {"DSA-5532-1": 2, "CVE-2023-45853": 3, "CVE-2019-12900": 3}
"""What the customer made of severities, by advisory or CVE."""
WITHOUT_SOFTWARE = {"CVE-2022-48303", "CVE-2018-1000654"}
"""Found by looking at the system: which packages are meant stands only in the text of the result."""

_LANGUAGES = {"npm": "Nodejs (npm)", "jar": "Java (maven)"}
_SYSTEMS = {"deb": "Debian", "apk": "Alpine Linux"}
_OF_ITS_OWN = {
    "CVE-2023-4911": ("GNU C Library (glibc) Local Privilege Escalation Vulnerability (Looney Tunables)", 5, "Local"),
    "CVE-2023-44487": ("HTTP/2 Protocol Denial of Service Vulnerability (Rapid Reset)", 3, "General remote services"),
    "CVE-2019-14697": ("Alpine Linux musl Stack Imbalance Vulnerability", 4, "Local"),
}
"""CVEs with a QID of their own, beside that of the update: title, severity and category."""
_END_OF_LIFE = {
    ("alpine", "3.9"): ("EOL/Obsolete Operating System: Alpine Linux 3.9 Detected", 5),
    ("debian", "12.1"): ("Debian 12 Outdated Point Release Detected", 2),
}


class Affected(NamedTuple):
    """A package that a QID is about, and the version that mends it, which may be empty."""

    package: Package
    fix: str


class Qid(NamedTuple):
    """A QID found in an image."""

    number: int
    title: str
    severity: int
    category: str
    facts: list[Fact]
    affected: list[Affected]
    customer_severity: int
    software: bool = True
    """Whether the packages are told, and not only in the text of the result."""

    @property
    def cves(self) -> list[str]:
        """The CVEs, which may be none."""
        return [fact["name"] for fact in self.facts if fact["name"].startswith("CVE-")]


def of_image(inventory: Inventory) -> list[Qid]:
    """Return the QIDs of an image: of its packages by advisory or CVE, some under two QIDs, and of its system."""
    updates: dict[str, list[tuple[Package, Fact]]] = {}
    for package in inventory.packages:
        for fact in facts.of(package):
            updates.setdefault(fact.get("advisory") or fact["name"], []).append((package, fact))
    found = [_update(key, pairs) for key, pairs in updates.items()]
    known = [pair for pairs in updates.values() for pair in pairs]
    for cve, (title, severity, category) in _OF_ITS_OWN.items():
        if about := [pair for pair in known if pair[1]["name"] == cve]:
            found.append(_qid(title, title, severity, category, about))
    for (system, version), (title, severity) in _END_OF_LIFE.items():
        if inventory.os == system and f"{inventory.version}.".startswith(f"{version}."):
            found.append(_qid(title, title, severity, "Security Policy", []))
    return sorted(found, key=lambda qid: qid.number)


def _update(key: str, known: list[tuple[Package, Fact]]) -> Qid:
    package, fact = known[0]
    if package.format in _LANGUAGES:
        category = "Software Composition Analysis"
        title = f"{_LANGUAGES[package.format]} Security Update for {package.name} ({key})"
    else:
        category = _SYSTEMS[package.format]
        title = f"{category} Security Update for {fact['source']} ({key})"
    return _qid(key, title, max(_severity(one) for _, one in known), category, known)


def _qid(key: str, title: str, severity: int, category: str, known: list[tuple[Package, Fact]]) -> Qid:
    return Qid(
        number=100_000 + zlib.crc32(key.encode()) % 900_000,
        title=title,
        severity=severity,
        category=category,
        facts=list({fact["name"]: fact for _, fact in known}.values()),
        affected=list({pair[0]: Affected(pair[0], pair[1].get("fix", "")) for pair in known}.values()),
        customer_severity=CUSTOMER_SEVERITIES.get(key, severity),
        software=key not in WITHOUT_SOFTWARE,
    )


def detail(qid: Qid, now: int) -> Json:
    """Return a QID as the platform's report tells it. `now` is in milliseconds."""
    rating = max(qid.facts, key=_score, default={})
    exploited = any("cisa" in fact for fact in qid.facts)
    patch = any(affected.fix for affected in qid.affected)
    software = [_software(affected) for affected in qid.affected] if qid.software else []
    return {
        "vulnerability": None,
        "result": _result(qid.affected),
        "lastFound": str(now),
        "firstFound": str(now),
        "severity": qid.severity,
        "customerSeverity": qid.customer_severity,
        "port": None,
        "typeDetected": "POTENTIAL" if "vendor_severity" in rating else "CONFIRMED",
        "status": None,
        "risk": qid.severity * 10,
        "category": qid.category,
        "discoveryType": ["AUTHENTICATED"],
        "authType": ["UNIX_AUTH"],
        "supportedBy": ["CS-Sensor"],
        "product": sorted({affected.package.source for affected in qid.affected}),
        "vendor": [],
        "vendorData": None,
        "qid": qid.number,
        "title": qid.title,
        "cveids": qid.cves or None,
        "cvssInfo": _cvss(rating.get("v2"), "accessVector"),
        "cvss3Info": _cvss(rating.get("v3"), ""),
        "qdsScore": 95 if exploited else min(round(_score(rating) * 7), 69) or None,
        "patchAvailable": patch,
        "published": _milliseconds(rating["published"]) if "published" in rating else None,
        "software": software or None,
        "threatIntel": {
            threat: True if yes else None
            for threat, yes in zip(THREATS, _threats(rating, exploited, patch), strict=True)
        },
        "scanType": ["STATIC"],
        "layerSha": sorted({affected.package.layer.digest.removeprefix("sha256:") for affected in qid.affected}),
        "source": "QUALYS",
        "reason": None,
        "isExempted": False,
    }


def _threats(rating: Fact, exploited: bool, patch: bool) -> Iterable[bool]:
    vector = rating.get("v3", {}).get("vector", "")
    return (
        exploited, False, exploited, "/AC:L/PR:N/UI:N" in vector, False, False,
        vector.endswith("/A:H"), False, "/C:H" in vector, not patch, False,
    )  # fmt: skip


def _software(affected: Affected) -> Json:
    package = affected.package
    library = package.format == "deb" and package.name.startswith("lib") and not package.name.endswith("-bin")
    suffix = f":{package.architecture}" if library else ""
    return {
        "name": package.name + suffix,
        "version": package.version,
        "scanType": "STATIC",
        "packagePath": package.path or None,
        "fixVersion": affected.fix or None,
        "vulnerabilities": None,
    }


def _result(affected: list[Affected]) -> str | None:
    """Return the evidence: a table, if it is about packages."""
    if not affected:
        return None
    rows = [f"{one.package.name} {one.package.version} {one.fix or '-'}" for one in affected]
    return "\n".join(['#table cols="3"', "Package Installed_Version Required_Version", *rows])


def _cvss(score: Json | None, vector: str) -> Json | None:
    if not score:
        return None
    # Temporal: no exploit is proven, and an official fix is there.
    info: Json = {"baseScore": f"{score['score']:.1f}", "temporalScore": f"{score['score'] * 0.87:.1f}"}
    if vector:
        info[vector] = {"N": "Network", "A": "Adjacent Network", "L": "Local"}[score["vector"][3]]
    return info


def _milliseconds(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * 86_400_000


def _score(fact: Fact) -> float:
    score: float = (fact.get("v3") or fact.get("v2") or {"score": 0.0})["score"]
    return score


def _severity(fact: Fact) -> int:
    if "vendor_severity" in fact:
        return 1
    score = _score(fact)
    return 5 if score >= 9 else 4 if score >= 7 else 3 if score >= 4 else 2
