"""The inventory of `qscanner` (`*-ScanResult.json`): which scans were made, and of what system."""

from __future__ import annotations

import re

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.qualys.documents import (
    Members,
    elements,
    folded,
    inner_members,
    members,
    text,
    true,
    value,
)

_VERSION = re.compile(r"(.*\S)\s+(v?\d\S*)")
_PLATFORMS = {"linux", "windows"}
"""What `OS` holds where it names the platform of the image, not a distribution."""


class System(msgspec.Struct, frozen=True):
    """The operating system of an image."""

    name: str = ""
    """Empty if it is not known."""
    version: str = ""


class Inventory(msgspec.Struct, frozen=True):
    """What is read of the inventory. It holds no vulnerabilities, for those are detected in the Qualys platform."""

    performed: bool = False
    """Whether it says that scans were made, and that all of them succeeded."""
    incomplete: bool = False
    """Whether a scan failed or was partial, or the inventory itself cannot be read."""
    system: System = System()


def decode_inventory(document: bytes) -> Inventory:
    """Read an inventory. One that cannot be read counts as incomplete."""
    try:
        return read_inventory(members(document, "The inventory of qscanner"))
    except BadReportError:
        return Inventory(incomplete=True)


def read_inventory(fields: Members) -> Inventory:
    """Read an inventory from its members, each of which may be missing or of the wrong type."""
    scans = [folded(value(scan)) for scan in elements(fields.get("scansperformed")) or ()]
    failed = any(text(scan.get("status")).upper() != "SUCCESS" for scan in scans)
    partial = any(true(flag) for scan in scans for flag in folded(scan.get("partialscaninfo")).values())
    return Inventory(
        performed=bool(scans) and not failed and not partial,
        incomplete=failed or partial,
        system=_system(inner_members((inner_members(fields.get("metadata")) or {}).get("target")) or {}),
    )


def system(name: str, version: str = "") -> System:
    """Return the system of a name such as `Red Hat Enterprise Linux 9.4`, which may end with its version."""
    if name.lower() in _PLATFORMS:
        return System()
    found = None if version else _VERSION.fullmatch(name)
    return System(found[1], found[2]) if found else System(name, version)


def _system(target: Members) -> System:
    """Return the system of the inventory's `Target`; whether its `OS` names a distribution is not documented."""
    named = value(target.get("os"))
    if isinstance(named, dict):
        fields = folded(named)
        return system(text(fields.get("name")), text(fields.get("version")))
    return system(text(named), text(value(target.get("osversion"))))
