"""SBOM reports: the scanner's document as it is, around it what Harbor reads, and nothing that is no SBOM."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.errors import BadReportError
from harbor_scanner.harbor import media, sbom
from harbor_scanner.harbor.checks import check_sbom
from harbor_scanner.harbor.models import Artifact, ScannerInfo
from harbor_scanner.harbor.report import RenderedReport, render
from harbor_scanner.harbor.sbom import render_sbom

RELAXED = settings(deadline=None)
ARTIFACT = Artifact("library/mongo", f"sha256:{'0a' * 32}", "3.4", media.OCI_MANIFEST, 123)
SCANNER = ScannerInfo("Imaginary", "Nobody", "1.2.3")
NOW = datetime(2026, 11, 22, 12, 30, 15, 999_999, tzinfo=UTC)
DOCUMENT = b'{\n  "spdxVersion" : "SPDX-2.3", "packages":[ {"name":"a\\u00e9\\/", "n": 1.50e+2} ]\n}\n'

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, min_size=1, max_size=5)


def rendered(document: bytes = DOCUMENT, generated_at: datetime = NOW) -> RenderedReport:
    return render_sbom(ARTIFACT, SCANNER, media.SPDX, document, generated_at)


def unpacked(report: RenderedReport) -> bytes:
    return zlib.decompress(report.body, wbits=31)


def content(report: RenderedReport) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(unpacked(report))
    return document


def test_the_report_has_all_that_harbor_reads() -> None:
    checked = check_sbom(unpacked(rendered()))
    assert checked.scanner == SCANNER
    assert checked.artifact == ARTIFACT
    assert checked.media_type == media.SPDX
    assert checked.generated_at == NOW.replace(microsecond=0)
    assert checked.sbom == json.loads(DOCUMENT)


def test_the_document_is_embedded_byte_by_byte() -> None:
    assert unpacked(rendered()).endswith(b',"sbom":' + DOCUMENT + b"}")


@pytest.mark.parametrize("generated_at", [NOW, NOW.astimezone(timezone(timedelta(hours=-7)))])
def test_it_begins_as_reports_of_vulnerabilities_do(generated_at: datetime) -> None:
    vulnerabilities = content(render(ARTIFACT, SCANNER, [], [], generated_at))
    report = content(rendered(generated_at=generated_at))
    shared = ("generated_at", "artifact", "scanner")
    assert {name: report[name] for name in shared} == {name: vulnerabilities[name] for name in shared}
    assert list(report)[:3] == list(shared)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        rendered(generated_at=NOW.replace(tzinfo=None))


@RELAXED
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 2]))
def test_any_json_object_is_embedded_as_it_is(document: dict[str, Any], escaped: bool, indent: int | None) -> None:
    written = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    report = rendered(written)
    assert content(report)["sbom"] == document
    assert report.size == len(unpacked(report))
    assert written in unpacked(report)


def test_the_same_document_makes_the_same_bytes() -> None:
    assert rendered() == rendered()
    assert rendered().body != rendered(DOCUMENT.replace(b"2.3", b"2.2")).body


@pytest.mark.parametrize("size", [1, sbom._CHUNK - 1, sbom._CHUNK, sbom._CHUNK + 1, 3 * sbom._CHUNK + 7])
@pytest.mark.parametrize("text", ["x", "é", "🐳"])
def test_documents_of_any_size_are_embedded_whole(size: int, text: str) -> None:
    document = json.dumps({"a": text * size}, ensure_ascii=False).encode()
    report = rendered(document)
    assert unpacked(report).endswith(document + b"}")
    assert report.size == len(unpacked(report))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b'"sbom"',
        b"1",
        b"<xml/>",
        b"SPDXVersion: SPDX-2.3",
        b"{",
        DOCUMENT[:-3],
        DOCUMENT + b"x",
        DOCUMENT + DOCUMENT,
        b'{"a": tru}',
        b'{"a": NaN}',
        b'{"a": "\n"}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": "\xff"}',
        b'{"a": {"b": ["\xed\xa0\x80"]}}',
        b'{"\xff": 1}',
        b'{"a": "' + b"x" * sbom._CHUNK + b'\xc3"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 100_000,
    ],
    ids=lambda document: repr(document[:20]) + "…" + repr(document[-20:]),
)
def test_what_is_no_json_object_is_no_sbom(document: bytes) -> None:
    with pytest.raises(BadReportError, match="is no JSON object") as caught:
        rendered(document)
    assert media.SPDX in caught.value.message
    assert caught.value.advice


@pytest.mark.parametrize("document", [b"{}", b" { } "])
def test_an_object_that_holds_nothing_is_no_sbom(document: bytes) -> None:
    with pytest.raises(BadReportError, match="is empty"):
        rendered(document)


@RELAXED
@given(st.integers(0, len(DOCUMENT) - 1), st.binary(max_size=3), st.booleans())
def test_any_damage_is_refused_or_still_a_report(place: int, damage: bytes, cut: bool) -> None:
    damaged = DOCUMENT[:place] + damage + (b"" if cut else DOCUMENT[place + len(damage) :])
    try:
        report = rendered(damaged)
    except BadReportError:
        return
    assert content(report)["sbom"] == json.loads(damaged)


def test_a_report_of_the_largest_size_is_made_and_one_byte_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps({"a": "x" * 1000}).encode()
    size = rendered(document).size
    monkeypatch.setattr(sbom, "MAX_DOCUMENT", size)
    assert rendered(document).size == size
    with pytest.raises(BadReportError, match=f"{size + 1:,} bytes"):
        rendered(document + b" ")
