"""Harbor's API, as far as scanners are registered by it: of version 2, or of 1.10.

Written from Harbor v2.16 api/v2.0/swagger.yaml and src/server/v2.0/handler/scanner.go, and for 1.10 from
src/core/api/scanners.go. It is stricter than Harbor in one thing: it refuses fields that the swagger does not have.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from standins.harbor.adapters import Adapters
from standins.harbor.model import RefusedError, Registration, Table, UnusableAdapterError, validated

_Handler = Callable[[Request], Awaitable[Response]]

_TEXTS = ("name", "url", "description", "auth", "access_credential")
_FLAGS = ("skip_certVerify", "use_internal_addr", "disabled")
_LARGEST_PAGE = 100


@dataclass
class Behaviour:
    """What differs between versions of Harbor, and what a test wants to go wrong."""

    old: bool = False
    """Whether it is Harbor 1.10."""
    hides_credentials: bool = False
    """Newer versions show credentials to nobody."""
    answers: dict[tuple[str, str], Response] = field(default_factory=dict)
    """Answers in place of Harbor's own, by method and path below the API's."""
    together: int = 1
    """So many creations wait for each other before any is begun."""


class Harbor:
    """One Harbor, with its accounts and its scanners. `tls` is what it checks adapters with."""

    def __init__(self, tls: ssl.SSLContext | None = None, behaviour: Behaviour | None = None) -> None:
        self.table = Table()
        self.adapters = Adapters(tls or ssl.create_default_context())
        self.behaviour = behaviour or Behaviour()
        self.accounts = {"admin": "Harbor12345", "robot$scanners": "r0bot", "dev": "dev"}
        self.administrators = {"admin", "robot$scanners"}
        self.requests: list[tuple[str, str]] = []
        """Method and path, below the API's, of each request that came with an account."""
        self.log: list[str] = []
        """What its core logs."""
        self._creations = 0
        self._all_there = asyncio.Event()

    @property
    def base(self) -> str:
        """Where the API is."""
        return "/api" if self.behaviour.old else "/api/v2.0"

    def changes(self) -> list[str]:
        """Return the methods of all requests that may have changed something, but for tests of a connection."""
        return [method for method, path in self.requests if method != "GET" and path != "/scanners/ping"]

    def app(self) -> Starlette:
        """Return the application."""
        one = f"{self.base}/scanners/{{registration_id}}"
        return Starlette(
            routes=[
                Route(f"{self.base}/ping", _pong),
                Route(f"{self.base}/scanners", self._route(self._list)),
                Route(f"{self.base}/scanners", self._route(self._create), methods=["POST"]),
                Route(f"{self.base}/scanners/ping", self._route(self._test), methods=["POST"]),
                Route(one, self._route(self._get)),
                Route(one, self._route(self._update), methods=["PUT"]),
                Route(one, self._route(self._make_default), methods=["PATCH"]),
                Route(f"{one}/metadata", self._route(self._metadata)),
            ]
        )

    def _route(self, handler: _Handler) -> _Handler:
        async def handle(request: Request) -> Response:
            path = request.url.path.partition(self.base)[2]
            self.requests.append((request.method, path))
            if planned := self.behaviour.answers.get((request.method, path)):
                return planned
            try:
                self._admit(request)
                response = await handler(request)
            except RefusedError as error:
                response = self._error(error)
            except UnusableAdapterError as error:
                response = self._error(RefusedError(500, "UNKNOWN", f"scanner controller: ping: {error}"))
            # Whoever sends it back has a session, and needs a token against forgery with it.
            response.set_cookie("sid", "4af", httponly=True)
            return response

        return handle

    def _error(self, error: RefusedError) -> Response:
        message = error.message
        if error.status >= 500:
            self.log.append(message)
            message = "internal server error"
        if self.behaviour.old:
            return JSONResponse({"code": error.status, "message": message}, error.status)
        return JSONResponse({"errors": [{"code": error.code, "message": message}]}, error.status)

    def _admit(self, request: Request) -> None:
        if "sid" in request.cookies and "x-harbor-csrf-token" not in request.headers:
            raise RefusedError(403, "FORBIDDEN", "CSRF token not found in request")
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(credential).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = password = ""
        if scheme != "Basic" or self.accounts.get(name) != password:
            raise RefusedError(401, "UNAUTHORIZED", "unauthorized")
        if name not in self.administrators:
            raise RefusedError(403, "FORBIDDEN", "forbidden")

    async def _list(self, request: Request) -> Response:
        page, size = _number(request, "page", 1), _number(request, "page_size", 10)
        if size > _LARGEST_PAGE:
            message = f"page_size in query should be less than or equal to {_LARGEST_PAGE}"
            raise RefusedError(422, "UNPROCESSABLE_ENTITY", message)
        rows = [row for row in self.table.listed() if _matches(row, request.query_params.get("q", ""))]
        shown = rows[(page - 1) * size : page * size]
        for row in shown:
            try:
                await self.adapters.known(row)
            except UnusableAdapterError as error:
                self.log.append(f"failed to retrieve scanner capabilities, error {error}")
                break
        query = urlencode({"page": page + 1, "page_size": size})
        link = f'<{self.base}/scanners?{query}>; rel="next"' if page * size < len(rows) else ""
        return JSONResponse(
            [self._shown(row) for row in shown], headers={"X-Total-Count": str(len(rows)), "Link": link}
        )

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._shown(self.table.get(request.path_params["registration_id"])))

    async def _create(self, request: Request) -> Response:
        row = validated(Registration(**await _settings(request, (*_TEXTS, *_FLAGS))))
        self._creations += 1
        if self._creations >= self.behaviour.together:
            self._all_there.set()
        await asyncio.wait_for(self._all_there.wait(), 30)
        await self.adapters.ask(row)
        self.table.insert(row)
        location = f"{request.url.path}/{row.uuid}"
        if self.behaviour.old:
            return JSONResponse({"uuid": row.uuid}, 201, {"Location": location})
        return Response(status_code=201, headers={"Location": location})

    async def _update(self, request: Request) -> Response:
        row = self.table.get(request.path_params["registration_id"])
        given = Registration(**await _settings(request, (*_TEXTS, *_FLAGS)))
        if row.immutable:
            message = f"registration {row.name} is not allowed to update as it is immutable: scanner API: update"
            raise RefusedError(403, "FORBIDDEN", message)
        if self.behaviour.hides_credentials and given.auth and not given.access_credential:
            given = replace(given, access_credential=row.access_credential)
        given = replace(given, uuid=row.uuid, created=row.created, is_default=row.is_default)
        self.table.update(validated(given))
        return Response()

    async def _make_default(self, request: Request) -> Response:
        payload = await _body(request)
        if payload.get("is_default") is True:
            self.table.make_default(request.path_params["registration_id"])
        return Response()

    async def _test(self, request: Request) -> Response:
        # Whether certificates are checked is not among the settings that are tested.
        row = validated(Registration(**await _settings(request, ("name", "url", "auth", "access_credential"))))
        await self.adapters.ask(row)
        return Response()

    async def _metadata(self, request: Request) -> Response:
        row = self.table.get(request.path_params["registration_id"])
        return JSONResponse(await self.adapters.known(row))

    def _shown(self, row: Registration) -> dict[str, Any]:
        return row.shown(credential=not self.behaviour.hides_credentials)


async def _pong(_request: Request) -> Response:
    return PlainTextResponse("Pong")


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusedError(422, "UNPROCESSABLE_ENTITY", "body in body must be of type object")
    return body


async def _settings(request: Request, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a registration. Raises RefusedError for what does not fit the swagger."""
    body = await _body(request)
    problems = [f"{name} in body is required" for name in ("name", "url") if name not in body]
    problems += [f"{name} in body is a forbidden property" for name in body if name not in allowed]
    problems += [
        f"{name} in body must be of type {kind.__name__}"
        for name, kind in {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_FLAGS, bool)}.items()
        if name in body and type(body[name]) is not kind
    ]
    if problems:
        raise RefusedError(422, "UNPROCESSABLE_ENTITY", "; ".join(problems))
    return dict(body)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise RefusedError(422, "UNPROCESSABLE_ENTITY", f"{name} in query must be of type int64: {text!r}")
    return int(text)


def _matches(row: Registration, query: str) -> bool:
    """Whether a row fits `q=name=exact,url=~part` (Harbor v2.16 src/lib/q)."""
    for part in filter(None, query.split(",")):
        name, _, value = part.partition("=")
        found = str(getattr(row, name, ""))
        if value.removeprefix("~") not in found if value.startswith("~") else value != found:
            return False
    return True
