"""An advisory in the Open Source Vulnerability format (https://ossf.github.io/osv-schema/, version 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from harbor_scanner.osv.errors import UnreadableAdvisoryError


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One point of a range of versions; exactly one field is given."""

    introduced: str | None = None
    """`0` stands for the very beginning."""
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """Versions that are affected, by the order of the ecosystem (`ECOSYSTEM`), of SemVer (`SEMVER`) or of commits."""

    type: str = ""
    events: tuple[Event, ...] = ()


class Severity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rating: a CVSS vector (`CVSS_V2`, `CVSS_V3`, `CVSS_V4`), or a word of a distribution (`Ubuntu`)."""

    type: str = ""
    score: str = ""


class AffectedPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A package as the advisory names it."""

    ecosystem: str = ""
    """With the release where there is one: `Debian:12`."""
    name: str = ""
    purl: str | None = None


class Affected(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of one package is affected."""

    package: AffectedPackage | None = None
    ranges: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    """Versions that are affected, whatever the ranges say."""
    severity: tuple[Severity, ...] = ()
    ecosystem_specific: dict[str, Any] | None = None
    database_specific: dict[str, Any] | None = None


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link."""

    type: str = ""
    url: str = ""


class Advisory(msgspec.Struct, frozen=True, omit_defaults=True):
    """One advisory."""

    id: str
    modified: str = ""
    published: str = ""
    withdrawn: str = ""
    """When it was taken back; empty if it holds."""
    aliases: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    summary: str = ""
    details: str = ""
    severity: tuple[Severity, ...] = ()
    affected: tuple[Affected, ...] = ()
    references: tuple[Reference, ...] = ()
    database_specific: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(Advisory)


def decode(data: bytes) -> Advisory:
    """Return the advisory of a JSON document. Raises UnreadableAdvisoryError, and nothing else.

    Where documents stray from the schema, what only describes (texts, links, ratings) is taken as far as it goes. What
    tells whether a version is affected must be readable: nothing of it is passed over in silence. In doubt more is
    affected, not less: a range without a beginning begins at the very beginning.
    """
    try:
        advisory = _decoder.decode(data)
    except (ValueError, RecursionError):
        advisory = _tolerant(data)
    if not advisory.id:
        raise UnreadableAdvisoryError("it has no id")
    if all(_is_sound(span) for affected in advisory.affected for span in affected.ranges):
        return advisory
    affected = tuple(
        msgspec.structs.replace(item, ranges=tuple(map(_sound, item.ranges))) for item in advisory.affected
    )
    return msgspec.structs.replace(advisory, affected=affected)


def _is_sound(span: Range) -> bool:
    given = [[bound for bound in msgspec.structs.astuple(event) if bound is not None] for event in span.events]
    return any(event.introduced for event in span.events) and all(len(bounds) == 1 and bounds[0] for bounds in given)


def _sound(span: Range) -> Range:
    """Return the range with one bound for each event, without events of kinds that we do not know."""
    events = tuple(Event(**{kind: version}) for event in span.events for kind, version in _bounds(event).items())
    if not any(event.introduced for event in events):
        events = (Event(introduced="0"), *events)
    return Range(span.type, events)


def _bounds(event: Event) -> dict[str, str]:
    bounds = {
        "introduced": event.introduced, "fixed": event.fixed, "last_affected": event.last_affected,
        "limit": event.limit,
    }  # fmt: skip
    return {kind: version for kind, version in bounds.items() if version}


def _tolerant(data: bytes) -> Advisory:
    """Read what the schema does not allow but the world holds: nulls, numbers for texts, fields of other shapes."""
    try:
        # Numbers stay as they are written: the version 1.10 is not 1.1. Half characters become question marks.
        document = json.loads(data.decode("utf-8-sig"), parse_float=str, parse_int=str, parse_constant=str)
        document = json.loads(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise UnreadableAdvisoryError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableAdvisoryError("it is not an object of JSON")
    return Advisory(
        id=_text(document.get("id")),
        modified=_text(document.get("modified")),
        published=_text(document.get("published")),
        withdrawn=_text(document.get("withdrawn")),
        aliases=_texts(document.get("aliases")),
        upstream=_texts(document.get("upstream")),
        related=_texts(document.get("related")),
        summary=_text(document.get("summary")),
        details=_text(document.get("details")),
        severity=_severity(document),
        affected=tuple(_affected(item) for item in _objects(document, "affected")),
        references=tuple(
            Reference(_text(item.get("type")), _text(item.get("url"))) for item in _maps(document.get("references"))
        ),
        database_specific=_map(document.get("database_specific")),
    )


def _affected(item: Mapping[str, Any]) -> Affected:
    package = item.get("package")
    if not isinstance(package, dict | None):
        raise UnreadableAdvisoryError("`package` is not an object")
    return Affected(
        package=None if package is None else AffectedPackage(
            ecosystem=_needed(package.get("ecosystem"), "ecosystem"),
            name=_needed(package.get("name"), "name"),
            purl=_text(package.get("purl")) or None,
        ),
        ranges=tuple(
            Range(_text(span.get("type")), tuple(_event(event) for event in _objects(span, "events")))
            for span in _objects(item, "ranges")
        ),
        versions=tuple(_needed(version, "versions") for version in _list(item, "versions") if version is not None),
        severity=_severity(item),
        ecosystem_specific=_map(item.get("ecosystem_specific")),
        database_specific=_map(item.get("database_specific")),
    )  # fmt: skip


def _event(event: Mapping[str, Any]) -> Event:
    return Event(**{name: _needed(event[name], name) for name in Event.__struct_fields__ if event.get(name)})


def _severity(document: Mapping[str, Any]) -> tuple[Severity, ...]:
    return tuple(
        Severity(_text(item.get("type")), _text(item.get("score"))) for item in _maps(document.get("severity"))
    )


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise UnreadableAdvisoryError(f"`{name}` is not a list")
    return found


def _objects(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list that decides on what is affected."""
    found = [item for item in _list(document, name) if item is not None]
    if not all(isinstance(item, dict) for item in found):
        raise UnreadableAdvisoryError(f"`{name}` does not hold objects only")
    return found


def _needed(value: Any, name: str) -> str:
    """Return a text that decides on what is affected."""
    if not isinstance(value, str | None):
        raise UnreadableAdvisoryError(f"`{name}` is not a text")
    return value or ""


def _maps(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _map(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
