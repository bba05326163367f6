"""The story that the demo plays, step by step."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harbor_scanner.demo import facts
from harbor_scanner.demo.errors import DemoError
from harbor_scanner.demo.image import Image, digest, make_image
from harbor_scanner.demo.screen import Screen, packages
from harbor_scanner.demo.service import Service
from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import HarborClient, basic
from harbor_scanner.harbor.models import UNKNOWN_VERSION, VULNERABILITY, Artifact, Metadata, Registry, ScanRequest
from harbor_scanner.local_registry import Content, local_registry
from harbor_scanner.syft.program import find_program

_REPOSITORY = "library/shop"
_ROBOT = "robot$library+scanner"
_VERSION_SECONDS = 10.0
_SCAN_SECONDS = 120.0


async def play(screen: Screen) -> None:
    """Play the whole demo; nothing is left of it, however it ends. Raises HarborScannerError."""
    began = time.monotonic()
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="harbor-scanner-demo-", ignore_cleanup_errors=True) as name:
        directory, password = Path(name), secrets.token_urlsafe()
        with local_registry({_ROBOT: password}) as registry:
            image = make_image()
            for blob in image.blobs:
                registry.add_blob(_REPOSITORY, digest(blob), Content.of(blob))
            artifact = Artifact(
                repository=_REPOSITORY,
                digest=registry.add_manifest(_REPOSITORY, image.manifest, media.OCI_MANIFEST),
                tag="1.0", mime_type=media.OCI_MANIFEST,
            )  # fmt: skip
            _tell_image(screen, registry.url, image)
            authorization = basic(_ROBOT, password)["Authorization"]
            request = ScanRequest(Registry(registry.url, authorization), artifact)
            _import(screen, directory / "data" / "osv")
            await _serve(screen, directory, program, request)
    _tell_end(screen, time.monotonic() - began)


def _tell_image(screen: Screen, url: str, image: Image) -> None:
    screen.step(f"A registry runs at {url} with an image: [bold]{_REPOSITORY}:1.0[/]")
    screen.note(
        f"Debian 12 of summer 2023 with Python, Node.js and Java, made on the spot: {len(image.layers)} layers, of "
        "which the last removes a package again. Only a robot account may pull it."
    )


def _import(screen: Screen, directory: Path) -> None:
    imported = facts.import_facts(directory)
    names = ", ".join(f"{one.about.ecosystem} {one.about.advisories}" for one in imported)
    count = sum(one.about.advisories for one in imported)
    screen.step(f"A database of {count} advisories is made: {names}")
    screen.note("They come with the demo; osv.dev has all others.")


async def _serve(screen: Screen, directory: Path, program: str, request: ScanRequest) -> None:
    began = time.monotonic()
    async with Service.running(directory, directory / "data") as service:
        screen.step(f"harbor-scanner runs at {service.url}, ready after {time.monotonic() - began:.1f} s")
        screen.note("It is a process of its own, with the embedded store and the scanner [bold]osv[/].")
        screen.note("From here on the demo does what Harbor does.")
        async with HarborClient(service.url) as harbor:
            metadata = await _metadata(harbor)
            offered = " and ".join(capability.type for capability in metadata.capabilities)
            scanner = metadata.scanner
            screen.step(f"GET /metadata: scanner {scanner.name} {scanner.version}, for {offered}")
            if scanner.version == UNKNOWN_VERSION:
                screen.note(f"[yellow]The version of {program} cannot be told.[/]")
            await _scan(screen, service, harbor, request)
        screen.step("The service is told to end")
        await service.stop()


async def _metadata(harbor: HarborClient) -> Metadata:
    """Return the metadata; the service reads the version of the scanner while it answers already."""
    deadline = time.monotonic() + _VERSION_SECONDS
    while True:
        metadata = await harbor.metadata()
        if metadata.scanner.version != UNKNOWN_VERSION or time.monotonic() > deadline:
            return metadata
        await asyncio.sleep(0.1)


async def _scan(screen: Screen, service: Service, harbor: HarborClient, request: ScanRequest) -> None:
    began = time.monotonic()
    first, second = [await harbor.submit(request.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX)]
    screen.step("POST /scan, for the vulnerabilities and for the SBOM")
    screen.note(f"Jobs {first} and {second}.")
    screen.note("Harbor looks for a report after two seconds, and then when it is told to.")
    with screen.working("Syft pulls the image and lists its packages"):
        report, sbom = await asyncio.gather(
            harbor.wait_for_report(first, limit=_SCAN_SECONDS), harbor.wait_for_sbom(second, limit=_SCAN_SECONDS)
        )
    runs = 2 - await service.shared_runs()
    screen.step(
        f"GET /scan/<id>/report: both are there after {time.monotonic() - began:.1f} s, from "
        + ("one run of the scanner" if runs == 1 else "two runs of the scanner")
    )
    screen.vulnerabilities(report.content)
    _check(report.content)
    document = sbom.content.sbom or {}
    screen.step(f"The SBOM ({document.get('spdxVersion')}) lists {packages(document)} packages")
    screen.sbom(document)


def _check(report: VulnerabilityReport) -> None:
    """Raise DemoError if the report is not what it must be."""
    found, expected = {item.id or "" for item in report.vulnerabilities}, facts.expected()
    if missing := expected - found:
        raise DemoError(f"The report lacks {', '.join(sorted(missing))}.")
    if surplus := found - expected:
        raise DemoError(f"The report should not have {', '.join(sorted(surplus))}.")


def _tell_end(screen: Screen, seconds: float) -> None:
    program = _program()
    screen.step(f"[bold green]The demo has succeeded[/] in {seconds:.1f} s and left nothing behind. With your Harbor:")
    screen.note(f"1. [bold]{program} db update[/]  fetches the advisories of osv.dev")
    screen.note(f"2. [bold]{program} serve[/]      needs no setting; port 8080")
    screen.note("3. In Harbor: Administration > Interrogation Services > NEW SCANNER,")
    screen.note("   endpoint [bold]http://<this host>:8080[/], then TEST CONNECTION and ADD")


def _program() -> str:
    """Return how this program is started from here."""
    beside = Path(sys.executable).with_name("harbor-scanner")
    if not beside.exists() or shutil.which("harbor-scanner") == str(beside):
        return "harbor-scanner"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
