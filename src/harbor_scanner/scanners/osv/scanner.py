"""Scan by Syft and the Open Source Vulnerability database, as it is kept on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from harbor_scanner.errors import ImageError, ScannerConfigurationError
from harbor_scanner.harbor.models import VULNERABILITY, Capability, ScanRequest
from harbor_scanner.osv.age import moment, too_old
from harbor_scanner.osv.database import Database
from harbor_scanner.osv.errors import DatabaseError
from harbor_scanner.osv.findings import findings
from harbor_scanner.osv.updating import keep_updated
from harbor_scanner.scanners.base import IMAGE_SBOMS, IMAGE_VULNERABILITIES, Premises, Scanner, ScanResult, Workspace
from harbor_scanner.scanners.osv.packages import Checkable, checkable
from harbor_scanner.scanners.osv.settings import Missing, OsvSettings
from harbor_scanner.syft import program
from harbor_scanner.syft.examination import examine, unread_notice
from harbor_scanner.syft.inventory import Inventory

_UPDATED_AT = "harbor.scanner-adapter/vulnerability-database-updated-at"
"""The property by which Harbor shows how old the database is (RFC 3339)."""

_NO_DATABASE = "There is no database of advisories on this machine."
_FETCH = "Run `harbor-scanner db update`, or `harbor-scanner db import` where there is no way to osv.dev."


class OsvScanner(Scanner):
    """The Open Source Vulnerability database."""

    name = "osv"
    title = "OSV"
    vendor = "Open Source Vulnerabilities"

    def __init__(self, premises: Premises) -> None:
        self._premises = premises
        self._database = Database(premises.lasting / "osv")

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """Vulnerabilities by the database, SBOMs by Syft alone."""
        return (IMAGE_VULNERABILITIES, IMAGE_SBOMS)

    @property
    def properties(self) -> Mapping[str, str]:
        """The settings, as `env.NAME`, and since when no part of the database was brought up to date."""
        updates = self._updates()
        age = {_UPDATED_AT: min(updates)} if updates else {}
        return {**{f"env.{name}": value for name, value in self._settings().shown().items()}, **age}

    @property
    def problem(self) -> str:
        """That there is no database, if so."""
        return "" if self._has_database() else f"{_NO_DATABASE} {_FETCH}"

    @property
    def database_updated_at(self) -> float | None:
        """Since when no part of the database was brought up to date; 0 if that cannot be told."""
        return min((_seconds(update) for update in self._updates()), default=0.0)

    async def version(self, workspace: Workspace) -> str:
        """Return the version of Syft. Raises ScanError if it does not tell it in 30 seconds."""
        return await program.version(workspace)

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """List what the image holds, and look up what is known of it. An SBOM alone needs no database."""
        settings = self._settings()
        kinds = request.reports
        if VULNERABILITY in kinds and not await asyncio.to_thread(self._has_database):
            raise ScannerConfigurationError(_NO_DATABASE, _FETCH)
        examined = await examine(request, workspace, kinds, time_limit=settings.scan_timeout)
        if VULNERABILITY not in kinds:
            notice = unread_notice(examined.inventory.unread)
            return ScanResult([], [notice] if notice else [], examined.sboms)
        result = await asyncio.to_thread(self._check, examined.inventory, settings)
        result.sboms = examined.sboms
        return result

    async def maintain(self) -> None:
        """Keep the database up to date, as often as the settings say."""
        await keep_updated(self._database, self._settings)

    def _settings(self) -> OsvSettings:
        settings = self._premises.settings()
        assert isinstance(settings, OsvSettings)  # noqa: S101 - the plugin names this group
        return settings

    def _updates(self) -> list[str]:
        return [info.checked_at or info.imported_at for info in self._database.info() if not info.problem]

    def _has_database(self) -> bool:
        with self._database.open() as snapshot:
            return bool(snapshot.ecosystems)

    def _old(self, used: Collection[str]) -> Iterator[str]:
        """Yield a sentence for each of these ecosystems whose advisories are too old to rely on."""
        now = datetime.now(UTC)
        for info in self._database.info():
            if info.ecosystem in used and (reason := too_old(info, now)):
                yield f"The advisories of {info.ecosystem} are too old to rely on: {reason}."

    def _check(self, inventory: Inventory, settings: OsvSettings) -> ScanResult:
        try:
            with self._database.open() as snapshot:
                found = checkable(inventory, snapshot)
                if settings.missing is Missing.FAIL:
                    _require_all(found)
                return ScanResult(
                    findings=findings(found.packages, snapshot.advisories),
                    notices=[*found.unchecked, *found.notices, *self._old({one.ecosystem for one in found.packages})],
                )
        except DatabaseError as error:
            raise ScannerConfigurationError(error.message, error.advice) from error


def _seconds(time: str) -> float:
    then = moment(time)
    return 0.0 if then is None else then.timestamp()


def _require_all(found: Checkable) -> None:
    """Raise ScannerConfigurationError or ImageError if something cannot be checked that should be."""
    if not found.unchecked:
        return
    otherwise = "SCANNER_OSV_MISSING=notice has everything else checked, and this told in the report."
    message = "\n".join(found.unchecked)
    if found.absent:
        command = " ".join(f'"{name}"' if " " in name else name for name in found.absent)
        raise ScannerConfigurationError(
            message, f"`harbor-scanner db update {command}` fetches the advisories. {otherwise}"
        )
    raise ImageError(message, otherwise)
