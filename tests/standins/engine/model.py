"""What the stand-ins pass on: registries, images, and what is installed in them.

Kept apart from the work itself, so that a run that pulls nothing need not import what that takes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Source(NamedTuple):
    """A registry, and the account or token to pull with."""

    url: str
    username: str = ""
    password: str = ""
    ca_file: str = ""
    token: str = ""
    """A Bearer token, which goes before the account."""


class Layer(NamedTuple):
    """A layer as it lies in the registry, and the command that made it."""

    digest: str
    created_by: str
    blob: bytes


class PulledImage(NamedTuple):
    """An image with all its layers, the lowest first."""

    digest: str
    layers: list[Layer]
    size: int
    config_digest: str = ""
    architecture: str = ""


class Blobs(Protocol):
    """Layers that were pulled before, by their digests."""

    def get(self, digest: str) -> bytes | None:
        """Return a layer, if it is there."""

    def put(self, digest: str, blob: bytes) -> None:
        """Keep a layer."""


class Package(NamedTuple):
    """Something installed, and the layer that brought it."""

    format: str
    """`deb`, `apk`, `npm` or `jar`."""
    name: str
    version: str
    source: str
    source_version: str
    layer: Layer
    architecture: str = ""
    license: str = ""
    path: str = ""
    sha1: str = ""


class Secret(NamedTuple):
    """A file that should not be in an image."""

    kind: str
    path: str
    sha1: str
    layer: Layer


class Inventory(NamedTuple):
    """All that was found in an image."""

    os: str
    version: str
    packages: list[Package]
    secrets: list[Secret]


class PullError(Exception):
    """The image cannot be had. `status` is the registry's answer, 0 if there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotAnImageError(PullError):
    """The artifact is there, but it is no container image."""
