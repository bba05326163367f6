"""ScanResult.json: what is installed in the image, and how the scans for it went."""

from __future__ import annotations

import time

from standins.engine.model import Inventory, Package, Secret
from standins.qualys.qid import Json
from standins.qualys.sbom import package_url
from standins.qualys.subject import Subject

_SCANS = {
    "pkg": ["OS", "SCA"],
    "secret": ["SECRET"],
    "malware": ["MALWARE"],
    "fileinsight": ["FILE_INSIGHT"],
    "compliance": ["COMPLIANCE"],
}


def document(subject: Subject, scan_types: list[str], version: str, status: str) -> Json:
    """Return the document. `status` is how the last of its scans for packages ended, if not well."""
    inventory = subject.inventory
    system = [package for package in inventory.packages if package.architecture]
    applications = [package for package in inventory.packages if not package.architecture]
    body: Json = {
        "SchemaVersion": 1,
        "QScannerVersion": version,
        "ScansPerformed": _performed(scan_types, subject.started, status),
        "Metadata": {
            "ScanStartTime": int(subject.started),
            "ScanEndTime": int(time.time()),
            "Target": {
                "OS": f"{inventory.os} {inventory.version}",
                "Architecture": subject.architecture,
                "ImageID": subject.image_id,
                "RepoTags": [],
                "RepoDigests": [f"{subject.repository}@{subject.digest}"],
            },
        },
    }
    if system:
        body["OSResults"] = [
            {"Target": f"{inventory.os} {inventory.version}", "Packages": [_system(package) for package in system]}
        ]
    if applications:
        body["SCAResults"] = [
            {"Target": subject.image, "Packages": [_application(package, inventory) for package in applications]}
        ]
    if "secret" in scan_types:
        body["SecretResults"] = [{"Target": secret.path, "Secrets": [_secret(secret)]} for secret in inventory.secrets]
    return body


def _performed(scan_types: list[str], started: float, status: str) -> list[Json]:
    took = f"{(time.time() - started) * 1000:f}ms"
    scans: list[Json] = [
        {"ScanType": name, "ScanDuration": took, "Status": "SUCCESS"}
        for scan_type in scan_types
        for name in _SCANS[scan_type]
    ]
    for scan in scans:
        if scan["ScanType"] == "SCA" and status == "partial":
            # The names in PartialScanInfo are not documented.
            scan["PartialScanInfo"] = {"ScanTimedOut": True}
        elif scan["ScanType"] == "SCA" and status:
            scan["Status"] = status
    return scans


def _system(package: Package) -> Json:
    version, _, release = package.version.rpartition("-")
    return {
        "Name": package.name,
        "Version": version or package.version,
        "Release": release if version else "",
        "Arch": package.architecture,
        "SrcName": package.source,
        "SrcVersion": package.source_version,
    }


def _application(package: Package, system: Inventory) -> Json:
    return {
        "Name": package.name,
        "Version": package.version,
        "Language": {"npm": "nodejs", "jar": "java"}[package.format],
        "Licenses": [package.license] if package.license else [],
        "PURL": package_url(package, system),
        "FilePath": package.path,
    }


def _secret(secret: Secret) -> Json:
    return {
        "RuleID": "private-key",
        "Category": "AsymmetricPrivateKey",
        "Severity": "HIGH",
        "Title": secret.kind,
        "StartLine": 1,
        "EndLine": 1,
    }
