"""Connections to Redis or Valkey: standalone, Unix socket, TLS or Sentinel, within the limits of the settings."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.settings import RedisSettings


class _Limited(AbstractConnection):
    """A connection whose writes have a time limit of their own, and that can be closed whatever the server does.

    redis-py knows one limit for both directions.
    """

    def __init__(self, *, write_timeout: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.write_timeout = write_timeout

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        # Without a limit of its own, redis-py calls no `wait_for`, which up to Python 3.11 can swallow a cancellation.
        for_reading, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(self.write_timeout or None):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = for_reading

    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        writer = self._writer
        try:
            # With TLS, the server has a say in the end of a connection, and may be late with it.
            with contextlib.suppress(RedisTimeoutError):
                await super().disconnect(*arguments, **options)
        finally:
            # What could not be sent goes as well, lest every try of an outage stays in memory.
            if writer is not None:
                writer.transport.abort()


class _TcpConnection(_Limited, Connection): ...


class _TlsConnection(_Limited, SSLConnection): ...


class _SocketConnection(_Limited, UnixDomainSocketConnection): ...


class _MasterConnection(_Limited, SentinelManagedConnection): ...


class _MasterTlsConnection(_Limited, SentinelManagedSSLConnection): ...


class _Pool(BlockingConnectionPool):
    """A pool that closes connections which nobody used for a while, and those beyond the idle limit."""

    def __init__(self, *, max_idle: int, idle_timeout: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._turns = asyncio.Semaphore(arguments["max_connections"])
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._idle_since: dict[AbstractConnection, float] = {}

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        # First come, first served: the pool's own queue lets newcomers overtake those who wait.
        await self._turns.acquire()
        try:
            connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._turns.release()
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            self._turns.release()
        self._idle_since[connection] = time.monotonic()
        await self.close_idle()

    async def close_idle(self) -> None:
        """Close the connections that have been idle for too long or are too many, the longest idle first."""
        idle: list[AbstractConnection] = self._available_connections
        now = time.monotonic()
        while idle:
            expired = self._idle_timeout and now - self._idle_since.get(idle[0], now) > self._idle_timeout
            if not expired and len(idle) <= self._max_idle:
                return
            connection = idle.pop(0)
            self._idle_since.pop(connection, None)
            # Nobody waits until a server that hangs has agreed.
            await connection.disconnect(nowait=True)


class _MasterPool(SentinelConnectionPool, _Pool):
    """The same for the master that Sentinels name."""


class _Sentinels(Sentinel):
    """Sentinels that are asked all at once, so that one out of reach does not keep the others from being heard."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master as the first that knows it has it. Raises MasterNotFoundError."""
        questions = [asyncio.create_task(self._ask(sentinel, service_name)) for sentinel in self.sentinels]
        problems = []
        try:
            for answer in asyncio.as_completed(questions):
                try:
                    return await answer
                except (RedisError, OSError) as error:
                    problems.append(str(error))
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        raise MasterNotFoundError(f"no Sentinel names a master that works ({'; '.join(sorted(set(problems)))})")

    async def _ask(self, sentinel: Any, service_name: str) -> tuple[str, int]:
        state = (await sentinel.sentinel_masters()).get(service_name)
        if state is None:
            raise MasterNotFoundError(f"a Sentinel knows no master {service_name}")
        if not self.check_master_state(state, service_name):
            raise MasterNotFoundError(f"a Sentinel says that the master {service_name} is down")
        return state["ip"], state["port"]


class Connections:
    """The clients of one process: one for commands, one for the subscriptions to events, each with its connection."""

    def __init__(self, settings: RedisSettings, address: RedisAddress, subscriptions: int = 1) -> None:
        self.address = address
        self._sentinels = _sentinels(settings, address) if address.master_name else None
        # 0 means no limit. A limit that leaves nothing for commands beside the subscriptions is exceeded by one.
        limit = settings.pool_max_active or 10_000
        self._pool = self._new_pool(settings, max(1, limit - subscriptions))
        self.client: Redis = Redis.from_pool(self._pool)
        self.subscriber: Redis = Redis.from_pool(self._new_pool(settings, subscriptions))

    async def close_idle(self) -> None:
        """Close connections that have been idle for longer than the settings allow."""
        await self._pool.close_idle()

    async def close(self) -> None:
        """Close all connections, if need be without the agreement of a server that hangs."""
        await self.subscriber.aclose()
        await self.client.aclose()
        if self._sentinels is not None:
            with contextlib.suppress(RedisError):
                await self._sentinels.aclose()

    def _new_pool(self, settings: RedisSettings, connections: int) -> _Pool:
        address = self.address
        arguments: dict[str, Any] = {
            **_common(settings),
            "db": address.database,
            "username": address.username or None,
            "password": address.password or None,
            "write_timeout": settings.write_timeout,
            "max_connections": connections,
            "timeout": None,
            "max_idle": settings.pool_max_idle,
            "idle_timeout": settings.pool_idle_timeout,
        }
        if address.tls:
            arguments |= _tls(settings)
        if self._sentinels is not None:
            return _MasterPool(  # type: ignore[no-untyped-call] # redis-py's Sentinel has no annotations
                service_name=address.master_name,
                sentinel_manager=self._sentinels,
                connection_class=_MasterTlsConnection if address.tls else _MasterConnection,
                **arguments,
            )
        if address.socket is not None:
            return _Pool(connection_class=_SocketConnection, path=str(address.socket), **arguments)
        host, port = address.hosts[0]
        connection_class = _TlsConnection if address.tls else _TcpConnection
        return _Pool(connection_class=connection_class, host=host, port=port, **arguments)


def _sentinels(settings: RedisSettings, address: RedisAddress) -> _Sentinels:
    return _Sentinels(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={
            **_common(settings),
            **({"ssl": True, **_tls(settings)} if address.tls else {}),
            "username": settings.sentinel_username or None,
            "password": settings.sentinel_password or None,
        },
    )


def _common(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_connect_timeout": settings.connection_timeout or None,
        "socket_timeout": settings.read_timeout or None,
        # Another try is the business of the store, which knows how long its caller can wait.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _tls(settings: RedisSettings) -> dict[str, Any]:
    return {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
