"""The metadata of a scanner, ready in memory before Harbor asks for it."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from harbor_scanner import __version__
from harbor_scanner.errors import ScanError, StoreUnavailableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import UNKNOWN_VERSION, Capability, Metadata, ScannerInfo
from harbor_scanner.log import current_redactor
from harbor_scanner.scanners.base import Scanner

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 5.0

_TYPE = "harbor.scanner-adapter/scanner-type"
_AUTHORIZATION = "harbor.scanner-adapter/registry-authorization-type"


class ScannerMetadata:
    """Name, version, capabilities and properties of one scanner, as Harbor reads them.

    The version is read in the background: a request never waits for a scanner, and a scanner that cannot tell its
    version makes nothing unhealthy.
    """

    def __init__(self, scanner: Scanner, *, legacy_report: bool) -> None:
        self._scanner = scanner
        self.capabilities = tuple(_advertised(capability, legacy_report) for capability in scanner.capabilities)
        self.problem = ""
        """Why the version could not be read, if so."""
        self._set_version(UNKNOWN_VERSION)

    @property
    def info(self) -> ScannerInfo:
        """The scanner's name, vendor and version, of which none is empty."""
        return self._info

    @property
    def encoded(self) -> bytes:
        """The answer to `GET /metadata`."""
        return self._encoded

    async def refresh(self, read_version: Callable[[], Awaitable[str]]) -> bool:
        """Read the version once; keep the last one known if that fails. Return whether it could be read."""
        try:
            version = await read_version()
            if version and version != self._info.version:
                log.info("scanner found", scanner=self._scanner.name, version=version)
            # The properties may have changed, whatever the version.
            self._set_version(version or self._info.version)
        except (ScanError, StoreUnavailableError) as error:
            problem = current_redactor()(str(error))
            if problem != self.problem:
                log.warning("the scanner's version cannot be read", scanner=self._scanner.name, error=problem)
            self.problem = problem
            return False
        except Exception as error:
            log.exception(
                "the scanner's version cannot be read, for a defect of this service", scanner=self._scanner.name
            )
            self.problem = f"a defect of this service: {current_redactor()(repr(error))}"
            return False
        self.problem = "" if version else "no worker that could scan has shown itself"
        return bool(version)

    async def keep_fresh(self, read_version: Callable[[], Awaitable[str]]) -> None:
        """Read the version again and again, for ever: a scanner may be replaced while the service runs."""
        while True:
            known = await self.refresh(read_version)
            await asyncio.sleep(REFRESH_SECONDS if known else RETRY_SECONDS)

    def _set_version(self, version: str) -> None:
        self._info = ScannerInfo(self._scanner.title, self._scanner.vendor, version)
        properties = {
            _TYPE: "os-package-vulnerability",
            _AUTHORIZATION: "Basic",
            **self._scanner.properties,
            "org.label-schema.version": __version__,
            "harbor-scanner/version": __version__,
            "harbor-scanner/python": platform.python_version(),
        }
        self._encoded = msgspec.json.encode(Metadata(self._info, self.capabilities, properties))


def _advertised(capability: Capability, legacy_report: bool) -> Capability:
    """Harbor polls once for each type advertised, so the old report is named only where somebody needs it."""
    if capability.type != "vulnerability" or not legacy_report:
        return capability
    produces = (*capability.produces_mime_types, media.NATIVE_REPORT)
    return msgspec.structs.replace(capability, produces_mime_types=produces)
