"""Scan by `qscanner`: run its command with a cache, and read what it wrote."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import structlog

from harbor_scanner.errors import BadReportError, DiskError, ScannerConfigurationError
from harbor_scanner.harbor.models import Artifact, Capability, ScanRequest
from harbor_scanner.scanners.base import IMAGE_SBOMS, IMAGE_VULNERABILITIES, Premises, Scanner, ScanResult, Workspace
from harbor_scanner.scanners.printed import plain, printed_version
from harbor_scanner.scanners.qualys.cache import CacheLease, Caches
from harbor_scanner.scanners.qualys.command import (
    PROGRAM,
    scan_command,
    scan_environment,
    scan_secrets,
    time_limit,
)
from harbor_scanner.scanners.qualys.doubts import PARTIAL
from harbor_scanner.scanners.qualys.failures import REPORT_WRITTEN, failure
from harbor_scanner.scanners.qualys.findings import to_result
from harbor_scanner.scanners.qualys.output import read_output
from harbor_scanner.scanners.qualys.settings import Cache, QualysSettings

log = structlog.get_logger(__name__)

_VERSION_TIME_LIMIT = 30.0
_LONGEST_PAUSE = 60.0


class QualysScanner(Scanner):
    """Qualys QScanner."""

    name = "qualys"
    title = "Qualys"
    vendor = "Qualys"

    def __init__(self, premises: Premises) -> None:
        self._premises = premises

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """Vulnerabilities by the Qualys platform, SBOMs by qscanner alone."""
        return (IMAGE_VULNERABILITIES, IMAGE_SBOMS)

    @property
    def properties(self) -> Mapping[str, str]:
        """The settings without credentials, as `env.NAME`."""
        return {f"env.{name}": value for name, value in self._settings().shown().items()}

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where a lasting cache is, or will be made."""
        settings = self._settings()
        if settings.cache is Cache.NONE or not settings.persistence:
            return ()
        places = (settings.cache_dir, *settings.cache_dir.parents)
        return (next(path for path in places if os.path.exists(path)),)  # noqa: PTH110 - that of pathlib raises

    async def version(self, workspace: Workspace) -> str:
        """Return the version of the installed `qscanner`. Raises ScanError if it does not tell it in 30 seconds."""
        outcome = await workspace.run([PROGRAM, "--version"], environment={}, time_limit=_VERSION_TIME_LIMIT)
        outcome.require_own_end()
        version = printed_version(outcome)
        if outcome.exit_code != 0 or not version:
            raise ScannerConfigurationError(
                f"`qscanner --version` told no version (exit code {outcome.exit_code}).\n{plain(outcome.last_lines())}",
                "Install Qualys' qscanner, built for this machine.",
            )
        return version

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Scan the image by its name in the registry of the request."""
        settings = self._settings()
        kinds = request.reports
        output = workspace.directory / "output"
        output.mkdir(mode=0o700)
        environment = scan_environment(settings, request)
        async with self._cache(settings) as cache:
            outcome = await workspace.run(
                scan_command(settings, request, output, cache),
                environment=environment,
                time_limit=time_limit(settings, request),
                secrets=scan_secrets(settings, request),
            )
        outcome.require_own_end()
        if outcome.exit_code not in REPORT_WRITTEN:
            raise await asyncio.to_thread(failure, outcome)
        try:
            return await asyncio.to_thread(_read, output, kinds, request.artifact, settings)
        except BadReportError as error:
            raise BadReportError(f"{error.message}\n{plain(outcome.last_lines())}".rstrip(), error.advice) from error

    async def maintain(self) -> None:
        """Clean the caches, as often as the settings say."""
        while True:
            settings = self._settings()
            if settings.cache is Cache.LOCAL and settings.enable_cache_cleanup:
                await asyncio.to_thread(self._clean_caches, settings)
            await asyncio.sleep(max(1.0, min(settings.cache_cleanup_frequency, _LONGEST_PAUSE)))

    def _settings(self) -> QualysSettings:
        settings = self._premises.settings()
        assert isinstance(settings, QualysSettings)  # noqa: S101 - the plugin names this group
        return settings

    def _caches(self, settings: QualysSettings) -> Caches:
        return Caches(settings.cache_dir if settings.persistence else self._premises.directory / "cache")

    @contextlib.asynccontextmanager
    async def _cache(self, settings: QualysSettings) -> AsyncIterator[Path | None]:
        """Yield the directory of a cache that no other scan uses, or None if there shall be none. Raises ScanError."""
        leasing = asyncio.create_task(asyncio.to_thread(self._lease_cache, settings))
        try:
            lease = await asyncio.shield(leasing)
            yield lease.directory if lease else None
        finally:
            # Also when the scan was given up while the thread was still at it.
            leasing.add_done_callback(_close)

    def _lease_cache(self, settings: QualysSettings) -> CacheLease | None:
        if settings.cache is Cache.NONE:
            return None
        caches = self._caches(settings)
        try:
            return caches.lease()
        except OSError as error:
            message = f"No cache can be made in {caches.root}: {error.strerror or error}."
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskError(message, "Make room there.") from error
            raise ScannerConfigurationError(
                message,
                "Let scannerArgs.cache-dir name a directory that this user may write to and lock files in, set "
                "persistence.enable to false to have the cache in scratch space, or scannerArgs.cache to none.",
            ) from error

    def _clean_caches(self, settings: QualysSettings) -> None:
        caches = self._caches(settings)
        try:
            cleaned = caches.clean(
                threshold=settings.cache_cleanup_threshold, frequency=settings.cache_cleanup_frequency
            )
        except OSError as error:
            log.warning("the cache cannot be cleaned", directory=caches.root, error=str(error))
            return
        if cleaned.files:
            log.info("cache cleaned", directory=caches.root, files=cleaned.files, bytes=cleaned.size)
            self._premises.cleaned(cleaned.files, cleaned.size)


def _close(leasing: asyncio.Task[CacheLease | None]) -> None:
    if not leasing.cancelled() and leasing.exception() is None and (lease := leasing.result()):
        lease.close()


def _read(output: Path, kinds: tuple[str, ...], artifact: Artifact, settings: QualysSettings) -> ScanResult:
    found = read_output(output, kinds)
    if found.report is None:
        incomplete = found.inventory is not None and found.inventory.incomplete
        return ScanResult([], [PARTIAL] if incomplete else [], found.sboms)
    narrow = settings.narrow_report
    result = to_result(found.report, found.inventory, artifact.repository, artifact.digest, narrow=narrow)
    result.sboms = found.sboms
    return result
