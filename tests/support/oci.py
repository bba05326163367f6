"""Push to a registry and pull from it, as far as tests need."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from support.images import DOCKER_MANIFEST, OCI_MANIFEST, Image, digest


def basic(username: str, password: str) -> str:
    """Return the value of the Authorization header, as Harbor hands it to a scanner."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@dataclass(frozen=True)
class Registry:
    """A registry that runs, and an account that may push to it."""

    url: str
    username: str
    password: str
    ca_file: Path | None = None

    @property
    def authorization(self) -> str:
        """The account as an Authorization header."""
        return basic(self.username, self.password)

    def push(self, image: Image, repository: str, tag: str = "") -> str:
        """Push an image, under a tag if one is given, and return its digest."""
        with self._client() as client:
            for blob in image.blobs:
                name = digest(blob)
                if client.head(f"/v2/{repository}/blobs/{name}").status_code == 200:
                    continue
                started = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
                location = httpx2.URL(started.headers["Location"]).copy_merge_params({"digest": name})
                client.put(location, content=blob).raise_for_status()
            stored = client.put(
                f"/v2/{repository}/manifests/{tag or image.digest}",
                content=image.manifest,
                headers={"Content-Type": image.media_type},
            ).raise_for_status()
        return str(stored.headers["Docker-Content-Digest"])

    def pull(self, repository: str, reference: str) -> Image:
        """Pull an image by tag or digest."""
        with self._client() as client:

            def blob(descriptor: dict[str, str]) -> bytes:
                content = client.get(f"/v2/{repository}/blobs/{descriptor['digest']}").raise_for_status().content
                assert digest(content) == descriptor["digest"]
                return content

            answer = client.get(
                f"/v2/{repository}/manifests/{reference}",
                headers={"Accept": f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"},
            ).raise_for_status()
            manifest = json.loads(answer.content)
            return Image(
                config=blob(manifest["config"]),
                layers=tuple(blob(layer) for layer in manifest["layers"]),
                media_type=answer.headers["Content-Type"],
                config_type=manifest["config"]["mediaType"],
                layer_type=manifest["layers"][0]["mediaType"],
            )

    @contextmanager
    def _client(self) -> Iterator[httpx2.Client]:
        # Loading the authorities that the system trusts takes longer than a push.
        trust = ssl.create_default_context(cafile=self.ca_file) if self.url.startswith("https:") else False
        account = (self.username, self.password)
        # Proxies of the environment are not for a registry on this machine.
        with httpx2.Client(base_url=self.url, auth=account, verify=trust, trust_env=False) as client:
            yield client
