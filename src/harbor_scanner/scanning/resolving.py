"""From a reference to an image by its digest, by asking the registry.

The registry may want a token from an authority of its choice, as Docker Hub and ghcr.io do (the distribution project's
specification of token authentication, and its OAuth2 variant for identity tokens).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from harbor_scanner.errors import ImageError, RegistryError, RegistryUnreachableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Artifact, Registry
from harbor_scanner.harbor.validation import INDEXES
from harbor_scanner.registry import judge
from harbor_scanner.scanning.credentials import PASSWORD, USERNAME, Account
from harbor_scanner.scanning.platform import Manifest, Platform, choose
from harbor_scanner.scanning.reference import Reference
from harbor_scanner.scanning.subject import Subject

_ACCEPT = ", ".join([*media.IMAGE_MANIFESTS, *sorted(INDEXES)])
_SECONDS = 30.0
"""For each request."""
_LARGEST = 4 * 1024 * 1024
"""Bytes of a manifest, as the OCI distribution spec bounds it."""
_NESTED = 4
"""Indexes in indexes that are followed."""
_CLIENT = "harbor-scanner"
_SHOWN = 300


async def resolve(
    reference: Reference,
    account: Account,
    platform: Platform,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Subject:
    """Return the image that `reference` leads to now, of an index the one for `platform`.

    Raises RegistryError if the registry does not answer or hand it out, ImageError if it is no image. `transport` is
    there for tests.
    """
    async with httpx2.AsyncClient(timeout=_SECONDS, follow_redirects=True, transport=transport) as client:
        asking = _Asking(client, reference, account)
        try:
            return await _resolve(asking, reference, platform)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise _unreachable(reference, error) from error


async def _resolve(asking: _Asking, reference: Reference, platform: Platform) -> Subject:
    digest, media_type, body = await asking.manifest(reference.wanted)
    manifest = Manifest.parse(body)
    chosen = ""
    for _ in range(_NESTED):
        if not manifest.is_index:
            break
        entry = choose(manifest.manifests or (), platform)
        chosen = str(entry.platform or chosen)
        digest, media_type, body = await asking.manifest(entry.digest)
        manifest = Manifest.parse(body)
    judge(body)
    return Subject(
        name=str(reference),
        registry=Registry(reference.url, asking.for_scanners),
        artifact=Artifact(reference.repository, digest, tag=reference.tag or None, mime_type=media_type),
        platform=chosen,
        size=manifest.size,
        secrets=asking.secrets,
    )


class _Asking:
    """The questions to one registry, with what it takes to be answered."""

    def __init__(self, client: httpx2.AsyncClient, reference: Reference, account: Account) -> None:
        self._client = client
        self._reference = reference
        self._account = account
        self._header = account.registry_token and account.authorization
        self.for_scanners = account.authorization
        """What scanners show the registry: an account with which they get tokens themselves, if there is one."""
        self.secrets = account.secrets

    async def manifest(self, wanted: str) -> tuple[str, str, bytes]:
        """Return digest, media type and content of what has this tag or digest. Raises RegistryError."""
        url = f"{self._reference.url}/v2/{self._reference.repository}/manifests/{wanted}"
        answer = await self._get(url)
        if answer.status_code == 401 and (challenge := answer.headers.get("www-authenticate")):
            await self._meet(challenge)
            answer = await self._get(url)
        if answer.status_code != 200:
            raise _refusal(self._reference, answer, known=self._account != Account())
        body = answer.content
        if len(body) > _LARGEST:
            raise ImageError(f"The manifest of {self._reference} has {len(body):,} bytes; {_LARGEST:,} is the most.")
        algorithm = wanted.partition(":")[0] if ":" in wanted else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if ":" in wanted and digest != wanted:
            raise RegistryError(
                f"{self._reference.host} sent something else than {wanted}: it has the digest {digest}.",
                "Something between here and the registry, such as a proxy, changes what it sends.",
            )
        return digest, media.canonical(answer.headers.get("content-type", "").partition(";")[0]), body

    async def _get(self, url: str) -> httpx2.Response:
        headers = {"Accept": _ACCEPT, **({"Authorization": self._header} if self._header else {})}
        return await self._client.get(url, headers=headers)

    async def _meet(self, challenge: str) -> None:
        """Get what the registry wants to see. Raises RegistryError."""
        scheme = challenge.partition(" ")[0].lower()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if scheme != "bearer":
            self._header = self._account.authorization
            return
        realm = urlsplit(fields.get("realm", ""))
        if realm.scheme not in {"https", urlsplit(self._reference.url).scheme} or not realm.hostname:
            raise RegistryError(
                f"{self._reference.host} wants a token from {fields.get('realm')!r}, where no account is sent.",
                "A registry with TLS must name an authority with TLS.",
            )
        wanted = {name: fields[name] for name in ("service", "scope") if name in fields}
        wanted.setdefault("scope", f"repository:{self._reference.repository}:pull")
        token = await self._token(realm.geturl(), wanted)
        self._header = f"Bearer {token}"
        if self._account.identity_token:
            self.for_scanners = self._header
        self.secrets = (*self.secrets, token)

    async def _token(self, realm: str, wanted: dict[str, str]) -> str:
        if self._account.identity_token:
            form = {**wanted, "grant_type": "refresh_token", "refresh_token": self._account.identity_token}
            answer = await self._client.post(realm, data={**form, "client_id": _CLIENT})
        else:
            header = self._account.authorization
            answer = await self._client.get(realm, params=wanted, headers={"Authorization": header} if header else {})
        if answer.status_code != 200:
            raise _refusal(self._reference, answer, known=self._account != Account())
        found: Any = {}
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            found = msgspec.json.decode(answer.content)
        token = (found.get("token") or found.get("access_token")) if isinstance(found, dict) else None
        if not isinstance(token, str):
            raise RegistryError(f"{urlsplit(realm).hostname}, where {self._reference.host} gives tokens, gave none.")
        return token


def _refusal(reference: Reference, answer: httpx2.Response, *, known: bool) -> RegistryError:
    status = answer.status_code
    said = _said(answer)
    if status in {401, 403}:
        who = "refused this account" if known else "hands this out to accounts only, or does not have it"
        advice = (
            f"Check name and password, and that the account may pull {reference.repository}."
            if known
            else f"Log in with `docker login {reference.host}`, or set {USERNAME} and {PASSWORD}."
        )
        return RegistryError(f"{reference.host} {who}: {reference} (status {status}{said}).", advice)
    if status == 404:
        return RegistryError(f"{reference.host} does not have {reference}{said}.", "Check the name and the tag.")
    if status == 429:
        return RegistryUnreachableError(
            f"{reference.host} allows no more pulls for now (status 429{said}).", "Wait, or log in with an account."
        )
    if status >= 500:
        return RegistryUnreachableError(f"{reference.host} failed (status {status}{said}).", "Try again later.")
    return RegistryError(
        f"{reference.host} does not answer as a registry does (status {status}{said}).",
        f"Check the name; a registry that speaks {'TLS' if reference.url.startswith('http:') else 'plain HTTP'} is "
        f"named with {'https' if reference.url.startswith('http:') else 'http'}:// before it.",
    )


def _said(answer: httpx2.Response) -> str:
    """Return what the registry says itself, in its errors (OCI distribution spec, `errors`)."""
    try:
        document = msgspec.json.decode(answer.content)
        message = str(document["errors"][0]["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
        return ""
    return f", {' '.join(message.split())[:_SHOWN]}"


def _unreachable(reference: Reference, error: Exception) -> RegistryError:
    text = str(error) or type(error).__name__
    if "certificate" in text.lower():
        return RegistryError(
            f"The certificate of {reference.host} is not trusted: {text}.",
            "Let SSL_CERT_FILE name a file with the certificate authority of the registry.",
        )
    if "wrong version number" in text.lower() or "record layer" in text.lower():
        return RegistryError(
            f"{reference.host} does not speak TLS: {text}.",
            f"Name the image as http://{reference.host}/{reference.repository}… if that is as it should be.",
        )
    return RegistryUnreachableError(
        f"{reference.host} cannot be reached: {text}.",
        "Check the name of the image and the way there; proxies are taken from HTTPS_PROXY and NO_PROXY.",
    )
