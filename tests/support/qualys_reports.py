"""Reports as qscanner is assumed to write them, with real vulnerabilities in them, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

from harbor_scanner.harbor.models import Finding
from harbor_scanner.scanners.base import ScanResult
from harbor_scanner.scanners.qualys.findings import to_result
from harbor_scanner.scanners.qualys.inventory import decode_inventory
from harbor_scanner.scanners.qualys.report import decode_report
from harbor_scanner.scanners.qualys.sarif import decode_sarif

LAYER = "sha256:" + "a" * 64

EXPAT = {
    "vulnerability": None,
    "result": (
        '#table cols="3"\nPackage Installed_Version Required_Version\nexpat 2.1.0-10.21.amzn1.x86__64 2.1.0-14.31.amzn1'
    ),
    "lastFound": "1738827505526",
    "firstFound": "1738660042992",
    "severity": 5,
    "customerSeverity": 5,
    "port": None,
    "typeDetected": "CONFIRMED",
    "status": None,
    "risk": 50,
    "category": "Amazon Linux",
    "discoveryType": ["AUTHENTICATED"],
    "qid": 353186,
    "title": "Amazon Linux Security Advisory for expat: ALAS-2022-1569",
    "qdsScore": 95,
    "cvssInfo": {"baseScore": "7.5", "temporalScore": "5.9", "accessVector": "Network"},
    "cvss3Info": {"baseScore": "9.8", "temporalScore": "8.8"},
    "cveids": ["CVE-2022-25235", "CVE-2022-25236"],
    "software": [
        {
            "name": "expat",
            "version": "2.1.0-10.21.amzn1",
            "scanType": "DYNAMIC",
            "packagePath": None,
            "fixVersion": "2.1.0-14.31.amzn1",
            "vulnerabilities": None,
        }
    ],
    "patchAvailable": True,
    "published": 1645056000000,
    "threatIntel": {"activeAttacks": None, "publicExploit": True, "easyExploit": True, "malware": False},
    "vendorData": None,
    "layerSha": [LAYER],
    "isExempted": None,
}

SCANNED = {
    "SchemaVersion": 1,
    "ScansPerformed": [
        {"ScanType": "OS", "ScanDuration": 1, "Status": "SUCCESS"},
        {"ScanType": "SCA", "ScanDuration": 1, "Status": "SUCCESS", "PartialScanInfo": {"FilesSkipped": False}},
    ],
    "Metadata": {"ScanStartTime": 1, "Target": {"OS": "Amazon Linux 2018.03", "Architecture": "amd64"}},
}


def qid(number: int, **fields: Any) -> dict[str, Any]:
    """Return an entry of these fields alone."""
    return {"qid": number, "title": f"Title {number}", **fields}


def software(name: str = "openssl", version: str = "1.1.1k", fix: str | None = None) -> list[dict[str, Any]]:
    """Return one package as the field `software` has it."""
    return [{"name": name, "version": version, "fixVersion": fix}]


def report(*entries: Any) -> dict[str, Any]:
    """Return the report that lists `entries`."""
    return {"VulnerabilityReport": {"details": list(entries)}}


def encoded(document: Any) -> bytes:
    """Return `document` as the content of a file."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def result_of(
    document: Any, inventory: Any = None, digest: str = "", *, narrow: bool = False, sarif: bool = False
) -> ScanResult:
    """Return what becomes of the report `document` of the image `library/mongo`."""
    decoded = (decode_sarif if sarif else decode_report)(encoded(document))
    recorded = decode_inventory(encoded(inventory)) if inventory is not None else None
    return to_result(decoded, recorded, "library/mongo", digest, narrow=narrow)


def findings_of(*entries: Any, **options: Any) -> list[Finding]:
    """Return the findings of a report of `entries`."""
    return result_of(report(*entries), **options).findings


def finding_of(*entries: Any, **options: Any) -> Finding:
    """Return the only finding of a report of `entries`."""
    (finding,) = findings_of(*entries, **options)
    return finding
