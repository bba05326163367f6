"""A Harbor to register scanners at, and adapters for it, each on a port of its own until the block ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from harbor_scanner.http.auth import Authenticator
from harbor_scanner.http.tls import ServerTls
from standins.harbor.server import Harbor
from support.api import MemoryStore
from support.wire import in_background


@contextlib.contextmanager
def answering(app: ASGIApp, tls: ServerTls | None = None) -> Iterator[str]:
    """Serve an application; yield its address."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        yield app

    with in_background(opened, tls) as port:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


@contextlib.contextmanager
def harbor_running(harbor: Harbor, tls: ServerTls | None = None, path: str = "") -> Iterator[str]:
    """Serve a Harbor, behind a path if one is given; yield its address."""
    app = harbor.app()
    with answering(Starlette(routes=[Mount(path, app)]) if path else app, tls) as address:
        yield address + path


@contextlib.contextmanager
def adapter_running(basic: str = "", tokens: tuple[str, ...] = (), tls: ServerTls | None = None) -> Iterator[str]:
    """Serve the API of this service for a scanner that never scans; yield its address."""
    with answering(MemoryStore().api(authenticator=Authenticator(basic, tokens)).app, tls) as address:
        yield address
