"""Vulnerabilities in the report of scannercli: of a package, of an advisory, with their scores."""

from __future__ import annotations

import zlib
from typing import Any

from standins.engine import facts
from standins.engine.facts import Fact
from standins.engine.model import Package

Json = dict[str, Any]

SEVERITIES = ("critical", "high", "medium", "low", "negligible")

# What the finding of an advisory says of itself; all else stands in the vulnerabilities nested in it.
_OF_ADVISORY = (
    "fix_version",
    "solution",
    "nvd_score_v3",
    "nvd_severity_v3",
    "aqua_score",
    "aqua_severity",
    "aqua_vectors",
    "aqua_scoring_system",
)


def of_package(package: Package) -> list[Json]:
    """Return the findings of a package; those of one security advisory are nested in one finding."""
    found: list[Json] = []
    advisories: dict[str, Json] = {}
    for fact in facts.of(package):
        finding = vulnerability(fact, package.name)
        if "advisory" not in fact:
            found.append(finding)
            continue
        if fact["advisory"] not in advisories:
            advisories[fact["advisory"]] = _advisory(fact, finding)
            found.append(advisories[fact["advisory"]])
        advisories[fact["advisory"]]["ref_vulns"].append({**finding, "ancestor_pkg": package.source})
    return found


def vulnerability(fact: Fact, package: str) -> Json:
    """Return a finding for a package."""
    name = fact["name"]
    body: Json = {"name": name, "type": "vulnerability", "description": fact["description"]}
    if name.startswith("CVE-"):
        body["nvd_url"] = f"https://nvd.nist.gov/vuln/detail/{name}"
        body["heuristic_ref_id"] = zlib.crc32(name.encode()) % 1_000_000
    if fact["format"] == "deb":
        body["vendor_url"] = f"https://security-tracker.debian.org/tracker/{name}"
    if "published" in fact:
        body |= {"publish_date": fact["published"], "modification_date": fact["modified"]}
    if "fix" in fact:
        body["fix_version"] = fact["fix"]
        body["solution"] = f"Upgrade package {package} to version {fact['fix']} or above."
    if "cwe" in fact:
        body["cwe_info"] = [fact["cwe"]]
    if "cisa" in fact:
        body["cisa_publish_date"], body["cisa_due_date"] = fact["cisa"]
    return body | _scores(fact)


def _advisory(fact: Fact, first: Json) -> Json:
    return {
        "name": fact["advisory"],
        "description": f"{fact['source']} - security update",
        "publish_date": fact["advisory_date"],
        "vendor_publish_date": fact["advisory_date"],
        "ref_vulns": [],
        **{key: first[key] for key in _OF_ADVISORY},
    }


def _scores(fact: Fact) -> Json:
    """Return NVD's scores, and Aqua's own, which follows CVSS 3 where there is one, then the vendor."""
    body: Json = {}
    if v2 := fact.get("v2"):
        body["nvd_score"] = v2["score"]
        body["nvd_score_version"] = "CVSS v2"
        body["nvd_vectors"] = v2["vector"]
        body["nvd_severity"] = _severity(v2["score"], highest="high")
        body |= _aqua(v2, "CVSS V2", body["nvd_severity"])
    if v3 := fact.get("v3"):
        body["nvd_score_v3"] = v3["score"]
        body["nvd_vectors_v3"] = v3["vector"]
        body["nvd_severity_v3"] = _severity(v3["score"], highest="critical")
        body |= _aqua(v3, "CVSS V3", body["nvd_severity_v3"])
    if "severity" in fact:
        body["aqua_severity"] = fact["severity"]
    if vendor := fact.get("vendor_severity"):
        body |= {"vendor_severity": vendor, "aqua_severity": "negligible"}
    return body


def _aqua(score: Json, system: str, severity: str) -> Json:
    return {
        "aqua_score": score["score"],
        "aqua_severity": severity,
        "aqua_vectors": score["vector"],
        "aqua_scoring_system": system,
        "aqua_score_classification": f"NVD {system} Score: {score['score']:g}",
    }


def _severity(score: float, *, highest: str) -> str:
    if score >= 9:
        return highest
    return "high" if score >= 7 else "medium" if score >= 4 else "low"
