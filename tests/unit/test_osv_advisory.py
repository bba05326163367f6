"""Reading advisories: nothing that tells what is affected is lost, and nothing else than a refusal can happen."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.osv.advisory import (
    Advisory,
    Affected,
    AffectedPackage,
    Event,
    Range,
    Reference,
    Severity,
    decode,
)
from harbor_scanner.osv.errors import UnreadableAdvisoryError

FULL: dict[str, Any] = {
    "schema_version": "1.6.0",
    "id": "PYSEC-2018-32",
    "modified": "2026-10-01T10:00:00Z",
    "published": "2018-01-01T00:00:00Z",
    "aliases": ["CVE-2016-10745"],
    "summary": "A template can leave the sandbox",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:N"}],
    "references": [{"type": "WEB", "url": "https://example.com/1"}],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2", "purl": "pkg:pypi/jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.8.1"}]}],
            "versions": ["2.8"],
            "database_specific": {"cwe_ids": ["CWE-134"]},
        }
    ],
}


def read(document: Any) -> Advisory:
    return decode(json.dumps(document).encode())


def events(document: Any) -> tuple[Event, ...]:
    advisory = read({"id": "X-1", "affected": [{"ranges": [{"type": "SEMVER", "events": document}]}]})
    return advisory.affected[0].ranges[0].events


def test_an_advisory_is_read_as_it_is() -> None:
    assert read(FULL) == Advisory(
        id="PYSEC-2018-32",
        modified="2026-10-01T10:00:00Z",
        published="2018-01-01T00:00:00Z",
        aliases=("CVE-2016-10745",),
        summary="A template can leave the sandbox",
        severity=(Severity("CVSS_V3", "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:N"),),
        affected=(
            Affected(
                package=AffectedPackage("PyPI", "jinja2", "pkg:pypi/jinja2"),
                ranges=(Range("ECOSYSTEM", (Event(introduced="0"), Event(fixed="2.8.1"))),),
                versions=("2.8",),
                database_specific={"cwe_ids": ["CWE-134"]},
            ),
        ),
        references=(Reference("WEB", "https://example.com/1"),),
    )


def test_a_document_that_strays_anywhere_else_is_read_the_same() -> None:
    assert msgspec.structs.replace(read({**FULL, "summary": 7}), summary="") == msgspec.structs.replace(
        read(FULL), summary=""
    )
    # A byte order mark makes it go the tolerant way, and nothing else does.
    assert decode(b"\xef\xbb\xbf" + json.dumps(FULL).encode()) == read(FULL)


@pytest.mark.parametrize(
    "field", sorted({*FULL} - {"id", "schema_version"} | {"withdrawn", "details", "database_specific", "related"})
)
@pytest.mark.parametrize("shape", ["absent", "null"])
def test_all_but_the_id_may_be_absent_or_null(field: str, shape: str) -> None:
    document = {name: value for name, value in FULL.items() if name != field}
    if shape == "null":
        document[field] = None
    advisory = read(document)
    assert advisory.id == "PYSEC-2018-32"
    assert getattr(advisory, field) == getattr(Advisory("X-1"), field)


@pytest.mark.parametrize("field", ["package", "ranges", "versions", "ecosystem_specific"])
def test_parts_of_what_is_affected_may_be_null(field: str) -> None:
    advisory = read({**FULL, "affected": [{**FULL["affected"][0], field: None}]})
    assert getattr(advisory.affected[0], field) == getattr(Affected(), field)


@pytest.mark.parametrize("field", ["summary", "details", "aliases", "severity", "references", "modified"])
@pytest.mark.parametrize("value", [7, True, "text", ["text", 1], {"a": 1}, [{"type": 1}]])
def test_what_only_describes_never_costs_the_advisory(field: str, value: Any) -> None:
    assert read({**FULL, field: value}).affected == read(FULL).affected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("affected",), "all"), (("affected",), [7]), (("affected", 0, "package"), "jinja2"),
        (("affected", 0, "package", "name"), ["jinja2"]), (("affected", 0, "package", "ecosystem"), {}),
        (("affected", 0, "versions"), "2.8"), (("affected", 0, "versions"), [["2.8"]]),
        (("affected", 0, "ranges"), {}), (("affected", 0, "ranges", 0), "0-2"),
        (("affected", 0, "ranges", 0, "events"), {"introduced": "0"}),
        (("affected", 0, "ranges", 0, "events", 0), "0"),
        (("affected", 0, "ranges", 0, "events", 1, "fixed"), ["2.8.1"]), (("id",), None), (("id",), ""), (("id",), {}),
    ],
)  # fmt: skip
def test_what_tells_whether_a_version_is_affected_is_never_passed_over(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(FULL))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(UnreadableAdvisoryError):
        read(document)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"id": "X-1"', b"\0"]
)
def test_what_is_no_advisory_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableAdvisoryError):
        decode(data)


def test_numbers_stay_as_they_are_written() -> None:
    text = '{"id": "X-1", "affected": [{"versions": [1.10, 2, null], "ranges": [{"events": [{"introduced": 0}]}]}]}'
    [affected] = decode(text.encode()).affected
    assert affected.versions == ("1.10", "2")
    assert affected.ranges[0].events == (Event(introduced="0"),)


def test_a_range_without_a_beginning_begins_at_the_very_beginning() -> None:
    assert events([{"fixed": "2"}]) == (Event(introduced="0"), Event(fixed="2"))
    assert events([]) == (Event(introduced="0"),)


def test_events_of_unknown_kinds_are_left_out_and_bounds_that_share_one_are_parted() -> None:
    assert events([{"introduced": "1"}, {"patched": "2"}, {"fixed": ""}]) == (Event(introduced="1"),)
    assert events([{"introduced": "1", "fixed": "2"}]) == (Event(introduced="1"), Event(fixed="2"))
    assert events([{"introduced": "1", "limit": None}]) == (Event(introduced="1"),)


def test_half_characters_become_question_marks() -> None:
    advisory = decode(b'{"id": "X-1", "details": "a \\ud800 b", "summary": "\\ud83d\\ude00"}')
    assert (advisory.details, advisory.summary) == ("a ? b", "\N{GRINNING FACE}")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
spans = st.builds(
    Range,
    texts,
    st.lists(
        st.builds(Event, fixed=texts) | st.builds(Event, last_affected=texts) | st.builds(Event, limit=texts),
        max_size=3,
    ).map(lambda found: (Event(introduced="0"), *found)),
)
advisories = st.builds(
    Advisory,
    id=texts,
    aliases=st.lists(texts, max_size=2).map(tuple),
    affected=st.lists(
        st.builds(
            Affected,
            package=st.none() | st.builds(AffectedPackage, texts, texts, st.none() | texts),
            ranges=st.lists(spans, max_size=2).map(tuple),
            versions=st.lists(texts, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(advisories)
def test_both_ways_of_reading_give_what_was_written(advisory: Advisory) -> None:
    data = msgspec.json.encode(advisory)
    assert decode(data) == advisory
    assert decode(b"\xef\xbb\xbf" + data) == advisory


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(UnreadableAdvisoryError):
        assert decode(data).id


@given(st.data())
def test_an_advisory_with_anything_anywhere_is_read_or_refused_and_can_be_stored(data: st.DataObject) -> None:
    document = json.loads(json.dumps(FULL))
    for _ in range(data.draw(st.integers(1, 3))):
        place = document
        while True:
            steps = list(place) if isinstance(place, dict) else list(range(len(place)))
            step = data.draw(st.sampled_from(steps))
            if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
                break
            place = place[step]
        place[step] = data.draw(anything)
    try:
        advisory = read(document)
    except UnreadableAdvisoryError:
        return
    assert decode(msgspec.json.encode(advisory)) == advisory
