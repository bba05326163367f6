"""uvicorn, with the time limits that it lacks: for reading a request and for writing a response."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from harbor_scanner.errors import StartError
from harbor_scanner.harbor import media
from harbor_scanner.http.routes import error_body
from harbor_scanner.http.tls import ServerTls

HEAD_LIMIT = 64 * 1024
"""Bytes of a request's line and headers."""

_BACKLOG = 2048
_SWEEP_SECONDS = 0.25
_CLOSE_SECONDS = 5


class Timeouts(msgspec.Struct, frozen=True):
    """Limits in seconds, as Go's HTTP server has them; 0 means no limit."""

    read: float
    write: float
    idle: float

    @property
    def keep_alive(self) -> float:
        """Idle time of a kept-alive connection: Go takes the read limit where the idle limit is 0."""
        return self.idle or self.read or math.inf


class TimedProtocol(HttpToolsProtocol):
    """A connection with a deadline, which the server's sweep looks at.

    One number a connection is cheaper than a timer a request, and a quarter of a second late is early enough.
    """

    def __init__(self, timeouts: Timeouts, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._timeouts = timeouts
        self._head_bytes: float = 0
        self.deadline = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The peer has until the read limit for its first request."""
        super().connection_made(transport)
        self._limit(self._timeouts.read)

    def data_received(self, data: bytes) -> None:
        """Headers without an end are cut off."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
            self.transport.abort()

    def on_message_begin(self) -> None:
        """The read limit of this request begins."""
        super().on_message_begin()
        self._limit(self._timeouts.read)

    def on_headers_complete(self) -> None:
        """From here on the body counts, which has a limit of its own."""
        self._head_bytes = -math.inf
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The write limit of the answer begins."""
        self._head_bytes = 0
        self._limit(self._timeouts.write)
        super().on_message_complete()

    def sweep(self, now: float) -> None:
        """Cut the connection off if its peer was too slow."""
        if now < self.deadline:
            return
        cycle: RequestResponseCycle | None = self.cycle
        answered = cycle is not None and cycle.response_complete and not cycle.more_body
        if answered and not self.transport.get_write_buffer_size():
            self.deadline = math.inf
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the API's own shape."""
        body = error_body(msg)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {media.ERROR}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _limit(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds if seconds else math.inf


class _Server(uvicorn.Server):
    """uvicorn's server on our socket, with our protocol and handshake limit, and without signal handlers."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, timeouts: Timeouts, tls: ServerTls | None
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._timeouts = timeouts
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: TimedProtocol(
                self._timeouts, config=self.config, server_state=self.server_state, app_state={}, _loop=loop
            ),
            sock=self._listener,
            ssl=self._tls.context if self._tls else None,
            ssl_handshake_timeout=self._timeouts.read or None if self._tls else None,
            backlog=_BACKLOG,
        )
        self.servers = [server]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def sweep(self) -> None:
        """Look after slow peers, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, TimedProtocol):
                    connection.sweep(now)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; an empty host means all addresses, IPv6 and IPv4. Raises StartError."""
    try:
        if host:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        return socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            "Let SCANNER_API_ADDR name a free port and an address of this machine.",
        ) from error


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, listener: socket.socket, timeouts: Timeouts, tls: ServerTls | None = None
) -> AsyncIterator[None]:
    """Serve `app` on `listener` until the block ends; running requests are then finished."""
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=timeouts.keep_alive,  # type: ignore[arg-type]
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )  # fmt: skip
    server = _Server(config, listener, timeouts, tls)
    tasks = [asyncio.create_task(server.serve(), name="http"), asyncio.create_task(server.sweep(), name="sweep")]
    if tls is not None:
        tasks.append(asyncio.create_task(tls.follow(), name="tls"))
    started = time.monotonic()
    while not server.started and not tasks[0].done() and time.monotonic() - started < _CLOSE_SECONDS:  # noqa: ASYNC110
        await asyncio.sleep(0.002)  # uvicorn tells of its start in no other way
    try:
        yield
    finally:
        server.should_exit = True
        await tasks[0]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
