"""Pull an image from a registry over HTTP, verifying every digest, as a scanner without Docker does."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from standins.engine.model import Layer, NotAnImageError, PulledImage, PullError, Source

IMAGE_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


def pull(source: Source, repository: str, reference: str) -> PulledImage:
    """Pull the image that a tag or digest names. Raises PullError."""
    connection = _connection(source)
    try:
        return _pull(connection, source, repository, reference)
    except (OSError, http.client.HTTPException) as error:
        raise PullError(f'Get "{source.url}/v2/": {error}') from error
    finally:
        connection.close()


def _pull(connection: http.client.HTTPConnection, source: Source, repository: str, reference: str) -> PulledImage:
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

    account = base64.b64encode(f"{source.username}:{source.password}".encode()).decode()
    headers = {"Authorization": f"Basic {account}", "Accept": ", ".join(IMAGE_MANIFESTS)}
    body, digest = get(f"manifests/{reference}", reference if reference.startswith("sha256:") else "")
    manifest = json.loads(body)
    kind = manifest.get("config", {}).get("mediaType", manifest.get("mediaType", ""))
    if kind not in IMAGE_CONFIGS:
        raise NotAnImageError(f"unsupported media type {kind}")
    config = json.loads(get(f"blobs/{manifest['config']['digest']}", manifest["config"]["digest"])[0])
    commands = _commands(config)
    layers = []
    for number, descriptor in enumerate(manifest["layers"]):
        blob, layer_digest = get(f"blobs/{descriptor['digest']}", descriptor["digest"])
        layers.append(Layer(layer_digest, commands[number] if number < len(commands) else "", blob))
    return PulledImage(digest, layers, sum(len(layer.blob) for layer in layers))


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
