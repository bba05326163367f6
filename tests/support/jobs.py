"""The queue as one process of the service sees it, and scan requests to put in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor.media import SPDX
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, Registry, ScanRequest
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.model import Lease
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.settings import RedisSettings
from harbor_scanner.jobs.store import Store
from harbor_scanner.jobs.vault import Vault
from support.redis_servers import RedisServer

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that tests wait for a server that is up."""
KEEP = 600.0
"""Seconds that ended jobs are kept."""
AUTHORIZATION = "Basic cm9ib3QkaGFyYm9yOlMzY3JldC1Sb2JvdA=="
"""Of the account `robot$harbor`."""
ROBOT_PASSWORD = "S3cret-Robot"


class Station(NamedTuple):
    """The parts of one process."""

    connections: Connections
    store: Store
    queue: Queue
    events: Events


def redis_settings(**changes: Any) -> RedisSettings:
    """Return the settings of a connection, by default with generous limits."""
    return msgspec.structs.replace(
        RedisSettings(
            address=None, sentinel_username="", sentinel_password="", ca_file=None,
            pool_max_active=5, pool_max_idle=5, pool_idle_timeout=300.0,
            connection_timeout=5.0, read_timeout=5.0, write_timeout=5.0,
        ),
        **changes,
    )  # fmt: skip


@functools.cache
def vault() -> Vault:
    """Return the vault of all tests: to make its key takes a while."""
    return Vault("a secret of the tests")


@contextlib.asynccontextmanager
async def connected(address: RedisAddress, **settings: Any) -> AsyncIterator[Connections]:
    """Open the clients of one process."""
    connections = Connections(redis_settings(**settings), address)
    try:
        yield connections
    finally:
        await connections.close()


@contextlib.asynccontextmanager
async def station(
    address: RedisAddress, namespace: str, worker: str = "worker-1", *, joining: bool = False, **settings: Any
) -> AsyncIterator[Station]:
    """Open the queue as one process does."""
    async with connected(address, **settings) as connections:
        store = Store(connections, namespace)
        await store.prepare(PATIENCE)
        queue = Queue(store, vault(), worker, joining=joining)
        yield Station(connections, store, queue, Events(connections.subscriber, store.events))


def scan_request(number: int = 1, authorization: str | None = AUTHORIZATION) -> ScanRequest:
    """Return a request to scan an image, a different one for each number."""
    return ScanRequest(
        registry=Registry("https://registry.example", authorization),
        artifact=Artifact(f"library/image-{number}", f"sha256:{number:064x}", "latest"),
    )


def sbom_request(number: int = 1, authorization: str | None = AUTHORIZATION) -> ScanRequest:
    """Return a request for the SBOM of the image that `scan_request` has scanned."""
    return scan_request(number, authorization).asking_for([SPDX])


def vulnerabilities(lease: Lease, report: bytes) -> Mapping[str, Mapping[str, bytes]]:
    """Return what a job ends with that was asked for vulnerabilities only."""
    return {lease.job_id: {VULNERABILITY: report}}


async def until(condition: Callable[[], Any | Awaitable[Any]], what: str, seconds: float = 30) -> None:
    """Wait until `condition()`, which may be a coroutine, holds."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if await result if isinstance(result, Awaitable) else result:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} seconds still not so: {what}")
        await asyncio.sleep(0.01)


async def ride_out(step: Callable[[], Awaitable[T]], seconds: float = 60) -> T:
    """Repeat a step until the store answers, as the worker does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await step()
            except StoreUnavailableError:
                await asyncio.sleep(0.01)


class _ReplyLost:
    """Lets the operations of a store take effect, and loses the reply of the first."""

    def __init__(self, here: Station) -> None:
        self._call = here.store.call
        self._lost = False

    async def __call__(self, operation: Callable[[Any], Awaitable[Any]], patience: float) -> Any:
        async def lossy(redis: Any) -> Any:
            result = await operation(redis)
            if not self._lost:
                self._lost = True
                raise RedisConnectionError("the reply got lost")
            return result

        return await self._call(lossy, patience)


def lose_a_reply(here: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next step take effect and its reply get lost, so that it is repeated."""
    monkeypatch.setattr(here.store, "call", _ReplyLost(here))


_READING: dict[bytes, tuple[Any, ...]] = {
    b"hash": ("HGETALL",), b"stream": ("XRANGE", "-", "+"), b"zset": ("ZRANGE", 0, -1), b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",), b"string": ("GET",),
}  # fmt: skip


def everything_in(server: RedisServer, namespace: str) -> bytes:
    """Return all that the server keeps for a namespace, as it keeps it."""
    found = []
    for key in sorted(server.keys(f"{namespace}*")):
        command, *arguments = _READING[server.ask("TYPE", key)]
        found += [key.encode(), *_flat(server.ask(command, key, *arguments))]
    return b"\n".join(found)


def _flat(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return [part for item in items for part in _flat(item)]
