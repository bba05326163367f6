"""Asks a registry the one thing that we must know ourselves: whether an artifact is an image at all.

Scanners differ in what they make of a Helm chart or a signature, and an empty report would look clean. Only a clear
answer counts: the registry's address in a scan request need not be reachable, or trusted, from here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
import structlog

from harbor_scanner.errors import ImageError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Registry, ScanRequest
from harbor_scanner.harbor.validation import INDEXES

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger(__name__)

_IMAGE_CONFIGS = {
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
    # Old versions of docker and of registries wrote these (distribution issue 1621); docker still takes them as images.
    "application/octet-stream",
    "application/json",
    "text/html",
}
_IMAGE_LAYER = re.compile(r"application/vnd\.(oci\.image\.layer|docker\.image\.rootfs)\..+")
_ACCEPT = ", ".join([*media.IMAGE_MANIFESTS, *sorted(INDEXES)])
"""Indexes too: a registry hides from us what we do not accept."""
_SECONDS = 5.0
"""For all that the registry is asked about one artifact."""
_SILENCE = 60.0
"""Seconds for which a registry that did not answer is not asked again."""
_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest, as the OCI distribution spec bounds it."""


class _Descriptor(msgspec.Struct):
    media_type: str = msgspec.field(default="", name="mediaType")


class _Manifest(msgspec.Struct):
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


class RegistryInspector:
    """Looks at manifests with the credentials of the scan request."""

    def __init__(self) -> None:
        self._silent_until: dict[str, float] = {}
        self._tls: ssl.SSLContext | None = None

    async def require_image(self, request: ScanRequest) -> None:
        """Raise ImageError if the artifact is certainly no image; say nothing if that cannot be told from here."""
        body = await self._manifest(request)
        if body is not None:
            judge(body)

    async def shows_image(self, request: ScanRequest) -> bool:
        """Whether the registry hands out the manifest to this very request; False too if that cannot be told."""
        return await self._manifest(request) is not None

    async def _manifest(self, request: ScanRequest) -> bytes | None:
        """Return the manifest, or None if the registry does not hand it out or does not answer."""
        import httpx2  # noqa: PLC0415 - loaded by the first scan, not by the start

        base = request.registry.url.rstrip("/")
        if self._silent_until.get(base, 0) > time.monotonic():
            return None
        artifact = request.artifact
        url = f"{base}/v2/{artifact.repository}/manifests/{artifact.digest}"
        try:
            if self._tls is None:
                # Reading all the CAs of the system takes a while: once, and without holding up polls.
                self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
            async with (
                asyncio.timeout(_SECONDS),
                httpx2.AsyncClient(verify=self._tls, timeout=_SECONDS, follow_redirects=False) as client,
            ):
                return await _fetch(client, url, request.registry)
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, only the scanner's own look counts
            self._silent_until[base] = time.monotonic() + _SILENCE
            log.debug("the registry cannot be asked from here; the scanner will see for itself", error=repr(error))
            return None


async def _fetch(client: httpx2.AsyncClient, url: str, registry: Registry) -> bytes | None:
    """Return the manifest, or None if the registry does not hand it out."""
    accept = {"accept": _ACCEPT}
    credentials = {"authorization": registry.authorization} if registry.authorization else {}
    answer = await _get(client, url, {**accept, **credentials})
    if answer.status == 401 and (token_url := _token_url(url, answer.headers)):
        token = await _get(client, token_url, credentials)
        found = msgspec.json.decode(token.body) if token.status == 200 else {}
        bearer = found.get("token") or found.get("access_token") if isinstance(found, dict) else None
        if bearer:
            answer = await _get(client, url, {**accept, "authorization": f"Bearer {bearer}"})
    if answer.status != 200 or len(answer.body) > _LIMIT:
        log.debug("the registry did not show the manifest", status=answer.status)
        return None
    return answer.body


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    """Not whole if it is larger than a manifest may be."""


async def _get(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> _Answer:
    async with client.stream("GET", url, headers=headers) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _LIMIT:
                break
        return _Answer(response.status_code, response.headers, bytes(body))


def _token_url(url: str, headers: Mapping[str, str]) -> str | None:
    """Return where the registry gives tokens, if that is the registry itself: credentials go to no other host."""
    scheme, _, rest = headers.get("www-authenticate", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    realm = fields.pop("realm", "")
    if urlsplit(realm)[:2] != urlsplit(url)[:2]:
        return None
    query = urlencode({name: value for name, value in fields.items() if name in {"service", "scope"}}, safe=":/,")
    return f"{realm}{'&' if '?' in realm else '?'}{query}"


def judge(body: bytes) -> None:
    """Raise ImageError if this manifest is not that of an image."""
    try:
        manifest = msgspec.json.decode(body, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if manifest.manifests is not None:
        raise ImageError(
            "The artifact is an index of several images, not an image.", "Harbor scans its images one by one."
        )
    advice = "Charts, signatures, attestations and other artifacts hold no packages that could be scanned."
    config = manifest.config.media_type if manifest.config else ""
    if config and config not in _IMAGE_CONFIGS:
        raise ImageError(f"The artifact is not an image: its configuration is of the type {config}.", advice)
    layers = {layer.media_type for layer in manifest.layers or () if layer.media_type}
    if layers and not any(_IMAGE_LAYER.fullmatch(layer) for layer in layers):
        raise ImageError(f"The artifact is not an image: it holds {', '.join(sorted(layers))}.", advice)
