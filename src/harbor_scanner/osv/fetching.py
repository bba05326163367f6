"""Fetches large files by HTTP: only if they changed, and going on where a broken transfer ended."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx2
import msgspec

from harbor_scanner.osv.database import unwritable
from harbor_scanner.osv.errors import DatabaseError

WAITS = (1.0, 3.0, 6.0)
"""Seconds between attempts that bring nothing new."""
_LONGEST_WAIT = 60.0
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_STATE = ".json"


class Version(msgspec.Struct, frozen=True):
    """What a file at a URL is, as far as its server tells it."""

    url: str
    """Without user and password."""
    etag: str = ""
    last_modified: str = ""

    @property
    def strong(self) -> str:
        """What tells for certain that the bytes are the same; empty if nothing does."""
        return self.last_modified if self.etag.startswith("W/") or not self.etag else self.etag


class _Retry(Exception):  # noqa: N818 - it asks for something
    """Another attempt may succeed. The message tells what went wrong."""

    def __init__(self, message: str, wait: float = 0) -> None:
        super().__init__(message)
        self.wait = wait


def client() -> httpx2.AsyncClient:
    """Return a client that takes proxies and certificates from the environment."""
    return httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=True)


class Download:
    """A file that is fetched to `path`. What is there already of it, from an earlier attempt, is not fetched again."""

    def __init__(self, client: httpx2.AsyncClient, url: str, path: Path, waits: Sequence[float] = WAITS) -> None:
        self._client = client
        self._url = url
        self._shown = without_user(url)
        self._waits = waits
        self._state = path.with_name(path.name + _STATE)
        self.path = path

    async def fetch(self, known: Version | None, progress: Callable[[int, int], None]) -> Version | None:
        """Fetch the file, and return what it is; None if it is still what is `known`. Raises DatabaseError.

        `progress` is told bytes, done and in total (0: not known).
        """
        failures = furthest = 0
        while True:
            try:
                return await self._attempt(known, progress)
            except OSError as error:
                # Scans need the room of a full disk more than the next attempt needs this.
                with contextlib.suppress(OSError):
                    self.remove()
                raise unwritable(self.path.parent, error) from error
            except (httpx2.TransportError, _Retry) as error:
                size = self._size()
                failures = 1 if size > furthest else failures + 1
                furthest = max(furthest, size)
                if failures > len(self._waits):
                    raise self._failure(str(error) or type(error).__name__) from error
                asked = error.wait if isinstance(error, _Retry) else 0.0
                await asyncio.sleep(max(self._waits[failures - 1], min(asked, _LONGEST_WAIT)))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise self._failure(str(error) or type(error).__name__) from error

    def remove(self) -> None:
        """Remove what was fetched."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    async def _attempt(self, known: Version | None, progress: Callable[[int, int], None]) -> Version | None:
        # Packed once more in transit, bytes could not be counted.
        headers = {"Accept-Encoding": "identity"}
        begun, size = self._begun(), self._size()
        if begun is not None and size:
            headers |= {"Range": f"bytes={size}-", "If-Range": begun.strong}
        elif known is not None and known.url == self._shown:
            headers |= {"If-None-Match": known.etag} if known.etag else {}
            headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            match response.status_code:
                case 304 if known is not None:
                    return None
                case 206 if begun is not None and _first(response) == size:
                    version = begun
                case 416 if begun is not None and response.headers.get("content-range") == f"bytes */{size}":
                    return begun
                case 200:
                    version, size = self._begin(response), 0
                case 206 | 416:
                    self.remove()
                    raise _Retry("the server did not go on where the transfer ended")
                case status if status in _RETRIED:
                    raise _Retry(f"the server answered with status {status}", _asked_wait(response))
                case status:
                    raise self._refused(status)
            await self._write(response, size, progress)
        return version

    async def _write(self, response: httpx2.Response, size: int, progress: Callable[[int, int], None]) -> None:
        length = response.headers.get("content-length", "")
        total = size + int(length) if length.isdecimal() else 0
        with self.path.open("ab") as file:
            async for chunk in response.aiter_raw():
                file.write(chunk)
                size += len(chunk)
                progress(size, total)

    def _begin(self, response: httpx2.Response) -> Version:
        """Note what is fetched, before the first byte of it is here."""
        headers = response.headers
        version = Version(self._shown, headers.get("etag", ""), headers.get("last-modified", ""))
        self.remove()
        self._state.write_bytes(msgspec.json.encode(version))
        return version

    def _begun(self) -> Version | None:
        """Return what was being fetched, if that can be gone on with."""
        try:
            begun = msgspec.json.decode(self._state.read_bytes(), type=Version)
        except (OSError, ValueError):
            return None
        return begun if begun.url == self._shown and begun.strong else None

    def _size(self) -> int:
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0

    def _refused(self, status: int) -> DatabaseError:
        advice = {
            401: "Put user and password into the URL: https://user:password@host/path.",
            403: "Ask whoever runs it for access.",
            404: "Is the name of the ecosystem right (`Debian`, `PyPI`, `crates.io`), and SCANNER_OSV_URL?",
        }
        return self._failure(f"the server answered with status {status}", advice.get(status, ""))

    def _failure(self, reason: str, advice: str = "") -> DatabaseError:
        return DatabaseError(
            f"{self._shown} cannot be fetched: {reason}.",
            advice
            or "Can this machine reach it? HTTPS_PROXY names a proxy, SSL_CERT_FILE a file of CAs. Without a "
            "network, `harbor-scanner db import` takes the files from a disk.",
        )


def without_user(url: str) -> str:
    """Return `url` without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _first(response: httpx2.Response) -> int:
    """Return the place of the first byte of a part; -1 if it is not told."""
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(found[1]) if found else -1


def _asked_wait(response: httpx2.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0
