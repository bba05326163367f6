"""List what is installed in an image: the package databases and applications that its merged layers hold."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from standins.engine.model import Inventory, Layer, NotAnImageError, Package, Secret

_DPKG = "var/lib/dpkg/status"
_APK = "lib/apk/db/installed"
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_DEBIAN_VERSION = "etc/debian_version"
_PRIVATE_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----")
_JAR = re.compile(r"([a-z][a-z-]*)-(\d[\w.]*)\.jar$")


class _File(NamedTuple):
    content: bytes
    layer: Layer


def take(layers: list[Layer]) -> Inventory:
    """Merge the layers, the lowest first, and list what they hold. Raises NotAnImageError if one is no archive."""
    files: dict[str, _File] = {}
    origins: dict[tuple[str, str], Layer] = {}
    for layer in layers:
        whiteouts, found = _unpack(layer)
        for path in [path for path in files if any(_hidden(path, whiteout) for whiteout in whiteouts)]:
            del files[path]
        files.update(found)
        # A database is replaced as a whole: a package stems from the first layer whose database has it.
        for package in _system_packages(files):
            origins.setdefault((package.name, package.version), layer)
    packages = [
        package._replace(layer=origins[package.name, package.version]) for package in _system_packages(files)
    ] + list(_applications(files))
    return Inventory(*_system(files), packages, list(_secrets(files)))


def _unpack(layer: Layer) -> tuple[list[str], dict[str, _File]]:
    """Return what a layer hides of those below, and its own files of interest."""
    whiteouts, files = [], {}
    try:
        with tarfile.open(fileobj=io.BytesIO(layer.blob)) as archive:
            for entry in archive:
                path = posixpath.normpath(entry.name).lstrip("/")
                folder, name = posixpath.split(path)
                if name == ".wh..wh..opq":
                    whiteouts.append(f"{folder}/")
                elif name.startswith(".wh."):
                    whiteouts.append(posixpath.join(folder, name[len(".wh.") :]))
                elif entry.isfile() and _of_interest(path) and (body := archive.extractfile(entry)):
                    files[path] = _File(body.read(), layer)
    except tarfile.TarError as error:
        raise NotAnImageError(f"layer {layer.digest} is no archive: {error}") from error
    return whiteouts, files


def _hidden(path: str, whiteout: str) -> bool:
    return path == whiteout or path.startswith(whiteout if whiteout.endswith("/") else f"{whiteout}/")


def _of_interest(path: str) -> bool:
    return path in {_DPKG, _APK, _DEBIAN_VERSION, *_OS_RELEASE} or path.endswith(("/package.json", ".jar", ".pem"))


def _system(files: dict[str, _File]) -> tuple[str, str]:
    """Return the distribution and its version."""
    for path in _OS_RELEASE:
        if path in files:
            values = _fields(files[path].content.decode().splitlines(), "=")
            version = values.get("VERSION_ID", "").strip('"')
            if _DEBIAN_VERSION in files:
                version = files[_DEBIAN_VERSION].content.decode().strip()
            return values.get("ID", "").strip('"'), version
    return "", ""


def _system_packages(files: dict[str, _File]) -> Iterator[Package]:
    if _DPKG in files:
        yield from _debs(files[_DPKG])
    if _APK in files:
        yield from _apks(files[_APK])


def _debs(status: _File) -> Iterator[Package]:
    for entry in _entries(status, ": "):
        if entry.get("Status", "").endswith(" installed"):
            name, version = entry["Package"], entry["Version"]
            source, _, source_version = entry.get("Source", name).partition(" ")
            yield Package(
                "deb",
                name,
                version,
                source,
                source_version.strip("()") or version,
                status.layer,
                entry["Architecture"],
            )


def _apks(installed: _File) -> Iterator[Package]:
    for entry in _entries(installed, ":"):
        name, version = entry["P"], entry["V"]
        yield Package("apk", name, version, entry.get("o", name), version, installed.layer, entry["A"], entry["L"])


def _applications(files: dict[str, _File]) -> Iterator[Package]:
    for path, file in files.items():
        sha1 = hashlib.sha1(file.content).hexdigest()
        if path.endswith("/package.json") and "/node_modules/" in path:
            about = json.loads(file.content)
            name, version = about["name"], about["version"]
            folder = f"/{posixpath.dirname(path)}"
            yield Package("npm", name, version, name, version, file.layer, "", about.get("license", ""), folder)
        elif match := _JAR.search(path):
            name, version = match.groups()
            yield Package("jar", name, version, name, version, file.layer, path=f"/{path}", sha1=sha1)


def _secrets(files: dict[str, _File]) -> Iterator[Secret]:
    for path, file in files.items():
        if path.endswith(".pem") and (match := _PRIVATE_KEY.search(file.content)):
            yield Secret(match[1].decode(), f"/{path}", hashlib.sha1(file.content).hexdigest(), file.layer)


def _entries(database: _File, separator: str) -> Iterator[dict[str, str]]:
    """Yield the entries of a database whose fields are lines, and whose entries are parted by empty lines."""
    for block in database.content.decode(errors="replace").split("\n\n"):
        if fields := _fields(block.splitlines(), separator):
            yield fields


def _fields(lines: Iterable[str], separator: str) -> dict[str, str]:
    parted = (line.partition(separator) for line in lines if not line.startswith(" "))
    return {name: value for name, found, value in parted if found}
