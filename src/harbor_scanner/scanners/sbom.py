"""A scanner that makes no SBOMs, with Syft beside it, which makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harbor_scanner.errors import BadReportError, ScanError
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, Capability, ScanRequest
from harbor_scanner.scanners.base import IMAGE_SBOMS, Scanner, ScanResult, Workspace
from harbor_scanner.syft.examination import Examination, examine, unread_notice


class ScannerWithSboms(Scanner):
    """What `scanner` finds, and the SBOMs that Syft makes of the same image."""

    def __init__(self, scanner: Scanner, *, time_limit: float) -> None:
        self.name = scanner.name
        self.title = scanner.title
        self.vendor = scanner.vendor
        self._scanner = scanner
        self._time_limit = time_limit

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """Those of the scanner, and SBOMs."""
        return (*self._scanner.capabilities, IMAGE_SBOMS)

    @property
    def properties(self) -> Mapping[str, str]:
        """Those of the scanner."""
        return self._scanner.properties

    @property
    def directories(self) -> Sequence[Path]:
        """Those of the scanner."""
        return self._scanner.directories

    @property
    def problem(self) -> str:
        """That of the scanner."""
        return self._scanner.problem

    @property
    def database_updated_at(self) -> float | None:
        """That of the scanner."""
        return self._scanner.database_updated_at

    async def version(self, workspace: Workspace) -> str:
        """Return the version of the scanner."""
        return await self._scanner.version(workspace)

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Have the scanner look for vulnerabilities, and Syft make the SBOMs, each only if the request asks for it."""
        kinds = request.reports
        wanted = VULNERABILITY in kinds
        result = await self._scanner.scan(request.asking_for([VULNERABILITY]), workspace) if wanted else ScanResult([])
        if set(kinds) <= {VULNERABILITY}:
            return result
        try:
            examined = await examine(request, workspace, kinds, time_limit=self._time_limit)
        except ScanError as error:
            if not wanted or error.retriable:
                raise
            # The trouble is that of the SBOM alone: each is then asked for on its own.
            raise BadReportError(f"No SBOM could be made: {error.message}", error.advice) from error
        result.notices += _notices(examined)
        result.sboms = examined.sboms
        return result

    async def maintain(self) -> None:
        """Do what the scanner wants to be done."""
        await self._scanner.maintain()


def with_sboms(scanner: Scanner, *, time_limit: float) -> Scanner:
    """Return a scanner that also makes SBOMs: `scanner` itself, if it does."""
    if any(capability.type == SBOM for capability in scanner.capabilities):
        return scanner
    return ScannerWithSboms(scanner, time_limit=time_limit)


def _notices(examined: Examination) -> list[str]:
    notice = unread_notice(examined.inventory.unread)
    return [f"SBOM: {notice}"] if notice else []
