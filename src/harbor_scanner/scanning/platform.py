"""Platforms, and which image of an index is for one of them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Self

import msgspec

from harbor_scanner.errors import ImageError
from harbor_scanner.harbor.validation import INDEXES

_MACHINES = {
    "x86_64": ("amd64", ""), "amd64": ("amd64", ""), "i386": ("386", ""), "i686": ("386", ""),
    "aarch64": ("arm64", ""), "armv8l": ("arm64", ""), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "loongarch64": ("loong64", ""),
}  # fmt: skip
"""What `uname -m` says, in the words of images; all others are the same in both."""


class Platform(msgspec.Struct, frozen=True):
    """For what an image is made (OCI image spec, `image-index.md`)."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `linux/arm64` or `linux/arm/v7`. Raises ValueError."""
        os, architecture, variant, *more = (*text.strip().lower().split("/"), "", "")
        if not (os and architecture) or any(more) or not all(text.split("/")):
            raise ValueError(f"{text!r} is no platform, such as linux/amd64 or linux/arm/v7")
        known, presumed = _MACHINES.get(architecture, (architecture, ""))
        return cls(os, known, variant or presumed)

    @classmethod
    def of_this_machine(cls) -> Self:
        """Linux on this machine's processor."""
        machine = platform.machine().lower()
        return cls("linux", *_MACHINES.get(machine, (machine, "")))

    def fits(self, wanted: Platform) -> bool:
        """Whether this is what is wanted; a variant only counts if one is wanted."""
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        # Of arm64 there is only v8, whether it is said or not.
        variant = self.variant or ("v8" if self.architecture == "arm64" else "")
        return same and wanted.variant in {"", variant}

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(msgspec.Struct, frozen=True):
    """What an index or a manifest refers to (OCI image spec, `descriptor.md`)."""

    digest: str = ""
    media_type: str = msgspec.field(default="", name="mediaType")
    size: int = 0
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True):
    """As much of a manifest, or of an index, as must be known here."""

    media_type: str = msgspec.field(default="", name="mediaType")
    manifests: list[Descriptor] | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises ImageError if `body` is neither a manifest nor an index."""
        try:
            manifest = msgspec.json.decode(body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ImageError(f"The image's manifest cannot be read: {error}") from None
        if manifest.manifests is None and manifest.config is None:
            raise ImageError(
                "This is neither an image nor an index of images.",
                "Images of docker's format before 2016 (schema 1) must be pushed again with a newer docker.",
            )
        return manifest

    @property
    def is_index(self) -> bool:
        """Whether it lists images."""
        return self.media_type in INDEXES or self.manifests is not None

    @property
    def size(self) -> int:
        """Bytes of configuration and layers, as they are pulled."""
        return sum(blob.size for blob in (*([self.config] if self.config else ()), *(self.layers or ())))


def choose(entries: Sequence[Descriptor], wanted: Platform) -> Descriptor:
    """Return the image of an index that is for a platform: the first one, as docker has it. Raises ImageError."""
    images = [entry for entry in entries if entry.platform is None or entry.platform.os != "unknown"]
    for entry in images:
        if entry.platform is not None and entry.platform.fits(wanted):
            return entry
    # An entry that says nothing may also be a further index, whose entries do.
    silent = [entry for entry in images if entry.platform is None]
    if len(silent) == 1:
        return silent[0]
    there = ", ".join(dict.fromkeys(str(entry.platform) for entry in images if entry.platform is not None))
    raise ImageError(
        f"The index has no image for {wanted}; it has {there or 'none that says what it is for'}.",
        "Choose one with --platform." if there else "Name the image by its digest.",
    )
