"""The composition root: settings become a running service, its parts on one exit stack."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from harbor_scanner.adapter import Adapter
from harbor_scanner.config import Config
from harbor_scanner.embedded import EmbeddedStore, stored_secret
from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.health import Check, CheckState, Health
from harbor_scanner.http.auth import Authenticator
from harbor_scanner.http.routes import create_app
from harbor_scanner.http.server import Timeouts, listen, serving
from harbor_scanner.http.settings import ApiSettings, ListenAddress
from harbor_scanner.http.tls import ServerTls, TlsFiles
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.store import Store
from harbor_scanner.jobs.vault import Vault, new_secret
from harbor_scanner.metrics import Metrics
from harbor_scanner.presence import announce
from harbor_scanner.process import Processes
from harbor_scanner.scratch import Scratch

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
            address=str(config.api.addr), tls=config.api.tls, role=str(config.role),
            scanners=[adapter.name for adapter in service.adapters], store=str(service.connections.address),
            start_seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        await service.run(stopping)
    log.info("harbor-scanner has ended")


class _Service:
    """The parts of one process, in the order in which they need each other."""

    def __init__(self, config: Config, stack: contextlib.AsyncExitStack) -> None:
        self._config = config
        self._stack = stack
        self.metrics = Metrics()
        self.health = Health()

    async def open(self) -> None:
        """Start every part, the HTTP server last."""
        config, stack = self._config, self._stack
        # The listening socket comes first: a port that is taken should be told before anything is started.
        listener = listen(config.api.addr.host, config.api.addr.port)
        stack.callback(listener.close)
        scratch = stack.enter_context(Scratch.open(config.worker.data_dir))
        self._scratch = scratch.directory
        processes = await stack.enter_async_context(Processes(scratch.directory).open())
        address = config.redis.address
        if address is None:
            embedded = await stack.enter_async_context(EmbeddedStore.open(config.worker.data_dir, processes.adopt))
            address = embedded.address
        self.connections = Connections(config.redis, address, len(config.scanners))
        stack.push_async_callback(self.connections.close)
        self._vault = Vault(self._secret())
        name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self.adapters = [
            Adapter(
                config,
                enabled,
                self.connections,
                self._vault,
                scratch.area(enabled.name, processes),
                self.metrics,
                name,
            )
            for enabled in config.scanners
        ]
        for adapter in self.adapters:
            await stack.enter_async_context(adapter.events.open())
            adapter.prepare_directories()
        self._add_checks()
        for adapter in self.adapters:
            for work in adapter.background():
                await self._background(work, f"upkeep of {adapter.name}")
        await self._background(config.live.watch(), "settings")
        await self._listen(listener)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; the API answers as long as scans still run."""
        await self._reach_store(stopping)
        for adapter in self.adapters:
            await self._background(adapter.service.watch_queue(), f"queue of {adapter.name}")
        self.health.started = True
        draining = asyncio.create_task(self._drain(stopping))
        try:
            async with asyncio.TaskGroup() as workers:
                for adapter in self.adapters:
                    workers.create_task(adapter.work(stopping), name=f"worker of {adapter.name}")
            await draining
        finally:
            draining.cancel()

    async def _drain(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self.health.draining = True

    async def _reach_store(self, stopping: asyncio.Event) -> None:
        """Wait for the store, however long it takes to come up."""
        while not stopping.is_set():
            try:
                for adapter in self.adapters:
                    await adapter.store.prepare(_PATIENCE)
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
        store = Store(self.connections, self._config.store.namespace)
        self._vault.unlock(await store.shared_secret(self._vault.secret or new_secret(), _PATIENCE))

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

    def _add_checks(self) -> None:
        def store() -> Check:
            if refusal := next((adapter.store.refusal for adapter in self.adapters if adapter.store.refusal), ""):
                return Check(CheckState.DEGRADED, refusal)
            if all(adapter.service.snapshot is not None for adapter in self.adapters):
                return Check(CheckState.OK)
            return Check(
                CheckState.DEGRADED, f"{self.connections.address} does not answer; polls are answered with 302"
            )

        self.health.add("store", store)
        for adapter in self.adapters:
            adapter.add_checks(self.health)

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
        services = {adapter.name: adapter.service for adapter in self.adapters} if self._config.role.serves else {}
        app = create_app(self.health, self.metrics, services, Authenticator(api.auth_basic, api.auth_tokens))
        timeouts = Timeouts(api.read_timeout, api.write_timeout, api.idle_timeout)
        tls = _tls(api)
        if tls is not None:
            self.metrics.watch_certificate(lambda: tls.expires)
        await self._stack.enter_async_context(serving(app, listener, timeouts, tls))
        address = ListenAddress(api.addr.host, listener.getsockname()[1])
        announce(self._scratch, address, tls=tls is not None, asks_certificate=api.client_cas is not None)


def _tls(api: ApiSettings) -> ServerTls | None:
    if api.tls_certificate is None or api.tls_key is None:
        return None
    return ServerTls(TlsFiles(api.tls_certificate, api.tls_key, api.client_cas))
