"""A package of an image, as advisories speak of it."""

from __future__ import annotations

import msgspec


class Package(msgspec.Struct, frozen=True):
    """Something installed, under the name and version by which advisories know it."""

    ecosystem: str
    """Of OSV, without a release: `Debian`, `PyPI`, `Go`."""
    release: str
    """The rest of OSV's ecosystem: `12`, `v3.19`, `22.04:LTS`; empty where there is none."""
    name: str
    """That advisories use: a distribution's source package where they name those, a normalised name elsewhere."""
    version: str
    """That advisories compare with: the source package's version where they name those."""
    installed_name: str
    """As in the image: what Harbor shows."""
    installed_version: str
    purl: str = ""
    paths: tuple[str, ...] = ()
    layer: str = ""
    """Digest of the layer that brought it; empty if unknown."""
    modularity: str = ""
    """The module and stream of an RPM (`nodejs:18:…`); empty if it belongs to none."""
