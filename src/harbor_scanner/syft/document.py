"""The document that Syft writes in its own format (`syft-json`): what is read of it."""

from __future__ import annotations

from typing import Any

import msgspec

from harbor_scanner.errors import BadReportError


class Location(msgspec.Struct, frozen=True, rename={"layer": "layerID"}):
    """Where something was found."""

    path: str = ""
    layer: str = ""
    """Digest of the layer as it is unpacked, which is not that by which a registry names it."""


class Artifact(msgspec.Struct, frozen=True, rename="camel"):
    """A package."""

    id: str
    name: str
    version: str = ""
    type: str = ""
    locations: tuple[Location, ...] = ()
    purl: str = ""
    metadata: Any = None
    """What the package's manager tells of it; other fields for each."""


class Relationship(msgspec.Struct, frozen=True):
    """What one thing has to do with another, by their ids."""

    parent: str = ""
    child: str = ""
    type: str = ""


class File(msgspec.Struct, frozen=True):
    """A file of which there is something to tell."""

    location: Location = Location()
    contents: str = ""
    """Base64; empty if it was not asked for."""
    unknowns: tuple[str, ...] = ()
    """Why it could not be read, each as `reader: reason`."""


class Distribution(
    msgspec.Struct, frozen=True, rename={"version": "versionID", "codename": "versionCodename", "pretty": "prettyName"}
):
    """What `os-release` tells of the system."""

    id: str = ""
    version: str = ""
    codename: str = ""
    name: str = ""
    pretty: str = ""


class Source(msgspec.Struct, frozen=True):
    """What was scanned."""

    type: str = ""
    metadata: Any = None


class Document(msgspec.Struct, frozen=True, rename={"relationships": "artifactRelationships"}):
    """All that Syft found."""

    artifacts: tuple[Artifact, ...]
    source: Source
    relationships: tuple[Relationship, ...] = ()
    files: tuple[File, ...] = ()
    distro: Distribution | None = None


_decoder = msgspec.json.Decoder(Document)


def decode_document(content: bytes) -> Document:
    """Read a document. Raises BadReportError."""
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReportError(
            f"What Syft wrote cannot be read: {error}",
            "See that the syft on PATH, if there is one, is of version 1.18 or newer.",
        ) from None
