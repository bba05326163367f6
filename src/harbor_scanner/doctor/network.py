"""Asks servers by HTTP, and says precisely what is wrong when they do not answer."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec

from harbor_scanner.doctor.certificates import TRUST, causes, tls_trouble
from harbor_scanner.doctor.check import Outcome, TroubleError
from harbor_scanner.doctor.clock import Offset
from harbor_scanner.doctor.proxies import Contact, go_proxy, own_proxy
from harbor_scanner.settings import mask_user

if TYPE_CHECKING:
    import httpx2

_SECONDS = 6.0
"""For a whole answer; less than a check may take."""
_LIMIT = 256 * 1024
"""Bytes of an answer that are read."""
_TLS_SPOKEN = "HTTP request to an HTTPS server"
"""What servers written in Go answer to plain HTTP where they speak TLS."""


class Way(Enum):
    """Whose rule says which proxy leads to a server."""

    SCANNER = auto()
    """That of Go: a scanner asks this server."""
    BOTH = auto()
    """The same, but the service itself asks it too."""
    SERVICE = auto()
    """Only the service itself asks it."""


class Trust(msgspec.Struct, frozen=True):
    """Which certificates a server may show."""

    any_certificate: bool = False
    authority: Path | None = None
    """A file (PEM) that is trusted besides what the system trusts."""
    advice: str = TRUST
    """How an operator makes this server trusted."""

    def context(self) -> ssl.SSLContext:
        """Return what a connection is made with. Raises TroubleError if the file cannot be used."""
        import httpx2  # noqa: PLC0415

        try:
            context = httpx2.create_ssl_context(verify=not self.any_certificate)
        except OSError as error:
            file = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
            raise TroubleError(
                f"The certificates that are trusted cannot be read: {error.strerror or error} ({file}).",
                "Let SSL_CERT_FILE name a file of PEM certificates that this user may read, or unset it.",
            ) from error
        if self.authority is not None and not self.any_certificate:
            try:
                context.load_verify_locations(self.authority)
            except OSError as error:  # of which ssl.SSLError is one
                raise TroubleError(
                    f"The certificates in {self.authority} cannot be used: {error.strerror or error}.",
                    "It must be a file of PEM certificates that this user may read.",
                ) from error
        return context


SYSTEM = Trust()


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes
    """At most 256 KiB of it."""


class Network:
    """The way to servers. Notes whom it met, which way, and what time they had."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.contacts: list[Contact] = []
        self.offsets: list[Offset] = []
        self.secrets: set[str] = set()
        """What must be shown nowhere, besides the secrets among the settings. A check adds what it learns."""

    async def ask(
        self,
        whom: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        trust: Trust = SYSTEM,
        way: Way = Way.SCANNER,
        proxy: str = "",
    ) -> Answer:
        """Return the answer, whatever its status. `proxy` is asked, if given, and else the one of the environment.

        Redirects are not followed. Raises TroubleError, which names `whom`.
        """
        import httpx2  # noqa: PLC0415 - the service starts without

        host, port = _place(url, whom)
        # One that a setting names knows no exceptions.
        exceptions = not proxy
        shown, proxy = self._meet(whom, url, way, proxy)
        context = await asyncio.to_thread(trust.context)
        encoded = {
            name.encode(): value.encode() for name, value in (headers or {}).items()
        }  # a token may hold any letters
        began = time.time()
        try:
            async with (
                asyncio.timeout(_SECONDS),
                httpx2.AsyncClient(verify=context, proxy=proxy or None, trust_env=False, timeout=None) as client,
                client.stream(method, url, headers=encoded, content=content) as response,
            ):
                ended = time.time()
                answer = Answer(response.status_code, dict(response.headers), await _body(response))
        except TimeoutError:
            raise _silence(whom, shown, proxy) from None
        except ImportError:
            raise TroubleError(
                f"{whom} is reached by a SOCKS proxy ({mask_user(proxy)}), by which it cannot be asked from here.",
                "Look whether scans reach it.", Outcome.UNKNOWN,
            ) from None  # fmt: skip
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            found = await tls_trouble(error, whom, host, port, advice=trust.advice, direct=not proxy)
            raise found or _trouble(error, whom, shown, proxy, exceptions=exceptions) from error
        if answer.status == 400 and _TLS_SPOKEN.encode() in answer.body:
            raise TroubleError(f"{whom} at {shown} speaks TLS.", "Correct its address: https instead of http.")
        self._note_time(whom, answer.headers, (began + ended) / 2)
        return answer

    def _meet(self, whom: str, url: str, way: Way, proxy: str) -> tuple[str, str]:
        """Note the way to a server, and return its address as it may be shown, and the proxy."""
        shown = without_user(url)
        parts = urlsplit(shown)
        origin = f"{parts.scheme}://{parts.netloc}"
        if proxy:
            self.contacts.append(Contact(whom, origin, proxy))
            return shown, proxy
        own = own_proxy(url) if way is not Way.SCANNER else None
        found = own if way is Way.SERVICE and own is not None else go_proxy(url, self._environment)
        self.contacts.append(Contact(whom, origin, found, own))
        return shown, found

    def _note_time(self, whom: str, headers: Mapping[str, str], when: float) -> None:
        """Note how far the server's clock is ahead, unless a cache between has kept the answer for a while."""
        if headers.get("age", "0") != "0" or "date" not in headers:
            return
        try:
            date = parsedate_to_datetime(headers["date"])
        except ValueError:
            return
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        # It tells whole seconds: the middle of one is the best guess.
        self.offsets.append(Offset(whom, date.timestamp() + 0.5 - when))


def without_user(url: str) -> str:
    """Return `url` without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _place(url: str, whom: str) -> tuple[str, int]:
    """Return host and port. Raises TroubleError if there are none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TroubleError(
            f"The address of {whom} is none: {mask_user(url)!r}.", "Write a URL that begins with https:// or http://."
        )
    return parts.hostname, port


async def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= _LIMIT:
            break
    return bytes(body[:_LIMIT])


def _silence(whom: str, shown: str, proxy: str) -> TroubleError:
    through = f", asked through the proxy {mask_user(proxy)}," if proxy else ""
    return TroubleError(
        f"{whom} at {shown}{through} gave no whole answer within {_SECONDS:g} seconds.",
        "See that its address is right, that it runs, and that no firewall between drops the connection.",
    )


def _trouble(error: Exception, whom: str, shown: str, proxy: str, *, exceptions: bool) -> TroubleError:
    import httpx2  # noqa: PLC0415

    host = urlsplit(shown).hostname
    kinds = {type(cause).__name__ for cause in causes(error)}
    reason = str(error) or type(error).__name__
    if proxy and (isinstance(error, httpx2.ProxyError) or "ConnectError" in kinds):
        way = mask_user(proxy)
        return TroubleError(
            f"The proxy {way}, on the way to {whom} at {shown}, does not let through or cannot be reached: {reason}.",
            "Correct the address of the proxy, with user and password if it asks for them"
            + (f"; or add {host} to NO_PROXY." if exceptions else "."),
        )
    if "gaierror" in kinds:
        return TroubleError(
            f"The name {host} of {whom} is not known: {reason}.",
            "See that the address is right and that name resolution works on this machine or in this container.",
        )
    if "ConnectionRefusedError" in kinds:
        return TroubleError(
            f"{whom} at {shown} refuses connections: nothing listens there.", "See that it runs, and on this port."
        )
    return TroubleError(
        f"{whom} at {shown} cannot be reached: {reason}.",
        "See that its address is right, http or https too, that it runs, and that this machine may reach it.",
    )
