"""From what Syft found to packages as advisories speak of them, and what of it cannot be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Protocol

import msgspec
from packageurl import PackageURL

from harbor_scanner.osv import ecosystems
from harbor_scanner.osv.ecosystems import SUPPORTED, Naming
from harbor_scanner.osv.package import Package
from harbor_scanner.syft.examination import unread_notice
from harbor_scanner.syft.inventory import Installed, Inventory, System

_ECOSYSTEMS = MappingProxyType(
    {
        "dart-pub": "Pub",
        "dotnet": "NuGet",
        "gem": "RubyGems",
        "go-module": "Go",
        "hex": "Hex",
        "java-archive": "Maven",
        "jenkins-plugin": "Maven",
        "npm": "npm",
        "php-composer": "Packagist",
        "python": "PyPI",
        "rust-crate": "crates.io",
    }
)
"""The ecosystems of languages, by Syft's kinds of packages."""

_SHOWN = 5


class Advisories(Protocol):
    """What is known of the advisories at hand."""

    @property
    def ecosystems(self) -> frozenset[str]:
        """Of which there are advisories at all."""
        ...

    def releases(self, ecosystem: str) -> frozenset[str]:
        """Of which there are advisories, each with the ecosystem before it."""
        ...


class Checkable(msgspec.Struct, frozen=True):
    """What of an image can be checked, and what cannot."""

    packages: tuple[Package, ...] = ()
    absent: tuple[str, ...] = ()
    """Ecosystems that the image has packages of, and the database no advisories."""
    unchecked: tuple[str, ...] = ()
    """A sentence for each reason why packages cannot be checked that should be."""
    notices: tuple[str, ...] = ()
    """What a reader should know besides."""


def checkable(inventory: Inventory, advisories: Advisories) -> Checkable:
    """Return what of `inventory` can be checked with these advisories.

    Packages of languages that a distribution's package brought are checked as part of that: the distribution mends them
    without changing their versions.
    """
    system = _System(inventory, advisories)
    languages = [one for one in inventory.packages if not one.of_system and not (system.covered and one.owner)]
    known = [one for one in languages if one.kind in _ECOSYSTEMS]
    missing = Counter(_ECOSYSTEMS[one.kind] for one in known if _ECOSYSTEMS[one.kind] not in advisories.ecosystems)
    here = [one for one in known if one.version and _ECOSYSTEMS[one.kind] not in missing]
    return Checkable(
        packages=(*system.packages(), *chain.from_iterable(map(_of_language, here))),
        absent=(*system.absent, *sorted(missing)),
        unchecked=(
            *system.unchecked,
            *(
                f"{_count(missing[name])} of {name} cannot be checked: there are no advisories of it here."
                for name in sorted(missing)
            ),
        ),
        notices=tuple(_notices(inventory, known, languages)),
    )


class _System:
    """The distribution's part of an image."""

    def __init__(self, inventory: Inventory, advisories: Advisories) -> None:
        self._system = inventory.system
        self._installed = [one for one in inventory.packages if one.of_system]
        self._named = ecosystems.release_of(inventory.system.id, inventory.system.version)
        self.absent: tuple[str, ...] = ()
        broken = [one for one in inventory.unread if one.of_system]
        reasons = [unread_notice(broken)] if broken else []
        problem = "" if broken and not self._installed else self._problem(advisories)
        if problem:
            reasons.append(problem)
        self.unchecked = tuple(reasons)
        self.covered = bool(self._installed) and not problem

    def packages(self) -> Iterator[Package]:
        """Yield the packages, if there are advisories for them."""
        if not self.covered or self._named is None:
            return
        ecosystem, release = self._named
        for one in self._installed:
            if one.version:
                yield _of_system(one, ecosystem, release)

    def _problem(self, advisories: Advisories) -> str:
        """Return why the distribution's packages cannot be checked; empty if they can, or if there is none."""
        system, installed = self._system, self._installed
        if not installed:
            return _no_packages(system) if system.id else ""
        many = _count(len(installed))
        if not system.id:
            return f"{many} of a distribution cannot be checked: the image does not tell which one it is."
        if self._named is None:
            version = f"of the version {system.version}" if system.version else "of no version"
            return (
                f"{many} of {system.title} cannot be checked: the OSV database has no advisories of a distribution "
                f"{system.id!r} {version}."
            )
        ecosystem, release = self._named
        if ecosystem not in advisories.ecosystems:
            self.absent = (ecosystem,)
            return f"{many} of {system.title} cannot be checked: there are no advisories of {ecosystem} here."
        if release and not _knows(advisories.releases(ecosystem), ecosystem, release):
            return (
                f"{many} of {system.title} cannot be checked: among the advisories of {ecosystem} there are none of "
                f"{release}."
            )
        return ""


def _no_packages(system: System) -> str:
    return f"The packages of {system.title} cannot be checked: no package database was found in the image."


def _knows(named: Iterable[str], ecosystem: str, release: str) -> bool:
    releases = (ecosystems.release(name) for name in named)
    return any(other and ecosystems.same_release(ecosystem, release, other) for other in releases)


def _of_system(one: Installed, ecosystem: str, release: str) -> Package:
    by_source = SUPPORTED[ecosystem].naming is not Naming.OWN
    return Package(
        ecosystem=ecosystem,
        release=release,
        name=one.source if by_source else one.name,
        version=one.source_version if by_source else one.version,
        installed_name=one.name,
        installed_version=one.version,
        purl=one.purl,
        paths=one.paths,
        layer=one.layer,
        modularity=one.modularity,
    )


def _of_language(one: Installed) -> Iterator[Package]:
    ecosystem = _ECOSYSTEMS[one.kind]
    name = _maven_name(one) if ecosystem == "Maven" else one.name
    if name:
        yield Package(
            ecosystem=ecosystem,
            release="",
            name=ecosystems.normalised(ecosystem, name),
            version=one.version,
            installed_name=name,
            installed_version=one.version,
            purl=one.purl,
            paths=one.paths,
            layer=one.layer,
        )


def _maven_name(one: Installed) -> str:
    """Return group and artifact, as advisories name it; empty if the group is not known."""
    try:
        purl = PackageURL.from_string(one.purl)
    except ValueError:
        return ""
    return f"{purl.namespace}:{purl.name}" if purl.namespace else ""


def _notices(inventory: Inventory, known: Sequence[Installed], languages: Sequence[Installed]) -> Iterator[str]:
    unread = [one for one in inventory.unread if not one.of_system]
    if unread:
        yield unread_notice(unread)
    systems = (one for one in inventory.packages if one.of_system)
    nameless = [
        one for one in (*systems, *known)
        if not one.version or (_ECOSYSTEMS.get(one.kind) == "Maven" and not _maven_name(one))
    ]  # fmt: skip
    if nameless:
        yield f"Not checked, for their version or group is not known: {_listed(one.name for one in nameless)}."
    others = [one for one in languages if one.kind not in _ECOSYSTEMS]
    if others:
        listed = _listed(f"{one.name} {one.version} ({one.kind})".replace("  ", " ") for one in others)
        yield f"Not checked, for there are no advisories of their kind: {listed}."


def _listed(names: Iterable[str]) -> str:
    different = sorted(set(names))
    more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    return ", ".join(different[:_SHOWN]) + more


def _count(number: int) -> str:
    return f"{number:,} package{'' if number == 1 else 's'}"
