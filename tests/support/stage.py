"""A Harbor in small: a registry with images, a scanner CLI, and services that connect the two."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from harbor_scanner.harbor.client import HarborClient, Ready, ScanFailedError
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest
from support.images import Image
from support.oci import Registry as RunningRegistry
from support.oci import basic
from support.registry import ROBOT
from support.service import Service, serving
from support.standin import ScannerCli

T = TypeVar("T")

NOWHERE = "http://127.0.0.1:9"
"""A registry that refuses connections at once, for scans that pull nothing."""

QUICK_REPORT = """{"image":"x","os":"debian","version":"12","resources":[{"resource":{"format":"deb","name":"tar",
"version":"1.34+dfsg-1.2"},"vulnerabilities":[{"name":"CVE-2005-2541","aqua_severity":"high","aqua_score":7.0,
"aqua_scoring_system":"CVSS V3"}]}],"vulnerability_summary":{"total":1,"high":1}}"""

QUICK_SCANNER = f"""#!/bin/sh
if [ "$1" = version ]; then echo 6.5.0; exit; fi
while [ "$#" -gt 0 ]; do
  case "$1" in --jsonfile) report="$2"; shift;; esac
  image="$1"; shift
done
echo "$image" >> "$(dirname "$0")/scans"
cat > "$report" <<'END'
{QUICK_REPORT}
END
"""
"""A scanner of a few milliseconds, for tests in which the number of scans counts."""


class Stage:
    """What the services of one test have in common."""

    def __init__(self, directory: Path, scannercli: ScannerCli) -> None:
        self.directory = directory
        self.scannercli = scannercli
        self.reports = directory / "reports"
        self.reports.mkdir()
        self._programs = scannercli.directory
        self._count = 0

    def use_quick_scanner(self) -> Path:
        """Replace the scanner by one that only writes a report; return the file in which it counts."""
        self._programs = self.directory / "quick"
        self._programs.mkdir()
        program = self._programs / "scannercli"
        program.write_text(QUICK_SCANNER)
        program.chmod(0o755)
        (self._programs / "scans").touch()
        return self._programs / "scans"

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the settings of a service here, with those of a test (`SCANNER_` is put before their names)."""
        config = self.scannercli.config
        return {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "SCANNER_AQUA_USERNAME": config.username,
            "SCANNER_AQUA_PASSWORD": config.password,
            "SCANNER_AQUA_REPORTS_DIR": str(self.reports),
            **{f"SCANNER_{name}": value for name, value in settings.items()},
        }

    @contextlib.contextmanager
    def service(self, *arguments: str, **settings: str) -> Iterator[Service]:
        """Run a service of this stage."""
        self._count += 1
        with serving(self.directory / f"s{self._count}", self.environment(**settings), *arguments) as running:
            yield running


def request_for(image: str, registry_url: str = NOWHERE, authorization: str | None = None) -> ScanRequest:
    """Return a request for an image that need not exist: its digest is made from its name."""
    made_up = f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    return ScanRequest(
        Registry(registry_url, authorization or basic(ROBOT.username, ROBOT.password)),
        Artifact(repository=image, digest=made_up, mime_type="application/vnd.oci.image.manifest.v1+json"),
    )


def push(registry: RunningRegistry, image: Image, repository: str, tag: str = "latest") -> ScanRequest:
    """Push an image, and return the request with which Harbor asks for its scan."""
    pushed = registry.push(image, repository, tag)
    return ScanRequest(
        Registry(registry.url, basic(ROBOT.username, ROBOT.password)),
        Artifact(repository=repository, digest=pushed, tag=tag, mime_type=image.media_type),
    )


def harbor(service: Service, *, auth: dict[str, str] | None = None, ca_file: Path | None = None) -> HarborClient:
    """Return Harbor's side of the connection to a service."""
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    url = service.url.replace("http://", "https://") if ca_file else service.url
    return HarborClient(url, auth=auth, verify=verify)


def run(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


async def submit_all(client: HarborClient, requests: Iterable[ScanRequest], at_once: int = 16) -> list[str]:
    """Submit many requests, some at a time, and return their ids in the same order."""
    gate = asyncio.Semaphore(at_once)

    async def submit(request: ScanRequest) -> str:
        async with gate:
            return await client.submit(request)

    return await asyncio.gather(*(submit(request) for request in requests))


async def ends_of(client: HarborClient, job_ids: Iterable[str], seconds: float = 120) -> Counter[str]:
    """Poll all jobs until each has ended, as often as the service tells; count the ends."""

    gate = asyncio.Semaphore(50)

    async def end_of(job_id: str) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                async with gate:
                    answer = await client.report(job_id)
            except ScanFailedError as error:
                return error.message
            if isinstance(answer, Ready):
                return "report"
            await asyncio.sleep(0.05)
        return "never"

    return Counter(await asyncio.gather(*(end_of(job_id) for job_id in job_ids)))


def submit(service: Service, requests: Iterable[ScanRequest]) -> list[str]:
    """Submit requests and return the ids of their jobs."""

    async def work() -> list[str]:
        async with harbor(service) as client:
            return await submit_all(client, requests)

    return run(work())


def ends(service: Service, job_ids: Iterable[str], seconds: float = 120) -> Counter[str]:
    """Wait until all jobs have ended; count the reports and the error messages."""

    async def work() -> Counter[str]:
        async with harbor(service) as client:
            return await ends_of(client, job_ids, seconds)

    return run(work())


def gone(pids: Iterable[int]) -> bool:
    """Tell whether none of these processes runs any more."""
    return not any(Path(f"/proc/{pid}").exists() and not _zombie(pid) for pid in pids)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
