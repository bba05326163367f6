"""The API over a store: a real one, or one that lies in memory where a real one would add nothing."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec
from starlette.types import ASGIApp

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Capability, ScanRequest
from harbor_scanner.health import Health
from harbor_scanner.http.auth import Authenticator
from harbor_scanner.http.routes import create_app
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.model import JobState, JobStatus, Lease, QueueSnapshot
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import Store
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.metrics import Metrics
from harbor_scanner.scanners.base import Scanner, ScanResult, Workspace
from harbor_scanner.service import ScanService
from support.jobs import KEEP, Station, station

DOCUMENT = b'{"generated_at":"2026-01-02T03:04:05Z","severity":"Low","vulnerabilities":[]}'
REPORT = gzip.compress(DOCUMENT, mtime=0)


VULNERABILITIES = Capability(
    type="vulnerability",
    consumes_mime_types=media.IMAGE_MANIFESTS,
    produces_mime_types=(media.GENERIC_REPORT,),
)
SBOMS = Capability(
    type="sbom",
    consumes_mime_types=media.IMAGE_MANIFESTS,
    produces_mime_types=(media.SBOM_REPORT,),
    additional_attributes={"sbom_media_types": list(media.SBOM_FORMATS)},
)


class ImaginaryScanner(Scanner):
    """A scanner that can be described, and never scans."""

    name = "imaginary"
    title = "Imaginary"
    vendor = "Nobody"

    def __init__(self, capabilities: tuple[Capability, ...]) -> None:
        self._capabilities = capabilities

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """As given."""
        return self._capabilities

    @property
    def properties(self) -> Mapping[str, str]:
        """One that tells nothing."""
        return {"env.SCANNER_IMAGINARY": "yes"}

    async def version(self, workspace: Workspace) -> str:
        """Return a version."""
        return "1.2.3"

    async def maintain(self) -> None:
        """Return at once."""

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Raises AssertionError."""
        raise AssertionError


class Api(NamedTuple):
    """The application, and what lies behind it."""

    app: ASGIApp
    service: ScanService
    health: Health
    metrics: Metrics
    store: Store
    queue: Queue
    events: Events

    async def lease(self) -> Lease:
        """Take the job that is next in the queue, as a worker does."""
        (lease,) = await self.queue.lease(1)
        return lease

    async def finish(self, report: bytes = REPORT, keep_seconds: float = KEEP) -> None:
        """End the next job with this report, of each kind that it is asked for."""
        lease = await self.lease()
        reports = dict.fromkeys(self.queue.open_request(lease).reports, report)
        assert await self.queue.finish(lease, {lease.job_id: reports}, keep_seconds, scan_seconds=1.5)

    async def fail(self, message: str) -> None:
        """End the next job with this error."""
        assert await self.queue.fail(await self.lease(), message, KEEP)


def metadata(
    *, capabilities: tuple[Capability, ...] = (VULNERABILITIES,), legacy_report: bool = False
) -> ScannerMetadata:
    """Return what Harbor is told of the imaginary scanner."""
    return ScannerMetadata(ImaginaryScanner(capabilities), legacy_report=legacy_report)


def assemble(parts: Station, *, hold: float = 0.0, authenticator: Authenticator | None = None, **scanner: Any) -> Api:
    """Return the API over these parts. `scanner` is told to `metadata`."""
    metrics, health = Metrics(), Health()
    service = ScanService(
        parts.store, parts.queue, parts.events, metadata(**scanner), metrics.of("imaginary"), hold=hold
    )
    app = create_app(health, metrics, {"imaginary": service}, authenticator)
    return Api(app, service, health, metrics, parts.store, parts.queue, parts.events)


@contextlib.asynccontextmanager
async def api_over(address: RedisAddress, namespace: str, **options: Any) -> AsyncIterator[Api]:
    """Open the API over a real store."""
    async with station(address, namespace) as parts, parts.events.open():
        await parts.events.queued.wait()  # from here on, no event is missed
        yield assemble(parts, **options)


class MemoryStore:
    """A store and a queue in one, for tests that are not about either."""

    def __init__(self, **jobs: JobStatus) -> None:
        self.jobs = jobs
        self.accepted: list[ScanRequest] = []
        self.trouble: Exception | None = None
        """Raised by every call, if set."""

    def api(self, **options: Any) -> Api:
        """Return the API over this store."""
        this = cast("Any", self)
        return assemble(Station(this, this, this, Events(this, "events")), **options)

    async def find(self, job_id: str, kind: str, patience: float) -> JobStatus | None:
        """Return the state of a job, with its report if it is asked for this kind."""
        self._work()
        status = self.jobs.get(job_id)
        if status is None or kind in status.reports:
            return status
        return msgspec.structs.replace(status, report=None)

    async def accept(self, job_id: str, request: ScanRequest, patience: float) -> None:
        """Keep the request."""
        self._work()
        self.accepted.append(request)
        self.jobs[job_id] = JobStatus(JobState.QUEUED, sequence=len(self.accepted), reports=request.reports)

    async def snapshot(self, patience: float) -> QueueSnapshot:
        """Return the state of the queue."""
        self._work()
        return QueueSnapshot(queued=len(self.jobs))

    def _work(self) -> None:
        if self.trouble is not None:
            raise self.trouble


OUTAGE = StoreUnavailableError("The store at unix:///nowhere did not answer in 4 seconds.")
