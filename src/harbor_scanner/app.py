"""The composition root: settings become a running service, its parts on one exit stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from harbor_scanner.config import ApiSettings, Config
from harbor_scanner.embedded import EmbeddedStore, stored_secret
from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.health import Check, CheckState, Health
from harbor_scanner.http.auth import Authenticator
from harbor_scanner.http.routes import create_app
from harbor_scanner.http.server import Timeouts, listen, serving
from harbor_scanner.http.tls import ServerTls, TlsFiles
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import Store
from harbor_scanner.jobs.vault import Vault, new_secret
from harbor_scanner.jobs.worker import Worker, WorkerOptions
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.metrics import Metrics
from harbor_scanner.process import Processes
from harbor_scanner.registry import RegistryInspector
from harbor_scanner.scanners.aqua import AquaScanner
from harbor_scanner.scanners.base import Scanner
from harbor_scanner.scratch import Scratch
from harbor_scanner.service import ScanService

log = structlog.get_logger(__name__)

_PATIENCE = 2.0
_PAUSE = 1.0
_AGREE_SECONDS = 2.0


async def serve(config: Config, stopping: asyncio.Event) -> None:
    """Run the service until `stopping` is set, then end it in order. Raises StartError."""
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        service = _Service(config, stack)
        await service.open()
        log.info(
            "harbor-scanner listens",
            address=str(config.api.addr), tls=config.api.tls, role=str(config.role), scanner=service.scanner.name,
            store=str(service.connections.address), start_seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        await service.run(stopping)
    log.info("harbor-scanner has ended")


class _Service:
    """The parts of one process, in the order in which they need each other."""

    def __init__(self, config: Config, stack: contextlib.AsyncExitStack) -> None:
        self._config = config
        self._stack = stack
        self.scanner: Scanner = AquaScanner(config.aqua)
        self.metrics = Metrics(self.scanner.name)
        self.metadata = ScannerMetadata(self.scanner, legacy_report=config.api.legacy_report)
        self.health = Health()

    async def open(self) -> None:
        """Start every part, the HTTP server last."""
        config, stack = self._config, self._stack
        # The listening socket comes first: a port that is taken should be told before anything is started.
        listener = listen(config.api.addr.host, config.api.addr.port)
        stack.callback(listener.close)
        scratch = stack.enter_context(Scratch.open(config.worker.data_dir))
        processes = await stack.enter_async_context(Processes(scratch.directory).open())
        self.metrics.watch_processes(lambda: processes.running)
        address = config.redis.address
        if address is None:
            embedded = await stack.enter_async_context(EmbeddedStore.open(config.worker.data_dir, processes.adopt))
            address = embedded.address
        self.connections = Connections(config.redis, address)
        stack.push_async_callback(self.connections.close)
        self._store = Store(self.connections, config.store.namespace)
        self._vault = Vault(self._secret())
        name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        queue = Queue(self._store, self._vault, name)
        events = await stack.enter_async_context(Events(self.connections.subscriber, self._store.events).open())
        self.service = ScanService(self._store, queue, events, self.metadata, self.metrics, hold=config.api.poll_hold)
        self._warn_of_directories()
        self.worker = self._worker(name, queue, events, scratch, processes) if config.role.scans else None
        self._read_version = (
            _version_reader(self.scanner, scratch, processes) if config.role.scans else self._told_version
        )
        self._add_checks()
        await self._background(self.metadata.keep_fresh(self._read_version), "scanner version")
        await self._listen(listener)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; the API answers as long as scans still run."""
        await self._reach_store(stopping)
        await self._background(self.service.watch_queue(), "queue watch")
        self.health.started = True
        if self.worker is None:
            await stopping.wait()
        else:
            await self._until_drained(self.worker, stopping)
        self.health.draining = True
        if self.worker is not None:
            with contextlib.suppress(StoreUnavailableError):
                await self._store.retract(self.worker.name, _PATIENCE)

    async def _until_drained(self, worker: Worker, stopping: asyncio.Event) -> None:
        async def tell() -> None:
            await stopping.wait()
            self.health.draining = True

        teller = asyncio.create_task(tell())
        try:
            await worker.run(stopping)
        finally:
            teller.cancel()

    async def _reach_store(self, stopping: asyncio.Event) -> None:
        """Wait for the store, however long it takes to come up."""
        while not stopping.is_set():
            try:
                await self._store.prepare(_PATIENCE)
                if not self._vault.secret:
                    await self._agree_on_secret()
                    log.warning(
                        "registry credentials are encrypted with a key that lies in the same Redis; "
                        "set SCANNER_STORE_KEY to keep it apart"
                    )
                    await self._background(self._keep_agreeing(), "store key")
            except StoreUnavailableError as error:
                log.warning("waiting for the store", error=str(error))
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def _agree_on_secret(self) -> None:
        self._vault.unlock(await self._store.shared_secret(self._vault.secret or new_secret(), _PATIENCE))

    async def _keep_agreeing(self) -> None:
        """Put the secret back, for ever, after a Redis that lost it: the next process to start needs the same one."""
        while True:
            await asyncio.sleep(_AGREE_SECONDS)
            with contextlib.suppress(StoreUnavailableError):
                await self._agree_on_secret()

    def _secret(self) -> str:
        """Return the secret of the vault, or nothing if it must be agreed on through the store."""
        if self._config.store.key:
            return self._config.store.key
        return stored_secret(self._config.worker.data_dir) if self._config.redis.address is None else ""

    def _warn_of_directories(self) -> None:
        """Tell at the start what would otherwise fail the first scan."""
        for directory in self.scanner.directories if self._config.role.scans else ():
            if not os.access(directory, os.W_OK | os.X_OK):
                log.warning(
                    "scans will fail: this directory does not exist or cannot be written to",
                    directory=directory,
                    advice="create it for the user of this service, or have its setting name another one",
                )

    def _worker(self, name: str, queue: Queue, events: Events, scratch: Scratch, processes: Processes) -> Worker:
        settings = self._config.worker
        options = WorkerOptions(
            name=name,
            slots=settings.workers,
            max_attempts=settings.max_attempts,
            keep_seconds=self._config.store.scan_job_ttl,
            disk_floor=settings.disk_floor,
            watched_directories=(scratch.directory, *self.scanner.directories),
            shutdown_grace=settings.shutdown_grace,
            sole=self._config.redis.address is None,
        )
        return Worker(
            options,
            self._store,
            queue,
            events,
            self.scanner,
            lambda: self.metadata.info,
            RegistryInspector().require_image,
            scratch,
            processes,
            self.metrics,
        )

    async def _told_version(self) -> str:
        """An API without a scanner of its own learns the version from the workers."""
        return await self._store.scanner_version(_PATIENCE)

    def _add_checks(self) -> None:
        def store() -> Check:
            if self._store.refusal:
                return Check(CheckState.DEGRADED, self._store.refusal)
            if self.service.snapshot is not None:
                return Check(CheckState.OK)
            return Check(
                CheckState.DEGRADED, f"{self.connections.address} does not answer; polls are answered with 302"
            )

        def scanner() -> Check:
            return Check(CheckState.DEGRADED, self.metadata.problem) if self.metadata.problem else Check(CheckState.OK)

        def disk() -> Check:
            if self.worker is not None and self.worker.waiting_for_disk:
                return Check(CheckState.WAITING, "less free space than SCANNER_DISK_FLOOR; scans wait")
            return Check(CheckState.OK)

        self.health.add("store", store)
        self.health.add("scanner", scanner)
        if self.worker is not None:
            self.health.add("disk", disk)

    async def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)

        async def end() -> None:
            # Library code may swallow a cancellation (`asyncio.wait_for` did, up to Python 3.11): so until it is heard.
            while not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=_PAUSE)

        self._stack.push_async_callback(end)

    async def _listen(self, listener: socket.socket) -> None:
        api = self._config.api
        app = create_app(
            self.health,
            self.metrics,
            self.service if self._config.role.serves else None,
            Authenticator(api.auth_basic, api.auth_tokens),
        )
        timeouts = Timeouts(api.read_timeout, api.write_timeout, api.idle_timeout)
        await self._stack.enter_async_context(serving(app, listener, timeouts, _tls(api)))


def _tls(api: ApiSettings) -> ServerTls | None:
    if api.tls_certificate is None or api.tls_key is None:
        return None
    return ServerTls(TlsFiles(api.tls_certificate, api.tls_key, api.client_cas))


def _version_reader(scanner: Scanner, scratch: Scratch, processes: Processes) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        async with scratch.workspace(processes) as workspace:
            return await scanner.version(workspace)

    return read
