"""The inventory of `qscanner` (`*-ScanResult.json`): which scans were made, and of what system."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.qualys.documents import (
    Members,
    elements,
    folded,
    inner_members,
    is_nothing,
    members,
    text,
    texts,
    value,
)

_VERSION = re.compile(r"(.*\S)\s+(v?\d\S*)")
_PLATFORMS = {"linux", "windows"}
"""What `OS` holds where it names the platform of the image, not a distribution."""
_OF_PACKAGES = re.compile(r"pkg|package|(?<![a-z])(?:os|sca)(?![a-z])", re.IGNORECASE)
"""Found in the type of a scan that lists packages."""
_DIGEST = re.compile(r"sha(?:256|512):[0-9a-f]+")


class System(msgspec.Struct, frozen=True):
    """The operating system of an image."""

    name: str = ""
    """Empty if it is not known."""
    version: str = ""


class Inventory(msgspec.Struct, frozen=True):
    """What is read of the inventory. Vulnerabilities are detected in the Qualys platform, and listed in the report."""

    performed: bool = False
    """Whether it says that a scan for packages was made, and that all scans succeeded."""
    incomplete: bool = False
    """Whether a scan failed or was partial, or the inventory itself cannot be read."""
    vulnerable: bool = False
    """Whether it lists vulnerabilities nevertheless, as one published reader of it expects."""
    system: System = System()
    digests: tuple[str, ...] = ()
    """Digests of the image's manifest, if it names any."""


def decode_inventory(document: bytes) -> Inventory:
    """Read an inventory, any part of which may be missing. One that cannot be read counts as incomplete."""
    try:
        return _inventory(members(document, "The inventory of qscanner"))
    except BadReportError:
        return Inventory(incomplete=True)


def combined(inventories: Iterable[Inventory]) -> Inventory:
    """Return what several inventories of an image say together."""
    known = tuple(inventories)
    incomplete = any(inventory.incomplete for inventory in known)
    return Inventory(
        performed=not incomplete and any(inventory.performed for inventory in known),
        incomplete=incomplete,
        vulnerable=any(inventory.vulnerable for inventory in known),
        system=next((inventory.system for inventory in known if inventory.system.name), System()),
        digests=tuple(digest for inventory in known for digest in inventory.digests),
    )


def _inventory(fields: Members) -> Inventory:
    listed = elements(fields.get("scansperformed"))
    scans = [folded(value(scan)) for scan in listed or ()]
    unreadable = listed is None and "scansperformed" in fields
    failed = any(text(scan.get("status")).upper() != "SUCCESS" for scan in scans)
    incomplete = unreadable or failed or any(_partial(scan.get("partialscaninfo")) for scan in scans)
    vulnerabilities = fields.get("vulnerabilities")
    target = inner_members((inner_members(fields.get("metadata")) or {}).get("target")) or {}
    return Inventory(
        performed=not incomplete and any(_OF_PACKAGES.search(text(scan.get("scantype"))) for scan in scans),
        incomplete=incomplete,
        vulnerable=vulnerabilities is not None and not is_nothing(vulnerabilities),
        system=_system(target),
        digests=tuple(found[0] for name in texts(value(target.get("repodigests"))) if (found := _DIGEST.search(name))),
    )


def _partial(info: object) -> bool:
    """Whether `PartialScanInfo` tells of anything; which members it has is not documented."""
    return any(folded(info).values()) if isinstance(info, dict) else bool(info)


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
