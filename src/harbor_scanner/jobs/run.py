"""One run of a scan: from a leased job to the reports of that job and of those that share its run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import structlog

from harbor_scanner.errors import (
    BadReportError,
    ImageError,
    InternalError,
    RegistryError,
    ScanError,
    StoreUnavailableError,
)
from harbor_scanner.harbor.models import VULNERABILITY, ScannerInfo, ScanRequest
from harbor_scanner.harbor.report import RenderedReport, render
from harbor_scanner.harbor.sbom import render_sbom
from harbor_scanner.jobs.model import Companion, Lease
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.log import current_redactor, redacting
from harbor_scanner.registry import RegistryInspector
from harbor_scanner.scanners.base import Scanner, ScanResult
from harbor_scanner.scratch import Area

T = TypeVar("T")

log = structlog.get_logger(__name__)

JOIN_SECONDS = 0.3
"""How long a new job that others may join waits for them. Harbor sends the requests for vulnerabilities and SBOM of an
image together, and looks for the first report after two seconds."""

_PAUSE = 1.0

Reports = Mapping[str, RenderedReport]
"""The reports of one job, by kind (`ScanRequest.reports`)."""


class Runner:
    """Has the scanner examine images, and renders what it found."""

    def __init__(
        self,
        queue: Queue,
        scanner: Scanner,
        scanner_info: Callable[[], ScannerInfo],
        inspector: RegistryInspector,
        area: Area,
    ) -> None:
        self._queue = queue
        self._scanner = scanner
        self.scanner_info = scanner_info
        self._inspector = inspector
        self._area = area

    async def run(self, lease: Lease) -> Mapping[str, Reports]:
        """Return the reports of the job and its companions, by job id. Raises ScanError."""
        request = self._queue.open_request(lease)
        artifact = request.artifact
        # For the rest of this task, which has a context of its own.
        structlog.contextvars.bind_contextvars(repository=artifact.repository, digest=artifact.digest)
        with redacting(_secrets_of(request)):
            try:
                return await self._serve(lease, request)
            except ScanError as error:
                redact = current_redactor()
                error.message, error.advice = redact(error.message), redact(error.advice)
                raise
            except Exception as error:
                log.exception("the scan failed for a defect of this service")
                raise InternalError(
                    f"The scan failed for a defect of this service: {current_redactor()(repr(error))}",
                    f"Its log has the details under job {lease.job_id}.",
                ) from error

    async def _serve(self, lease: Lease, request: ScanRequest) -> Mapping[str, Reports]:
        """Serve the job together with its companions, or alone if what was asked for together cannot be had."""
        companions = await self._companions(lease)
        together = {companion.job_id: asked for companion, asked in companions}
        try:
            return await self._scan({lease.job_id: request, **together}, request)
        except ScanError as error:
            if not companions or isinstance(error, ImageError | RegistryError):
                raise
            # It may be what another one asked for that failed.
            log.warning("a shared run failed; each request is now run on its own", error=str(error))
        for companion, _ in companions:
            await ride_out(partial(self._queue.part, lease, companion))
        return await self._scan({lease.job_id: request}, request)

    async def _scan(self, requests: Mapping[str, ScanRequest], first: ScanRequest) -> Mapping[str, Reports]:
        """Examine the image once for all `requests`, with the credentials of the first."""
        kinds = list(dict.fromkeys(kind for request in requests.values() for kind in request.reports))
        log.info("scan started", reports=kinds)
        await self._inspector.require_image(first)
        async with self._area.workspace() as workspace:
            result = await self._scanner.scan(first.asking_for(kinds), workspace)
            return await asyncio.to_thread(_render_all, requests, self.scanner_info(), result)

    async def _companions(self, lease: Lease) -> list[tuple[Companion, ScanRequest]]:
        """Return the jobs that this run shall serve besides its own."""
        if not self._queue.joining:
            return []
        await asyncio.sleep(max(0.0, JOIN_SECONDS - (lease.started_at - lease.queued_at)))
        companions = []
        for companion in await ride_out(lambda: self._queue.gather(lease)):
            try:
                request = self._queue.open_request(companion)
                # A report may only reach those to whom the registry would give the image.
                shown = await self._inspector.shows_image(request)
            except ScanError:
                shown = False
            if shown:
                companions.append((companion, request))
            else:
                await ride_out(partial(self._queue.part, lease, companion))
        return companions


async def ride_out(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat `step` until the store answers: what was scanned is not given up for an outage."""
    while True:
        try:
            return await step()
        except StoreUnavailableError as error:
            log.warning("the store does not answer; waiting for it", error=str(error))
            await asyncio.sleep(_PAUSE)


def _render_all(requests: Mapping[str, ScanRequest], scanner: ScannerInfo, result: ScanResult) -> Mapping[str, Reports]:
    """Raises BadReportError if the first job's reports cannot be made; a companion's are then left out."""
    now = datetime.now(UTC)
    made: dict[str, Reports] = {}
    for job_id, request in requests.items():
        try:
            made[job_id] = {kind: _render(kind, request, scanner, result, now) for kind in request.reports}
        except BadReportError:
            # Who asked for it is told what is wrong by a run of its own.
            if not made:
                raise
    return made


def _render(kind: str, request: ScanRequest, scanner: ScannerInfo, result: ScanResult, now: datetime) -> RenderedReport:
    """Raises BadReportError if the scanner left out what was asked for."""
    if kind == VULNERABILITY:
        return render(request.artifact, scanner, result.findings, result.notices, now)
    if kind not in result.sboms:
        raise BadReportError(f"The scanner made no SBOM of the type {kind}.")
    return render_sbom(request.artifact, scanner, kind, result.sboms[kind], now, result.notices)


def _secrets_of(request: ScanRequest) -> list[str]:
    """Return what must not be seen of a request's registry credentials."""
    authorization = request.registry.authorization or ""
    credentials = request.registry.credentials
    secrets = [authorization, authorization.partition(" ")[2]]
    if credentials is not None:
        secrets.append(credentials.password)
    return secrets
