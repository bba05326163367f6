"""Answers as a whole, from archives to findings: as other implementations have it, whatever else is in advisories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from harbor_scanner.harbor.models import Finding
from harbor_scanner.osv import ecosystems, identities
from harbor_scanner.osv.database import Database
from harbor_scanner.osv.documents import find_sources
from harbor_scanner.osv.errors import DatabaseError
from harbor_scanner.osv.findings import findings
from harbor_scanner.osv.importing import Origin, import_documents
from support.exports import archive, written
from support.osv import package


def found(documents: Sequence[dict[str, Any]], ecosystem: str, version: str, name: str = "left") -> list[Finding]:
    """Import documents from an archive, and return what they say of a package. Raises DatabaseError."""
    base = ecosystems.base(ecosystem)
    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory) / base / "all.zip", archive(*documents))
        database = Database(Path(directory) / "osv")
        with database.writing():
            for source in find_sources(path):
                import_documents(database, source.documents, Origin("tests"), only=source.only)
        with database.open() as snapshot:
            return findings([package(ecosystem, name, version)], snapshot.advisories)


def document(ecosystem: str, ranges: list[Any], name: str = "left", **more: Any) -> dict[str, Any]:
    return {"id": "X-1", "affected": [{"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges, **more}]}


def between(kind: str, *points: tuple[str, str]) -> dict[str, Any]:
    return {"type": kind, "events": [{name: version} for name, version in points]}


def ids(reported: Iterable[Finding]) -> set[str]:
    return {name for finding in reported for name in finding.vendor_attributes["advisories"]}


# What others say, and where they err

BEFORE_1_4 = between("ECOSYSTEM", ("introduced", "0"), ("fixed", "1.4"))
COMMITS = between("GIT", ("introduced", "0"), ("fixed", "9abcdef0123456789abcdef0123456789abcdef0"))
GO = between("SEMVER", ("introduced", "1.2.0"), ("fixed", "1.4.0"))


@pytest.mark.parametrize(
    ("ecosystem", "ranges", "version", "affected"),
    [
        ("PyPI", [BEFORE_1_4], "1.4rc1", True),
        ("PyPI", [BEFORE_1_4], "1.4", False),
        ("PyPI", [BEFORE_1_4], "1.4+cu118", False),
        ("PyPI", [BEFORE_1_4], "1.4.post1", False),
        ("PyPI", [between("ECOSYSTEM", ("fixed", "1.4"))], "1.3", True),
        ("PyPI", [COMMITS, BEFORE_1_4], "1.3.9999", True),
        ("PyPI", [COMMITS, BEFORE_1_4], "1.4", False),
        ("PyPI", [between("ECOSYSTEM", ("introduced", "0"), ("last_affected", "1.4"))], "1.4+cu118", True),
        ("PyPI", [between("ECOSYSTEM", ("introduced", "0"), ("last_affected", "1.4"))], "1.4.post1", False),
        ("PyPI", [between("ECOSYSTEM", ("introduced", "1.0"), ("fixed", "1.4"))], "1.3p2", True),
        ("PyPI", [between("ECOSYSTEM", ("introduced", "0"), ("fixed", "1.4-n653"))], "1.3", True),
        ("Go", [GO], "v1.4.0-0.20200101000000-abcdefabcdef", True),
        ("Go", [GO], "v1.4.0-rc.1", True),
        ("Go", [GO], "v1.4.0+incompatible", False),
        ("Go", [GO], "v1.4.1-0.20200101000000-abcdefabcdef", False),
        ("Go", [GO], "v1.2.0-rc.1", False),
        ("Go", [GO], "v1.2.0+incompatible", True),
        ("Go", [GO], "v0.0.0-20240101000000-abcdefabcdef", False),
    ],
)
def test_versions_around_the_events_of_a_range(ecosystem: str, ranges: list[Any], version: str, affected: bool) -> None:
    assert ids(found([document(ecosystem, ranges)], ecosystem, version)) == ({"X-1"} if affected else set())


@pytest.mark.parametrize("name", ["jw.util", "JW_Util", "jw-util"])
def test_names_of_pypi_are_found_however_they_are_spelled(name: str) -> None:
    assert found([document("PyPI", [BEFORE_1_4], name)], "PyPI", "1.3", "jw-util")


_stages = st.sampled_from(["", "", "a1", "b2", "rc1"])
_posts = st.sampled_from(["", "", ".post1"])
_devs = st.sampled_from(["", "", ".dev1"])
_rest = st.lists(st.integers(0, 2), max_size=2).map(lambda numbers: "".join(f".{number}" for number in numbers))
_bounds = st.builds("{}{}{}{}{}".format, st.sampled_from(["1", "2", "3", "1!1"]), _rest, _stages, _posts, _devs)
_installed = st.builds("{}{}{}{}{}".format, st.integers(0, 3), _rest, _stages, _posts, _devs)


@given(st.data(), st.sampled_from(["fixed", "last_affected"]), st.booleans(), st.sampled_from(["", "+cu118"]))
@settings(max_examples=150, deadline=None)
def test_ranges_of_pypi_hold_what_packaging_orders_between_their_events(
    data: st.DataObject, end: str, together: bool, local: str
) -> None:
    ordered = sorted(data.draw(st.lists(_bounds, min_size=2, max_size=6, unique_by=Version)), key=Version)
    pairs = list(zip(ordered[::2], ordered[1::2], strict=False))
    points = [[("introduced", first), (end, last)] for first, last in pairs]
    if together:
        ranges = [between("ECOSYSTEM", *data.draw(st.permutations([point for pair in points for point in pair])))]
    else:
        ranges = [between("ECOSYSTEM", *pair) for pair in points]
    version = data.draw(st.sampled_from(ordered) | _installed)
    public = Version(version)
    holding = [
        last for first, last in pairs
        if Version(first) <= public and (public < Version(last) or (end == "last_affected" and public == Version(last)))
    ]  # fmt: skip
    reported = found([document("PyPI", ranges)], "PyPI", version + local)
    assert [finding.fix_version for finding in reported] == [last if end == "fixed" else "" for last in holding]


# Whatever else advisories hold

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["CVE-2024-0001", "CVE-2024-0002", "GHSA-aaaa-bbbb-cccc", "PYSEC-2024-1", "GO-2024-1", "X-9"])
_wild_versions = (
    st.sampled_from(["0", "1.0", "1.5.0", "2", "v3", "1.4-n653", "(devel)", "trunk", "1:2-3~x"]) | st.text()
)
_events = st.dictionaries(
    st.sampled_from(["introduced", "fixed", "last_affected", "limit", "new"]), _wild_versions, min_size=1, max_size=2
)
_ranges = st.fixed_dictionaries(
    {"type": st.sampled_from(["SEMVER", "ECOSYSTEM", "GIT", "NEW"]), "events": st.lists(_events, max_size=4)}
)
_spelled = st.sampled_from(
    ["PyPI", "npm", "Go", "Maven", "Debian:12", "Debian", "Ubuntu:Pro:22.04:LTS", "Alpine:v3.19"]
)
_packages = st.fixed_dictionaries(
    {"ecosystem": _spelled | st.text(max_size=8), "name": st.sampled_from(["left", "Left", "right"]) | st.text()},
    optional={"purl": st.text(max_size=8) | st.just("pkg:rpm/x?rpmmod=a:1")},
)
_affected = st.fixed_dictionaries(
    {},
    optional={
        "package": _packages, "ranges": st.lists(_ranges, max_size=3), "versions": st.lists(_wild_versions, max_size=3),
        "severity": _json, "ecosystem_specific": _json, "database_specific": _json,
    },
)  # fmt: skip
_vectors = st.sampled_from(["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:4.0/AV:N", "AV:N", "", "High"])
_severity = st.fixed_dictionaries(
    {"type": st.sampled_from(["CVSS_V2", "CVSS_V3", "CVSS_V4", "Ubuntu"]), "score": _vectors}
)
_describing: dict[Any, st.SearchStrategy[Any]] = {
    "modified": _json, "published": _json, "summary": _json, "details": _json | st.text(), "references": _json,
    "severity": _json | st.lists(_severity, max_size=3), "database_specific": _json,
    "aliases": _json | st.lists(_names, max_size=3), "related": st.lists(_names, max_size=2),
    "upstream": st.lists(_names, max_size=2),
}  # fmt: skip
_advisories = st.fixed_dictionaries({"affected": st.lists(_affected, max_size=3)}, optional=_describing)
_systems = st.sampled_from(["PyPI", "npm", "Go", "Maven", "Debian:12", "Ubuntu:22.04:LTS", "Alpine:v3.19"])


def _kinds(ecosystem: str) -> list[str]:
    return ["SEMVER"] if ecosystem in {"npm", "Go"} else ["SEMVER", "ECOSYSTEM"]


# Around 1.5.0; without a beginning all is affected from the very beginning.
BOUNDS = (("0", ""), ("0", "1.5.1"), ("1.5.0", "1.5.1"), ("1.0.0", "2.0.0"), ("1.5.0", ""), ("", "1.5.1"))


@given(st.data(), _systems, st.lists(_names, min_size=1, max_size=5, unique=True), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_lies_in_a_range_is_found_whatever_else_there_is(
    data: st.DataObject, ecosystem: str, names: list[str], withdrawn: bool
) -> None:
    documents = [{**data.draw(_advisories), "id": name} for name in names]
    bounds = data.draw(st.sampled_from(BOUNDS))
    points = [(kind, version) for kind, version in zip(("introduced", "fixed"), bounds, strict=True) if version]
    planted = document(ecosystem, [between(data.draw(st.sampled_from(_kinds(ecosystem))), *points)])["affected"][0]
    target, name = documents[0], names[0]
    target["affected"] = data.draw(st.permutations([*target["affected"], planted]))
    if withdrawn:
        target["withdrawn"] = "2024-01-01T00:00:00Z"
    reported = found(documents, ecosystem, "1.5.0")
    assert (name in ids(reported)) is not withdrawn
    if not withdrawn and identities.cve_of(name):
        assert name in {finding.id for finding in reported}


@given(st.data(), _systems, st.lists(_names, min_size=1, max_size=6, unique=True))
@settings(max_examples=150, deadline=None)
def test_folding_loses_no_advisory_and_names_none_twice(data: st.DataObject, ecosystem: str, names: list[str]) -> None:
    everything = document(ecosystem, [between("SEMVER", ("introduced", "0"))])["affected"]
    documents = [{**data.draw(_advisories), "id": name, "affected": everything} for name in names]
    reported = found(documents, ecosystem, "1.5.0")
    assert ids(reported) == set(names)
    assert len({finding.id for finding in reported}) == len(reported)
    for finding in reported:
        assert finding.id in {*names, *(other for each in documents for other in _others(each))}
        assert finding.id not in finding.vendor_attributes.get("aliases", ())


def _others(advisory: dict[str, Any]) -> list[str]:
    lists = [advisory.get(field) for field in ("aliases", "upstream", "related")]
    return [name for listed in lists if isinstance(listed, list) for name in listed if isinstance(name, str)]


@given(st.data(), _systems)
@settings(max_examples=150, deadline=None)
def test_documents_of_any_shape_are_imported_or_refused_but_never_passed_over(
    data: st.DataObject, ecosystem: str
) -> None:
    shape = data.draw(st.dictionaries(st.sampled_from(["affected", "aliases", "withdrawn", "id"]), _json))
    planted = document(ecosystem, [between("SEMVER", ("introduced", "0"))])
    broken = {**data.draw(_advisories), "id": "X-2", **shape}
    with suppress(DatabaseError):
        reported = found([planted, broken], ecosystem, "1.5.0")
        event("imported")
        assert "X-1" in ids(reported)
