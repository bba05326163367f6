"""The least that our HTTP server can do: an ASGI application of two messages, as a measure for all others."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from starlette.types import Receive, Scope, Send

from harbor_scanner.http.routes import answer
from harbor_scanner.http.server import Timeouts, listen, serving

BODY = b'{"bare": true}' * 100


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await answer(send, 200, BODY, "application/json")


async def main(port: int) -> None:
    async with serving(app, listen("127.0.0.1", port), Timeouts(15, 15, 60)):
        await asyncio.sleep(3600)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
