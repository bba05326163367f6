"""What the findings of a Qualys report hold: QIDs fanned out to CVEs and packages, and merged again."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.harbor.findings import MAX_ATTRIBUTES, SHORTENED
from harbor_scanner.harbor.models import Artifact, Cvss, Finding, FindingStatus, Layer, ScannerInfo, Severity
from harbor_scanner.harbor.report import render
from harbor_scanner.scanners.qualys.table import table_packages
from harbor_scanner.scanners.qualys.vulnerability import Package
from support.qualys_reports import EXPAT, LAYER, SCANNED, finding_of, findings_of, qid, report, result_of, software

CVE = "CVE-2021-3711"


def keys(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(finding.id, finding.package, finding.version) for finding in findings}


def test_a_real_entry_fills_every_field() -> None:
    first, second = findings_of(EXPAT)
    assert first == Finding(
        id="CVE-2022-25235",
        package="expat",
        version="2.1.0-10.21.amzn1",
        severity=Severity.CRITICAL,
        fix_version="2.1.0-14.31.amzn1",
        description="Amazon Linux Security Advisory for expat: ALAS-2022-1569 (QID 353186)",
        links=["https://nvd.nist.gov/vuln/detail/CVE-2022-25235"],
        status=FindingStatus.FIXED,
        preferred_cvss=Cvss(score_v3=9.8, score_v2=7.5),
        layer=Layer(LAYER),
        vendor_attributes={
            "qids": [353186],
            "details": [
                {
                    "qid": 353186,
                    "title": "Amazon Linux Security Advisory for expat: ALAS-2022-1569",
                    "severity": 5,
                    "customerSeverity": 5,
                    "typeDetected": "CONFIRMED",
                    "qdsScore": 95,
                    "patchAvailable": True,
                    "threatIntel": ["publicExploit", "easyExploit"],
                    "cvssTemporal": {"v2": 5.9, "v3": 8.8},
                    "risk": 50.0,
                    "firstFound": "2025-02-04T09:07:22+00:00",
                    "lastFound": "2025-02-06T07:38:25+00:00",
                    "published": "2022-02-17T00:00:00+00:00",
                    "discoveryType": ["AUTHENTICATED"],
                    "category": "Amazon Linux",
                    "fix": "2.1.0-14.31.amzn1",
                }
            ],
            "CVSS": {"qualys": {"V2Score": 7.5, "V3Score": 9.8}},
        },
    )
    assert second.id == "CVE-2022-25236"
    assert second.links == ["https://nvd.nist.gov/vuln/detail/CVE-2022-25236"]


# ---- fan-out


def test_a_qid_is_a_finding_for_each_cve_and_package() -> None:
    entry = qid(7, cveids=["CVE-2021-3711", "CVE-2021-3712"], software=[*software("a"), *software("b")])
    assert keys(findings_of(entry)) == {(f"CVE-2021-371{n}", name, "1.1.1k") for n in (1, 2) for name in "ab"}


def test_a_qid_without_a_cve_is_kept_under_its_own_name_without_a_link() -> None:
    finding = finding_of(qid(105170, cveids=None, software=software()))
    assert (finding.id, finding.links) == ("QID-105170", [])


def test_ids_of_other_databases_are_kept_as_they_are() -> None:
    finding = finding_of(qid(7, cveids=["GHSA-abcd-1234"], software=software()))
    assert (finding.id, finding.links) == ("GHSA-abcd-1234", [])


def test_a_package_under_several_paths_is_one_finding_that_names_them_all() -> None:
    copies = [software()[0] | {"packagePath": path, "fixVersion": fix} for path, fix in (("/a", "2"), ("/b", "3"))]
    finding = finding_of(qid(7, cveids=[CVE], software=copies))
    assert finding.fix_version == "2, 3"
    assert finding.vendor_attributes["details"][0]["paths"] == ["/a", "/b"]


# ---- several QIDs of one CVE and package

LOW = qid(9, severity=2, cveids=[CVE], software=software(fix="1.1.1l"), cvssInfo={"baseScore": "4.3"})
HIGH = qid(8, severity=4, cveids=[CVE], software=software(fix="3.0"))
UNFIXED = qid(7, severity=4, cveids=[CVE], software=software(), layerSha=[LAYER])


@given(st.permutations([LOW, HIGH, UNFIXED]))
def test_several_qids_are_merged_into_one_finding_that_names_them_all(entries: list[Any]) -> None:
    finding = finding_of(*entries)
    assert finding.severity is Severity.HIGH
    assert finding.fix_version == "3.0, 1.1.1l"
    assert finding.status is FindingStatus.FIXED
    assert finding.description == "Title 7 (QID 7)\nTitle 8 (QID 8)\nTitle 9 (QID 9)"
    assert finding.preferred_cvss == Cvss(score_v2=4.3)
    assert finding.layer == Layer(LAYER)
    assert finding.vendor_attributes["qids"] == [7, 8, 9]
    told = [(detail["qid"], detail["severity"], detail.get("fix")) for detail in finding.vendor_attributes["details"]]
    assert told == [(7, 4, None), (8, 4, "3.0"), (9, 2, "1.1.1l")]


@given(st.lists(st.sampled_from([LOW, HIGH, UNFIXED]), min_size=1))
def test_an_entry_listed_twice_is_told_once(entries: list[Any]) -> None:
    attributes = finding_of(*entries).vendor_attributes
    assert [detail["qid"] for detail in attributes["details"]].count(entries[0]["qid"]) == 1
    assert attributes["qids"] == sorted({entry["qid"] for entry in entries})


def test_different_versions_stay_different() -> None:
    entries = [qid(n, cveids=[CVE], software=software(version=f"{n}.0")) for n in (1, 2)]
    assert [finding.vendor_attributes["qids"] for finding in findings_of(*entries)] == [[1], [2]]


def test_a_cve_of_many_qids_stays_within_harbors_limits() -> None:
    entries = [
        EXPAT | {"qid": 1_000_000 + number, "title": f"{number} {'t' * 2000}", "category": "c" * 9999}
        | {"product": ["p" * 999] * 99, "vendor": ["v" * 999] * 99, "cveids": [CVE]}
        for number in range(2000)
    ]  # fmt: skip
    finding = finding_of(*entries)
    attributes = finding.vendor_attributes
    assert len(attributes["qids"]) == 1000
    assert attributes["qidCount"] == 2000
    assert attributes["details"][0]["qid"] == 1_000_000
    assert len(attributes["details"]) > 1
    assert len(msgspec.json.encode(attributes)) <= MAX_ATTRIBUTES


def test_what_is_rendered_for_harbor_is_not_shortened() -> None:
    entries = [EXPAT | {"qid": number} for number in range(1, 41)]
    body = render(
        Artifact(), ScannerInfo("Qualys", "Qualys", "4.7"), findings_of(*entries), [], datetime(2026, 1, 1, tzinfo=UTC)
    ).body
    assert SHORTENED.encode() not in gzip.decompress(body)


# ---- severity


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"severity": 5}, Severity.CRITICAL),
        ({"severity": 4}, Severity.HIGH),
        ({"severity": 3}, Severity.MEDIUM),
        ({"severity": 2}, Severity.LOW),
        ({"severity": 1}, Severity.NEGLIGIBLE),
        ({"severity": 0}, Severity.UNKNOWN),
        ({"severity": 6}, Severity.UNKNOWN),
        ({"severity": 2.5}, Severity.UNKNOWN),
        ({"severity": True}, Severity.UNKNOWN),
        ({}, Severity.UNKNOWN),
        ({"severity": "3"}, Severity.MEDIUM),
        ({"severity": 5, "customerSeverity": 2}, Severity.LOW),
        ({"severity": 1, "customerSeverity": 5}, Severity.CRITICAL),
        ({"severity": 4, "customerSeverity": None}, Severity.HIGH),
        ({"severity": 4, "customerSeverity": 0}, Severity.HIGH),
    ],
)
def test_the_customers_severity_comes_first(fields: Any, severity: Severity) -> None:
    assert finding_of(qid(7, software=software(), **fields)).severity is severity


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("Urgent", Severity.CRITICAL),
        ("CRITICAL", Severity.CRITICAL),
        ("High", Severity.HIGH),
        ("serious", Severity.MEDIUM),
        (" Medium ", Severity.MEDIUM),
        ("LOW", Severity.LOW),
        ("Minimal", Severity.NEGLIGIBLE),
        ("INFORMATIONAL", Severity.NEGLIGIBLE),
        ("SEVERITY_5", Severity.CRITICAL),
        ("SEVERITY_CRITICAL", Severity.CRITICAL),
        ("5 - Urgent", Severity.CRITICAL),
        ("2 - Medium", Severity.LOW),
        ("Level 4", Severity.HIGH),
    ],
)
@pytest.mark.parametrize("field", ["severity", "customerSeverity"])
def test_severities_in_words_are_read(field: str, word: str, severity: Severity) -> None:
    result = result_of(report(qid(7, software=software(), **{field: word})))
    assert [finding.severity for finding in result.findings] == [severity]
    assert result.notices == []


@pytest.mark.parametrize(
    ("scores", "severity"),
    [
        ({"cvss3Info": {"baseScore": "9.8"}, "cvssInfo": {"baseScore": "2.0"}}, Severity.CRITICAL),
        ({"cvss3Info": {"baseScore": "9.0"}}, Severity.CRITICAL),
        ({"cvss3Info": {"baseScore": "8.9"}}, Severity.HIGH),
        ({"cvss3Info": {"baseScore": "7.0"}}, Severity.HIGH),
        ({"cvss3Info": {"baseScore": "4.0"}}, Severity.MEDIUM),
        ({"cvss3Info": {"baseScore": "3.9"}}, Severity.LOW),
        ({"cvssInfo": {"baseScore": "10"}}, Severity.HIGH),
        ({"cvssInfo": {"baseScore": "5"}}, Severity.MEDIUM),
    ],
)
@pytest.mark.parametrize("word", ["severe", "6", 7, "15", "x 9.5", ["5", "4"], True])
def test_a_severity_that_is_not_understood_is_told_by_the_score(word: Any, scores: Any, severity: Severity) -> None:
    result = result_of(report(qid(7, software=software(), severity=word, **scores)))
    assert [finding.severity for finding in result.findings] == [severity]
    assert result.notices == []


def test_a_severity_that_nothing_tells_is_unknown_and_there_is_a_notice() -> None:
    result = result_of(report(qid(7, software=software(), severity="severe")))
    assert [finding.severity for finding in result.findings] == [Severity.UNKNOWN]
    assert ["cannot be read" in notice for notice in result.notices] == [True]
    assert result_of(report(qid(7, software=software()))).notices == []


# ---- ids


@pytest.mark.parametrize(
    ("cves", "expected"),
    [
        ("CVE-2021-1, CVE-2021-2;CVE-2021-3", {"CVE-2021-1", "CVE-2021-2", "CVE-2021-3"}),
        ("[CVE-2021-1][cve-2021-2]", {"CVE-2021-1", "CVE-2021-2"}),
        (["see CVE-2021-1 (and CVE-2021-2)."], {"CVE-2021-1", "CVE-2021-2"}),
        ("CVE-2021-1/CVE-2021-2", {"CVE-2021-1", "CVE-2021-2"}),
        (["CVE-2021-1", "RHSA-2024:1"], {"CVE-2021-1", "RHSA-2024:1"}),
        ("CVE-2021-1,GHSA-abcd-efgh-jkmm", {"CVE-2021-1", "GHSA-abcd-efgh-jkmm"}),
        ("(ALAS-2022-1569)", {"ALAS-2022-1569"}),
        ([{"id": 5, "cveId": "CVE-2021-1"}], {"CVE-2021-1"}),
        ("N/A", {"QID-7"}),
        ("-", {"QID-7"}),
        (["None", "none", "", "x", "-"], {"QID-7"}),
        ("a fault in utf-8 handling", {"QID-7"}),
        ({"id": "No CVE"}, {"QID-7"}),
    ],
)
def test_only_what_looks_like_an_id_is_one(cves: Any, expected: set[str]) -> None:
    assert {finding.id for finding in findings_of(qid(7, cveids=cves))} == expected


# ---- scores

V2, V3 = "AV:N/AC:L/Au:N/C:P/I:P/A:P", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


@pytest.mark.parametrize(
    ("fields", "cvss"),
    [
        ({"cvssInfo": {"baseScore": "7.5"}}, Cvss(score_v2=7.5)),
        ({"cvss3Info": {"baseScore": 9.8}}, Cvss(score_v3=9.8)),
        ({"cvss3Info": {"baseScore": "9.8", "vector": V3}}, Cvss(score_v3=9.8, vector_v3=V3)),
        ({"cvssInfo": {"baseScore": "7.5", "accessVector": V2}}, Cvss(score_v2=7.5, vector_v2=V2)),
        ({"cvssInfo": {"baseScore": "7.5", "accessVector": f"({V2})"}}, Cvss(score_v2=7.5, vector_v2=V2)),
        ({"cvssInfo": {"baseScore": "7.5", "accessVector": "Network"}}, Cvss(score_v2=7.5)),
        ({"cvssInfo": {"baseScore": "7.5", "accessVector": V3}}, Cvss(score_v2=7.5)),
        ({"cvss3Info": {"baseScore": "9.8", "vector": V2}}, Cvss(score_v3=9.8)),
        ({"cvssInfo": {"baseScore": "0.0"}, "cvss3Info": {"baseScore": "-"}}, None),
        ({"cvssInfo": {"baseScore": "75"}, "cvss3Info": {"baseScore": -1}}, None),
        ({"cvss3Info": {"baseScore": "NaN"}}, None),
        ({"cvss3Info": {"baseScore": "0"}}, None),
        ({"qdsScore": 9}, None),
        ({"cvssScore": 9.8}, None),
    ],
)
def test_scores_keep_their_version(fields: Any, cvss: Cvss | None) -> None:
    finding = finding_of(qid(7, software=software(), **fields))
    assert finding.preferred_cvss == cvss
    assert ("CVSS" in finding.vendor_attributes) == (cvss is not None)


def test_trurisk_and_qds_are_told_but_are_no_scores() -> None:
    document = report(qid(7, software=software(), qdsScore="71")) | {"riskScore": 842, "qdsSeverity": "HIGH"}
    document["VulnerabilityReport"]["maxQdsScore"] = "95"
    (finding,) = result_of(document).findings
    assert finding.preferred_cvss is None
    assert finding.vendor_attributes["truRisk"] == {"riskScore": 842, "qdsSeverity": "HIGH", "maxQdsScore": "95"}
    assert finding.vendor_attributes["details"][0]["qdsScore"] == 71


# ---- other fields


def detail(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = finding_of(qid(7, software=software(), **fields)).vendor_attributes["details"][0]
    return found


def test_a_potential_vulnerability_is_kept_and_called_so() -> None:
    assert detail(typeDetected="Potential")["typeDetected"] == "POTENTIAL"


def test_an_exempted_vulnerability_is_kept_and_called_so() -> None:
    assert detail(isExempted=True, reason="accepted")["isExempted"] is True
    assert "isExempted" not in detail(isExempted=False)


def test_only_the_true_threats_are_named() -> None:
    assert detail(threatIntel={"zeroDay": True, "malware": None, "noPatch": False})["threatIntel"] == ["zeroDay"]
    assert "threatIntel" not in detail(threatIntel={"zeroDay": None})


def test_that_there_is_no_patch_is_told() -> None:
    assert detail(patchAvailable=False)["patchAvailable"] is False


def test_vendors_advisories_are_named() -> None:
    assert detail(vendorData={"rhsa": {"id": "RHSA-2022:951", "cve": []}})["advisories"] == ["RHSA-2022:951"]


def test_of_several_layers_none_is_the_one() -> None:
    layers = [LAYER, "sha256:" + "b" * 64]
    finding = finding_of(qid(7, software=software(), layerSha=layers))
    assert finding.layer is None
    assert finding.vendor_attributes["details"][0]["layerSha"] == layers


def test_the_layer_of_the_package_comes_first() -> None:
    package = software()[0] | {"layerSHA": "sha256:own"}
    assert finding_of(qid(7, software=[package], layerSha=[LAYER])).layer == Layer("sha256:own")


@pytest.mark.parametrize(
    ("fix", "status"), [("2.0", FindingStatus.FIXED), (None, FindingStatus.AFFECTED), (" ", FindingStatus.AFFECTED)]
)
def test_a_fix_makes_the_status(fix: str | None, status: FindingStatus) -> None:
    assert finding_of(qid(7, software=software(fix=fix))).status is status


# ---- without a package

TABLE = '#table cols="3"\nPackage Installed_Version Required_Version\n'


@pytest.mark.parametrize(
    ("evidence", "packages"),
    [
        (EXPAT["result"], [Package("expat", "2.1.0-10.21.amzn1.x86_64", "2.1.0-14.31.amzn1")]),
        (TABLE + "a 1 2\nb 3 4\na 1 2\n", [Package("a", "1", "2"), Package("b", "3", "4")]),
        (TABLE.replace(" ", "\t").replace("#table\t", "#table ") + "a b\t1\t2", [Package("a b", "1", "2")]),
        (
            "#table cols=4\nPackage Installed_Version Required_Version Install_Path\nnpm 1 2 /opt/npm",
            [Package("npm", "1", "2", "/opt/npm")],
        ),
        (
            "#table\nPackage\tInstalled Version\tRequired Version\tLanguage\tInstall Path\nnpm\t1\t2\tNode\t/opt",
            [Package("npm", "1", "2", "/opt")],
        ),
        ("#table\nPackage\tInstalled_Version\tRequired_Version\na\t1\t", [Package("a", "1")]),
        (TABLE + "a 1", [Package("a")]),
        (TABLE + "a 1 or newer 2", [Package("a")]),
        (TABLE, []),
        ("#table", []),
        ("#table\nName Value\nkernel 5.4", []),
        ("Package Installed_Version\na 1", []),
        (TABLE + "a 1 2\n#end\nb 3 4", [Package("a", "1", "2")]),
        ("seen\n" + TABLE + "a 1 2\n\n" + TABLE + "b 3 4", [Package("a", "1", "2"), Package("b", "3", "4")]),
        ("", []),
    ],
)  # fmt: skip
def test_packages_are_read_from_tables(evidence: str, packages: list[Package]) -> None:
    assert table_packages(evidence) == packages


@given(st.text(), st.sampled_from(["", "#table\n", TABLE]))
def test_any_evidence_can_be_read(evidence: str, head: str) -> None:
    assert all(package.name for package in table_packages(head + evidence))
    assert findings_of(qid(7, result=(head + evidence).encode(errors="replace").decode()))


@pytest.mark.parametrize("listed", [None, [], [None], [{"name": None, "version": "1"}], {}])
def test_a_qid_without_software_takes_the_package_from_its_evidence(listed: Any) -> None:
    finding = finding_of(EXPAT | {"cveids": [CVE], "software": listed})
    assert (finding.package, finding.version) == ("expat", "2.1.0-10.21.amzn1.x86_64")
    assert finding.fix_version == "2.1.0-14.31.amzn1"
    assert "#table" not in finding.description


def test_what_has_no_package_stands_under_the_system() -> None:
    finding = finding_of(qid(105170, result="EOL: yes"), inventory=SCANNED)
    assert (finding.id, finding.package, finding.version) == ("QID-105170", "Amazon Linux", "2018.03")
    assert finding.description == "Title 105170 (QID 105170)\n\nEOL: yes"


def test_without_a_system_it_stands_under_the_image() -> None:
    finding = finding_of(qid(105170, cveids=[CVE]))
    assert (finding.id, finding.package, finding.version) == (CVE, "library/mongo", "")


def test_long_evidence_is_shortened() -> None:
    assert len(finding_of(qid(7, result="x" * 100_000)).description) < 3000


# ---- the narrower report


def test_narrow_keeps_one_qid_for_a_cve_of_a_package() -> None:
    other = qid(5, severity=5, cveids=[CVE], software=software("libssl"))
    result = result_of(report(LOW, HIGH, UNFIXED, other), narrow=True)
    qids = {finding.package: finding.vendor_attributes["qids"] for finding in result.findings}
    assert qids == {"openssl": [7], "libssl": [5]}
    assert result.notices == []


def test_narrow_holds_over_the_versions_of_a_package() -> None:
    entries = [qid(n, severity=n, cveids=[CVE], software=software(version=f"{n}.0")) for n in (2, 3)]
    assert keys(findings_of(*entries, narrow=True)) == {(CVE, "openssl", "3.0")}
    assert keys(findings_of(*reversed(entries), narrow=True)) == {(CVE, "openssl", "3.0")}
    both = [*software(version="1.0"), *software(version="2.0")]
    assert len(findings_of(qid(7, cveids=[CVE], software=both), narrow=True)) == 2


def test_narrow_leaves_out_what_has_no_package_and_says_so() -> None:
    result = result_of(report(EXPAT | {"software": None}, qid(8), qid(9, software=software())), narrow=True)
    assert [finding.id for finding in result.findings] == ["QID-9"]
    (notice,) = result.notices
    assert "without a package" in notice


def test_a_narrow_report_of_nothing_but_that_is_not_silent() -> None:
    result = result_of(report(qid(8)), narrow=True)
    assert result.findings == []
    assert result.notices


# ---- all together

_ENTRIES = st.builds(
    lambda number, severity, cves, names, fix: qid(
        number, severity=severity, cveids=cves, software=[software(name, fix=fix)[0] for name in names]
    ),
    st.integers(1, 6),
    st.integers(0, 5),
    st.lists(st.sampled_from(["CVE-2021-0001", "CVE-2021-0002", "CVE-2021-0003"])),
    st.lists(st.sampled_from("abc")),
    st.sampled_from([None, "1", "2", "1, 2"]),
)


@given(st.lists(_ENTRIES, min_size=1), st.randoms())
def test_nothing_that_qualys_found_is_lost_and_nothing_stands_twice(entries: list[Any], order: random.Random) -> None:
    found = findings_of(*entries)
    expected: dict[tuple[str, str], set[int]] = {}
    for entry in entries:
        for name in entry["cveids"] or [f"QID-{entry['qid']}"]:
            for package in [item["name"] for item in entry["software"]] or ["library/mongo"]:
                expected.setdefault((name, package), set()).add(entry["qid"])
    assert {(finding.id, finding.package): set(finding.vendor_attributes["qids"]) for finding in found} == expected
    assert len(keys(found)) == len(found)
    for finding in found:
        standing = [
            entry["severity"]
            for entry in entries
            if finding.id in (entry["cveids"] or [f"QID-{entry['qid']}"])
            and finding.package in ([item["name"] for item in entry["software"]] or ["library/mongo"])
        ]
        assert finding.severity.rank == max(standing)
    shuffled = entries[:]
    order.shuffle(shuffled)
    assert keys(findings_of(*shuffled)) == keys(found)
