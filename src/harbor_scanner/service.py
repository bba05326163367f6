"""The use cases that Harbor knows: metadata, accept a scan, fetch a report. No HTTP, no Redis commands, no scanner."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time

import msgspec
import structlog

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor.models import VULNERABILITY, Capability
from harbor_scanner.harbor.validation import parse_scan_request
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.model import JobState, JobStatus, QueueSnapshot
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import Store
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.metrics import ScannerMetrics

log = structlog.get_logger(__name__)

ACCEPT_PATIENCE = 4.0
"""Seconds to wait for the store before a scan request is refused: Harbor gives up after five."""
POLL_PATIENCE = 1.5
"""Seconds to wait for the store before a poll is answered with `come back`."""
POLL_SECONDS = 4.5
"""Seconds after which a poll is answered, whatever the store does: Harbor gives up after five."""
SNAPSHOT_SECONDS = 2.0

_SHORTEST, _LONGEST = 1, 127
"""Bounds of Refresh-After: Harbor reads it as an 8-bit integer, and 0 would make it ask without a pause."""
_AFTER_DEFECT = 5


class Ready(msgspec.Struct, frozen=True):
    """The report is there."""

    compressed: bytes


class NotReady(msgspec.Struct, frozen=True):
    """Come back after so many whole seconds."""

    refresh_after: int


class Failed(msgspec.Struct, frozen=True):
    """The scan failed."""

    message: str


class Unknown(msgspec.Struct, frozen=True):
    """No such job, or its time is over."""


class NotAsked(msgspec.Struct, frozen=True):
    """The scan was not asked for this kind of report."""

    message: str


Answer = Ready | NotReady | Failed | Unknown | NotAsked


class ScanService:
    """Answers Harbor for one scanner."""

    def __init__(
        self,
        store: Store,
        queue: Queue,
        events: Events,
        metadata: ScannerMetadata,
        metrics: ScannerMetrics,
        *,
        hold: float,
    ) -> None:
        self._store = store
        self._queue = queue
        self._events = events
        self._metrics = metrics
        self._hold = hold
        self.metadata = metadata
        self.snapshot: QueueSnapshot | None = None
        """The queue as it was at most a few seconds ago; None while the store does not answer."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What can be asked for."""
        return self.metadata.capabilities

    async def accept(self, body: bytes) -> str:
        """Queue the scan request in `body` and return the id of its job.

        Raises MalformedRequestError, InvalidRequestError or StoreUnavailableError.
        """
        request = parse_scan_request(body, self.capabilities)
        job_id = secrets.token_hex(16)
        await self._queue.accept(job_id, request, ACCEPT_PATIENCE)
        self._metrics.accepted()
        log.debug("scan accepted", job=job_id, repository=request.artifact.repository, digest=request.artifact.digest)
        return job_id

    async def report(self, job_id: str, kind: str = VULNERABILITY) -> Answer:
        """Return what there is to say of a job, holding the answer for a while if that is only `come back`.

        `kind` is one of `ScanRequest.reports`.
        """
        began = time.monotonic()
        with self._events.watch(job_id) as ended:
            while True:
                ended.clear()
                patience = min(POLL_PATIENCE, began + POLL_SECONDS - time.monotonic())
                try:
                    status = await self._store.find(job_id, kind, patience)
                except StoreUnavailableError as error:
                    log.warning("a poll could not be answered from the store", error=str(error))
                    return NotReady(_SHORTEST)
                except Exception:
                    # The job may well be sound, and any error that Harbor is told ends it for good.
                    log.exception("a poll could not be answered for a defect of this service", job=job_id)
                    return NotReady(_AFTER_DEFECT)
                remaining = began + self._hold - time.monotonic()
                if status is None or status.state.ended or kind not in status.reports or remaining <= 0:
                    return self._answer(status, kind)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(remaining):
                        await ended.wait()

    def polled(self, status: int) -> None:
        """Count a poll that was answered with `status`."""
        self._metrics.polled(status)

    def _answer(self, status: JobStatus | None, kind: str) -> Answer:
        if status is None:
            return Unknown()
        if kind not in status.reports:
            return NotAsked(f"This scan was asked for {' and '.join(status.reports)}, not for {kind}.")
        if status.state is JobState.FAILED:
            return Failed(status.error)
        if status.report is not None:
            return Ready(status.report)
        if status.state is JobState.FINISHED:
            # The report expires with its job; only the very instant between the two leads here.
            return Unknown()
        return NotReady(self._refresh_after(status))

    def _refresh_after(self, status: JobStatus) -> int:
        """A running scan is asked for often, as it may end at any time; one far back in the queue is not."""
        if status.state is JobState.RUNNING or self.snapshot is None:
            return _SHORTEST
        return int(max(_SHORTEST, min(_LONGEST, self.snapshot.seconds_to_start(status.sequence) / 2)))

    async def watch_queue(self) -> None:
        """Keep the snapshot and the metrics of the queue fresh, for ever."""
        while True:
            try:
                self.snapshot = await self._store.snapshot(POLL_PATIENCE)
            except StoreUnavailableError as error:
                if self.snapshot is not None:
                    log.warning("the store does not answer", error=str(error))
                self.snapshot = None
            except Exception:
                log.exception("the queue could not be looked at for a defect of this service")
                self.snapshot = None
            self._metrics.queue(self.snapshot)
            await asyncio.sleep(SNAPSHOT_SECONDS)
