"""A workspace that plays `scannercli` in memory, and reports as it writes them, with real vulnerabilities in them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harbor_scanner.harbor.models import Artifact, Finding, Registry, ScanRequest
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.aqua import AquaScanner, AquaSettings
from harbor_scanner.scanners.aqua.findings import to_result
from harbor_scanner.scanners.aqua.report import decode_report
from harbor_scanner.scanners.base import Premises, ScanResult

DIGEST = "sha256:" + "6" * 64


def scanner_with(settings: AquaSettings) -> AquaScanner:
    """Return the scanner with settings that do not change."""
    return AquaScanner(Premises(lambda: settings, Path("/nonexistent"), Path("/nonexistent")))


LOG4SHELL = {
    "name": "CVE-2021-44228",
    "type": "vulnerability",
    "description": "Log4j looks up what it logs over JNDI, and so runs what an attacker sends.",
    "nvd_score": 9.3,
    "nvd_score_version": "CVSS v2",
    "nvd_vectors": "AV:N/AC:M/Au:N/C:C/I:C/A:C",
    "nvd_severity": "high",
    "nvd_url": "https://nvd.nist.gov/vuln/detail/CVE-2021-44228",
    "vendor_url": "https://logging.apache.org/log4j/2.x/security.html",
    "publish_date": "2021-12-10",
    "modification_date": "2023-04-03",
    "fix_version": "2.15.0",
    "solution": "Upgrade package log4j-core to version 2.15.0 or above.",
    "nvd_score_v3": 10,
    "nvd_vectors_v3": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H",
    "nvd_severity_v3": "critical",
    "aqua_score": 10,
    "aqua_severity": "critical",
    "aqua_vectors": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H",
    "aqua_scoring_system": "CVSS V3",
    "aqua_severity_classification": "NVD CVSS V3 Score: 10.0",
    "aqua_score_classification": "NVD CVSS V3 Score: 10.0",
    "cwe_info": [{"Id": "CWE-502", "name": "Deserialization of Untrusted Data"}, {"Id": "CWE-400"}],
    "epss_score": 0.97,
    "epss_percentile": 0.999,
    "epss_date": "2024-01-22",
    "cisa_publish_date": "2021-12-10",
    "cisa_due_date": "2021-12-24",
}
LOG4J = {
    "format": "java",
    "path": "/app/lib/log4j-core-2.14.1.jar",
    "name": "log4j-core",
    "version": "2.14.1",
    "cpe": "pkg:/maven:*:log4j-core:2.14.1",
    "license": "Apache-2.0",
    "layer_digest": "sha256:" + "a" * 64,
}
GLIBC = {
    "format": "deb",
    "name": "libc6",
    "version": "2.36-9+deb12u1",
    "arch": "amd64",
    "src_name": "glibc",
    "src_version": "2.36",
}
LOONEY_TUNABLES = {
    "name": "CVE-2023-4911",
    "nvd_url": "https://nvd.nist.gov/vuln/detail/CVE-2023-4911",
    "vendor_url": "https://security-tracker.debian.org/tracker/CVE-2023-4911",
    "fix_version": "2.36-9+deb12u3",
    "aqua_score": 7.8,
    "aqua_severity": "high",
    "aqua_vectors": "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H",
    "aqua_scoring_system": "CVSS V3",
}


def report(*resources: Any, **fields: Any) -> dict[str, Any]:
    """Return a report of these elements of `resources`."""
    listed = sum(len(element.get("vulnerabilities") or ()) for element in resources)
    return {
        "image": f"library/mongo@{DIGEST}",
        "registry": "Harbor",
        "os": "debian",
        "version": "12",
        "resources": list(resources),
        "vulnerability_summary": {"total": listed, "negligible": 0, "sensitive": 0, "malware": 0},
        **fields,
    }


def element(resource: Any, *vulnerabilities: Any) -> dict[str, Any]:
    """Return an element of `resources`."""
    return {"resource": resource, "scanned": True, "vulnerabilities": list(vulnerabilities)}


def encoded(document: Any) -> bytes:
    """Return `document` as JSON, with escapes for all that is not ASCII."""
    return json.dumps(document).encode()


def result_of(document: Any) -> ScanResult:
    """Return what a report says."""
    return to_result(decode_report(encoded(document)))


def finding_of(vulnerability: Any, resource: Any = None) -> Finding:
    """Return the one finding that a report of one vulnerability gives."""
    (finding,) = result_of(report(element(resource or LOG4J, vulnerability))).findings
    return finding


def scan_request(
    authorization: str | None = "Basic cm9ib3Qkc2Nhbjpzd29yZDpmaXNo", repository: str = "library/mongo", **artifact: Any
) -> ScanRequest:
    """Return a request as Harbor sends it: its robot is `robot$scan`, with the password `sword:fish`."""
    return ScanRequest(
        registry=Registry(url="https://core.harbor.domain", authorization=authorization),
        artifact=Artifact(**{"repository": repository, "digest": DIGEST, "tag": "3.4-xenial", **artifact}),
    )


def outcome(exit_code: int = 0, *, stdout: str = "", stderr: str = "", timed_out: bool = False) -> Outcome:
    """Return how a run of `scannercli` ended."""
    return Outcome(
        program="scannercli",
        exit_code=exit_code,
        timed_out=timed_out,
        time_limit=1800,
        seconds=12,
        stdout=stdout,
        stderr=stderr,
    )


@dataclass
class Run:
    """What a scanner asked its workspace for."""

    argv: list[str]
    environment: dict[str, str]
    time_limit: float
    secrets: list[str]


@dataclass
class FakeWorkspace:
    """Writes a report where the command wants it, and ends as it is told."""

    directory: Path
    report: Any = None
    """Bytes as they are, or a document; None for no report, which leaves the empty file that was there."""
    outcome: Outcome = field(default_factory=outcome)
    act: Callable[[Path], Any] | None = None
    """Called with the path of the report, after it was written."""
    runs: list[Run] = field(default_factory=list)
    temporary: list[Path] = field(default_factory=list)
    """Files that go with the workspace."""

    async def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str], time_limit: float, secrets: Sequence[str] = ()
    ) -> Outcome:
        self.runs.append(Run(list(argv), dict(environment), time_limit, list(secrets)))
        if "--jsonfile" in argv:
            path = Path(argv[argv.index("--jsonfile") + 1])
            if self.report is not None:
                path.write_bytes(self.report if isinstance(self.report, bytes) else encoded(self.report))  # noqa: ASYNC240 - tiny
            if self.act is not None:
                self.act(path)
        return self.outcome

    def temporary_file(self, directory: Path, prefix: str, suffix: str) -> Path:
        handle, name = tempfile.mkstemp(suffix, prefix, directory)
        os.close(handle)
        self.temporary.append(Path(name))
        return self.temporary[-1]
