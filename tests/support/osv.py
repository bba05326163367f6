"""Advisories and packages of the Open Source Vulnerability database, made small."""

from __future__ import annotations

from typing import Any

from harbor_scanner.osv.advisory import Advisory, Affected, AffectedPackage, Event, Range
from harbor_scanner.osv.package import Package


def package(ecosystem: str, name: str, version: str, *, source: str = "", **fields: Any) -> Package:
    """Return a package; `Debian:12` gives the release, `source` the name of what it was built from."""
    base, _, release = ecosystem.partition(":")
    given: dict[str, Any] = {
        "ecosystem": base,
        "release": release,
        "name": source or name,
        "version": version,
        "installed_name": name,
        "installed_version": version,
    }
    return Package(**(given | fields))


def events(*points: str) -> tuple[Event, ...]:
    """Return events from texts such as `introduced 0` and `fixed 1.2`."""
    return tuple(Event(**dict([point.split(" ", 1)])) for point in points)


def affected(ecosystem: str, name: str, *points: str, kind: str = "ECOSYSTEM", **fields: Any) -> Affected:
    """Return a part of an advisory with one range, or with none if no event is given."""
    ranges = (Range(kind, events(*points)),) if points else ()
    purl = fields.pop("purl", None)
    return Affected(**({"package": AffectedPackage(ecosystem, name, purl), "ranges": ranges} | fields))


def advisory(name: str, *parts: Affected, **fields: Any) -> Advisory:
    """Return an advisory."""
    return Advisory(id=name, affected=parts, **fields)
