"""The registry is asked for a digest, with a token where it wants one, and its answers are checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from harbor_scanner.errors import ImageError, RegistryError, RegistryUnreachableError, ScanError
from harbor_scanner.scanning.credentials import NOBODY, Account
from harbor_scanner.scanning.platform import Platform
from harbor_scanner.scanning.reference import Reference
from harbor_scanner.scanning.resolving import resolve
from harbor_scanner.scanning.subject import Subject
from support import images
from support.images import digest
from support.oci import basic

AMD64 = Platform("linux", "amd64")
INDEX = "application/vnd.oci.image.index.v1+json"
REALM = "https://auth.example/token"
CHALLENGE = f'Bearer realm="{REALM}",service="registry.example",scope="repository:a/b:pull"'

Handler = Callable[[httpx2.Request], httpx2.Response]


def find(
    handler: Handler, name: str = "registry.example/a/b:1", account: Account = NOBODY, platform: Platform = AMD64
) -> Subject:
    return asyncio.run(resolve(Reference.parse(name), account, platform, httpx2.MockTransport(handler)))


def manifest(body: bytes, media_type: str = images.OCI_MANIFEST) -> httpx2.Response:
    return httpx2.Response(200, content=body, headers={"Content-Type": media_type})


def index(*platforms: Mapping[str, str] | None) -> tuple[bytes, dict[str, bytes]]:
    """Return an index with an image for each, and all manifests by their digests."""
    entries, manifests = [], {}
    for place, platform in enumerate(platforms):
        body = json.dumps({**json.loads(images.debian().manifest), "annotations": {"n": str(place)}}).encode()
        manifests[digest(body)] = body
        entry: dict[str, Any] = {"mediaType": images.OCI_MANIFEST, "digest": digest(body), "size": len(body)}
        entries.append({**entry, **({"platform": platform} if platform else {})})
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), manifests


def of_index(body: bytes, manifests: Mapping[str, bytes]) -> Handler:
    def answer(request: httpx2.Request) -> httpx2.Response:
        name = request.url.path.rpartition("/")[2]
        return manifest(manifests[name]) if name in manifests else manifest(body, INDEX)

    return answer


def test_a_tag_leads_to_the_digest_that_it_has_now() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return manifest(images.debian().manifest)

    subject = find(answer)
    assert [str(request.url) for request in seen] == ["https://registry.example/v2/a/b/manifests/1"]
    artifact = subject.request.artifact
    assert (artifact.repository, artifact.digest, artifact.tag) == ("a/b", images.debian().digest, "1")
    assert artifact.mime_type == images.OCI_MANIFEST
    assert subject.request.registry.url == "https://registry.example"
    assert subject.request.registry.authorization is None
    assert subject.size == sum(map(len, images.debian().blobs))


def authority(tokens: Mapping[str | None, str], seen: list[httpx2.Request]) -> Handler:
    """A registry that wants tokens, which its authority gives to those whose header is among `tokens`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        header = request.headers.get("authorization")
        if request.url.host == "auth.example":
            form = parse_qs(request.content.decode())
            token = tokens.get(form["refresh_token"][0] if form else header)
            return httpx2.Response(200, json={"access_token": token}) if token else httpx2.Response(401)
        if header in {f"Bearer {token}" for token in tokens.values()}:
            return manifest(images.debian().manifest)
        return httpx2.Response(401, headers={"WWW-Authenticate": CHALLENGE})

    return answer


def test_a_token_is_fetched_for_nobody_as_docker_hub_gives_it() -> None:
    seen: list[httpx2.Request] = []
    subject = find(authority({None: "t0ken-for-all"}, seen))
    assert subject.request.registry.authorization is None
    asked = next(request for request in seen if request.url.host == "auth.example")
    assert dict(asked.url.params) == {"service": "registry.example", "scope": "repository:a/b:pull"}
    assert "t0ken-for-all" in subject.secrets


def test_an_account_gets_its_token_and_goes_to_scanners_as_it_is() -> None:
    account = Account("me", "pass")
    subject = find(authority({basic("me", "pass"): "t0ken-for-me"}, []), account=account)
    assert subject.request.registry.authorization == basic("me", "pass")


def test_an_identity_token_is_exchanged_and_scanners_get_what_it_gave() -> None:
    seen: list[httpx2.Request] = []
    subject = find(authority({"identity": "t0ken"}, seen), account=Account(identity_token="identity"))
    assert subject.request.registry.authorization == "Bearer t0ken"
    assert {"identity", "t0ken"} <= set(subject.secrets)


def test_a_password_goes_nowhere_before_it_is_asked_for() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        if request.headers.get("authorization") == basic("me", "pass"):
            return manifest(images.debian().manifest)
        return httpx2.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    find(answer, account=Account("me", "pass"))
    assert [request.headers.get("authorization") for request in seen] == [None, basic("me", "pass")]


def test_no_account_goes_to_an_authority_without_tls() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.url.host == "registry.example"
        challenge = CHALLENGE.replace("https://auth", "http://auth")
        return httpx2.Response(401, headers={"WWW-Authenticate": challenge})

    with pytest.raises(RegistryError, match="no account is sent"):
        find(answer, account=Account("me", "pass"))


def test_of_an_index_the_image_for_the_platform_is_taken_and_told() -> None:
    platforms = (
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm", "variant": "v6"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "unknown", "architecture": "unknown"},
    )
    body, manifests = index(*platforms)
    digests = list(manifests)
    for wanted, place, told in (
        ("linux/amd64", 0, "linux/amd64"), ("linux/x86_64", 0, "linux/amd64"), ("linux/arm", 1, "linux/arm/v6"),
        ("linux/arm/v7", 2, "linux/arm/v7"), ("linux/arm64", 3, "linux/arm64/v8"),
    ):  # fmt: skip
        subject = find(of_index(body, manifests), platform=Platform.parse(wanted))
        assert (subject.artifact.digest, subject.platform) == (digests[place], told)


def test_an_index_without_the_platform_tells_what_it_has() -> None:
    attestation = {"os": "unknown", "architecture": "unknown"}
    body, manifests = index(
        {"os": "linux", "architecture": "amd64"}, attestation, {"os": "windows", "architecture": "amd64"}
    )
    with pytest.raises(ImageError, match=r"no image for linux/s390x; it has linux/amd64, windows/amd64\.") as caught:
        find(of_index(body, manifests), platform=Platform.parse("linux/s390x"))
    assert "--platform" in caught.value.advice


def test_what_the_registry_sends_must_be_what_was_asked_for() -> None:
    with pytest.raises(RegistryError, match="something else than sha256:aaaa"):
        find(lambda _: manifest(images.debian().manifest), f"registry.example/a/b@sha256:{'a' * 64}")


@pytest.mark.parametrize("artifact", [images.helm_chart(), images.cosign_signature()])
def test_what_is_no_image_is_refused(artifact: images.Image) -> None:
    with pytest.raises(ImageError, match="not an image"):
        find(lambda _: manifest(artifact.manifest))


def error(status: int, message: str = "") -> Handler:
    body = {"errors": [{"code": "X", "message": message}]} if message else None
    return lambda _: httpx2.Response(status, json=body)


def unreachable(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("Name or service not known", request=request)


@pytest.mark.parametrize(
    ("handler", "account", "kind", "told"),
    [
        (error(401, "no way"), NOBODY, RegistryError, "hands this out to accounts only.*401, no way"),
        (error(403), Account("me", "x"), RegistryError, "refused this account"),
        (authority({}, []), Account("me", "x"), RegistryError, "refused this account"),
        (error(404, "manifest unknown"), NOBODY, RegistryError, "does not have registry.example/a/b:1, manifest unk"),
        (error(429), NOBODY, RegistryUnreachableError, "no more pulls for now"),
        (error(503), NOBODY, RegistryUnreachableError, "failed"),
        (error(400), NOBODY, RegistryError, "does not answer as a registry does"),
        (unreachable, NOBODY, RegistryUnreachableError, "cannot be reached: Name or service not known"),
        (lambda _: manifest(b"<html>"), NOBODY, ImageError, "manifest cannot be read"),
        (lambda _: manifest(b'{"schemaVersion":1}'), NOBODY, ImageError, "neither an image nor an index"),
    ],
)
def test_what_goes_wrong_is_told(handler: Handler, account: Account, kind: type[ScanError], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        find(handler, account=account)
    assert type(caught.value) is kind
    assert "Account" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux//v7"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no platform"):
        Platform.parse(text)
