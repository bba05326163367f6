"""Pull an image from a registry over HTTP, verifying every digest, as a scanner without Docker does."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from standins.engine.model import Blobs, Layer, NotAnImageError, PulledImage, PullError, Source

IMAGE_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def pull(source: Source, repository: str, reference: str, blobs: Blobs | None = None) -> PulledImage:
    """Pull the image that a tag or digest names, but for layers that are among `blobs` already. Raises PullError."""
    try:
        with closing(_connection(source)) as connection:
            return _pull(connection, source, repository, reference, blobs)
    except (OSError, http.client.HTTPException) as error:
        raise PullError(f'Get "{source.url}/v2/": {error}') from error


def _pull(
    connection: http.client.HTTPConnection, source: Source, repository: str, reference: str, blobs: Blobs | None
) -> PulledImage:
    def get(path: str, digest: str = "") -> tuple[bytes, str]:
        connection.request("GET", f"/v2/{repository}/{path}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise PullError(f"{answer.status} {answer.reason}", answer.status)
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if digest and found != digest:
            raise PullError(f"{path} has digest {found}")
        return body, found

    def layer(digest: str) -> bytes:
        kept = blobs.get(digest) if blobs else None
        if kept is not None and f"sha256:{hashlib.sha256(kept).hexdigest()}" == digest:
            return kept
        pulled, _ = get(f"blobs/{digest}", digest)
        if blobs:
            blobs.put(digest, pulled)
        return pulled

    headers = {"Accept": ", ".join(IMAGE_MANIFESTS), **_authorization(source)}
    body, digest = get(f"manifests/{reference}", reference if reference.startswith("sha256:") else "")
    manifest = json.loads(body)
    kind = manifest.get("config", {}).get("mediaType", manifest.get("mediaType", ""))
    if kind not in IMAGE_CONFIGS:
        raise NotAnImageError(f"unsupported media type {kind}")
    config = json.loads(get(f"blobs/{manifest['config']['digest']}", manifest["config"]["digest"])[0])
    commands = _commands(config)
    layers = []
    for number, descriptor in enumerate(manifest["layers"]):
        command = commands[number] if number < len(commands) else ""
        layers.append(Layer(descriptor["digest"], command, layer(descriptor["digest"])))
    size = sum(len(one.blob) for one in layers)
    return PulledImage(digest, layers, size, manifest["config"]["digest"], config.get("architecture", ""))


def _authorization(source: Source) -> dict[str, str]:
    if source.token:
        return {"Authorization": f"Bearer {source.token}"}
    if not source.username:
        return {}
    account = base64.b64encode(f"{source.username}:{source.password}".encode()).decode()
    return {"Authorization": f"Basic {account}"}


def _connection(source: Source) -> http.client.HTTPConnection:
    url = urlsplit(source.url)
    assert url.hostname, source.url
    if url.scheme == "https":
        import ssl

        trust = ssl.create_default_context(cafile=source.ca_file or None)
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=trust)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=30)


def _commands(config: dict[str, Any]) -> list[str]:
    """Return the commands of the history that made a layer."""
    return [step.get("created_by", "") for step in config.get("history", []) if not step.get("empty_layer")]
