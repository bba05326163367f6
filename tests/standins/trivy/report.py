"""The JSON report of trivy, schema 2, in the shape of real ones."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any

from standins.engine import facts
from standins.engine.facts import Fact
from standins.engine.model import Inventory, Layer, Package, PulledImage

Json = dict[str, Any]
Found = tuple[Package, Fact]

_TYPES = {"npm": "node-pkg", "jar": "jar"}
_TARGETS = {"npm": "Node.js", "jar": "Java"}
_NUMBERS = {"LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}
_PER_PACKAGE = 10
_SCORES = ((9.8, "H/I:H/A:H"), (7.5, "N/I:N/A:H"), (5.3, "N/I:N/A:L"))
_LAYER = Layer("sha256:" + "5" * 64, "ADD made-up /", b"")


def found_in(inventory: Inventory) -> list[Found]:
    """Return what is known of an image's packages. Trivy knows no ids of other vendors."""
    return [
        (package, fact)
        for package in inventory.packages
        for fact in facts.of(package)
        if fact["name"].startswith("CVE-")
    ]


def made_up(count: int) -> Iterator[Found]:
    """Yield so many vulnerabilities, ten for a package; every second one has a fix."""
    for number in range(count):
        name, version = f"made-up-{number // _PER_PACKAGE:05}", "1.2.3-4"
        score, impact = _SCORES[number % len(_SCORES)]
        fact = {
            "name": f"CVE-{2015 + number % 10}-{100_000 + number}",
            "description": f"Number {number} is made up.",
            "v3": {"vector": f"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:{impact}", "score": score},
            "published": "2023-01-30",
            "modified": "2023-05-30",
        }
        if number % 2:
            fact["fix"] = "1.2.3-5"
        yield Package("deb", name, version, name, version, _LAYER, "amd64"), fact


def document(name: str, image: PulledImage, inventory: Inventory, found: Iterable[Found], *, unfixed: bool) -> Json:
    """Return the report. Without `unfixed`, vulnerabilities that have no fix are left out."""
    shown = [pair for pair in found if unfixed or "fix" in pair[1]]
    body: Json = {
        "SchemaVersion": 2,
        "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ArtifactName": name,
        "ArtifactType": "container_image",
        "Metadata": {"ImageID": image.config_digest, "RepoDigests": [name], "Size": image.size},
    }
    if inventory.os:
        body["Metadata"]["OS"] = {"Family": inventory.os, "Name": inventory.version}
    if results := list(_results(name, inventory, shown)):
        body["Results"] = results
    return body


def _results(name: str, inventory: Inventory, found: list[Found]) -> Iterator[Json]:
    """Yield what was found in the system's packages, then in those of each language."""
    if inventory.os:
        target = f"{name} ({inventory.os} {inventory.version})"
        of_system = [pair for pair in found if pair[0].format not in _TYPES]
        yield _result({"Target": target, "Class": "os-pkgs", "Type": inventory.os}, of_system)
    of_languages = sorted((pair for pair in found if pair[0].format in _TYPES), key=lambda pair: pair[0].format)
    for kind, pairs in itertools.groupby(of_languages, key=lambda pair: pair[0].format):
        yield _result({"Target": _TARGETS[kind], "Class": "lang-pkgs", "Type": _TYPES[kind]}, list(pairs))


def _result(head: Json, found: list[Found]) -> Json:
    # Go leaves out a list that is empty.
    return head | ({"Vulnerabilities": [_vulnerability(*pair) for pair in found]} if found else {})


def _vulnerability(package: Package, fact: Fact) -> Json:
    severity = _severity(fact)
    body: Json = {
        "VulnerabilityID": fact["name"],
        "PkgID": f"{package.name}@{package.version}",
        "PkgName": package.name,
        "InstalledVersion": package.version,
        "Status": "fixed" if "fix" in fact else "affected",
        "Layer": {"Digest": package.layer.digest},
        "SeveritySource": "nvd",
        "PrimaryURL": f"https://avd.aquasec.com/nvd/{fact['name'].lower()}",
        "Title": f"{package.source}: {fact['name']}",
        "Description": fact["description"],
        "Severity": severity,
        "VendorSeverity": {"nvd": _NUMBERS[severity]} if severity in _NUMBERS else {},
        "References": [f"https://nvd.nist.gov/vuln/detail/{fact['name']}"],
        "PublishedDate": f"{fact['published']}T00:00:00Z",
        "LastModifiedDate": f"{fact['modified']}T00:00:00Z",
    }
    if "fix" in fact:
        body["FixedVersion"] = fact["fix"]
    if "cwe" in fact:
        body["CweIDs"] = [fact["cwe"]["Id"]]
    if scores := _scores(fact):
        body["CVSS"] = {"nvd": scores}
    return body


def _scores(fact: Fact) -> Json:
    scores: Json = {}
    for version in ("v2", "v3"):
        if known := fact.get(version):
            score = known["score"]
            scores[f"{version.upper()}Vector"] = known["vector"]
            # Go writes whole numbers without a fraction.
            scores[f"{version.upper()}Score"] = int(score) if score == int(score) else score
    return scores


def _severity(fact: Fact) -> str:
    if "vendor_severity" in fact:
        return "LOW"
    if score := (fact.get("v3") or fact.get("v2") or {}).get("score"):
        return "CRITICAL" if score >= 9 else "HIGH" if score >= 7 else "MEDIUM" if score >= 4 else "LOW"
    return "UNKNOWN"
