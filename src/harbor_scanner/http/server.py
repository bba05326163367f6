"""uvicorn, with the time limits that it lacks: for reading a request and for writing a response."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
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
        self._reading = True
        """Whether a request is awaited or under way, and not merely possible, as on an idle connection."""
        self._unparsed = 0
        """Bytes read since the parser last brought something to an end: a head, or a piece of a body."""
        self._answering: RequestResponseCycle | None = None
        self.deadline = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The peer has until the read limit for its first request."""
        super().connection_made(transport)
        self._limit(self._timeouts.read)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever still answers is told; uvicorn tells only the request that was read last."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._let_go()

    def data_received(self, data: bytes) -> None:
        """Headers without an end, or trailers, are cut off."""
        if not self._reading and self.timeout_keep_alive_task is not None and not data.strip(b"\r\n"):
            return  # blank lines may stand before a request, but are none: the idle limit goes on
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_LIMIT and not self.transport.is_closing():
            self.cut_off()

    def on_message_begin(self) -> None:
        """The read limit of this request begins."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._reading = True
        self._limit(self._timeouts.read)

    def on_headers_complete(self) -> None:
        """The body has a limit of its own. What follows a wish for another protocol cannot be read as HTTP any more."""
        self._unparsed = 0
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A body is long because it is long; only what is no body counts."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The write limit of the answer begins."""
        self._unparsed = 0
        self._reading = False
        self._limit(self._timeouts.write)
        super().on_message_complete()
        if self.cycle.response_complete:
            # It was answered before its end, as one that is refused; the wait for the next one begins only now.
            super().on_response_complete()

    def on_response_complete(self) -> None:
        """The write limit of the next answer begins, if its request is already here."""
        if self.pipeline:
            self._limit(self._timeouts.write)
        super().on_response_complete()

    def sweep(self, now: float) -> None:
        """Cut the connection off if its peer was too slow."""
        if now < self.deadline:
            return
        cycle: RequestResponseCycle | None = self.cycle
        answered = not self._reading and cycle is not None and cycle.response_complete
        if answered and not self.transport.get_write_buffer_size():
            self.deadline = math.inf
        else:
            self.cut_off()

    def cut_off(self) -> None:
        """End the connection, whatever is under way."""
        self._let_go()
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

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever offers another protocol is answered in HTTP/1.1, and that is no news."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _let_go(self) -> None:
        """Have what still answers find out that nobody listens."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

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
        self.listening = asyncio.Event()

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
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def connections(self) -> list[TimedProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, TimedProtocol)]

    async def sweep(self) -> None:
        """Look after slow peers, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in self.connections:
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
        timeout_graceful_shutdown=2 * _CLOSE_SECONDS,
    )  # fmt: skip
    server = _Server(config, listener, timeouts, tls)
    serve = asyncio.create_task(server.serve(), name="http")
    helpers = [
        asyncio.create_task(server.listening.wait(), name="http start"),
        asyncio.create_task(server.sweep(), name="sweep"),
    ]
    if tls is not None:
        helpers.append(asyncio.create_task(tls.follow(), name="tls"))
    try:
        await asyncio.wait((serve, helpers[0]), return_when=asyncio.FIRST_COMPLETED)
        if server.listening.is_set():
            yield
    finally:
        server.should_exit = True
        await asyncio.wait((serve,), timeout=_CLOSE_SECONDS)
        for connection in server.connections:
            connection.cut_off()
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(serve, *helpers, return_exceptions=True)
    await serve
