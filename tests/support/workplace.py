"""A worker at work, with a scanner that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, Capability, Finding, ScannerInfo, ScanRequest, Severity
from harbor_scanner.jobs.model import JobStatus, Lease
from harbor_scanner.jobs.run import Runner
from harbor_scanner.jobs.store import GROUP
from harbor_scanner.jobs.worker import Worker, WorkerOptions
from harbor_scanner.metrics import Metrics
from harbor_scanner.process import Processes
from harbor_scanner.registry import RegistryInspector
from harbor_scanner.scanners.base import Scanner, ScanResult, Workspace
from harbor_scanner.scratch import Scratch
from support.jobs import KEEP, PATIENCE, Station, scan_request, station
from support.redis_servers import RedisServer

LONG = 60.0
FINDING = Finding("CVE-2026-0001", "openssl", "1.1.1", Severity.HIGH)
DOCUMENT = b'{"name":"of the packages"}'
"""The SBOM of every image."""

Step = Callable[[ScanRequest], Awaitable[list[Finding]]]


class ScriptedScanner(Scanner):
    """Does with each scan what the script says; the last step is repeated."""

    name = "scripted"
    title = "Scripted"
    vendor = "Tests"

    def __init__(self, *script: Step | Exception) -> None:
        self._script = list(script) or [found]
        self.left_out: set[str] = set()
        """Formats of SBOMs that it does not make, whoever asks for them."""
        self.requests: list[ScanRequest] = []
        self.directories_used: list[Path] = []
        self.now = 0
        """How many scans run."""
        self.most = 0
        """How many have run at once."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        return ()

    async def version(self, workspace: Workspace) -> str:
        return "1.0"

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        step = self._script[min(len(self.requests), len(self._script) - 1)]
        self.requests.append(request)
        self.directories_used.append(workspace.directory)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if isinstance(step, Exception):
                raise step
            formats = set(request.reports) & set(media.SBOM_FORMATS)
            return ScanResult(await step(request), sboms=dict.fromkeys(formats - self.left_out, DOCUMENT))
        finally:
            self.now -= 1


async def found(_: ScanRequest) -> list[Finding]:
    return [FINDING]


async def never_ends(_: ScanRequest) -> list[Finding]:
    await asyncio.Event().wait()
    return []


class Gate:
    """A scan that goes on until it is told to end."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = False

    async def __call__(self, _: ScanRequest) -> list[Finding]:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return [FINDING]


class Inspector(RegistryInspector):
    """Takes everything for an image, and shows it to everybody."""

    async def require_image(self, request: ScanRequest) -> None:
        pass

    async def shows_image(self, request: ScanRequest) -> bool:
        return True


class Workplace:
    """A worker at work, and a look at what comes of it."""

    def __init__(self, here: Station, worker: Worker, metrics: Metrics, scratch: Scratch) -> None:
        self.here = here
        self.worker = worker
        self.scratch = scratch
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self.task = asyncio.create_task(worker.run(self._stopping))

    async def accept(self, *numbers: int) -> None:
        for number in numbers:
            await self.here.queue.accept(f"job-{number}", scan_request(number), PATIENCE)

    async def status(self, job: int | str = 1, kind: str = VULNERABILITY) -> JobStatus:
        """Return the state of a job: its number, or its id if that was not made from a number."""
        status = await self.here.store.find(job if isinstance(job, str) else f"job-{job}", kind, PATIENCE)
        assert status is not None
        return status

    async def ended(self, job: int | str = 1, kind: str = VULNERABILITY) -> JobStatus:
        """Wait until a job has ended."""
        last = await self.status(job, kind)
        deadline = time.monotonic() + LONG
        while not last.state.ended:
            assert time.monotonic() < deadline, f"the job is still {last.state}"
            assert not self.task.done(), "the worker has ended"
            await asyncio.sleep(0.01)
            last = await self.status(job, kind)
        return last

    async def stop(self) -> None:
        self._stopping.set()
        await self.task

    def metric(self, line: str) -> float:
        """Return the value of the metric with this name and these labels."""
        for found_line in self._metrics.render().decode().splitlines():
            if found_line.startswith(f"{line} "):
                return float(found_line.rpartition(" ")[2])
        return 0.0


@contextlib.asynccontextmanager
async def working(
    server: RedisServer,
    namespace: str,
    directory: Path,
    scanner: ScriptedScanner,
    *,
    inspector: RegistryInspector | None = None,
    joining: bool = False,
    **options: Any,
) -> AsyncIterator[Workplace]:
    """Run a worker until the block ends; without grace then."""
    settings = {"name": "worker-1", "slots": 2, "max_attempts": 3, "disk_floor": 0, "shutdown_grace": 0.0, **options}
    metrics, name = Metrics(), settings["name"]
    with Scratch.open(directory) as scratch:
        area = scratch.area(scanner.name, Processes(scratch.directory))
        async with (
            station(server.address, namespace, name, joining=joining, read_timeout=1.0) as here,
            here.events.open(),
        ):
            info = ScannerInfo("Scripted", "Tests", "1.0")
            worker = Worker(
                WorkerOptions(keep_seconds=KEEP, watched_directories=lambda: (directory,), **settings),
                here.store,
                here.queue,
                here.events,
                Runner(here.queue, scanner, lambda: info, inspector or Inspector(), area),
                metrics.of(scanner.name),
            )
            place = Workplace(here, worker, metrics, scratch)
            try:
                yield place
            finally:
                await place.stop()


def grow_old(server: RedisServer, here: Station, lease: Lease, owner: str) -> None:
    """Let an hour pass since the last heartbeat of a lease."""
    server.ask("XCLAIM", here.store.queue, GROUP, owner, 0, lease.entry, "IDLE", 3_600_000, "JUSTID", parse_justid=True)
