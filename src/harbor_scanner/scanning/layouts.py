"""Images in files: an OCI layout, as a directory or a tar archive, and the archive that `docker save` writes.

They are served by a registry on this machine, from where every scanner can pull them by their digests.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

import msgspec

from harbor_scanner.errors import DiskError, ImageError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Artifact
from harbor_scanner.local_registry import Content, LocalRegistry
from harbor_scanner.registry import judge
from harbor_scanner.scanning.platform import Descriptor, Manifest, Platform, choose

_T = TypeVar("_T")

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
"""Annotations by which an index names its images."""
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_GZIP = b"\x1f\x8b"
_OPENERS: Mapping[bytes, Callable[[Path], BinaryIO]] = {
    _GZIP: cast("Callable[[Path], BinaryIO]", gzip.open),
    b"BZh": cast("Callable[[Path], BinaryIO]", bz2.open),
    b"\xfd7zXZ": cast("Callable[[Path], BinaryIO]", lzma.open),
}
_ZSTD = b"\x28\xb5\x2f\xfd"
_LARGEST = 4 * 1024 * 1024
"""Bytes of a manifest or an index."""
_LARGEST_CONFIG = 16 * 1024 * 1024
_NESTED = 4
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64}|[0-9a-f]{128})", re.ASCII)


class Found(msgspec.Struct, frozen=True):
    """An image that was put into a registry."""

    artifact: Artifact
    platform: str
    size: int


def find_path(image: str) -> tuple[Path, str] | None:
    """Return the file or directory that `image` means, and the name of an image in it; None if it is a reference.

    `PATH` or `PATH:NAME`: what exists as a file, or as a directory with a layout, and what looks like a path.
    """
    for place in [*(place for place, letter in enumerate(image) if letter == ":"), len(image)]:
        path = Path(image[:place]).expanduser()
        if path.is_file() or (path / "index.json").is_file():
            return path, image[place + 1 :]
    if image.startswith(("/", "./", "../", "~")) or image.endswith(_SUFFIXES) or image in {".", ".."}:
        return Path(image).expanduser(), ""
    return None


def put(path: Path, name: str, platform: Platform, registry: LocalRegistry, scratch: Path) -> Found:
    """Have `registry` hold the image in `path`: the one called `name`, and of an index the one for `platform`.

    A compressed archive is unpacked into `scratch`. Raises ImageError, and DiskError. Takes the time that it takes to
    read an archive of docker's: work for a thread.
    """
    try:
        files = _Folder(path) if path.is_dir() else _Archive(_plain(path, scratch))
        if files.find("index.json") is not None:
            return _Layout(files, path, registry).put(name, platform)
        if files.find("manifest.json") is not None:
            return _put_docker(files, path, name, registry)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{path} is no archive of an image: {error}.", _ADVICE) from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from None
    raise ImageError(f"{path} holds no image.", _ADVICE)


_ADVICE = "An image in files is an OCI layout (a directory or a tar archive), or what `docker save` writes."


class _Files(Protocol):
    def find(self, name: str) -> Content | None:
        """Return what has this name, if it is there. Raises OSError."""
        ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, name: str) -> Content | None:
        path = self._path / name
        return Content(path, path.stat().st_size) if path.is_file() else None


class _Archive:
    """A tar archive, of which only the list of members is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with tarfile.open(path, "r:") as archive:
            self._members = {member.name.removeprefix("./"): member for member in archive}

    def find(self, name: str) -> Content | None:
        member = self._members.get(name)
        # Old versions of docker write a layer that is there twice as a link.
        if member is not None and member.issym():
            member = self._members.get(_joined(name, member.linkname))
        elif member is not None and member.islnk():
            member = self._members.get(member.linkname.removeprefix("./"))
        if member is None or not member.isreg() or member.sparse:
            return None
        return Content(self._path, member.size, member.offset_data)


def _joined(name: str, target: str) -> str:
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _plain(path: Path, scratch: Path) -> Path:
    """Return the archive as it is, or uncompressed."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(_ZSTD):
        raise ImageError(f"{path} is compressed with zstd.", "Unpack it first: `unzstd FILE`.")
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None:
        return path
    plain = scratch / "archive.tar"
    with opener(path) as packed, plain.open("wb") as file:
        try:
            shutil.copyfileobj(packed, file, 1024 * 1024)
        except OSError as error:
            if error.errno is None:  # gzip's own
                raise
            raise DiskError(
                f"There is no room to unpack {path} in {scratch}: {error.strerror}.",
                "Make room there, or let SCANNER_DATA_DIR name another place.",
            ) from error
    return plain


class _Layout:
    """An OCI layout (OCI image spec, `image-layout.md`)."""

    def __init__(self, files: _Files, path: Path, registry: LocalRegistry) -> None:
        self._files = files
        self._path = path
        self._registry = registry
        self._repository = repository_of(path)

    def put(self, name: str, platform: Platform) -> Found:
        index = Manifest.parse(_read(self._files, "index.json", self._path))
        entry = self._named(index.manifests or [], name, platform)
        chosen = ""
        for _ in range(_NESTED):
            body = self._manifest(entry)
            manifest = Manifest.parse(body)
            chosen = str(entry.platform or chosen)
            if not manifest.is_index:
                break
            entry = choose(manifest.manifests or (), platform)
        judge(body)
        for blob in (manifest.config, *(manifest.layers or ())):
            content = self._files.find(_blob(blob.digest)) if blob is not None else None
            if blob is not None and content is None:
                raise ImageError(
                    f"{self._path} is not complete: {blob.digest} is missing.",
                    "Write it again; an image that was never pulled whole cannot be saved whole.",
                )
            if blob is not None and content is not None:
                self._registry.add_blob(self._repository, blob.digest, content)
        media_type = manifest.media_type or entry.media_type or media.OCI_MANIFEST
        digest = self._registry.add_manifest(self._repository, body, media_type)
        return Found(Artifact(self._repository, digest, mime_type=media_type), chosen, manifest.size)

    def _named(self, entries: Sequence[Descriptor], name: str, platform: Platform) -> Descriptor:
        fitting = [entry for entry in entries if not name or name in (*_names(entry), entry.digest)]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting or (not name and len({known for entry in entries for known in _names(entry)}) > 1):
            raise _which(self._path, name, [known for entry in entries for known in _names(entry) or [entry.digest]])
        return choose(fitting, platform)

    def _manifest(self, entry: Descriptor) -> bytes:
        body = _read(self._files, _blob(entry.digest), self._path)
        algorithm, _, digits = entry.digest.partition(":")
        if hashlib.new(algorithm, body).hexdigest() != digits:
            raise ImageError(f"{self._path} is damaged: {entry.digest} is not what its name says.", "Write it again.")
        return body


def _names(entry: Descriptor) -> list[str]:
    annotations = entry.annotations or {}
    return [annotations[key] for key in (_FULL_NAME, _REF_NAME) if annotations.get(key)]


def _which(path: Path, name: str, names: Sequence[str]) -> ImageError:
    there = ", ".join(dict.fromkeys(names)) or "none"
    message = f"{path} has no image {name!r}" if name else f"{path} holds more than one image"
    return ImageError(f"{message}; it has {there}.", f"Name one of them: {path}:NAME.")


def _blob(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ImageError(f"The image's manifest names {digest!r}, which is no digest.")
    return f"blobs/{digest.replace(':', '/')}"


class _Saved(msgspec.Struct):
    """An image in the `manifest.json` of docker's archives."""

    config: str = msgspec.field(name="Config")
    layers: list[str] = msgspec.field(name="Layers")
    tags: list[str] | None = msgspec.field(default=None, name="RepoTags")


def _put_docker(files: _Files, path: Path, name: str, registry: LocalRegistry) -> Found:
    """Give an image of docker's archive, which has no manifest of the registry's kind, one."""
    saved = _decode(_read(files, "manifest.json", path), list[_Saved], path)
    chosen = [image for image in saved if not name or name in (image.tags or ())]
    if len(chosen) != 1:
        raise _which(path, name, [tag for image in saved for tag in image.tags or ()])
    [image] = chosen
    repository = repository_of(path)
    config = Content.of(_read(files, image.config, path, _LARGEST_CONFIG))
    layers = [_layer(_require(files, layer, path)) for layer in image.layers]
    blobs = [(config, _descriptor(config, _DOCKER_CONFIG)), *layers]
    for content, descriptor in blobs:
        registry.add_blob(repository, descriptor["digest"], content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.DOCKER_MANIFEST,
        "config": blobs[0][1],
        "layers": [descriptor for _, descriptor in layers],
    }
    digest = registry.add_manifest(repository, msgspec.json.encode(manifest), media.DOCKER_MANIFEST)
    artifact = Artifact(repository, digest, mime_type=media.DOCKER_MANIFEST)
    return Found(artifact, "", sum(content.size for content, _ in blobs))


def _layer(content: Content) -> tuple[Content, dict[str, Any]]:
    with content.open() as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return content, _descriptor(content, f"{_DOCKER_LAYER}.gzip" if packed else _DOCKER_LAYER)


def _descriptor(content: Content, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": content.digest(), "size": content.size}


def _require(files: _Files, name: str, path: Path) -> Content:
    content = files.find(name)
    if content is None:
        raise ImageError(f"{path} is not complete: {name} is missing.", "Write it again.")
    return content


def _read(files: _Files, name: str, path: Path, most: int = _LARGEST) -> bytes:
    content = _require(files, name, path)
    if content.size > most:
        raise ImageError(f"{path} has {name} of {content.size:,} bytes; {most:,} is the most.", _ADVICE)
    return b"".join(content.chunks())


def _decode(body: bytes, kind: type[_T], path: Path) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"{path} has a manifest.json that cannot be read: {error}.", _ADVICE) from None


def repository_of(path: Path) -> str:
    """Return the name under which a file's image stands in reports."""
    stem = path.resolve().name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    return "local/" + ("-".join(re.findall(r"[a-z0-9]+", stem))[:200] or "image")
