"""What an image holds, as Syft found it: the system, the packages, and what could not be read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from typing import Any

import msgspec

from harbor_scanner.syft.document import Artifact, Distribution, Document, Location

SYSTEM_KINDS = ("deb", "apk", "rpm")
"""Kinds of packages that belong to a distribution, as Syft names them."""

_OWNED = "ownership-by-file-overlap"
_NO_VERSION = {"", "UNKNOWN", "(devel)"}
"""What Syft writes of a package without a version, and Go of a program that was built from no release."""


class Installed(msgspec.Struct, frozen=True):
    """A package."""

    kind: str
    """In Syft's words: `deb`, `python`, `java-archive`."""
    name: str
    version: str
    """Empty if it is not known."""
    purl: str = ""
    source: str = ""
    """Name of the source package, if it is built from one; that of the package itself, if nothing else is said."""
    source_version: str = ""
    modularity: str = ""
    """The module and stream of an RPM (`nodejs:18:…`); empty if it belongs to none."""
    owner: str = ""
    """Name of the distribution's package that brought the files of this one; empty if none did."""
    paths: tuple[str, ...] = ()
    layer: str = ""
    """Digest by which the registry names the layer; empty if unknown."""

    @property
    def of_system(self) -> bool:
        """Whether it belongs to the distribution."""
        return self.kind in SYSTEM_KINDS


class System(msgspec.Struct, frozen=True):
    """The distribution."""

    id: str = ""
    """As in `os-release`: `debian`; empty if there is none."""
    version: str = ""
    """Its number, or its code name where it has none."""
    title: str = ""
    """As people read it."""


class Unread(msgspec.Struct, frozen=True):
    """A file of packages that could not be read, or not as a whole."""

    path: str
    reader: str
    """In Syft's words: `dpkg-db-cataloger`."""
    reason: str

    @property
    def of_system(self) -> bool:
        """Whether it is the package database of a distribution."""
        return self.reader in _SYSTEM_READERS


_SYSTEM_READERS = ("dpkg-db-cataloger", "apk-db-cataloger", "rpm-db-cataloger")
_READERS = {
    *_SYSTEM_READERS,
    "java-archive-cataloger",
    "javascript-package-cataloger",
    "php-composer-installed-cataloger",
    "python-installed-package-cataloger",
    "ruby-installed-gemspec-cataloger",
}
"""Readers of files that are sure to be theirs. Others try every program, and tell of each that is not."""


class Inventory(msgspec.Struct, frozen=True):
    """All that is in an image."""

    system: System = System()
    packages: tuple[Installed, ...] = ()
    unread: tuple[Unread, ...] = ()


def inventory_of(document: Document) -> Inventory:
    """Return what a document of Syft tells of an image.

    What was removed from a Debian, and only left its settings behind, is not installed, though Syft lists it.
    """
    removed = set(_removed(document))
    layers = _layers(document)
    names = {artifact.id: artifact.name for artifact in document.artifacts if artifact.type in SYSTEM_KINDS}
    owners = {link.child: names[link.parent] for link in document.relationships
              if link.type == _OWNED and link.parent in names}  # fmt: skip
    packages = [
        _installed(artifact, owners.get(artifact.id, ""), layers)
        for artifact in document.artifacts
        if (artifact.type, artifact.name, artifact.version) not in removed
    ]
    system = _system(document.distro) if document.distro else System()
    return Inventory(system, tuple(packages), tuple(_unread(document)))


def _system(distro: Distribution) -> System:
    return System(distro.id, distro.version or distro.codename, distro.pretty or distro.name or distro.id)


def _installed(artifact: Artifact, owner: str, layers: Mapping[str, str]) -> Installed:
    metadata = artifact.metadata if isinstance(artifact.metadata, dict) else {}
    version = "" if artifact.version in _NO_VERSION else artifact.version
    source, source_version = _source(artifact, version, metadata)
    places = _places(artifact)
    return Installed(
        kind=artifact.type,
        name=artifact.name,
        version=version,
        purl=artifact.purl,
        source=source,
        source_version=source_version,
        modularity=_text(metadata, "modularityLabel") if artifact.type == "rpm" else "",
        owner=owner,
        paths=tuple(dict.fromkeys(place.path for place in places if place.path)),
        layer=next((layers[place.layer] for place in places if place.layer in layers), ""),
    )


def _source(artifact: Artifact, version: str, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and version of the source package of a distribution's package."""
    match artifact.type:
        case "deb":
            return _text(metadata, "source") or artifact.name, _text(metadata, "sourceVersion") or version
        case "apk":
            return _text(metadata, "originPackage") or artifact.name, version
        case "rpm":
            # NAME-VERSION-RELEASE.src.rpm; only names may have hyphens. The epoch stands with the package itself.
            parts = _text(metadata, "sourceRpm").removesuffix(".rpm").rpartition(".")[0].rsplit("-", 2)
            epoch, colon, _ = version.rpartition(":")
            return (parts[0], f"{epoch}{colon}{parts[1]}-{parts[2]}") if len(parts) == 3 else (artifact.name, version)
        case _:
            return "", ""


def _places(artifact: Artifact) -> tuple[Location, ...]:
    """Return where the package was found; what tells its version comes last with Debian's, and alone counts."""
    databases = tuple(place for place in artifact.locations if "/dpkg/status" in place.path)
    return databases or artifact.locations


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value.strip() if isinstance(value, str) else ""


def _layers(document: Document) -> dict[str, str]:
    """Return by the digest of each unpacked layer the digest by which the registry names it."""
    metadata = document.source.metadata if isinstance(document.source.metadata, dict) else {}
    try:
        manifest, config = (
            msgspec.json.decode(base64.b64decode(metadata[name], validate=True)) for name in ("manifest", "config")
        )
        packed = [layer["digest"] for layer in manifest["layers"]]
        unpacked = config["rootfs"]["diff_ids"]
        return dict(zip(unpacked, packed, strict=True))
    except (KeyError, TypeError, ValueError, binascii.Error, msgspec.DecodeError):
        return {}


def _removed(document: Document) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and version of what dpkg's status says is not installed."""
    for file in document.files:
        if not (file.contents and file.location.path.endswith("/dpkg/status")):
            continue
        try:
            text = base64.b64decode(file.contents).decode(errors="replace")
        except binascii.Error:
            continue
        for entry in text.split("\n\n"):
            fields = HeaderParser().parsestr(entry.lstrip("\n"))
            state = (fields.get("Status") or "").split()
            # Without the field, as in the files of small images, it is installed.
            if state and state[-1] in {"config-files", "not-installed"}:
                yield "deb", (fields.get("Package") or "").strip(), (fields.get("Version") or "").strip()


def _unread(document: Document) -> Iterator[Unread]:
    for file in document.files:
        for line in file.unknowns:
            reader, _, reason = line.partition(": ")
            if reader in _READERS:
                yield Unread(file.location.path, reader, reason)
