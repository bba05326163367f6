"""The image that is scanned: a web shop on Debian 12 as of summer 2023, with what was installed into it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from harbor_scanner.harbor import media

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CREATED = "2023-08-01T12:00:00Z"

_OS_RELEASE = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
"""

_BASE = {
    "base-files": "12.4+deb12u1",
    "bash": "5.2.15-2",
    "coreutils": "9.1-1",
    "dpkg": "1.21.22",
    "libc-bin (glibc)": "2.36-9+deb12u1",
    "libc6 (glibc)": "2.36-9+deb12u1",
    "tar": "1.34+dfsg-1.2",
    "zlib1g (zlib)": "1:1.2.13.dfsg-1",
}
"""Packages of Debian 12.1 with their versions; the source package in brackets where it has another name."""

_ADDED = {
    "ca-certificates": "20230311",
    "curl": "7.88.1-10+deb12u1",
    "libcurl4 (curl)": "7.88.1-10+deb12u1",
    "libssl3 (openssl)": "3.0.9-1",
    "libwebp7 (libwebp)": "1.2.4-0.2",
    "openssl": "3.0.9-1",
}
_PYTHON = {
    "certifi": "2023.7.22",
    "Jinja2": "2.11.2",
    "MarkupSafe": "2.1.3",
    "PyYAML": "5.3",
    "requests": "2.30.0",
    "urllib3": "1.26.16",
}
_NODE = {"lodash": "4.17.20", "minimist": "1.2.5", "ms": "2.1.3"}
_REMOVED = "minimist"
"""Of the packages of Node.js: a later layer deletes it."""
_LOG4J = "2.14.1"


class Image(msgspec.Struct, frozen=True):
    """An image as a registry holds it."""

    config: bytes
    layers: tuple[bytes, ...]

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All that the manifest names."""
        return (self.config, *self.layers)

    @property
    def manifest(self) -> bytes:
        """The manifest, which names configuration and layers by their digests."""
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "config": _descriptor(self.config, _CONFIG),
                "layers": [_descriptor(layer, _LAYER) for layer in self.layers],
            }
        )


def make_image() -> Image:
    """Return the image, the same bytes every time."""
    site = "usr/local/lib/python3.11/site-packages"
    python = {}
    for name, version in _PYTHON.items():
        folder = f"{site}/{name}-{version}.dist-info"
        python[f"{folder}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        python[f"{folder}/RECORD"] = f"{folder.removeprefix(f'{site}/')}/METADATA,,\n"
    node = {
        f"srv/shop/node_modules/{name}/package.json": _json({"name": name, "version": version, "license": "MIT"})
        for name, version in _NODE.items()
    }
    layers: dict[str, Mapping[str, str | bytes]] = {
        "ADD rootfs.tar.xz /": {
            "etc/os-release": _OS_RELEASE,
            "etc/debian_version": "12.1\n",
            **_debian(_BASE, of=_BASE),
        },
        "RUN apt-get install --yes curl openssl libwebp7": _debian(_ADDED, of={**_BASE, **_ADDED}),
        "RUN pip install --requirement requirements.txt": python,
        "COPY shop /srv/shop": {**node, f"srv/shop/lib/log4j-core-{_LOG4J}.jar": _jar()},
        f"RUN npm uninstall {_REMOVED}": {f"srv/shop/node_modules/.wh.{_REMOVED}": ""},
    }
    archives = [_tar(files) for files in layers.values()]
    # Without a date in the header, the same files have the same digest.
    return Image(_config(archives, layers), tuple(gzip.compress(archive, mtime=0) for archive in archives))


def digest(content: bytes) -> str:
    """Return the digest by which a registry names `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _debian(packages: Mapping[str, str], *, of: Mapping[str, str]) -> dict[str, str | bytes]:
    """Return the files of these packages, and dpkg's list of all that are installed then."""
    names = [title.partition(" ")[0] for title in packages]
    entries = []
    for title, version in of.items():
        name, _, source = title.partition(" ")
        origin = f"Source: {source.strip('()')}\n" if source else ""
        entries.append(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n{origin}Version: {version}\n"
            f"Maintainer: Debian\nDescription: {name}\n"
        )
    return {
        "var/lib/dpkg/status": "\n".join(entries),
        **{f"var/lib/dpkg/info/{name}.list": f"/.\n/usr/share/doc/{name}/copyright\n" for name in names},
        **{f"usr/share/doc/{name}/copyright": f"{name}, as packaged for Debian.\n" for name in names},
    }


def _jar() -> bytes:
    group, artifact = "org.apache.logging.log4j", "log4j-core"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as jar:
        for path, text in {
            "META-INF/MANIFEST.MF": f"Manifest-Version: 1.0\nImplementation-Version: {_LOG4J}\n",
            f"META-INF/maven/{group}/{artifact}/pom.properties": (
                f"groupId={group}\nartifactId={artifact}\nversion={_LOG4J}\n"
            ),
        }.items():
            jar.writestr(zipfile.ZipInfo(path), text)
    return content.getvalue()


def _tar(files: Mapping[str, str | bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            body = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(path)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return archive.getvalue()


def _config(archives: Sequence[bytes], commands: Iterable[str]) -> bytes:
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED,
            "config": {"Cmd": ["/srv/shop/start"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(archive) for archive in archives]},
            "history": [{"created": _CREATED, "created_by": command} for command in commands],
        }
    )


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()
