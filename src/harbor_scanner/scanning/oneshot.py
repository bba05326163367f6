"""One scan on this machine, without the service: the same scanner, workspace and report, but no queue and no store."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harbor_scanner.config import Config, EnabledScanner
from harbor_scanner.errors import BadReportError, ScanError, ScannerConfigurationError
from harbor_scanner.harbor.models import UNKNOWN_VERSION, VULNERABILITY, Registry, ScannerInfo
from harbor_scanner.harbor.report import render
from harbor_scanner.local_registry import local_registry
from harbor_scanner.process import Processes
from harbor_scanner.scanners.base import Premises, Scanner, Workspace
from harbor_scanner.scanners.sbom import with_sboms
from harbor_scanner.scanning import layouts
from harbor_scanner.scanning.credentials import Account
from harbor_scanner.scanning.platform import Platform
from harbor_scanner.scanning.subject import Subject
from harbor_scanner.scratch import Area, Scratch

_USER = "harbor-scanner"

Tell = Callable[[str], None]
"""Told what goes on now, in a few words."""


class Scanned(msgspec.Struct, frozen=True):
    """What became of a scan."""

    subject: Subject
    document: bytes
    """The JSON that was asked for: the report that Harbor would get, or an SBOM."""
    notices: tuple[str, ...] = ()
    """What must be known of an SBOM as a whole; a report holds them itself."""


class Premise(msgspec.Struct, frozen=True):
    """A scanner that is ready to work, and where it works."""

    scanner: Scanner
    area: Area

    async def scan(self, subject: Subject, kind: str, tell: Tell) -> Scanned:
        """Return the report of one kind (`ScanRequest.reports`). Raises ScanError."""
        self._require(kind)
        async with self.area.workspace() as workspace:
            tell(f"Scanning {subject.name} ({subject.size / 2**20:,.1f} MiB) with {self.scanner.title}")
            result = await self.scanner.scan(subject.request.asking_for([kind]), workspace)
            if kind != VULNERABILITY:
                if kind not in result.sboms:
                    raise BadReportError(f"The scanner made no SBOM of the type {kind}.")
                return Scanned(subject, result.sboms[kind], tuple(result.notices))
            info = ScannerInfo(self.scanner.title, self.scanner.vendor, await self._version(workspace))
        tell("Writing the report")
        report = await asyncio.to_thread(
            render, subject.artifact, info, result.findings, result.notices, datetime.now(UTC)
        )
        return Scanned(subject, gzip.decompress(report.body))

    async def _version(self, workspace: Workspace) -> str:
        try:
            return await self.scanner.version(workspace) or UNKNOWN_VERSION
        except ScanError:
            return UNKNOWN_VERSION

    def _require(self, kind: str) -> None:
        capabilities = {capability.type: capability for capability in self.scanner.capabilities}
        formats = capabilities["sbom"].sbom_formats if "sbom" in capabilities else ()
        if kind in {VULNERABILITY, *formats} & {*capabilities, *formats}:
            return
        raise ScannerConfigurationError(
            f"{self.scanner.title} does not make what was asked for: {kind}.",
            "With SCANNER_SBOM=true Syft makes the SBOMs of scanners that cannot, or choose another with --scanner.",
        )


@contextlib.asynccontextmanager
async def premises(config: Config, enabled: EnabledScanner) -> AsyncIterator[Premise]:
    """Have a scanner ready until the block ends, when all that it started and wrote is gone. Raises StartError."""
    with Scratch.open(config.worker.data_dir) as scratch:
        async with Processes(scratch.directory).open() as processes:
            area = scratch.area(enabled.name, processes)
            scanner = enabled.plugin.make(Premises(enabled.settings.current, area.directory, config.worker.data_dir))
            if config.sbom.by_syft:
                scanner = with_sboms(scanner, time_limit=config.sbom.timeout)
            yield Premise(scanner, area)


@contextlib.asynccontextmanager
async def serving_files(path: Path, name: str, platform: Platform, area: Area, tell: Tell) -> AsyncIterator[Subject]:
    """Serve an image in files to this machine's scanners, until the block ends. Raises ImageError and DiskError."""
    account = Account(_USER, secrets.token_urlsafe(24))
    with local_registry({account.username: account.password}) as registry:
        async with area.workspace() as workspace:
            tell(f"Reading {path}")
            found = await asyncio.to_thread(layouts.put, path, name, platform, registry, workspace.directory)
            yield Subject(
                name=f"{path}:{name}" if name else str(path),
                registry=Registry(registry.url, account.authorization),
                artifact=found.artifact,
                platform=found.platform,
                size=found.size,
                secrets=account.secrets,
            )
