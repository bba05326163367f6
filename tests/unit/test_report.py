"""Reports: whatever scanners find, Harbor can take it in."""

from __future__ import annotations

import gzip
import json
import math
import random
import tracemalloc
from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harbor_scanner.harbor import findings, report
from harbor_scanner.harbor.checks import check_report
from harbor_scanner.harbor.models import (
    Artifact,
    Cvss,
    Finding,
    FindingStatus,
    Layer,
    ScannerInfo,
    Severity,
)
from harbor_scanner.harbor.report import RenderedReport, notice, render

ARTIFACT = Artifact(repository="library/mongo", digest="sha256:" + "6" * 64, tag="3.4")
SCANNER = ScannerInfo(name="Aqua", vendor="Aqua Security", version="2022.4")
NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)

RELAXED = settings(deadline=None)
# What breaks databases, Go, or Harbor's columns, more often than chance would bring it.
NASTY = st.sampled_from(["\0", "\ud800", "\udfff", "|", ",", " ", "\n", "\\u0000", '"', "\u2028", "é", "😀", "x" * 700])
TEXT = st.lists(st.one_of(st.text(st.characters(exclude_categories=()), max_size=8), NASTY), max_size=5).map("".join)
NAME = st.one_of(st.sampled_from(["CVE-2026-1", "openssl", "1.0", ""]), TEXT)
LINK = st.one_of(
    st.sampled_from(["https://a.example/x", "http://b.example/|"]), TEXT.map("https://a.example/".__add__), TEXT
)
NUMBER = st.one_of(st.floats(), st.integers(), st.just(10**400))
SCORE = st.one_of(st.none(), st.floats(), st.floats(0, 10))
ATTRIBUTES = st.dictionaries(
    st.one_of(TEXT, st.sampled_from(["CVSS", "V3Score"])),
    st.recursive(
        st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.just("V3Score") | TEXT, inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)
FINDING = st.builds(
    Finding,
    id=NAME,
    package=NAME,
    version=NAME,
    severity=st.sampled_from(Severity),
    fix_version=TEXT,
    description=TEXT,
    links=st.lists(LINK, max_size=4),
    status=st.none() | st.sampled_from(FindingStatus),
    preferred_cvss=st.none() | st.builds(Cvss, SCORE, SCORE, st.none() | TEXT, st.none() | TEXT),
    cwe_ids=st.lists(st.sampled_from(["CWE-79", "79", "cwe-079,CWE-80", "NVD-CWE-noinfo"]) | TEXT, max_size=4),
    layer=st.none() | st.builds(Layer, TEXT),
    vendor_attributes=ATTRIBUTES,
)

# Clean in most fields, or all: what the quick way has to tell from the rest.
BORDERLINE = st.builds(
    Finding,
    id=st.sampled_from(["CVE-2026-1", "CVE-2026-1", " CVE-2026-1", "é" * 129]),
    package=st.sampled_from(["openssl", "openssl", ""]),
    version=st.sampled_from(["1.0", ""]),
    severity=st.sampled_from(Severity),
    fix_version=st.sampled_from(["", "1.1", "1.1, 1.2", "1.1 ", "é" * 256, "é" * 513]),
    description=st.sampled_from(["", "text", "\\u0000", "\0", "é\n", "x" * 33_000, "x" * 70_000]),
    links=st.lists(
        st.sampled_from(["https://a.example/", "http://b.example/?c", "https://a/|", "ftp://a/"]), max_size=2
    ),
    status=st.none() | st.sampled_from(FindingStatus),
    preferred_cvss=st.none()
    | st.builds(Cvss, SCORE, SCORE, st.sampled_from([None, "", "AV:N", " AV:N"]), st.sampled_from([None, "A" * 257])),
    cwe_ids=st.lists(st.sampled_from(["CWE-1", "CWE-79", "CWE-0", "79", "CWE-12345678"]), max_size=2),
    layer=st.sampled_from([None, Layer("sha256:1"), Layer(""), Layer(" sha256:1")]),
    vendor_attributes=st.just({}) | ATTRIBUTES,
)


def rendered(found: Iterable[Finding], notices: Sequence[str] = ()) -> RenderedReport:
    return render(ARTIFACT, SCANNER, found, notices, NOON)


def document(of: RenderedReport) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = gzip.decompress(of.body)
    assert len(text) == of.size
    return json.loads(text, parse_constant=refuse)


def items(found: Iterable[Finding], notices: Sequence[str] = ()) -> list[Any]:
    vulnerabilities = document(rendered(found, notices))["vulnerabilities"]
    assert isinstance(vulnerabilities, list)
    return vulnerabilities


def finding(severity: Severity = Severity.HIGH, **fields: Any) -> Finding:
    return Finding(**{"id": "CVE-2026-1", "package": "openssl", "version": "1.0", "severity": severity} | fields)


def only(**fields: Any) -> Any:
    """Return the one item that a finding with these fields becomes."""
    (item,) = items([finding(**fields)])
    return item


def merged(*twins: Finding) -> Any:
    """Return the one item that findings of the same key become."""
    (item,) = items(twins)
    return item


def test_the_document_is_what_the_spec_says() -> None:
    full = finding(
        fix_version="1.1",
        description="A heap overflow.",
        links=["https://nvd.nist.gov/vuln/detail/CVE-2026-1"],
        status=FindingStatus.FIXED,
        preferred_cvss=Cvss(score_v3=9.8, vector_v3="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
        cwe_ids=["CWE-122"],
        layer=Layer("sha256:1"),
        vendor_attributes={"path": "/usr/lib/libssl.so", "exploits": 2, "zero_day": False},
    )
    assert document(rendered([full])) == {
        "generated_at": "2026-11-22T12:00:00Z",
        "artifact": {"repository": "library/mongo", "digest": "sha256:" + "6" * 64, "tag": "3.4"},
        "scanner": {"name": "Aqua", "vendor": "Aqua Security", "version": "2022.4"},
        "severity": "High",
        "vulnerabilities": [msgspec.to_builtins(full)],
    }


def test_an_image_without_findings_has_an_empty_list() -> None:
    report_ = rendered([])
    assert document(report_)["vulnerabilities"] == []
    assert document(report_)["severity"] == "Unknown"
    assert report_.counts == dict.fromkeys(Severity, 0)


@RELAXED
@given(st.lists(FINDING, max_size=6), st.lists(TEXT, max_size=2))
@example([finding(id="\0", package=" ", version="\ud800")], ["\0\ud800"])
@example([finding(vendor_attributes={"CVSS": {"nvd": {"V3Score": None}}})], [])
@example([finding(vendor_attributes={"n": 10**400, "nan": math.nan})], [])
@example([finding(id="a" * 9999, package="é" * 9999, version="😀" * 9999)], [])
def test_harbor_takes_in_whatever_is_found(found: list[Finding], notices: list[str]) -> None:
    report_ = rendered(found, notices)
    text = gzip.decompress(report_.body)
    check_report(text)  # one of Harbor's rules broken, and this raises
    vulnerabilities = document(report_)["vulnerabilities"]
    assert document(report_)["severity"] == max(
        (one.severity for one in found), key=lambda s: s.rank, default="Unknown"
    )
    for item in vulnerabilities:
        assert item["id"] == item["id"].strip() != ""
        assert item["package"] == item["package"].strip() != ""
        assert all(link.startswith(("http", "HTTP")) and len(link.split()) == 1 for link in item.get("links", ()))
        assert all(0 <= item.get("preferred_cvss", {}).get(score, 0) <= 10 for score in ("score_v2", "score_v3"))
    own = [Severity(item["severity"]) for item in vulnerabilities if item["package"] != report.NOTICE_PACKAGE]
    assert own == sorted(own, key=lambda severity: -severity.rank)
    assert report_.counts == {severity: own.count(severity) for severity in Severity}


@RELAXED
@given(st.lists(FINDING, max_size=6), st.randoms(use_true_random=False))
@example([finding(description="a"), finding(description="b")], random.Random(1))
def test_the_order_of_findings_does_not_matter(found: list[Finding], chance: random.Random) -> None:
    shuffled = chance.sample(found, len(found))
    assert rendered(shuffled).body == rendered(found).body


@RELAXED
@given(st.lists(FINDING, max_size=4))
@example([finding(fix_version="1, 2,1"), finding(fix_version="2 ,3")])
def test_a_report_of_a_report_is_the_same(found: list[Finding]) -> None:
    once = rendered(found)
    again = msgspec.convert(document(once)["vulnerabilities"], list[Finding])
    assert document(rendered(again)) == document(once)


@RELAXED
@given(st.lists(FINDING, max_size=3))
def test_findings_themselves_stay_as_they_are(found: list[Finding]) -> None:
    before = repr(found)
    rendered(found)
    assert repr(found) == before


@RELAXED
@given(BORDERLINE)
@example(finding(fix_version=" 1"))
@example(finding(preferred_cvss=Cvss()))
@example(finding(preferred_cvss=Cvss(score_v3=math.nan)))
@example(finding(links=["https://a.example/", "https://a.example/"]))
@example(finding(vendor_attributes={"a": [[[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]]}))
@example(finding(vendor_attributes={"a": [[[[[[[[[[[[[[[["just not too deep"]]]]]]]]]]]]]]]]}))
def test_the_quick_way_leads_where_the_thorough_one_does(one: Finding) -> None:
    key = findings.key_of(one)
    quick = findings._as_it_is(key, one)
    if quick is not None:
        assert json.loads(quick) == json.loads(msgspec.json.encode(findings._cleaned(key, one)))


def test_the_quick_way_is_taken_by_findings_as_scanners_report_them() -> None:
    plain = finding(
        description="Two\nlines, ünïcode and \\backslashes.",
        links=["https://nvd.nist.gov/vuln/detail/CVE-2026-1"],
        cwe_ids=["CWE-79"],
        preferred_cvss=Cvss(score_v3=7.5, vector_v2="AV:N/AC:L/Au:N/C:P/I:N/A:N"),
        layer=Layer("sha256:1"),
        vendor_attributes={"path": "/a", "list": [1, 2.5, None], "nested": {"x": True}},
    )
    assert findings._as_it_is(findings.key_of(plain), plain) == msgspec.json.encode(plain)


class TestOrder:
    def test_the_most_severe_stand_first_then_ids_packages_versions(self) -> None:
        ordered = [
            finding(Severity.CRITICAL, id="CVE-2"),
            finding(Severity.HIGH, id="CVE-1", package="a", version="2"),
            finding(Severity.HIGH, id="CVE-1", package="b", version="1"),
            finding(Severity.HIGH, id="CVE-1", package="b", version="2"),
            finding(Severity.MEDIUM),
            finding(Severity.LOW, package="b"),
            finding(Severity.NEGLIGIBLE, package="c"),
            finding(Severity.UNKNOWN, package="a"),
        ]
        shuffled = random.Random(7).sample(ordered, len(ordered))
        assert items(shuffled) == msgspec.to_builtins(ordered)


class TestMerging:
    def test_the_highest_severity_wins_and_its_texts_stand_first(self) -> None:
        low = finding(Severity.LOW, description="low", links=["https://low.example"], cwe_ids=["CWE-1", "CWE-2"])
        high = finding(Severity.HIGH, description="high", links=["https://high.example"], cwe_ids=["CWE-2"])
        item = merged(low, high)
        assert item["severity"] == "High"
        assert item["description"] == "high"
        assert item["links"] == ["https://high.example", "https://low.example"]
        assert item["cwe_ids"] == ["CWE-2", "CWE-1"]

    def test_among_equals_the_order_of_findings_does_not_matter(self) -> None:
        one = finding(description="one", vendor_attributes={"n": 1})
        two = finding(description="two", vendor_attributes={"n": 2})
        assert merged(one, two) == merged(two, one)

    def test_names_are_cleaned_before_they_are_compared(self) -> None:
        assert merged(finding(), finding(id=" CVE-2026-1\n"), finding(package="open\0ssl"))["id"] == "CVE-2026-1"

    def test_fixes_are_united_without_repeats(self) -> None:
        item = merged(finding(fix_version="1.2, 1.3"), finding(fix_version="1.3,1.4"), finding(fix_version=" "))
        assert sorted(item["fix_version"].split(", ")) == ["1.2", "1.3", "1.4"]

    def test_what_the_most_severe_lacks_comes_from_the_others(self) -> None:
        item = merged(
            finding(Severity.HIGH, preferred_cvss=Cvss(score_v2=5.0)),
            finding(Severity.LOW, description="text", preferred_cvss=Cvss(score_v3=7.0, score_v2=1.0)),
            finding(Severity.UNKNOWN, layer=Layer("sha256:1")),
        )
        assert item["description"] == "text"
        assert item["preferred_cvss"] == {"score_v3": 7.0, "score_v2": 5.0}
        assert item["layer"] == {"digest": "sha256:1"}

    def test_a_score_keeps_its_own_vector(self) -> None:
        item = merged(
            finding(Severity.HIGH, preferred_cvss=Cvss(score_v3=5.0)),
            finding(Severity.LOW, preferred_cvss=Cvss(score_v3=7.0, vector_v3="CVSS:3.1/AV:N")),
            finding(Severity.LOW, preferred_cvss=Cvss(vector_v3="CVSS:3.1/AV:L")),
        )
        assert item["preferred_cvss"] == {"score_v3": 7.0, "vector_v3": "CVSS:3.1/AV:N"}

    def test_attributes_are_united_and_the_most_severe_finding_decides(self) -> None:
        item = merged(
            finding(Severity.LOW, vendor_attributes={"a": "low", "b": 1}),
            finding(Severity.HIGH, vendor_attributes={"a": "high", "c": 2}),
        )
        assert item["vendor_attributes"] == {"a": "high", "b": 1, "c": 2}

    @pytest.mark.parametrize(
        ("statuses", "status"),
        [
            ([None, FindingStatus.AFFECTED], "affected"),
            ([FindingStatus.AFFECTED, FindingStatus.FIXED], "fixed"),
            ([FindingStatus.AFFECTED, FindingStatus.WILL_NOT_FIX], "will_not_fix"),
        ],
    )
    def test_the_status_that_tells_most_is_kept(self, statuses: list[FindingStatus | None], status: str) -> None:
        assert merged(*(finding(status=one) for one in statuses))["status"] == status


class TestNames:
    def test_long_names_are_cut_by_bytes_and_stay_distinct(self) -> None:
        names = [f"{'é' * 2000}{ending}" for ending in "ab"]
        found = items([finding(id=name, package=name, version=name) for name in names])
        assert len(found) == 2
        for item in found:
            assert len(item["id"].encode()) <= findings.MAX_ID
            assert len(item["package"].encode()) <= findings.MAX_PACKAGE
            assert len(item["version"].encode()) <= findings.MAX_VERSION
            assert item["package"].startswith("é" * 500)

    def test_a_row_of_the_longest_names_fits_the_index(self) -> None:
        registration = 36
        assert findings.MAX_ID + findings.MAX_PACKAGE + findings.MAX_VERSION + registration < 2600

    def test_names_at_the_limit_are_left_alone(self) -> None:
        assert only(package="p" * findings.MAX_PACKAGE)["package"] == "p" * findings.MAX_PACKAGE

    def test_a_finding_without_names_is_kept_under_honest_ones(self) -> None:
        item = only(id="", package=" ", version="")
        assert (item["id"], item["package"], item["version"]) == ("UNNAMED", "unknown", "")

    def test_nameless_findings_that_differ_are_told_apart(self) -> None:
        found = items(
            [finding(id="", description="a"), finding(id="", description="b"), finding(id="", description="a")]
        )
        assert len({item["id"] for item in found}) == 2
        assert all(item["id"].startswith("UNNAMED-") for item in found)


class TestText:
    def test_sound_text_is_untouched(self) -> None:
        text = '  tabs\t, "quotes", \\u0000, a | b, \u2028, \x7f, 日本語 😀 \n'
        assert only(description=text)["description"] == text

    def test_nuls_go_and_surrogates_are_replaced_everywhere(self) -> None:
        bad, good = "a\0b\ud800c", "ab\ufffdc"
        item = only(
            id=bad,
            package=bad,
            version=bad,
            fix_version=bad,
            description=bad,
            vendor_attributes={bad: [bad, {bad: bad}]},
        )
        for field in ("id", "package", "version", "fix_version", "description"):
            assert item[field] == good
        assert item["vendor_attributes"] == {good: [good, {good: good}]}

    def test_surrogates_that_are_a_pair_become_their_character(self) -> None:
        assert only(description="\ud83d\ude00\0")["description"] == "😀"

    def test_artifact_and_scanner_are_cleaned_as_well(self) -> None:
        artifact, scanner = Artifact("a\0", "d", tag="t\ud800"), ScannerInfo("n\0", "v", "1")
        whole = document(render(artifact, scanner, [], [], NOON))
        assert whole["artifact"] == {"repository": "a", "digest": "d", "tag": "t\ufffd"}
        assert whole["scanner"]["name"] == "n"

    def test_long_descriptions_end_in_an_ellipsis(self) -> None:
        description = only(description="é" * 100_000)["description"]
        assert findings.MAX_DESCRIPTION - 1 <= len(description.encode()) <= findings.MAX_DESCRIPTION
        assert description.endswith("é… [shortened]")


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (["https://a.example/x"], ["https://a.example/x"]),
        (["HTTP://a.example"], ["HTTP://a.example"]),
        (["https://a.example/|x"], ["https://a.example/%7Cx"]),
        ([" https://a.example/a b\n"], ["https://a.example/a%20b"]),
        (["https://a.example/\x01\x85x"], ["https://a.example/%01%C2%85x"]),
        (["https://a.example/é"], ["https://a.example/é"]),
        (["https://a.example/\0x\ud800"], ["https://a.example/x\ufffd"]),
        (["https://a.example", "https://a.example"], ["https://a.example"]),
        (["javascript:alert(1)", "ftp://a.example", "www.a.example", "", "https://", "http:///x"], None),
        (["https://a.example/" + "x" * 3000], None),
    ],
)
def test_links_are_web_links_that_survive_being_joined(given_: list[str], kept: list[str] | None) -> None:
    assert only(links=given_).get("links") == kept


def test_links_and_cwe_ids_are_limited_in_number() -> None:
    assert len(only(links=[f"https://a.example/{n}" for n in range(80)])["links"]) == findings.MAX_LINKS
    assert len(only(cwe_ids=[f"CWE-{n}" for n in range(1, 80)])["cwe_ids"]) == findings.MAX_CWE_IDS
    many = finding(links=[f"https://a.example/{n}" for n in range(80)], cwe_ids=[f"CWE-{n}" for n in range(1, 80)])
    item = merged(many, finding(links=["https://b.example/"], cwe_ids=["CWE-99"]))
    assert len(item["links"]) == findings.MAX_LINKS
    assert len(item["cwe_ids"]) == findings.MAX_CWE_IDS


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (["CWE-79"], ["CWE-79"]),
        (["79", "cwe-79", " CWE: 079 "], ["CWE-79"]),
        (["CWE-79,CWE-80; CWE-81"], ["CWE-79", "CWE-80", "CWE-81"]),
        (["CWE-79 Improper Neutralization (4.9)"], ["CWE-79"]),
        (["NVD-CWE-noinfo", "CWE-0", "", "4.9"], None),
    ],
)
def test_cwe_ids_have_one_spelling(given_: list[str], kept: list[str] | None) -> None:
    assert only(cwe_ids=given_).get("cwe_ids") == kept


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.1, 10.1])
def test_what_is_no_score_is_left_out(score: float) -> None:
    assert "preferred_cvss" not in only(preferred_cvss=Cvss(score_v3=score, score_v2=score))
    assert only(preferred_cvss=Cvss(score_v3=score, score_v2=4.0))["preferred_cvss"] == {"score_v2": 4.0}


@pytest.mark.parametrize(("vector", "kept"), [(" AV:N ", "AV:N"), ("\0AV:N", "AV:N"), (" ", None), ("A" * 257, None)])
def test_vectors_and_layers_are_trimmed_or_left_out(vector: str, kept: str | None) -> None:
    item = only(preferred_cvss=Cvss(vector_v3=vector, vector_v2=vector), layer=Layer(vector))
    assert item.get("preferred_cvss", {}).get("vector_v3") == kept
    assert item.get("preferred_cvss", {}).get("vector_v2") == kept
    assert item.get("layer", {}).get("digest") == kept


@pytest.mark.parametrize("score", [0.0, 10.0, 7])
def test_scores_at_the_ends_are_scores(score: float) -> None:
    assert only(preferred_cvss=Cvss(score_v3=score))["preferred_cvss"] == {"score_v3": score}


class TestAttributes:
    def test_numbers_that_go_cannot_read_become_null(self) -> None:
        numbers = {"nan": math.nan, "inf": -math.inf, "huge": 10**400, "big": 2**70, "one": 1}
        assert only(vendor_attributes=numbers)["vendor_attributes"] == {
            "nan": None,
            "inf": None,
            "huge": None,
            "big": 2**70,
            "one": 1,
        }

    @pytest.mark.parametrize("score", ["9.8", None, math.nan, True, [9.8]])
    def test_a_score_on_which_harbor_would_crash_is_left_out(self, score: Any) -> None:
        attributes = {"CVSS": {"nvd": {"V3Score": score, "V2Score": 5.0}}}
        assert only(vendor_attributes=attributes)["vendor_attributes"] == {"CVSS": {"nvd": {"V2Score": 5.0}}}

    def test_a_score_that_harbor_can_use_is_kept(self) -> None:
        attributes = {"CVSS": {"nvd": {"V3Score": 9.8}}}
        assert only(vendor_attributes=attributes)["vendor_attributes"] == attributes

    def test_what_is_no_json_becomes_text(self) -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        attributes = only(vendor_attributes={"when": moment, "tuple": (1,), "complex": 1j, 5: "\0"})[
            "vendor_attributes"
        ]
        assert attributes == {"when": str(moment), "tuple": [1], "complex": "1j", "5": ""}

    def test_nesting_has_an_end(self) -> None:
        deep: Any = "bottom"
        for _ in range(5000):
            deep = [deep]
        text = json.dumps(only(vendor_attributes={"deep": deep})["vendor_attributes"], ensure_ascii=False)
        assert text == '{"deep": ' + "[" * (findings.MAX_DEPTH - 1) + '"…"' + "]" * (findings.MAX_DEPTH - 1) + "}"

    def test_the_largest_are_left_out_with_a_mark(self) -> None:
        attributes = {"small": 1, "large": "x" * 40_000, "medium": "y" * 1000, "larger": "z" * 50_000}
        kept = only(vendor_attributes=attributes)["vendor_attributes"]
        assert kept == {findings.SHORTENED: True, "small": 1, "medium": "y" * 1000}

    def test_all_that_is_kept_stays_within_the_limit(self) -> None:
        for size in range(findings.MAX_ATTRIBUTES // 2 - 40, findings.MAX_ATTRIBUTES // 2 + 10):
            attributes = {"a": "x" * size, "b": "y" * size}
            kept = only(vendor_attributes=attributes)["vendor_attributes"]
            assert len(msgspec.json.encode(kept)) <= findings.MAX_ATTRIBUTES
            assert (kept == attributes) == (len(msgspec.json.encode(attributes)) <= findings.MAX_ATTRIBUTES)

    def test_of_many_small_ones_many_are_kept(self) -> None:
        kept = only(vendor_attributes={f"attribute {n}": n for n in range(5000)})["vendor_attributes"]
        assert findings.MAX_ATTRIBUTES * 0.8 < len(msgspec.json.encode(kept)) <= findings.MAX_ATTRIBUTES


class TestNotices:
    def test_a_notice_is_a_finding_to_be_seen(self) -> None:
        *_, last = items([finding(Severity.UNKNOWN, id="Z")], ["The scan is partial: layers were skipped."])
        assert last["id"].startswith("SCAN-NOTICE-THE-SCAN-IS-PARTIAL-LAYERS-WERE-SKIPPED-")
        assert last["severity"] == "Unknown"
        assert last["package"] == report.NOTICE_PACKAGE
        assert last["description"] == "The scan is partial: layers were skipped."

    def test_one_text_has_one_id_for_ever_and_another_text_another(self) -> None:
        long = "The scanner could not read all layers of this image, and it "
        assert notice(long + "a").id == notice(long + "a").id != notice(long + "b").id
        assert notice("Partial.").id == "SCAN-NOTICE-PARTIAL-6b8249c930da"

    def test_equal_notices_are_shown_once_and_do_not_count_as_findings(self) -> None:
        report_ = rendered([], ["Partial.", "Partial.", "Old database."])
        assert len(document(report_)["vulnerabilities"]) == 2
        assert document(report_)["severity"] == "Unknown"
        assert sum(report_.counts.values()) == 0

    def test_a_finding_cannot_take_the_place_of_a_notice(self) -> None:
        impostor = notice("Partial.")
        impostor.severity = Severity.CRITICAL
        (item,) = items([impostor], ["Partial."])
        assert item["severity"] == "Unknown"


class TestLimits:
    def test_only_so_many_findings_are_kept_the_most_severe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(report, "MAX_FINDINGS", 3)
        found = [finding(severity, id=f"CVE-{severity}") for severity in Severity]
        report_ = rendered(found, ["Partial."])
        kept = [item["id"] for item in document(report_)["vulnerabilities"]]
        assert kept[:3] == ["CVE-Critical", "CVE-High", "CVE-Medium"]
        assert kept[3:] == [notice("Partial.").id, notice(report.INCOMPLETE).id]
        assert report_.dropped == 3
        assert sum(report_.counts.values()) == 3

    def test_a_report_at_the_limit_is_complete(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(report, "MAX_FINDINGS", 3)
        report_ = rendered([finding(id=f"CVE-{n}") for n in (1, 2, 3)] + [finding(id="CVE-1")])
        assert len(document(report_)["vulnerabilities"]) == 3
        assert report_.dropped == 0

    def test_the_document_never_exceeds_what_harbor_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [finding(id=f"CVE-{n:02}", description="x" * n) for n in range(60)]
        for limit in range(3000, 3300):
            monkeypatch.setattr(report, "MAX_DOCUMENT", limit)
            report_ = rendered(found, ["Partial."])
            *_, first_notice, second_notice = document(report_)["vulnerabilities"]
            assert limit - 500 < report_.size <= limit
            assert {first_notice["id"], second_notice["id"]} == {notice("Partial.").id, notice(report.INCOMPLETE).id}
            assert report_.dropped == 60 - report_.counts[Severity.HIGH] > 0

    def test_all_findings_and_notices_fit_into_one_query(self) -> None:
        assert report.MAX_FINDINGS + report.MAX_NOTICES + 1 < 65_535

    def test_the_document_is_never_in_memory_as_a_whole(self) -> None:
        found = [finding(id=f"CVE-{n}", description="x" * 20_000) for n in range(2000)]
        tracemalloc.start()
        try:
            report_ = rendered(found)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert report_.size > 40_000_000
        assert peak < 6_000_000
        assert len(document(report_)["vulnerabilities"]) == 2000


class TestRendering:
    def test_the_same_findings_make_the_same_bytes(self) -> None:
        found = [finding(id=f"CVE-{n}") for n in range(100)]
        body = rendered(found).body
        assert body == rendered(deepcopy(found)).body
        assert body[4:8] == b"\0\0\0\0", "gzip would note the time here"

    def test_the_time_is_told_in_utc(self) -> None:
        zone = timezone(timedelta(hours=2))
        whole = document(render(ARTIFACT, SCANNER, [], [], datetime(2026, 1, 1, 1, 30, tzinfo=zone)))
        assert whole["generated_at"] == "2025-12-31T23:30:00Z"

    def test_a_time_without_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            render(ARTIFACT, SCANNER, [], [], datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
