"""Harbor's own API, as far as an administrator registers scanners by it.

The rules are those of Harbor v2.16 api/v2.0/swagger.yaml and src/server/v2.0/handler/scanner.go where no other source
is named. Harbor 1.10 has the same operations under another path.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from harbor_scanner.harbor.api_errors import HarborApiError, NoHarborError, foreign, refusal, unreachable
from harbor_scanner.harbor.models import ScannerInfo

CALL_LIMIT = 60.0
"""Seconds for a whole call. Harbor asks the adapters that it knows before it answers, for up to five seconds each."""

PAGE_SIZE = 100
"""Registrations on a page, of which Harbor refuses more."""

BASES = ("/api/v2.0", "/api")
"""Where the API is: in Harbor 2, and in Harbor 1.10."""

_T = TypeVar("_T")


_SPELLED = {
    "id": "uuid",
    "credential": "access_credential",
    "skip_check": "skip_certVerify",
    "internal_address": "use_internal_addr",
}
"""Names of members that Harbor spells otherwise."""


class Registration(msgspec.Struct, frozen=True, rename=_SPELLED):
    """A scanner as Harbor has it registered (swagger `ScannerRegistration`)."""

    id: str
    name: str
    url: str
    description: str = ""
    disabled: bool = False
    is_default: bool = False
    auth: str = ""
    """Nothing, `Basic`, `Bearer` or `X-ScannerAdapter-API-Key`."""
    credential: str = ""
    """What Harbor shows to the adapter. Newer versions of Harbor keep it to themselves: then it is empty here."""
    skip_check: bool = False
    """Whether Harbor takes any certificate of the adapter."""
    internal_address: bool = False
    """Whether the scanner is told the address of Harbor's core to pull from, in place of the public one."""


class _Metadata(msgspec.Struct):
    scanner: ScannerInfo


class HarborApi:
    """One Harbor, and who asks there. Use it with `async with`, which finds out which Harbor it is.

    `url` may have a path, behind which Harbor lies. `call_limit` is in seconds; `transport` is there for tests.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        tls: ssl.SSLContext,
        call_limit: float = CALL_LIMIT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._username = username
        self._auth = httpx2.BasicAuth(username, password)
        self._call_limit = call_limit
        self._base = BASES[0]
        self._client = httpx2.AsyncClient(
            headers={"Accept": "application/json", "User-Agent": "harbor-scanner"},
            verify=tls,
            timeout=None,  # `_ask` limits the call as a whole
            follow_redirects=False,  # the password is for this address alone
            # With the cookie of a session, Harbor wants a CSRF token (src/server/middleware/csrf).
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            mounts={"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None},
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        try:
            await self._find()
        except BaseException as error:
            await self._client.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def registrations(self) -> list[Registration]:
        """Return all scanners that are registered. Raises HarborApiError, as all calls do."""
        found: list[Registration] = []
        page = 0
        while len(found) == page * PAGE_SIZE:
            page += 1
            response = await self._call("GET", f"/scanners?page={page}&page_size={PAGE_SIZE}")
            found += self._decoded(response, list[Registration])
        return found

    async def registration(self, registration_id: str) -> Registration:
        """Return one of them."""
        return self._decoded(await self._call("GET", f"/scanners/{registration_id}"), Registration)

    async def test(self, name: str, url: str, auth: str, credential: str) -> None:
        """Have Harbor test the connection to an adapter, as by the button of its page.

        The certificate of the adapter is checked in any case (swagger `ScannerRegistrationSettings`).
        Raises HarborFailedError if Harbor cannot use the adapter.
        """
        settings = {"name": name, "url": url, "auth": auth, "access_credential": credential}
        await self._call("POST", "/scanners/ping", settings)

    async def seen(self, registration_id: str) -> ScannerInfo:
        """Return the scanner that Harbor meets at a registration, which may be known to it for up to 30 seconds.

        (Harbor v2.16 src/controller/scanner/base_controller.go.) Raises HarborFailedError if Harbor cannot use it.
        """
        response = await self._call("GET", f"/scanners/{registration_id}/metadata")
        return self._decoded(response, _Metadata).scanner

    async def create(self, settings: Mapping[str, Any]) -> str:
        """Register a scanner (swagger `ScannerRegistrationReq`) and return its id.

        Harbor tests the connection first. Raises HarborFailedError if it cannot use the adapter, and
        RegistrationConflictError if the name or the URL is taken.
        """
        response = await self._call("POST", "/scanners", settings)
        registration_id = response.headers.get("location", "").rstrip("/").rpartition("/")[2]
        if not registration_id:
            raise NoHarborError(f"{self._url} says that the scanner is created, but not under which id.")
        return registration_id

    async def update(self, registration_id: str, settings: Mapping[str, Any]) -> None:
        """Replace all settings of a registration. Nothing is tested by Harbor.

        Raises RegistrationConflictError if the name or the URL is taken.
        """
        await self._call("PUT", f"/scanners/{registration_id}", settings)

    async def make_default(self, registration_id: str) -> None:
        """Make a registration the one that scans where a project has none of its own."""
        await self._call("PATCH", f"/scanners/{registration_id}", {"is_default": True})

    async def _find(self) -> None:
        """Find the path of the API, without the password: whatever answers there must first look like Harbor."""
        for base in BASES:
            response = await self._ask("GET", f"{base}/ping", auth=None)
            if response.status_code == 200 and response.text.strip().strip('"') == "Pong":
                self._base = base
                return
            if response.status_code != 404:
                break
        raise foreign(self._url, response)

    async def _call(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> httpx2.Response:
        response = await self._ask(method, self._base + path, auth=self._auth, content=content)
        if response.is_success:
            return response
        raise refusal(self._url, self._username, response)

    async def _ask(
        self, method: str, path: str, *, auth: httpx2.Auth | None, content: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._call_limit):
                return await self._client.request(method, self._url + path, auth=auth, json=content)
        except TimeoutError:
            raise HarborApiError(
                f"Harbor at {self._url} did not answer in {self._call_limit:g} seconds.",
                "Is the address right, and is Harbor well? A firewall that swallows packets looks the same.",
            ) from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise unreachable(self._url, error) from None

    def _decoded(self, response: httpx2.Response, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise foreign(self._url, response) from None
