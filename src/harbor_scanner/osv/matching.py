"""Whether an advisory affects a package: the evaluation of the schema, by the order of the ecosystem.

https://ossf.github.io/osv-schema/#evaluation
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cmp_to_key
from typing import NamedTuple
from urllib.parse import unquote

from harbor_scanner.osv import ecosystems
from harbor_scanner.osv.advisory import Advisory, Affected, Range
from harbor_scanner.osv.ecosystems import SUPPORTED
from harbor_scanner.osv.package import Package
from harbor_scanner.osv.versions import NoOrderError, Scheme, compare

UNORDERED = "The version cannot be compared with those of the advisory, so the package counts as affected."
"""Why a package counts as affected whose version has no order."""

NO_RELEASE = "The release of the distribution is not known, so the advisories of all releases are compared."
"""Why a package counts as affected by advisories that may be for another release."""

_MODULE = re.compile(r"[?&]rpmmod=([^&#]+)")
_PRO = "Pro"
_FIPS = "FIPS"
_ALL = "*"
_BEGINNING = "0"


class Match(NamedTuple):
    """What an advisory says of a package that it affects."""

    entries: tuple[Affected, ...]
    """The parts of the advisory that hold for the package."""
    fixes: tuple[str, ...] = ()
    """The next version without the vulnerability, of each part that names one."""
    pro_fixes: tuple[str, ...] = ()
    """The same, of those that come only with Ubuntu Pro, to a package that came without."""
    doubt: str = ""
    """Why the package counts as affected although that is not certain."""


class _Verdict(NamedTuple):
    """Whether a version is affected, and what fixes it."""

    affected: bool
    fix: str = ""
    doubt: str = ""


class _Point(NamedTuple):
    """An event of a range."""

    kind: str
    version: str


_UNAFFECTED = _Verdict(affected=False)


def matches(package: Package, advisory: Advisory) -> Match | None:
    """Return what `advisory` says of `package`, or None if it does not affect it.

    An advisory that was withdrawn affects nothing. A version that cannot be compared counts as affected. A part of an
    advisory that gives neither versions nor ranges but of commits affects nothing, as the schema has it.
    """
    if advisory.withdrawn:
        return None
    candidates, pro = _candidates(package, list(_spoken_of(package, advisory.affected)))
    installed = _Installed(package)
    verdicts = [(entry, verdict) for entry in candidates if (verdict := _evaluated(installed, entry)).affected]
    if not verdicts:
        return None
    entries = tuple(entry for entry, _ in verdicts)
    fixes = tuple(dict.fromkeys(verdict.fix for _, verdict in verdicts if verdict.fix))
    doubts = [verdict.doubt for _, verdict in verdicts]
    doubt = "" if "" in doubts else doubts[0]
    known = SUPPORTED.get(package.ecosystem)
    if not doubt and known and known.release and not package.release and _name_releases(entries):
        doubt = NO_RELEASE
    return Match(entries, () if pro else fixes, fixes if pro else (), doubt)


def _name_releases(entries: Iterable[Affected]) -> bool:
    """Whether all entries are for one release only."""
    return all(entry.package and ecosystems.release(entry.package.ecosystem) for entry in entries)


def _candidates(package: Package, entries: list[Affected]) -> tuple[list[Affected], bool]:
    """Return the parts that decide, and whether their fixes come only with Ubuntu Pro, which `package` is not of.

    Ubuntu tells of a package with standard support and of one with that of Pro apart. The standard part decides for a
    package that came without Pro, for it has fixes of its own. Where there is none, that of Pro tells that the package
    is affected. A package with Pro's mark in its version is Pro's to tell of, and so with FIPS, whose versions compare
    with no others.
    """
    if package.ecosystem != "Ubuntu":
        return entries, False
    tracks: dict[str, list[Affected]] = {}
    for entry in entries:
        track = ecosystems.track(ecosystems.release(entry.package.ecosystem)) if entry.package else ""
        tracks.setdefault(_FIPS if _FIPS in track.upper() else track, []).append(entry)
    standard, pro, fips = (tracks.pop(kind, []) for kind in ("", _PRO, _FIPS))
    others = [entry for kind in tracks.values() for entry in kind]
    version = package.version.lower()
    if "fips" in version:
        return fips or pro or standard, False
    if "esm" in version:
        return pro or standard or others, False
    return (standard, False) if standard else (pro or others, True)


def _spoken_of(package: Package, affected: Sequence[Affected]) -> Iterator[Affected]:
    names = ecosystems.names(package)
    for entry in affected:
        named = entry.package
        if named is None or ecosystems.base(named.ecosystem) != package.ecosystem:
            continue
        if named.name not in names and ecosystems.normalised(package.ecosystem, named.name) not in names:
            continue
        release = ecosystems.release(named.ecosystem)
        known = SUPPORTED.get(package.ecosystem)
        # What follows Maven or Packagist is the address of a repository.
        if known and known.release and not ecosystems.same_release(package.ecosystem, package.release, release):
            continue
        if _same_stream(package.modularity, named.purl):
            yield entry


def _same_stream(modularity: str, purl: str | None) -> bool:
    """Whether an advisory is for the module and stream of an RPM, or does not tell for which it is.

    Red Hat has them in the `rpmmod` of the package URL. Another stream has versions of its own.
    """
    found = _MODULE.search(unquote(purl)) if modularity and purl else None
    return not found or found[1].split(":")[:2] == modularity.split(":")[:2]


class _Installed:
    """An installed version among those of an advisory."""

    def __init__(self, package: Package) -> None:
        known = SUPPORTED.get(package.ecosystem)
        self.version = package.version
        self.scheme = known.scheme if known else Scheme.GENERIC
        # The name of a source RPM does not tell its epoch.
        self._epochless = (
            self.scheme is Scheme.RPM and package.name != package.installed_name and ":" not in self.version
        )
        # PEP 440: the local part counts only where it is asked for.
        self._public = self.version.partition("+")[0] if self.scheme is Scheme.PEP440 else self.version

    def by(self, kind: str) -> Scheme:
        """Return the order of a range of this type."""
        return Scheme.SEMVER if kind == "SEMVER" and self.scheme is not Scheme.GO else self.scheme

    def compared(self, scheme: Scheme, version: str) -> int:
        """Compare the installed version with another one. Raises NoOrderError."""
        if self._epochless:
            version = version.rpartition(":")[2]
        return compare(scheme, self.version if "+" in version else self._public, version)


def _evaluated(installed: _Installed, entry: Affected) -> _Verdict:
    version = installed.version
    # Most are spelled alike; an entry with ranges as well has its versions only for those who cannot order them.
    listed = not {version, f"v{version}", version.removeprefix("v")}.isdisjoint(entry.versions)
    ranges = [found for found in entry.ranges if found.type != "GIT"]
    if not listed and not ranges:
        listed = any(_same(installed, named) for named in entry.versions)
    verdicts = [_within(installed, found) for found in ranges]
    certain = next((verdict for verdict in verdicts if verdict.affected and not verdict.doubt), None)
    if certain:
        return certain
    if listed:
        return _Verdict(affected=True)
    return next((verdict for verdict in verdicts if verdict.affected), _UNAFFECTED)


def _same(installed: _Installed, version: str) -> bool:
    try:
        return installed.compared(installed.scheme, version) == 0
    except NoOrderError:
        return False


def _within(installed: _Installed, found: Range) -> _Verdict:
    """Return whether a version lies in a range; if it cannot be compared, it counts as affected."""
    scheme = installed.by(found.type)
    points = [_Point(*field) for event in found.events for field in _fields(event)]
    try:
        return _placed(installed, scheme, points)
    except NoOrderError:
        fix = next((point.version for point in reversed(points) if point.kind == "fixed"), "")
        affected = any(point.kind == "introduced" for point in points)
        return _Verdict(affected, fix, UNORDERED) if affected else _UNAFFECTED


def _fields(event: object) -> Iterator[tuple[str, str]]:
    for kind in ("introduced", "fixed", "last_affected", "limit"):
        version = getattr(event, kind)
        if version is not None:
            yield kind, version


def _placed(installed: _Installed, scheme: Scheme, points: list[_Point]) -> _Verdict:
    """Follow the events up to the installed version. Raises NoOrderError."""
    limits = [point.version for point in points if point.kind == "limit"]
    if limits and not any(limit == _ALL or installed.compared(scheme, limit) < 0 for limit in limits):
        return _UNAFFECTED
    affected = False
    for kind, version in _ordered(scheme, points):
        if kind == "introduced":
            affected = affected or version == _BEGINNING or installed.compared(scheme, version) >= 0
        elif kind == "last_affected":
            affected = affected and installed.compared(scheme, version) <= 0
        elif kind == "fixed" and affected:
            if installed.compared(scheme, version) < 0:
                return _Verdict(affected=True, fix=version)
            affected = False
    return _Verdict(affected)


def _ordered(scheme: Scheme, points: list[_Point]) -> Sequence[_Point]:
    """Return the events from the earliest on; those of one version stay in their order. Raises NoOrderError."""

    def order(one: _Point, other: _Point) -> int:
        beginnings = _is_beginning(other) - _is_beginning(one)
        return beginnings or compare(scheme, one.version, other.version)

    ordered = [point for point in points if point.kind != "limit"]
    if len(ordered) < 2 or (len(ordered) == 2 and _is_beginning(ordered[0])):
        return ordered
    return sorted(ordered, key=cmp_to_key(order))


def _is_beginning(point: _Point) -> bool:
    return point.kind == "introduced" and point.version == _BEGINNING
