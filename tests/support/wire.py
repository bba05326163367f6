"""The HTTP server on a free port, and peers that behave as badly as TCP allows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Self, TypeVar

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from harbor_scanner.http.server import Timeouts, listen, serving
from harbor_scanner.http.tls import ServerTls

T = TypeVar("T")

SOON = 30.0
"""Seconds within which a thing that must happen happens, however slow the machine is."""
SHORT = 0.3
"""Seconds of a limit that a test waits for."""
LONGER = 3 * SHORT
"""Seconds by which such a limit would have struck, if there were one."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on the event loop that the service runs on."""
    return uvloop.run(asyncio.wait_for(work, SOON * 2))


class Response(NamedTuple):
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """One TCP connection, which reads and writes only when it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        await asyncio.get_running_loop().sock_sendall(self.connection, data)

    async def receive(self, size: int = 65536) -> bytes:
        """Return what there is, waiting for at least one byte; nothing at the end. Raises OSError."""
        return await asyncio.get_running_loop().sock_recv(self.connection, size)

    async def response(self, *, head_only: bool = False) -> Response:
        """Return the next response. Raises EOFError or OSError if the connection ends before it does."""
        head = bytes(await self._until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        body = b""
        if not head_only and headers.get("transfer-encoding") == "chunked":
            while size := int((await self._until(b"\r\n")).strip(), 16):
                body += (await self._take(size + 2))[:-2]
            await self._take(2)
        elif not head_only:
            body = await self._take(int(headers.get("content-length", 0)))
        return Response(status, headers, body)

    async def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> Response:
        """Send a request and return its response."""
        await self.send(request(method, target, *lines, body=body))
        return await self.response(head_only=method == "HEAD")

    async def drip(self, data: bytes, pause: float = 0.05) -> None:
        """Send byte after byte, slowly, and over and over, for ever. Raises OSError."""
        while True:
            for place in range(len(data)):
                await self.send(data[place : place + 1])
                await asyncio.sleep(pause)

    async def rest(self) -> bytes:
        """Return all that comes until the other side ends the connection, in whatever way."""
        received = bytearray(self._buffer)
        with contextlib.suppress(ConnectionError):
            while data := await self.receive():
                received += data
        return bytes(received)

    async def is_cut_off(self, seconds: float = SOON) -> bool:
        """Tell whether the other side ends the connection in that time; what it sends before is thrown away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rest()
                return True
        return False

    async def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            await self._more()
        return await self._take(self._buffer.index(end) + len(end))

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> None:
        data = await self.receive()
        if not data:
            raise EOFError(bytes(self._buffer[:200]))
        self._buffer += data


def request(method: str, target: str, *lines: str, body: bytes = b"") -> bytes:
    """Return a request as it goes over the wire."""
    head = [f"{method} {target} HTTP/1.1", "Host: scanner", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


class Watched:
    """An application, how many requests have come, and how many it is working on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begun = 0
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        self.begun += 1
        self.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= 1


class Server:
    """A server that runs on this machine, and the connections of a test to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._stack = contextlib.AsyncExitStack()

    async def peer(self, *, host: str = "127.0.0.1", receive_buffer: int = 0, send_buffer: int = 0) -> Peer:
        """Open a connection, which ends with the server at the latest. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = self._stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        connection.setblocking(False)
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size:
                connection.setsockopt(socket.SOL_SOCKET, option, size)
        await asyncio.get_running_loop().sock_connect(connection, (host, self.port))
        return Peer(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def server(
    app: ASGIApp,
    *,
    read: float = SOON,
    write: float = SOON,
    idle: float = SOON,
    host: str = "127.0.0.1",
    tls: ServerTls | None = None,
) -> AsyncIterator[Server]:
    """Serve `app` with these limits, by default with some that no test reaches."""
    listener = listen(host, 0)
    with contextlib.closing(listener):
        async with (
            serving(app, listener, Timeouts(read, write, idle), tls),
            Server(listener.getsockname()[1]) as here,
        ):
            yield here


@contextlib.contextmanager
def in_background(
    open_app: Callable[[], AbstractAsyncContextManager[ASGIApp]], tls: ServerTls | None = None
) -> Iterator[int]:
    """Serve an application from another thread until the block ends; yield the port."""
    ports: Future[int] = Future()
    end: Future[None] = Future()

    async def work() -> None:
        async with open_app() as app, server(app, tls=tls) as here:
            ports.set_result(here.port)
            await asyncio.wrap_future(end)

    def run_work() -> None:
        try:
            uvloop.run(work())
        except BaseException as error:
            if ports.done():
                raise
            ports.set_exception(error)

    thread = threading.Thread(target=run_work)
    thread.start()
    try:
        yield ports.result(SOON)
    finally:
        end.set_result(None)
        thread.join()


class Clock:
    """Makes an event loop believe that time flies."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that goes by this clock."""
        loop = asyncio.new_event_loop()
        loop.time = lambda: time.monotonic() + self._ahead  # type: ignore[method-assign]
        return loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on such a loop."""
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(work)

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, and everything happen that is due then."""
        self._ahead += seconds
        for _ in range(3):
            await asyncio.sleep(0.05)
