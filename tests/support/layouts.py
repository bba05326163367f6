"""Images in files, as programs write them: OCI layouts, and the archives of `docker save`."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.images import Image, digest

REF_NAME = "org.opencontainers.image.ref.name"


def entry(image: Image, name: str = "", platform: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return how an index refers to an image."""
    found: dict[str, Any] = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    if name:
        found["annotations"] = {REF_NAME: name}
    if platform:
        found["platform"] = dict(platform)
    return found


def write_layout(directory: Path, images: Mapping[str, Image], *, index: bytes | None = None) -> Path:
    """Write a layout with images by their names, under an `index` that its own one then refers to, if given."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for image in images.values():
        for blob in (*image.blobs, image.manifest):
            (blobs / digest(blob).partition(":")[2]).write_bytes(blob)
    entries = [entry(image, name) for name, image in images.items()]
    if index is not None:
        (blobs / digest(index).partition(":")[2]).write_bytes(index)
        media_type = "application/vnd.oci.image.index.v1+json"
        entries = [{"mediaType": media_type, "digest": digest(index), "size": len(index)}]
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return directory


def pack(directory: Path, path: Path, mode: str = "w") -> Path:
    """Write a directory into an archive, as `tar -C DIRECTORY .` does."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(directory, arcname=".")
    return path


def docker_save(path: Path, images: Mapping[str, Image], mode: str = "w", *, linked: bool = False) -> Path:
    """Write images by their tags, with layers as old versions of docker have them.

    Where `linked`, the last layer is a link to a member elsewhere.
    """
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        listed = []
        for number, (tag, image) in enumerate(images.items()):
            layers = []
            for place, layer in enumerate(image.layers):
                name = f"{number}{place}/layer.tar"
                if linked and place == len(image.layers) - 1:
                    _add(archive, "elsewhere/layer.tar", gzip.decompress(layer))
                    link = tarfile.TarInfo(name)
                    link.type, link.linkname = tarfile.SYMTYPE, "../elsewhere/layer.tar"
                    archive.addfile(link)
                else:
                    _add(archive, name, gzip.decompress(layer))
                layers.append(name)
            _add(archive, f"{number}.json", image.config)
            listed.append({"Config": f"{number}.json", "RepoTags": [tag] if tag else None, "Layers": layers})
        _add(archive, "manifest.json", json.dumps(listed).encode())
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
