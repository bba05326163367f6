"""One scanner as Harbor registers it: its metadata, its queue, and the worker that runs its scans."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import structlog

from harbor_scanner.config import Config, EnabledScanner
from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.groups import SbomSettings
from harbor_scanner.health import Check, CheckState, Health
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.run import Runner
from harbor_scanner.jobs.store import Store
from harbor_scanner.jobs.vault import Vault
from harbor_scanner.jobs.worker import Worker, WorkerOptions
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.metrics import Metrics
from harbor_scanner.registry import RegistryInspector
from harbor_scanner.scanners.base import Premises, Scanner
from harbor_scanner.scanners.sbom import with_sboms
from harbor_scanner.scratch import Area
from harbor_scanner.service import ScanService

log = structlog.get_logger(__name__)

_PATIENCE = 2.0
_PAUSE = 60.0


class Adapter:
    """The parts that serve one scanner. Scanners share nothing but the process, the connections and the disk."""

    def __init__(
        self,
        config: Config,
        enabled: EnabledScanner,
        connections: Connections,
        vault: Vault,
        area: Area,
        metrics: Metrics,
        worker_name: str,
    ) -> None:
        self.name = enabled.name
        self._metrics = metrics.of(self.name)
        self._metrics.watch_processes(lambda: area.running)
        premises = Premises(enabled.settings.current, area.directory, config.worker.data_dir, self._metrics.cleaned)
        self.scanner = _make(enabled, premises, config.sbom)
        self._area = area
        self.metadata = ScannerMetadata(self.scanner, legacy_report=config.api.legacy_report)
        self.store = Store(connections, f"{config.store.namespace}:{self.name}")
        queue = Queue(self.store, vault, worker_name, joining=len(self.scanner.capabilities) > 1)
        self.events = Events(connections.subscriber, self.store.events)
        self.service = ScanService(
            self.store, queue, self.events, self.metadata, self._metrics, hold=config.api.poll_hold
        )
        self.worker = self._worker(config, enabled.workers, queue, worker_name) if config.role.scans else None
        self._metrics.watch_readiness(lambda: not self._problem())
        if self.worker is not None and self._database_updated_at() is not None:
            self._metrics.watch_database(lambda: self._database_updated_at() or 0.0)

    def _worker(self, config: Config, slots: int, queue: Queue, name: str) -> Worker:
        options = WorkerOptions(
            name=name,
            slots=slots,
            max_attempts=config.worker.max_attempts,
            keep_seconds=config.store.scan_job_ttl,
            disk_floor=config.worker.disk_floor,
            watched_directories=lambda: (config.worker.data_dir, *self.scanner.directories),
            shutdown_grace=config.worker.shutdown_grace,
            sole=config.redis.address is None,
        )
        runner = Runner(queue, self.scanner, lambda: self.metadata.info, RegistryInspector(), self._area)
        return Worker(options, self.store, queue, self.events, runner, self._metrics)

    def background(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return what goes on for as long as the service runs, whether it scans or not."""
        yield self.metadata.keep_fresh(self._read_version)
        if self.worker is not None:
            yield self._maintain()

    async def work(self, stopping: asyncio.Event) -> None:
        """Run scans, if this process does, until `stopping` is set; then let the others know."""
        if self.worker is None:
            return
        with structlog.contextvars.bound_contextvars(scanner=self.name):
            await self.worker.run(stopping)
        with contextlib.suppress(StoreUnavailableError):
            await self.store.retract(self.worker.name, _PATIENCE)

    async def _maintain(self) -> None:
        while True:
            try:
                await self.scanner.maintain()
            except Exception:
                log.exception("the upkeep of a scanner failed for a defect of this service", scanner=self.name)
                await asyncio.sleep(_PAUSE)
            else:
                return

    def prepare_directories(self) -> None:
        """Make at the start the directories that a new volume lacks, and tell what would fail the first scan."""
        for directory in self._unwritable() if self.worker is not None else ():
            log.warning(
                "scans will fail: this directory does not exist or cannot be written to",
                scanner=self.name,
                directory=directory,
                advice="create it for the user of this service, or have its setting name another one",
            )

    def _unwritable(self) -> Iterator[Path]:
        try:
            for path in self.scanner.directories:
                # Only in a directory that is there: more would be made for a path with a typing mistake.
                with contextlib.suppress(OSError):
                    path.mkdir(mode=0o700)
                if not os.access(path, os.W_OK | os.X_OK):
                    yield path
        except Exception:
            log.exception("a defect keeps the directories of a scanner from being checked", scanner=self.name)

    def add_checks(self, health: Health) -> None:
        """Have the readiness probe tell of this scanner."""

        def scanner() -> Check:
            problem = self._problem()
            return Check(CheckState.DEGRADED, problem) if problem else Check(CheckState.OK)

        def disk() -> Check:
            if self.worker is not None and self.worker.waiting_for_disk:
                return Check(CheckState.WAITING, "less free space than SCANNER_DISK_FLOOR; scans wait")
            return Check(CheckState.OK)

        health.add(self.name, scanner)
        if self.worker is not None:
            health.add(f"{self.name} disk", disk)

    def _problem(self) -> str:
        """Return what keeps every scan of this scanner from succeeding; empty if nothing is known to."""
        try:
            return self.metadata.problem or (self.scanner.problem if self.worker is not None else "")
        except Exception:
            log.exception("a defect keeps the state of a scanner from being told", scanner=self.name)
            return "a defect of this service keeps its state from being told; the log has the details"

    def _database_updated_at(self) -> float | None:
        try:
            return self.scanner.database_updated_at
        except Exception:
            log.exception("a defect keeps the age of a scanner's database from being told", scanner=self.name)
            return None

    async def _read_version(self) -> str:
        """Return the scanner's version; an API without a scanner of its own learns it from the workers."""
        if self.worker is None:
            return await self.store.scanner_version(_PATIENCE)
        async with self._area.workspace() as workspace:
            return await self.scanner.version(workspace)


def _make(enabled: EnabledScanner, premises: Premises, sbom: SbomSettings) -> Scanner:
    scanner = enabled.plugin.make(premises)
    return with_sboms(scanner, time_limit=sbom.timeout) if sbom.by_syft else scanner
