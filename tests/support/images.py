"""Real container images, made in memory: a Debian, an Alpine, and some that are none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, repeat
from typing import Any, NamedTuple

from support import packages
from support.fetch_servers import DEBS

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"

CREATED = "2023-08-14T23:41:22Z"


class Symlink(str):
    """The target of a symbolic link, where a layer would otherwise have a file's content."""

    __slots__ = ()


Files = Mapping[str, str | bytes | Symlink]
"""Paths without a leading slash, and what is there."""


class Layer(NamedTuple):
    """A layer, and the command that made it."""

    blob: bytes
    created_by: str


@dataclass(frozen=True)
class Image:
    """An artifact as a registry holds it: manifest, config, and layers."""

    config: bytes
    layers: tuple[bytes, ...]
    media_type: str = OCI_MANIFEST
    config_type: str = OCI_CONFIG
    layer_type: str = OCI_LAYER

    @cached_property
    def manifest(self) -> bytes:
        """The manifest, which names config and layers by their digests."""
        body = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": _descriptor(self.config, self.config_type),
            "layers": [_descriptor(layer, self.layer_type) for layer in self.layers],
        }
        return _json(body)

    @property
    def digest(self) -> str:
        """The manifest's digest, by which Harbor names the image."""
        return digest(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """All that the manifest names."""
        return (self.config, *self.layers)

    def as_docker(self) -> Image:
        """Return the same image in Docker's media types (schema 2)."""
        return replace(self, media_type=DOCKER_MANIFEST, config_type=DOCKER_CONFIG, layer_type=DOCKER_LAYER)


def digest(content: bytes) -> str:
    """Return the digest by which a registry names `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@cache
def debian() -> Image:
    """Debian 12.1 as of August 2023, then libraries, an application, and a clean-up that removes files."""
    base = packages.DEBIAN_BASE
    everything = base + packages.DEBIAN_WEB
    return _image(
        layer(
            {
                "etc/os-release": Symlink("../usr/lib/os-release"),
                "usr/lib/os-release": packages.DEBIAN_OS_RELEASE,
                "etc/debian_version": "12.1\n",
                "var/lib/dpkg/status": packages.dpkg_status(base),
                **packages.deb_files(base),
            },
            "/bin/sh -c #(nop) ADD file:f2a0e3c5 in / ",
        ),
        layer(
            {
                "var/lib/dpkg/status": packages.dpkg_status(everything),
                **packages.deb_files(packages.DEBIAN_WEB),
            },
            "RUN /bin/sh -c apt-get install --yes curl openssl openssh-client # buildkit",
        ),
        layer(
            {
                "app/node_modules/ecstatic/package.json": packages.npm("ecstatic", "3.3.2", "MIT"),
                "app/node_modules/minimist/package.json": packages.npm("minimist", "1.2.5", "MIT"),
                "app/lib/commons-codec-1.9.jar": b"PK\x03\x04 stands for a jar",
                "app/old/node_modules/lodash/package.json": packages.npm("lodash", "4.17.20", "MIT"),
                "app/priv.pem": packages.PRIVATE_KEY,
            },
            "COPY app /app # buildkit",
        ),
        layer(
            {"app/.wh.old": "", "app/node_modules/minimist/.wh..wh..opq": "", "app/start": "#!/bin/sh\n"},
            "RUN /bin/sh -c rm -rf /app/old # buildkit",
        ),
    )


@cache
def alpine() -> Image:
    """Alpine 3.9.4, of 2019, with libraries whose fixes came later."""
    return _image(
        layer(
            {
                "etc/os-release": packages.ALPINE_OS_RELEASE,
                "etc/alpine-release": "3.9.4\n",
                "lib/apk/db/installed": packages.apk_installed(packages.ALPINE),
                "bin/busybox": b"\x7fELF stands for busybox",
            },
            "/bin/sh -c #(nop) ADD file:a86aea1f in / ",
        ),
        layer({"usr/share/nginx/html/index.html": "<h1>Hello</h1>\n"}, "COPY html /usr/share/nginx/html"),
    )


@cache
def without_packages() -> Image:
    """An image made from scratch: one program, no package database."""
    return _image(layer({"hello": b"\x7fELF stands for a static program"}, "COPY hello / # buildkit"))


@cache
def helm_chart() -> Image:
    """A Helm chart, which lies in a registry like an image but is none."""
    chart = layer({"shop/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.4.2\n"})
    config = _json({"apiVersion": "v2", "name": "shop", "version": "1.4.2"})
    return Image(config, (chart.blob,), config_type=HELM_CONFIG, layer_type=HELM_LAYER)


@cache
def cosign_signature() -> Image:
    """A signature as cosign stores it: an image by its config, whose only layer is no file system."""
    payload = _json(
        {
            "critical": {
                "identity": {"docker-reference": "core.harbor.domain/library/shop"},
                "image": {"docker-manifest-digest": debian().digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )
    return Image(_config([Layer(payload, "")]), (payload,), layer_type=COSIGN_LAYER)


@cache
def debian_from_packages() -> Image | None:
    """An image of real Debian packages, a layer each; None if `fetch_servers.py` could not get them."""
    debs = sorted(DEBS.glob("*.deb"))
    if not debs:
        return None
    layers = [
        Layer(_compress(_output("dpkg-deb", "--fsys-tarfile", str(deb))), f"dpkg --install {deb.name}") for deb in debs
    ]
    fields = [_output("dpkg-deb", "--field", str(deb)).decode() for deb in debs]
    status = "\n".join(f"{text.rstrip()}\nStatus: install ok installed\n" for text in fields)
    return _image(*layers, layer({"var/lib/dpkg/status": status}, "dpkg --configure --pending"))


def layer(files: Files, created_by: str = "") -> Layer:
    """Return a layer of these files. Names starting with `.wh.` are whiteouts, as in any layer."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.mode = 0o644
            if isinstance(content, Symlink):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                tar.addfile(entry)
                continue
            body = content.encode() if isinstance(content, str) else content
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return Layer(_compress(archive.getvalue()), created_by)


def with_zeros(image: Image, size: int) -> Image:
    """Return `image` with one more layer: a file of `size` zeros, which is never in memory as a whole."""
    head = tarfile.TarInfo("var/cache/zeros")
    head.size = size
    packer, unpacked = zlib.compressobj(1, wbits=31), hashlib.sha256()
    chunk = bytes(2**20)
    whole, rest = divmod(size, len(chunk))
    padding = bytes(-size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
    blob = bytearray()
    for piece in chain([head.tobuf()], repeat(chunk, whole), [bytes(rest), padding]):
        unpacked.update(piece)
        blob += packer.compress(piece)
    config = json.loads(image.config)
    config["rootfs"]["diff_ids"].append(f"sha256:{unpacked.hexdigest()}")
    config["history"].append({"created": CREATED, "created_by": "truncate"})
    return replace(image, config=_json(config), layers=(*image.layers, bytes(blob + packer.flush())))


def _image(*layers: Layer) -> Image:
    return Image(_config(layers), tuple(layer.blob for layer in layers))


def _config(layers: Sequence[Layer]) -> bytes:
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(_uncompressed(layer.blob)) for layer in layers]},
            "history": [{"created": CREATED, "created_by": layer.created_by} for layer in layers],
        }
    )


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def _compress(content: bytes) -> bytes:
    # Without a date, the same content has the same digest on every run.
    return gzip.compress(content, compresslevel=6, mtime=0)


def _uncompressed(blob: bytes) -> bytes:
    return gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob


def _output(*argv: str) -> bytes:
    return subprocess.run(argv, capture_output=True, check=True).stdout
