"""A client that talks to a scanner adapter as Harbor does, with Harbor's limits and Harbor's severity.

For tests, demonstrations, and checks of any adapter: what fails here fails in Harbor, but here it says why. The rules
are those of Harbor v2.16 src/pkg/scan/rest/v1/client.go where no other source is named.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self
from urllib.parse import quote_plus

import httpx2
import msgspec

from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import (
    AdapterError,
    InvalidAnswerError,
    SbomReport,
    VulnerabilityReport,
    check_metadata,
    check_report,
    check_sbom,
    decode,
)
from harbor_scanner.harbor.models import Metadata, ScanRequest, ScanResponse

CALL_LIMIT = 5.0
"""Seconds for a whole call, with the body of the answer."""

FIRST_LOOK = 2.0
"""Seconds from an accepted request to the first poll (Harbor v2.16 src/pkg/scan/job.go, `firstCheckInterval`)."""

REFRESH_AFTER = 5
"""Seconds between polls where the adapter names none that Harbor understands."""

SCAN_LIMIT = 1800.0
"""Seconds for a scan (Harbor v2.16 src/pkg/scan/job.go, `checkTimeout`). Harbor starts them anew at every poll, so that
in truth it waits longer; an adapter should not count on it."""

_SCAN_REQUEST = "application/vnd.scanner.adapter.scan.request+json; version=1.0"
_METADATA = "application/vnd.scanner.adapter.metadata+json; version=1.0"
_REDIRECTS = {301, 302, 303, 307, 308}
_INT8 = re.compile(r"[+-]?0*[0-9]{1,3}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class AdapterUnreachableError(AdapterError):
    """The adapter could not be reached, or its answer was not complete in time."""


class UnexpectedStatusError(AdapterError):
    """An answer with another status than Harbor expects. `message` is what Harbor shows of it, and may be empty."""

    def __init__(self, status: int, expected: int, message: str) -> None:
        super().__init__(f"{message or 'no error message'} (status {status}, expected {expected})")
        self.status = status
        self.message = message


class ScanFailedError(UnexpectedStatusError):
    """The adapter answered a poll with an error, which ends the scan for good."""


class ScanTimeoutError(AdapterError):
    """The report was not ready within the limit."""


class Ready(msgspec.Struct, frozen=True):
    """Answer to a poll: the report, as the adapter sent it."""

    document: bytes


class NotReady(msgspec.Struct, frozen=True):
    """Answer to a poll: ask again after so many seconds. Harbor polls in a hot loop if they are 0 or less."""

    seconds: int


class _ErrorBody(msgspec.Struct):
    message: str | None = None


class _ErrorResponse(msgspec.Struct):
    error: _ErrorBody | None = msgspec.field(default_factory=_ErrorBody)


class FetchedReport(msgspec.Struct, frozen=True):
    """A report that Harbor would take in."""

    document: bytes
    """As the adapter sent it."""
    content: VulnerabilityReport


class FetchedSbom(msgspec.Struct, frozen=True):
    """An SBOM report from which Harbor would take the SBOM."""

    document: bytes
    """As the adapter sent it."""
    content: SbomReport


def basic(username: str, password: str) -> dict[str, str]:
    """Return the header by which Harbor authenticates with `Basic` (Harbor v2.16 src/pkg/scan/rest/auth)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    """Return the header by which Harbor authenticates with `Bearer`."""
    return {"Authorization": f"Bearer {token}"}


def api_key(key: str) -> dict[str, str]:
    """Return the header by which Harbor authenticates with an API key."""
    return {"X-ScannerAdapter-API-Key": key}


class HarborClient:
    """A scanner registration: the URL of an adapter, and how to authenticate there. Use it with `async with`.

    `auth` comes from `basic`, `bearer` or `api_key`. `verify` is False where certificates are not to be checked, or
    a context of one's own. `sleep` and `clock` (seconds, from any start) are there for tests, as is `transport`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        call_limit: float = CALL_LIMIT,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = f"{base_url.removesuffix('/')}/api/v1"
        self._call_limit = call_limit
        self._sleep = sleep
        self._clock = clock
        self._client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "gzip", **(auth or {})},
            verify=verify,
            timeout=None,  # `_call` limits the call as a whole
            follow_redirects=False,
            # Harbor never closes an idle connection, keeps no cookies, and asks no proxy for its own machine.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=None),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            mounts={"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None},
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def metadata(self) -> Metadata:
        """Return the adapter's metadata. Raises AdapterError if Harbor would not register it."""
        return check_metadata(_body(await self._call("GET", "/metadata", {"Accept": _METADATA}), 200))

    async def submit(self, request: ScanRequest) -> str:
        """Ask for a scan and return its id. Raises AdapterError."""
        headers = {"Accept": media.SCAN_RESPONSE, "Content-Type": _SCAN_REQUEST}
        response = await self._call("POST", "/scan", headers, content=msgspec.json.encode(request))
        scan_id = decode("scan response", _body(response, 202), ScanResponse).id
        if not scan_id:
            raise InvalidAnswerError("scan response", ["the id is empty"])
        return scan_id

    async def report(
        self, scan_id: str, media_type: str = media.GENERIC_REPORT, sbom_media_type: str = ""
    ) -> Ready | NotReady:
        """Ask once for a report, an SBOM in the format `sbom_media_type`. Raises AdapterError, which ends the scan.

        The parameter is written as Harbor writes it (Harbor v2.16 src/pkg/scan/sbom/sbom.go, `URLParameter`).
        """
        parameter = f"?sbom_media_type={quote_plus(sbom_media_type)}" if sbom_media_type else ""
        path = f"/scan/{scan_id}/report{parameter}"
        response = await self._call("GET", path, {"Accept": media_type}, leave_unread=302)
        if response.status_code == 302:
            return NotReady(_refresh_after(response.headers))
        try:
            return Ready(_body(response, 200))
        except UnexpectedStatusError as error:
            raise ScanFailedError(error.status, 200, error.message) from None

    async def wait_for_report(
        self, scan_id: str, media_type: str = media.GENERIC_REPORT, *, limit: float = SCAN_LIMIT
    ) -> FetchedReport:
        """Poll until the report is ready, for up to `limit` seconds, and check it. Raises AdapterError."""
        document = await self._wait(scan_id, limit, media_type)
        return FetchedReport(document, check_report(document))

    async def wait_for_sbom(
        self, scan_id: str, sbom_media_type: str = media.SPDX, *, limit: float = SCAN_LIMIT
    ) -> FetchedSbom:
        """Poll until the SBOM is ready, for up to `limit` seconds, and check it. Raises AdapterError.

        Harbor itself asks for SPDX only.
        """
        document = await self._wait(scan_id, limit, media.SBOM_REPORT, sbom_media_type)
        return FetchedSbom(document, check_sbom(document, sbom_media_type))

    async def _wait(self, scan_id: str, limit: float, media_type: str, sbom_media_type: str = "") -> bytes:
        deadline = self._clock() + limit
        pause = FIRST_LOOK
        while self._clock() + pause <= deadline:
            await self._sleep(pause)
            match await self.report(scan_id, media_type, sbom_media_type):
                case Ready(document):
                    return document
                case NotReady(seconds):
                    pause = float(max(seconds, 0))
        raise ScanTimeoutError(f"the report of scan {scan_id} was not ready within {limit:g} seconds")

    async def _call(
        self, method: str, path: str, headers: dict[str, str], *, content: bytes = b"", leave_unread: int = 0
    ) -> httpx2.Response:
        """Return the answer, with its body unless it has the status `leave_unread`. Raises AdapterError."""
        try:
            async with (
                asyncio.timeout(self._call_limit),
                self._client.stream(method, self._base_url + path, headers=headers, content=content) as response,
            ):
                _check_location(response)
                if response.status_code != leave_unread:
                    await response.aread()
        except TimeoutError:
            raise AdapterUnreachableError(f"{method} {path}: no complete answer in {self._call_limit:g} s") from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise AdapterUnreachableError(f"{method} {path}: {type(error).__name__} {error}") from error
        return response


def _check_location(response: httpx2.Response) -> None:
    """Raise InvalidAnswerError for a redirect to what is no URL; any other is not followed, and does no harm."""
    location = response.headers.get("location", "")
    if response.status_code in _REDIRECTS and (not location.isprintable() or _BAD_ESCAPE.search(location)):
        raise InvalidAnswerError("answer", [f"Harbor cannot parse the Location {location!r}"])


def _body(response: httpx2.Response, expected: int) -> bytes:
    """Return the body of an answer with the status `expected`, or raise AdapterError."""
    encoding = response.headers.get("content-encoding", "gzip")
    if encoding.lower() != "gzip":
        raise InvalidAnswerError("answer", [f"Harbor does not decode the Content-Encoding {encoding}"])
    if response.status_code != expected:
        raise UnexpectedStatusError(response.status_code, expected, _error_message(response))
    return response.content


def _error_message(response: httpx2.Response) -> str:
    """Return what Harbor shows of an error; nothing if there is no body, or JSON of another shape.

    Raises InvalidAnswerError if Harbor shows its own trouble with the body instead.
    """
    if not response.content:
        return ""
    answer = f"error answer (status {response.status_code})"
    error = decode(answer, response.content, _ErrorResponse).error
    if error is None:
        raise InvalidAnswerError(answer, ["Harbor crashes on an error that is null"])
    return error.message or ""


def _refresh_after(headers: httpx2.Headers) -> int:
    """Return the seconds until the next poll, as Go's `strconv.ParseInt(value, 10, 8)` reads them: -128 to 127."""
    value = next(iter(headers.get_list("refresh-after")), "")
    if not _INT8.fullmatch(value) or not -128 <= int(value) <= 127:
        return REFRESH_AFTER
    return int(value)
