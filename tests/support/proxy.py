"""A line between a client and a server that a test can hold back, cut or let go dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class Proxy:
    """Passes everything on between Unix sockets, until it is told otherwise."""

    def __init__(self, target: Path, socket: Path) -> None:
        self._target = target
        self.socket = socket
        self.connections = 0
        """How many were made so far."""
        self.pings = 0
        """How many PING commands have passed."""
        self.hold_back = b""
        """What is passed on only after `let_go`."""
        self.held_back = False
        self._free = asyncio.Event()
        self._swallowed: set[int] = set()
        self._lines: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        """Take connections until the block ends."""
        server = await asyncio.start_unix_server(self._connected, self.socket)
        try:
            yield self
        finally:
            server.close()
            for line in self._lines:
                line.cancel()
            await asyncio.gather(*self._lines, return_exceptions=True)
            await server.wait_closed()

    def let_go(self) -> None:
        """Pass on what was held back."""
        self._free.set()

    def swallow(self) -> None:
        """Let nothing more pass on the connections that there are; new ones work."""
        self._swallowed.update(range(self.connections + 1))

    def cut(self) -> None:
        """Close the connections that there are."""
        for line in self._lines:
            line.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        ways = [
            asyncio.create_task(self._pass_on(number, reader, far_writer)),
            asyncio.create_task(self._pass_on(number, far_reader, writer)),
        ]
        # A line that is cut was cancelled; asyncio's server would log that.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._lines.discard(line)
        for end in (writer, far_writer):
            end.close()

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.hold_back and self.hold_back in data:
                self.held_back = True
                await self._free.wait()
            self.pings += data.count(b"PING")
            if number not in self._swallowed:
                writer.write(data)
                await writer.drain()
