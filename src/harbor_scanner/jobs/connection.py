"""Connections to Redis or Valkey: standalone, Unix socket, TLS or Sentinel, within the limits of the settings."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, ClassVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from harbor_scanner.config import RedisSettings
from harbor_scanner.jobs.address import RedisAddress


class _WriteTimeout(AbstractConnection):
    """A connection whose writes have a time limit of their own; redis-py knows one limit for both directions."""

    def __init__(self, *, write_timeout: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.write_timeout = write_timeout

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        for_reading, self.socket_timeout = self.socket_timeout, self.write_timeout
        try:
            await super().send_packed_command(command, check_health)
        finally:
            self.socket_timeout = for_reading


class _TcpConnection(_WriteTimeout, Connection): ...


class _TlsConnection(_WriteTimeout, SSLConnection): ...


class _SocketConnection(_WriteTimeout, UnixDomainSocketConnection): ...


class _MasterConnection(_WriteTimeout, SentinelManagedConnection): ...


class _MasterTlsConnection(_WriteTimeout, SentinelManagedSSLConnection): ...


class _Pool(BlockingConnectionPool):
    """A pool that closes connections which nobody used for a while, and those beyond the idle limit."""

    def __init__(self, *, max_idle: int, idle_timeout: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._idle_since: dict[AbstractConnection, float] = {}

    async def release(self, connection: AbstractConnection) -> None:
        await super().release(connection)
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
            await connection.disconnect()


class _MasterPool(SentinelConnectionPool, _Pool):
    """The same for the master that Sentinels name."""


class Connections:
    """The clients of one process: one for commands, one for the subscription to events."""

    MARGIN: ClassVar[int] = 1
    """Connections of the settings' limit that are kept for the subscription."""

    def __init__(self, settings: RedisSettings, address: RedisAddress) -> None:
        self.address = address
        self._sentinel = _sentinel(settings, address) if address.master_name else None
        self._pool = self._new_pool(settings, settings.pool_max_active - self.MARGIN)
        self.client: Redis = Redis.from_pool(self._pool)
        self.subscriber: Redis = Redis.from_pool(self._new_pool(settings, self.MARGIN))

    async def close_idle(self) -> None:
        """Close connections that have been idle for longer than the settings allow."""
        await self._pool.close_idle()

    async def close(self) -> None:
        """Close all connections."""
        await self.subscriber.aclose()
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()

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
        if self._sentinel is not None:
            return _MasterPool(  # type: ignore[no-untyped-call] # redis-py's Sentinel has no annotations
                service_name=address.master_name,
                sentinel_manager=self._sentinel,
                connection_class=_MasterTlsConnection if address.tls else _MasterConnection,
                **arguments,
            )
        if address.socket is not None:
            return _Pool(connection_class=_SocketConnection, path=str(address.socket), **arguments)
        host, port = address.hosts[0]
        connection_class = _TlsConnection if address.tls else _TcpConnection
        return _Pool(connection_class=connection_class, host=host, port=port, **arguments)


def _sentinel(settings: RedisSettings, address: RedisAddress) -> Sentinel:
    return Sentinel(  # type: ignore[no-untyped-call]
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
        "socket_connect_timeout": settings.connection_timeout,
        "socket_timeout": settings.read_timeout,
        # Another try is the business of the store, which knows how long its caller can wait.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _tls(settings: RedisSettings) -> dict[str, Any]:
    return {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
