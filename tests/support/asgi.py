"""Ask an ASGI application without a server, byte by byte where a test needs it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from harbor_scanner.harbor import media

Receive = Callable[[], Awaitable[Message]]


class Answer(NamedTuple):
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The message, if this is an error in the only shape that Harbor shows."""
        assert self.headers["content-type"] == media.ERROR
        document = json.loads(self.body)
        message: str = document["error"]["message"]
        assert document == {"error": {"message": message}}
        assert message
        return message


class NoAnswerError(Exception):
    """The application ended without a response."""


async def ask(
    app: ASGIApp,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    receive: Receive | None = None,
) -> Answer:
    """Send a request and return the whole answer. `receive` takes the place of `body`. Raises NoAnswerError."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive or sends(body), send)
    if not sent:
        raise NoAnswerError
    start, *pieces = sent
    assert start["type"] == "http.response.start"
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    fields: dict[str, str] = {}
    for name, value in start["headers"]:
        assert name.decode() not in fields, f"{name!r} twice"
        fields[name.decode().lower()] = value.decode("latin-1")
    return Answer(start["status"], fields, b"".join(piece.get("body", b"") for piece in pieces))


def sends(*pieces: bytes, leaves: bool = False) -> Receive:
    """Return the sending side of a client that sends `pieces`, and then leaves in the middle if it `leaves`."""

    async def messages() -> AsyncIterator[dict[str, Any]]:
        for place, piece in enumerate(pieces):
            yield {"type": "http.request", "body": piece, "more_body": leaves or place < len(pieces) - 1}
        while True:
            yield {"type": "http.disconnect"}

    iterator = messages()
    return iterator.__anext__
