"""The main job from end to end, on this machine alone: `make demo`.

Starts a registry with real images, the service with its embedded store, and plays Harbor. The scanner is a stand-in for
Aqua's scannercli, which needs a licence: it pulls the image and lists its packages for certain, but knows only a few
dozen vulnerabilities.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from registry import memory_registry  # also makes `support` importable

from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import HarborClient
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest
from support import images
from support.oci import Registry as RunningRegistry
from support.oci import basic
from support.service import Service
from support.standin import install_scannercli

PUSHER = ("admin", "Harbor12345")
ROBOT = ("robot$library+scanner", "only-for-this-demo")
IMAGES = {"library/debian-base": images.debian(), "library/alpine-tools": images.alpine()}

NEXT_STEPS = (
    "1. put scannercli on PATH; set SCANNER_AQUA_HOST, SCANNER_AQUA_USERNAME and SCANNER_AQUA_PASSWORD;",
    "2. run: .venv/bin/harbor-scanner serve",
    "3. in Harbor: Administration > Interrogation Services > NEW SCANNER, endpoint http://<this host>:8080",
)

_COLOURS = {"Critical": "bold red", "High": "red", "Medium": "yellow", "Low": "cyan", "Negligible": "dim"}
_ROWS = 12

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def say(text: str) -> None:
    """Print one step."""
    console.print(f"[bold blue]==>[/] {text}", soft_wrap=True)


def main() -> int:
    """Run the demo; 0 if Harbor would have been served."""
    directory = Path(tempfile.mkdtemp(prefix="harbor-scanner-demo-"))
    try:
        with memory_registry(dict([PUSHER, ROBOT])) as registry:
            return asyncio.run(_demo(directory, registry))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _demo(directory: Path, registry: RunningRegistry) -> int:
    say(f"A registry runs at {registry.url}; pushing {len(IMAGES)} images made on the spot.")
    pushed = {name: registry.push(image, name, "latest") for name, image in IMAGES.items()}
    scannercli = install_scannercli(directory / "bin", username="harbor_scanner", password="demo")
    scannercli.connect(registry, username=ROBOT[0], password=ROBOT[1])
    say("The scanner is a [bold]stand-in for Aqua's scannercli[/], which needs a licence: it really pulls the image")
    console.print("    and lists its packages, but knows only a few dozen vulnerabilities. All the rest is real.")
    reports = directory / "reports"
    reports.mkdir()
    settings = {
        "PATH": f"{scannercli.directory}:{os.environ['PATH']}",
        "SCANNER_AQUA_USERNAME": "harbor_scanner",
        "SCANNER_AQUA_PASSWORD": "demo",
        "SCANNER_AQUA_REPORTS_DIR": str(reports),
        "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS": "true",
    }
    service = Service(directory / "service", settings)
    began = time.monotonic()
    try:
        service.start()
        say(
            f"harbor-scanner runs at {service.url} with its embedded store (ready in {time.monotonic() - began:.1f} s)."
        )
        async with HarborClient(service.url) as harbor:
            metadata = await harbor.metadata()
            scanner = metadata.scanner
            say(f"Harbor asks for the metadata: {scanner.name} {scanner.version}, {scanner.vendor}.")
            for name, digest in pushed.items():
                await _scan(harbor, registry, name, digest)
        say("Stopping the service.")
        if service.stop():
            say("[bold red]It did not end well:[/]")
            console.print(service.log(), markup=False)
            return 1
    finally:
        service.end()
    say("[bold green]The demo has succeeded.[/] To connect a real Harbor and a real scannercli:")
    for step in NEXT_STEPS:
        console.print(f"      {step}", soft_wrap=True)
    return 0


async def _scan(harbor: HarborClient, registry: RunningRegistry, name: str, digest: str) -> None:
    request = ScanRequest(
        Registry(registry.url, basic(*ROBOT)), Artifact(repository=name, digest=digest, mime_type=images.OCI_MANIFEST)
    )
    began = time.monotonic()
    job_id = await harbor.submit(request)
    say(f"Harbor asks to scan {name}: accepted as job {job_id}. It looks for the report in two seconds, then as told.")
    report = (await harbor.wait_for_report(job_id)).content
    say(f"The report of {name} is there after {time.monotonic() - began:.1f} s:")
    _show(report)


def _show(report: VulnerabilityReport) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("  SEVERITY", "ID", "PACKAGE", "VERSION", "FIXED IN", "CVSS 3"):
        table.add_column(title, no_wrap=True)
    for item in report.vulnerabilities[:_ROWS]:
        score = item.preferred_cvss.score_v3 if item.preferred_cvss else None
        severity = item.severity or ""
        table.add_row(
            f"  [{_COLOURS.get(severity, 'default')}]{severity}[/]", item.id, item.package, item.version,
            item.fix_version or "-", "-" if score is None else f"{score:.1f}",
        )  # fmt: skip
    console.print(table)
    more = len(report.vulnerabilities) - _ROWS
    fixable = sum(1 for item in report.vulnerabilities if item.fix_version)
    rest = f"; {more} more not shown" if more > 0 else ""
    console.print(
        f"  {len(report.vulnerabilities)} findings, {fixable} with a fix, most severe: {report.severity}{rest}."
    )


if __name__ == "__main__":
    sys.exit(main())
