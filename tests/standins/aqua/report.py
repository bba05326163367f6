"""The JSON report of scannercli, in the shape of real ones."""

from __future__ import annotations

import time
import zlib
from typing import NamedTuple

from standins.aqua import finding
from standins.aqua.finding import SEVERITIES, Json
from standins.engine.model import Inventory, Package, PulledImage, Secret


class Subject(NamedTuple):
    """What is reported on."""

    image: str
    """As on the command line."""
    registry: str
    """Its name in the console."""
    pull_name: str
    user: str
    dockerless: bool
    registered: bool
    compliant: bool
    partial: bool


def resources(inventory: Inventory, *, show_negligible: bool) -> tuple[list[Json], list[Json]]:
    """Return the elements of `resources`, and all findings, also those that are not shown."""
    elements, findings = [], []
    for package in inventory.packages:
        found = finding.of_package(package)
        findings += found
        element: Json = {"resource": _resource(package, inventory), "scanned": True}
        if shown := [one for one in found if show_negligible or one["aqua_severity"] != "negligible"]:
            element["vulnerabilities"] = shown
        elements.append(element)
    return elements + [_sensitive(secret) for secret in inventory.secrets], findings


def head(subject: Subject, image: PulledImage, inventory: Inventory, findings: list[Json], started: float) -> Json:
    """Return the report without its resources."""
    body: Json = {
        "image": subject.image,
        "registry": subject.registry,
        "scan_started": {"seconds": int(started), "nanos": int(started % 1 * 1e9)},
        "scan_duration": round(time.time() - started),
        "image_size": image.size,
        "digest": image.digest,
        "metadata": {},
        "os": inventory.os,
        "version": inventory.version,
        "image_assurance_results": _assurance(findings, compliant=subject.compliant),
        "vulnerability_summary": _summary(findings, len(inventory.secrets)),
        "scan_options": {
            "scan_executables": True,
            "scan_sensitive_data": True,
            "scan_malware": True,
            "scan_files": True,
            "scan_timeout": 3_600_000_000_000,
            "use_cvss3": True,
            "dockerless": subject.dockerless,
            "system_image_platform": "amd64:::",
            "register_image": subject.registered,
        },
        "changed_result": False,
        "initiating_user": subject.user,
        "data_date": int(started),
        "pull_name": subject.pull_name,
        "original_registry": subject.registry,
        "scan_id": zlib.crc32(subject.pull_name.encode()) % 10_000,
        "required_image_platform": "amd64:::",
        "scanned_image_platform": "amd64::linux:",
    }
    if subject.partial:
        body["partial_results"] = True
    return body


def _resource(package: Package, inventory: Inventory) -> Json:
    layer = {"layer": package.layer.created_by, "layer_digest": package.layer.digest}
    if package.format == "jar":
        # Of a single file the report tells neither name nor version.
        sha1 = package.sha1
        return {"type": 1, "path": package.path, "cpe": f"file:/{sha1}", "hash": f"sha1:{sha1}", **layer}
    system = f"{inventory.os}:{inventory.version}" if package.architecture else f"{package.format}:*"
    body: Json = {
        "format": package.format,
        "name": package.name,
        "version": package.version,
        "cpe": f"pkg:/{system}:{package.name}:{package.version}",
        **layer,
    }
    if package.format == "deb":
        body |= {"src_name": package.source, "src_version": package.source_version}
    optional = {"arch": package.architecture, "license": package.license, "path": package.path}
    return body | {key: value for key, value in optional.items() if value}


def _sensitive(secret: Secret) -> Json:
    return {
        "resource": {
            "type": 1,
            "path": secret.path,
            "name": secret.path.rpartition("/")[2],
            "hash": f"sha1:{secret.sha1}",
            "sensitive_items": [secret.kind],
            "layer": secret.layer.created_by,
            "layer_digest": secret.layer.digest,
        },
        "scanned": True,
        "sensitive_data_items": [{"type": secret.kind}],
    }


def _summary(findings: list[Json], sensitive: int) -> Json:
    counts = dict.fromkeys(SEVERITIES, 0)
    for one in findings:
        counts[one["aqua_severity"]] += 1
    body: Json = {
        # Negligible findings are counted apart.
        "total": len(findings) - counts["negligible"],
        **counts,
        "sensitive": sensitive,
        "malware": 0,
    }
    scored = [one for one in findings if "aqua_score" in one]
    if scores := [one["aqua_score"] for one in scored]:
        body |= {"score_average": sum(scores) / len(scores), "max_score": max(scores)}
    if fixable := [(one["aqua_score"], one["aqua_severity"]) for one in scored if "fix_version" in one]:
        body["max_fixable_score"], body["max_fixable_severity"] = max(fixable)
    return body


def _assurance(findings: list[Json], *, compliant: bool) -> Json:
    policy = {"policy_id": 1, "policy_name": "Default"}
    if compliant:
        return {"checks_performed": [{**policy, "control": "max_severity"}, {**policy, "control": "malware"}]}
    severities = {one["aqua_severity"] for one in findings}
    check = {
        "failed": True,
        **policy,
        "control": "max_severity",
        "maximum_severity_allowed": "low",
        "maximum_severity_found": next((word for word in SEVERITIES if word in severities), "none"),
        "no_fix_excluded": True,
    }
    return {
        "disallowed": True,
        "audit_required": True,
        "policy_failures": [{**policy, "blocking": True, "controls": ["max_severity"]}],
        "checks_performed": [check],
        "block_required": True,
    }
