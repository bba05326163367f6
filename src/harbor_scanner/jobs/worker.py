"""Takes jobs from the queue, has them scanned, and ends them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import structlog

from harbor_scanner.errors import ScanError, StoreUnavailableError, WorkerDiedError
from harbor_scanner.harbor.models import SBOM, VULNERABILITY
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.model import Lease
from harbor_scanner.jobs.queue import HEARTBEAT_SECONDS, LEASE_SECONDS, Queue
from harbor_scanner.jobs.run import Reports, Runner, ride_out
from harbor_scanner.jobs.store import Store
from harbor_scanner.metrics import ScannerMetrics
from harbor_scanner.scratch import free_bytes

log = structlog.get_logger(__name__)

HARBOR_PATIENCE = 30 * 60.0
"""Seconds after which Harbor's maintainers say that a scan is given up."""

_FIRST_RETRY, _RETRY_FACTOR = 5.0, 4.0
_TICK = 1.0
_LEASE_LOST = "lease lost"


class WorkerOptions(msgspec.Struct, frozen=True):
    """How much, how often, how long."""

    name: str
    """Unique among all workers of one store."""
    slots: int
    max_attempts: int
    keep_seconds: float
    """How long an ended job and its report are kept."""
    disk_floor: int
    """Bytes; with less free space, scans wait."""
    watched_directories: Callable[[], Iterable[Path]]
    """Where the space must be free."""
    shutdown_grace: float
    sole: bool = False
    """Whether no other worker can exist, so that a job in other hands is a dead worker's."""


class Worker:
    """Runs up to `slots` scans of one scanner at once."""

    def __init__(
        self,
        options: WorkerOptions,
        store: Store,
        queue: Queue,
        events: Events,
        runner: Runner,
        metrics: ScannerMetrics,
    ) -> None:
        self._options = options
        self._store = store
        self._queue = queue
        self._events = events
        self._runner = runner
        self._metrics = metrics
        self._running: dict[asyncio.Task[None], Lease] = {}
        self._scanning: dict[str, asyncio.Task[None]] = {}
        """The tasks whose scan still goes on, by the entry of their lease."""
        self._taking = asyncio.Lock()
        self._takes_jobs = True
        self._inherits = options.sole
        """Whether the jobs of a dead worker are still to be taken over."""
        self.name = options.name
        self.waiting_for_disk = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then let running scans finish for the grace, and give back the rest."""
        keeper = asyncio.create_task(self._keep_leases(), name="leases")
        try:
            while not stopping.is_set():
                self._events.queued.clear()
                if not self._disk_is_short():
                    with contextlib.suppress(StoreUnavailableError):
                        await self._take_waiting()
                await self._wait(stopping)
            await self._stop_taking()
            await self._wait_for_running()
        finally:
            await self._stop_taking()
            await self._end_running()
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _take_waiting(self) -> None:
        if self._inherits:
            await self._take(lambda count: self._queue.reclaim(count, idle_seconds=0))
            self._inherits = False
        await self._take(self._queue.lease)

    async def _take(self, source: Callable[[int], Awaitable[list[Lease]]]) -> None:
        """Start as many jobs of `source` as there are free slots; one caller at a time counts them."""
        async with self._taking:
            free = self._options.slots - len(self._running)
            if free <= 0 or not self._takes_jobs:
                return
            for lease in await source(free):
                task = asyncio.create_task(self._work(lease), name=f"scan {lease.job_id}")
                self._running[task] = lease
                self._scanning[lease.entry] = task
                task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        lease = self._running.pop(task)
        self._scanning.pop(lease.entry, None)
        if not task.cancelled() and (defect := task.exception()):
            log.error(
                "a defect of this service kept a scan from being ended; it is run again when its lease is over",
                job=lease.job_id, exc_info=defect,
            )  # fmt: skip

    async def _wait(self, stopping: asyncio.Event) -> None:
        """Until a job was queued, a slot became free, the service stops, or a second has passed."""
        waiters = [asyncio.create_task(stopping.wait())]
        if len(self._running) < self._options.slots and not self.waiting_for_disk:
            waiters.append(asyncio.create_task(self._events.queued.wait()))
        await asyncio.wait([*waiters, *self._running], timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()

    async def _stop_taking(self) -> None:
        self._takes_jobs = False
        # Whoever is about to take jobs has started them when the lock is free.
        async with self._taking:
            pass

    async def _wait_for_running(self) -> None:
        if self._running:
            log.info("waiting for running scans", scans=len(self._running), seconds=self._options.shutdown_grace)
            await asyncio.wait(self._running, timeout=self._options.shutdown_grace)

    async def _end_running(self) -> None:
        remaining = list(self._running)
        for task in remaining:
            task.cancel()
        if remaining:
            await asyncio.wait(remaining)

    async def _keep_leases(self) -> None:
        """Send heartbeats, and take over what dead workers left."""
        while True:
            try:
                await self._prolong_leases()
                await self._take_abandoned()
            except StoreUnavailableError as error:
                log.debug("a heartbeat failed", error=str(error))
            except Exception:
                log.exception("a heartbeat failed for a defect of this service")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _prolong_leases(self) -> None:
        leases = list(self._running.values())
        lost = await self._queue.prolong(leases) if leases else set()
        for entry in lost & self._scanning.keys():
            task = self._scanning[entry]
            log.warning("another worker has this job now; its scan is ended here", job=self._running[task].job_id)
            task.cancel(_LEASE_LOST)

    async def _take_abandoned(self) -> None:
        await self._store.announce(
            self._options.name, self._options.slots, self._runner.scanner_info().version, patience=2.0
        )
        if await self._queue.promote():
            self._events.queued.set()
        # After an outage, let every living worker prolong its leases first.
        since = self._store.reachable_since
        settled = since is not None and time.monotonic() - since > LEASE_SECONDS / 2
        if settled and not self.waiting_for_disk:
            await self._take(self._queue.reclaim)
        await self._store.close_idle()

    async def _work(self, lease: Lease) -> None:
        """Bring one leased job to its end, another try, or back to the queue."""
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(job=lease.job_id, attempt=lease.attempt):
            if lease.attempt == 1:
                self._metrics.started(lease.started_at - lease.queued_at)
            try:
                try:
                    reports = await self._abandonable(lease)
                except ScanError as error:
                    await self._fail_or_retry(lease, error, time.monotonic() - started)
                else:
                    await self._finish(lease, reports, time.monotonic() - started)
            except asyncio.CancelledError as cancelled:
                if cancelled.args != (_LEASE_LOST,):
                    await asyncio.shield(self._return(lease))
                raise

    async def _abandonable(self, lease: Lease) -> Mapping[str, Reports]:
        try:
            if lease.attempt > self._options.max_attempts:
                raise WorkerDiedError(
                    f"The worker that ran this scan died {self._options.max_attempts} times.",
                    "Look for a lack of memory on the workers' machines; SCANNER_MAX_ATTEMPTS sets the number of runs.",
                )
            return await self._runner.run(lease)
        finally:
            # From here on the job is being ended, which has its own way to learn that the lease was lost.
            self._scanning.pop(lease.entry, None)

    async def _finish(self, lease: Lease, reports: Mapping[str, Reports], seconds: float) -> None:
        keep = self._options.keep_seconds
        bodies = {
            job_id: {kind: report.body for kind, report in made.items()} for job_id, made in reports.items()
        }  # fmt: skip
        if not await ride_out(lambda: self._queue.finish(lease, bodies, keep, seconds)):
            log.warning("the report is not kept: another worker has this job now")
            return
        self._metrics.finished(seconds)
        self._metrics.shared(len(reports) - 1)
        for job_id, made in reports.items():
            findings = 0
            for kind, report in made.items():
                counts = {str(severity): count for severity, count in report.counts.items()}
                findings += sum(counts.values())
                self._metrics.reported(VULNERABILITY if kind == VULNERABILITY else SBOM, report.size, counts)
            log.info("scan finished", job=job_id, seconds=round(seconds, 3), reports=list(made), findings=findings)

    async def _fail_or_retry(self, lease: Lease, error: ScanError, seconds: float) -> None:
        delay = _FIRST_RETRY * _RETRY_FACTOR ** (lease.attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311 - spread
        waited = lease.started_at - lease.queued_at + seconds
        in_time = waited + delay + seconds < HARBOR_PATIENCE
        retried = error.retriable and lease.attempt < self._options.max_attempts and in_time
        self._metrics.failed(seconds, error.code, retried=retried)
        if retried:
            log.warning("scan failed; it is tried again", failure=error.code, error=str(error), seconds=round(delay, 1))
            await ride_out(lambda: self._queue.retry(lease, delay, str(error)))
            return
        message = str(error)
        if 1 < lease.attempt <= self._options.max_attempts and error.retriable:
            message += f"\n(attempt {lease.attempt} of {self._options.max_attempts})"
        log.error("scan failed", failure=error.code, error=message, seconds=round(seconds, 3))
        await ride_out(lambda: self._queue.fail(lease, message, self._options.keep_seconds))

    async def _return(self, lease: Lease) -> None:
        log.info("the scan was ended before its time, and goes back to the queue")
        # Should this fail, the job is taken over when its lease runs out.
        with contextlib.suppress(StoreUnavailableError):
            await self._queue.give_back(lease)

    def _disk_is_short(self) -> bool:
        try:
            directories = list(self._options.watched_directories())
        except Exception:
            log.exception("a defect keeps the directories of a scanner from being watched")
            return self.waiting_for_disk
        free = free_bytes(*directories)
        short = free < self._options.disk_floor
        if short != self.waiting_for_disk:
            self.waiting_for_disk = short
            self._metrics.waiting_for_disk(short)
            if short:
                log.warning(
                    "scans wait for free disk space",
                    free_bytes=free, floor_bytes=self._options.disk_floor,
                    directories=[str(directory) for directory in directories],
                )  # fmt: skip
            else:
                log.info("there is enough free disk space again; scans go on", free_bytes=free)
        return short
