"""References to images in registries, as docker writes them."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

import msgspec

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_API = "registry-1.docker.io"
"""Docker Hub's registry answers under another name than its images have."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_LONGEST = 255


class Reference(msgspec.Struct, frozen=True):
    """An image's name, taken apart."""

    host: str
    """With the port, if one is given: `docker.io`, `localhost:5000`."""
    repository: str
    tag: str
    """`latest` if neither tag nor digest is given; may be empty beside a digest."""
    digest: str = ""
    scheme: str = ""
    """`http` or `https`, if the name began with it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference by docker's rules: Docker Hub, its `library`, and `latest` may be left out.

        Before the name may stand `http://` or `https://`, where the registry speaks what is not expected of it. Raises
        ValueError, which tells what is wrong.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "", text
        elif scheme not in {"http", "https"}:
            raise ValueError(f"{scheme}:// is unknown; an image begins with its registry, http:// or https://")
        name, _, digest = rest.partition("@")
        if "@" in rest and not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no digest: that is sha256: and 64 hexadecimal digits")
        first, slash, path = name.partition("/")
        if slash and (scheme or first == "localhost" or "." in first or ":" in first or first != first.lower()):
            host = first
        else:
            host, path = DOCKER_HUB, name
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise ValueError(f"{tag!r} is no tag")
        if not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is no name of a registry")
        if host in _HUB_NAMES:
            host = DOCKER_HUB
            path = path if "/" in path else f"library/{path}"
        if len(path) > _LONGEST or not _REPOSITORY.fullmatch(path):
            raise ValueError(
                f"{path!r} is no name of an image: that has lower-case letters, digits, and . _ - / between"
            )
        return cls(host, path, tag or ("" if digest else "latest"), digest, scheme)

    @property
    def url(self) -> str:
        """Base URL of the registry: plain HTTP on this machine itself, TLS elsewhere, unless a scheme was given."""
        scheme = self.scheme or ("http" if _is_loopback(self.host) else "https")
        return f"{scheme}://{_HUB_API if self.host == DOCKER_HUB else self.host}"

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        """As docker shows it: without what it would add itself."""
        name = f"{self.host}/{self.repository}" if self.host != DOCKER_HUB else self.repository.removeprefix("library/")
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}{'@' if self.digest else ''}{self.digest}"


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) and not host.endswith("]") else host
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
