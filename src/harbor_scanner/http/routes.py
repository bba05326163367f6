"""The routes of the Pluggable Scanners API v1.0 to v1.2, the probes and the metrics, as plain ASGI applications."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.resources import files
from typing import assert_never
from urllib.parse import unquote

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from harbor_scanner.errors import InvalidRequestError, MalformedRequestError, StoreUnavailableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, ErrorBody, ErrorResponse, ScanResponse
from harbor_scanner.health import Health
from harbor_scanner.http.auth import Authenticator
from harbor_scanner.metrics import CONTENT_TYPE, Metrics
from harbor_scanner.service import Failed, NotAsked, NotReady, Ready, ScanService, Unknown

BODY_LIMIT = 1024 * 1024
"""Bytes of a scan request; Harbor sends less than two thousand."""

_CHUNK = 256 * 1024
_NO_API = "Nothing is served here; this process scans, and answers probes and metrics alone."
_REFUSED = re.compile(rb"\s*q\s*=\s*0(\.0*)?\s*")
_Header = tuple[bytes, bytes]
_Answer = Callable[[Scope, Receive, Send], Awaitable[None]]


def create_app(
    health: Health, metrics: Metrics, services: Mapping[str, ScanService], authenticator: Authenticator | None = None
) -> ASGIApp:
    """Return the application: probes and metrics, and the API itself for each of `services`, by the scanner's name.

    A scanner answers under the base path of its name, the first one under the root too.
    """
    guard = authenticator or Authenticator()
    # The first match serves, so what Harbor asks for most often comes first.
    routes: list[BaseRoute] = []
    for service in list(services.values())[:1]:
        routes += _api("", service, guard)
    for name, service in services.items():
        routes += _api(f"/{name}", service, guard)
    if services:
        routes.append(Route("/openapi.json", _Document("openapi.json"), methods=["GET"]))
    routes += [
        Route("/probe/healthy", _Probe(lambda: (200, b'{"status":"healthy"}')), methods=["GET"]),
        Route("/probe/ready", _Probe(health.report), methods=["GET"]),
        Route("/metrics", _MetricsPage(metrics), methods=["GET"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={404: _NotFound(services), HTTPException: _on_http_exception, Exception: _on_exception},
    )
    app.router.redirect_slashes = False  # Harbor follows no redirect, and the API has none of this kind
    return app


def _api(base: str, service: ScanService, guard: Authenticator) -> list[Route]:
    return [
        Route(f"{base}/api/v1/metadata", _Guarded(guard, _MetadataRoute(service)), methods=["GET"]),
        Route(f"{base}/api/v1/scan", _Guarded(guard, _ScanRoute(service)), methods=["POST"]),
        Route(f"{base}/api/v1/scan/{{job_id}}/report", _Guarded(guard, _ReportRoute(service)), methods=["GET"]),
    ]


async def answer(send: Send, status: int, body: bytes, content_type: str, headers: Iterable[_Header] = ()) -> None:
    """Send a whole response."""
    base = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*base, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(message: str) -> bytes:
    """Return the only shape of an error that Harbor shows to its users."""
    return msgspec.json.encode(ErrorResponse(ErrorBody(message)))


async def answer_error(send: Send, status: int, message: str, headers: Iterable[_Header] = ()) -> None:
    """Send an error as the spec has it."""
    await answer(send, status, error_body(message), media.ERROR, headers)


async def _on_http_exception(_request: Request, exception: Exception) -> Response:
    """Wrong methods are answered in the API's own shape."""
    assert isinstance(exception, HTTPException)  # noqa: S101 - it is registered for these alone
    return Response(
        error_body(str(exception.detail)), exception.status_code, headers=exception.headers, media_type=media.ERROR
    )


class _NotFound:
    """Wrong paths are answered with the right ones: a registration in Harbor may name a scanner that is not enabled."""

    def __init__(self, names: Iterable[str]) -> None:
        bases = "".join(f", /{name}/api/v1" for name in names)
        self._body = error_body(f"Nothing is served here; scanners answer under /api/v1{bases}." if bases else _NO_API)

    async def __call__(self, _request: Request, _exception: Exception) -> Response:
        return Response(self._body, 404, media_type=media.ERROR)


async def _on_exception(_request: Request, _exception: Exception) -> Response:
    return Response(error_body("An error of this service; its log has the details."), 500, media_type=media.ERROR)


class _Guarded:
    """Lets a request pass that may."""

    def __init__(self, authenticator: Authenticator, app: _Answer) -> None:
        self._authenticator = authenticator
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._authenticator.required and not self._authenticator.allows(dict(scope["headers"])):
            challenge = [(b"www-authenticate", self._authenticator.challenge.encode())]
            message = "Credentials are missing or wrong; enter them at the scanner's registration in Harbor."
            await answer_error(send, 401, message, challenge)
            return
        await self._app(scope, receive, send)


class _MetadataRoute:
    def __init__(self, service: ScanService) -> None:
        self._service = service

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, 200, self._service.metadata.encoded, media.METADATA)


class _ScanRoute:
    def __init__(self, service: ScanService) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(scope, receive)
            job_id = await self._service.accept(body)
        except ClientDisconnect:
            return
        except _BodyTooLargeError:
            # The connection stays open, and the server drops the rest of the body: closing it now could make the
            # client, which is still writing, lose this answer.
            await answer_error(send, 413, f"The body is larger than {BODY_LIMIT} bytes.")
        except MalformedRequestError as error:
            await answer_error(send, 400, str(error))
        except InvalidRequestError as error:
            await answer_error(send, 422, str(error))
        except StoreUnavailableError as error:
            await answer_error(send, 500, f"The scan cannot be accepted now, please repeat it: {error}")
        else:
            await answer(send, 202, msgspec.json.encode(ScanResponse(job_id)), media.SCAN_RESPONSE)


class _ReportRoute:
    def __init__(self, service: ScanService) -> None:
        self._service = service
        types = {capability.type for capability in service.capabilities}
        vulnerabilities = media.VULNERABILITY_REPORTS if VULNERABILITY in types else ()
        self._offered = (*vulnerabilities, media.SBOM_REPORT) if SBOM in types else vulnerabilities

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        wanted = _parameter(scope, "sbom_media_type")
        presumed = media.NATIVE_REPORT if wanted is None else media.SBOM_REPORT
        media_type = media.negotiate(_header(scope, b"accept").decode("latin-1"), self._offered, presumed)
        if media_type is None:
            offered = " and ".join(self._offered)
            await self._error(send, 501, f"Reports come as {offered}; the Accept header names none of them.")
            return
        kind = VULNERABILITY
        if media_type == media.SBOM_REPORT:
            kind = media.canonical(wanted or "")
            if kind not in media.SBOM_FORMATS:
                problem = f"is {wanted!r}" if wanted else "is missing"
                formats = " or ".join(media.SBOM_FORMATS)
                await self._error(send, 400, f"The query parameter sbom_media_type {problem}; it must be {formats}.")
                return
        found = await self._service.report(scope["path_params"]["job_id"], kind)
        match found:
            case Ready(compressed):
                self._service.polled(200)
                await _send_report(send, compressed, media_type, gzip=_takes_gzip(_header(scope, b"accept-encoding")))
            case NotReady(refresh_after):
                self._service.polled(302)
                refresh = [(b"refresh-after", str(refresh_after).encode()), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 302, "headers": refresh})
                await send({"type": "http.response.body", "body": b""})
            case Failed(message):
                await self._error(send, 500, message)
            case NotAsked(message):
                await self._error(send, 400, message)
            case Unknown():
                await self._error(send, 404, "There is no such scan job, or its report is not kept any more.")
            case _:
                assert_never(found)

    async def _error(self, send: Send, status: int, message: str) -> None:
        self._service.polled(status)
        await answer_error(send, status, message)


class _Probe:
    def __init__(self, report: Callable[[], tuple[int, bytes]]) -> None:
        self._report = report

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        status, body = self._report()
        await answer(send, status, body, "application/json")


class _MetricsPage:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, 200, self._metrics.render(), CONTENT_TYPE)


class _Document:
    """A file of the package."""

    def __init__(self, name: str) -> None:
        self._body = files("harbor_scanner.http").joinpath(name).read_bytes()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, 200, self._body, "application/json")


class _BodyTooLargeError(Exception): ...


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the body. Raises _BodyTooLargeError, and ClientDisconnect when the client left before its end."""
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length) > BODY_LIMIT:
        raise _BodyTooLargeError
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise _BodyTooLargeError
        more = message.get("more_body", False)
    return bytes(body)


def _header(scope: Scope, name: bytes) -> bytes:
    """Return a header that may come in several lines as if it came in one (RFC 9110, 5.3)."""
    return b", ".join(value for key, value in scope["headers"] if key == name)


def _parameter(scope: Scope, name: str) -> str | None:
    """Return the first value of a query parameter, if it is there.

    A `+` stands for itself, as in `application/spdx+json`, and not for a blank as in forms: no value here has blanks.
    """
    for pair in scope["query_string"].decode("latin-1").split("&"):
        key, _, value = pair.partition("=")
        if unquote(key) == name:
            return unquote(value)
    return None


def _takes_gzip(accept_encoding: bytes) -> bool:
    """Tell whether a client that sent this header names gzip, and not to refuse it (RFC 9110, 12.5.3)."""
    for part in accept_encoding.lower().split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip() in {b"gzip", b"x-gzip"}:
            return not _REFUSED.fullmatch(weight)
    return False


async def _send_report(send: Send, compressed: bytes, media_type: str, *, gzip: bool) -> None:
    """Send the stored bytes as they are; only a client that does not take gzip costs a decompression."""
    headers = [(b"content-type", media_type.encode()), (b"vary", b"Accept-Encoding, Accept")]
    if gzip:
        headers += [(b"content-encoding", b"gzip"), (b"content-length", str(len(compressed)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        view = memoryview(compressed)
        for start in range(0, len(view), _CHUNK):
            piece = bytes(view[start : start + _CHUNK])
            await send({"type": "http.response.body", "body": piece, "more_body": start + _CHUNK < len(view)})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    expander = zlib.decompressobj(wbits=31)
    pending = compressed
    while pending and not expander.eof:
        piece = expander.decompress(pending, _CHUNK)
        pending = expander.unconsumed_tail
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # others are served between two pieces
    await send({"type": "http.response.body", "body": b"", "more_body": False})
