"""Findings made fit for Harbor's database: cleaned, bounded, and merged where they share a row.

Harbor keeps a row of text columns for each (id, package, version) in PostgreSQL, writes most of it only once,
and lets the whole scan fail over one row that does not fit. Scanners hand on what vendors' feeds hold, so it is
made to fit here. Sound text passes unchanged.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from harbor_scanner.harbor.models import Cvss, Finding, FindingStatus, Layer

Key: TypeAlias = tuple[str, str, str]
"""Id, package and version: what tells one finding from another."""

MAX_ID, MAX_PACKAGE, MAX_VERSION = 256, 1024, 512
"""Bytes of UTF-8. With the registration's UUID they make one entry of a btree index, which PostgreSQL limits to
about 2,700 bytes (Harbor v2.16 src/pkg/scan/dao/scan/model.go, `VulnerabilityRecord`)."""

MAX_DESCRIPTION = 64 * 1024
"""Bytes of UTF-8."""

MAX_FIX_VERSION = 1024
"""Bytes of UTF-8, for the whole list of fixes."""

MAX_ATTRIBUTES = 32 * 1024
"""Bytes of JSON, for all vendor attributes of a finding."""

MAX_DEPTH = 16
"""Levels of nested vendor attributes. What lies deeper gives way to an ellipsis."""

MAX_LINKS = MAX_CWE_IDS = 50

UNNAMED = "UNNAMED"
"""Id of a finding that came without one, followed by a hash of its description: Harbor keeps the first description
of a row for ever, so nameless findings that differ must not share one."""

UNKNOWN_PACKAGE = "unknown"
"""Package of a finding that came without one."""

SHORTENED = "harbor-scanner/shortened"
"""Vendor attribute (true) of a finding whose largest attributes were left out."""

_ELLIPSIS = "… [shortened]"
_MAX_SHORT = 256
_SCORE = "V3Score"
_LINK = re.compile(
    r"https?://[^\s|/\x00-\x1f\x7f-\x9f\ud800-\udfff][^\s|\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,2000}", re.IGNORECASE
)
_UNFIT_FOR_LINK = re.compile(r"[\s|\x00-\x1f\x7f-\x9f]")
_CWE_ID = re.compile(r"CWE[\s:_-]*0*([1-9][0-9]{0,6})(?![0-9])|^\s*0*([1-9][0-9]{0,6})\s*$", re.ASCII | re.IGNORECASE)
_CLEAN_LINK = re.compile(r"https?://[!-.0-{}~][!-{}~]{0,2000}")
_CLEAN_CWE_ID = re.compile(r"CWE-[1-9][0-9]{0,6}")
_NUMBERS = frozenset({int, float})
_PLAIN_TYPES = frozenset({str, bool, float, type(None)})
_STATUSES = (FindingStatus.FIXED, FindingStatus.WILL_NOT_FIX, FindingStatus.AFFECTED)

_encode = msgspec.json.Encoder().encode


def key_of(finding: Finding) -> Key:
    """Return the id, package and version under which Harbor is to store `finding`.

    They are trimmed, the first two never empty, and none longer than its limit; names that differ stay different.
    """
    return (
        _name(finding.id, MAX_ID) or _unnamed(finding),
        _name(finding.package, MAX_PACKAGE) or UNKNOWN_PACKAGE,
        _name(finding.version, MAX_VERSION),
    )


def encode(key: Key, twins: Sequence[Finding]) -> bytes:
    """Return the JSON of the one finding that stands for `twins`, which all have this `key`, whatever their order.

    The highest severity wins. Fixes, links, CWE ids and vendor attributes are united. Of all else the first that is
    not empty is taken, from the most severe finding down.
    """
    if len(twins) == 1:
        return _as_it_is(key, twins[0]) or _encode(_cleaned(key, twins[0]))
    return _encode(_merged(key, [_cleaned(key, twin) for twin in twins]))


def sound(value: str) -> str:
    """Return `value` as PostgreSQL and UTF-8 can hold it: without NULs, and U+FFFD for each lone surrogate."""
    if "\0" in value:
        value = value.replace("\0", "")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def cut(value: str, limit: int) -> str:
    """Return `value`, or its beginning and an ellipsis if it has more than `limit` bytes in UTF-8."""
    if len(value) * 4 <= limit or len(raw := value.encode()) <= limit:
        return value
    return raw[: limit - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS


def digest(value: str) -> str:
    """Return a short hash of `value`: 12 hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` made of sound text, finite numbers, lists and objects, which is JSON to every reader.

    A number beyond the range of a double becomes null, for Go refuses the whole document over it.
    """
    if isinstance(value, str):
        return sound(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _finite(value)
    if isinstance(value, dict | list | tuple):
        return "…" if depth == MAX_DEPTH else _plain_inside(value, depth + 1)
    return sound(str(value))


def _plain_inside(value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> Any:
    """Return `value` with all that is in it made plain.

    A `V3Score` that is no number is left out: Harbor looks for one in the vendor attributes and crashes if it is
    anything else (Harbor v2.16 src/pkg/scan/postprocessors/report_converters.go, `parseScoreFromVendorAttribute`).
    """
    if not isinstance(value, dict):
        return [plain(entry, depth) for entry in value]
    entries = {sound(str(name)): plain(entry, depth) for name, entry in value.items()}
    if _SCORE in entries and type(entries[_SCORE]) not in _NUMBERS:
        del entries[_SCORE]
    return entries


def _as_it_is(key: Key, finding: Finding) -> bytes | None:
    """Return the JSON of `finding` if it is at once seen to be clean, as nearly all are, otherwise None.

    Whatever passes here passes `_cleaned` unchanged; a glance at the JSON saves the look at every text in it.
    """
    try:
        encoded = _encode(finding)
    except (ValueError, TypeError, RecursionError):  # lone surrogates, or what is no JSON
        return None
    clean = (
        key == (finding.id, finding.package, finding.version)
        and len(encoded) <= MAX_ATTRIBUTES
        and b"\\u0000" not in encoded
        and finding.fix_version == finding.fix_version.strip()
        and len(finding.fix_version) <= MAX_FIX_VERSION // 4
        and _all_match(_CLEAN_LINK, finding.links, MAX_LINKS)
        and _all_match(_CLEAN_CWE_ID, finding.cwe_ids, MAX_CWE_IDS)
        and (finding.preferred_cvss is None or _is_clean_cvss(finding.preferred_cvss))
        and (finding.layer is None or _layer(finding.layer) == finding.layer)
        and _is_plain(finding.vendor_attributes)
    )
    return encoded if clean else None


def _all_match(pattern: re.Pattern[str], texts: Sequence[str], limit: int) -> bool:
    """Whether `texts` are few enough, all different, and all of one form."""
    return len(set(texts)) == len(texts) <= limit and all(map(pattern.fullmatch, texts))


def _is_plain(container: dict[str, Any] | list[Any], depth: int = 0) -> bool:
    """Whether `plain` would return `container` as it is, but for the characters of its texts."""
    entries: Iterable[Any] = container
    if isinstance(container, dict):
        score = container.get(_SCORE, 0.0)
        if type(score) not in _NUMBERS or not 0 <= score <= 10:
            return False
        entries = container.values()
    for entry in entries:
        kind = type(entry)
        if kind in _PLAIN_TYPES or (kind is int and -(2**63) <= entry < 2**64):
            continue
        if kind not in {dict, list} or depth + 1 == MAX_DEPTH or not _is_plain(entry, depth + 1):
            return False
    return True


def _is_clean_cvss(cvss: Cvss) -> bool:
    """Whether `_cvss` would return `cvss` as it is."""
    for score in (cvss.score_v3, cvss.score_v2):
        if score is not None and not 0 <= score <= 10:
            return False
    for vector in (cvss.vector_v3, cvss.vector_v2):
        if vector is not None and (not 0 < len(vector) <= _MAX_SHORT or vector != vector.strip()):
            return False
    return bool(cvss)


def _cleaned(key: Key, finding: Finding) -> Finding:
    """Return a copy of `finding`, under `key`, that Harbor can store."""
    return Finding(
        *key,
        severity=finding.severity,
        fix_version=cut(sound(finding.fix_version).strip(), MAX_FIX_VERSION),
        description=cut(sound(finding.description), MAX_DESCRIPTION),
        links=_links(finding.links),
        status=finding.status,
        preferred_cvss=_cvss(finding.preferred_cvss),
        cwe_ids=_cwe_ids(finding.cwe_ids),
        layer=_layer(finding.layer),
        vendor_attributes=_bounded(plain(finding.vendor_attributes)),
    )


def _merged(key: Key, twins: list[Finding]) -> Finding:
    """Return one finding made of `twins`, which are clean."""
    ranked = sorted(twins, key=lambda twin: (-twin.severity.rank, _encode(twin)))
    fixes = (fix.strip() for twin in ranked for fix in twin.fix_version.split(","))
    statuses = {twin.status for twin in ranked}
    attributes: dict[str, Any] = {}
    for twin in reversed(ranked):
        attributes |= twin.vendor_attributes
    return Finding(
        *key,
        severity=ranked[0].severity,
        fix_version=cut(", ".join(dict.fromkeys(filter(None, fixes))), MAX_FIX_VERSION),
        description=next((twin.description for twin in ranked if twin.description), ""),
        links=_united(twin.links for twin in ranked)[:MAX_LINKS],
        status=next((status for status in _STATUSES if status in statuses), None),
        preferred_cvss=_best([twin.preferred_cvss for twin in ranked if twin.preferred_cvss]),
        cwe_ids=_united(twin.cwe_ids for twin in ranked)[:MAX_CWE_IDS],
        layer=next((twin.layer for twin in ranked if twin.layer), None),
        vendor_attributes=_bounded(attributes),
    )


def _name(value: str, limit: int) -> str:
    """Return `value` sound and trimmed; beyond `limit` bytes its end gives way to a hash of the whole."""
    if value.isascii() and len(value) <= limit and "\0" not in value:
        return value.strip()
    value = sound(value).strip()
    if len(raw := value.encode()) <= limit:
        return value
    mark = f"~{digest(value)}"
    return raw[: limit - len(mark)].decode(errors="ignore") + mark


def _unnamed(finding: Finding) -> str:
    description = cut(sound(finding.description), MAX_DESCRIPTION)
    return f"{UNNAMED}-{digest(description)}" if description else UNNAMED


def _links(links: Iterable[str]) -> list[str]:
    """Return the web links among `links`; Harbor joins them with `|` in one column, so none may hold one."""
    kept = dict.fromkeys(link if _LINK.fullmatch(link) else _mended(link) for link in links)
    kept.pop("", None)
    return list(kept)[:MAX_LINKS]


def _mended(link: str) -> str:
    """Return `link` trimmed, with what tears it apart percent-encoded, or nothing if it is no web link even so."""
    mended = _UNFIT_FOR_LINK.sub(lambda unfit: quote(unfit[0]), sound(link).strip())
    return mended if _LINK.fullmatch(mended) else ""


def _cwe_ids(texts: Iterable[str]) -> list[str]:
    """Return all ids in `texts` spelled `CWE-79`; Harbor joins them with commas in one column."""
    numbers = (found[1] or found[2] for text in texts for found in _CWE_ID.finditer(text))
    return list(dict.fromkeys(f"CWE-{number}" for number in numbers))[:MAX_CWE_IDS]


def _cvss(cvss: Cvss | None) -> Cvss | None:
    if cvss is None:
        return None
    scores = (_score(cvss.score_v3), _score(cvss.score_v2))
    vectors = (_short(cvss.vector_v3 or ""), _short(cvss.vector_v2 or ""))
    return Cvss(*scores, *vectors) or None


def _best(candidates: Sequence[Cvss]) -> Cvss | None:
    """Return, for each version of CVSS, the first score that has a vector, else the first score or vector."""
    if not candidates:
        return None
    v3 = max(candidates, key=lambda cvss: (cvss.score_v3 is not None, cvss.vector_v3 is not None))
    v2 = max(candidates, key=lambda cvss: (cvss.score_v2 is not None, cvss.vector_v2 is not None))
    return Cvss(v3.score_v3, v2.score_v2, v3.vector_v3, v2.vector_v2)


def _score(score: float | None) -> float | None:
    """Return `score` unless it is out of range, as NaN is."""
    return score if score is not None and 0 <= score <= 10 else None


def _layer(layer: Layer | None) -> Layer | None:
    name = _short(layer.digest) if layer else None
    return Layer(name) if name else None


def _short(value: str) -> str | None:
    """Return `value` sound and trimmed, or None if it is empty, or so long that it cannot be what it should."""
    value = sound(value).strip()
    return value if 0 < len(value) <= _MAX_SHORT else None


def _bounded(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return `attributes`, or a mark and the smallest of them if they are too much."""
    if not attributes or len(_encode(attributes)) <= MAX_ATTRIBUTES:
        return attributes
    sizes = {name: len(_encode({name: value})) for name, value in attributes.items()}
    kept: dict[str, Any] = {SHORTENED: True}
    room = MAX_ATTRIBUTES - len(_encode(kept))
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        room -= sizes[name]
        if room < 0:
            break
        kept.setdefault(name, attributes[name])
    return kept


def _united(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(lists)))


def _finite(number: float) -> float | None:
    try:
        return number if math.isfinite(number) else None
    except OverflowError:  # an integer of more than 308 digits
        return None
