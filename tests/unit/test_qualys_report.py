"""Reading the reports of qscanner: what is a report, in which spellings, and what is an honest clean."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.errors import BadReportError
from harbor_scanner.harbor.models import Finding, Severity
from harbor_scanner.scanners.qualys.doubts import PARTIAL as PARTIAL_NOTICE
from harbor_scanner.scanners.qualys.inventory import System, decode_inventory
from harbor_scanner.scanners.qualys.report import decode_report
from support.qualys_reports import EXPAT, SCANNED, encoded, finding_of, findings_of, qid, report, result_of, software

REPORT = report(EXPAT, qid(105170, severity=2))
FAILED = SCANNED | {"ScansPerformed": [{"ScanType": "OS", "Status": "FAILED"}]}
PARTIAL = SCANNED | {
    "ScansPerformed": [{"ScanType": "SCA", "Status": "SUCCESS", "PartialScanInfo": {"TimedOut": True}}]
}


def ids(document: Any, **options: Any) -> list[str]:
    return [finding.id for finding in result_of(document, **options).findings]


# ---- what is no report


@pytest.mark.parametrize("sarif", [False, True])
@pytest.mark.parametrize("document", [b"", b"  \n\t ", b"{", b"not json", b"{}", b"[]", b"null", b"3", b'"x"', b"\0"])
def test_what_is_no_report_is_never_a_clean_image(document: bytes, sarif: bool) -> None:
    with pytest.raises(BadReportError) as caught:
        result_of(document, SCANNED, sarif=sarif)
    assert caught.value.advice


@given(st.integers(0, len(encoded(REPORT)) - 1))
def test_a_report_cut_off_anywhere_is_refused(length: int) -> None:
    with pytest.raises(BadReportError):
        decode_report(encoded(REPORT)[:length])


@pytest.mark.parametrize(
    "document",
    [
        {"Inventory": SCANNED},
        {"VulnerabilityReport": None},
        {"VulnerabilityReport": {}},
        {"VulnerabilityReport": []},
        {"VulnerabilityReport": {"details": {}}},
        {"VulnerabilityReport": {"details": "none"}},
        {"VulnerabilityReport": {"Vulnerabilities": 0}},
        {"details": {"error": "not ready"}},
        {"VulnerabilityReport": {"details": [], "Vulnerabilities": "x"}},
        {"error": {"message": "404"}},
    ],
)
def test_a_report_without_a_list_is_refused_whatever_the_inventory_says(document: Any) -> None:
    with pytest.raises(BadReportError):
        result_of(document, SCANNED)


@pytest.mark.parametrize(
    "document",
    [
        {"runs": None},
        {"runs": []},
        {"runs": {}},
        {"runs": [3]},
        {"runs": [{"results": {}}]},
        {"runs": [{"results": []}, None]},
        {"version": "2.1.0"},
    ],
)
def test_a_sarif_report_without_runs_or_with_other_results_is_refused(document: Any) -> None:
    with pytest.raises(BadReportError):
        result_of(document, SCANNED, sarif=True)


def test_a_report_nested_too_deep_is_refused() -> None:
    with pytest.raises(BadReportError):
        decode_report(b'{"details":' + b"[" * 100_000)


# ---- clean images

CLEAN: list[tuple[Any, bool]] = [
    (report(), False),
    ({"details": []}, False),
    (b'{"VulnerabilityReport": {"details": [ ]}}', False),
    ({"VulnerabilityReport": {"Vulnerabilities": [], "details": None}}, False),
    ({"runs": [{"results": []}]}, True),
]


@pytest.mark.parametrize(("document", "sarif"), CLEAN)
def test_an_empty_list_is_a_clean_image_only_if_the_inventory_confirms_the_scan(document: Any, sarif: bool) -> None:
    result = result_of(document, SCANNED, sarif=sarif)
    assert (result.findings, result.notices) == ([], [])
    unconfirmed: list[Any] = [None, {}, {"ScansPerformed": []}, {"ScansPerformed": None}, FAILED, PARTIAL, b"{", b""]
    for inventory in unconfirmed:
        with pytest.raises(BadReportError):
            result_of(document, inventory, sarif=sarif)


@pytest.mark.parametrize(
    ("document", "sarif"),
    [
        ({"VulnerabilityReport": {"details": None}}, False),
        ({"details": None}, False),
        ({"VulnerabilityReport": None, "details": []}, False),
        ({"runs": [{}]}, True),
        ({"runs": [{"results": None}]}, True),
        ({"runs": [{"results": []}, {}]}, True),
    ],
)
def test_a_null_is_never_a_clean_image(document: Any, sarif: bool) -> None:
    with pytest.raises(BadReportError):
        result_of(document, SCANNED, sarif=sarif)


def scans(*performed: Any) -> dict[str, Any]:
    return SCANNED | {"ScansPerformed": list(performed)}


@pytest.mark.parametrize("kind", ["OS", "SCA", "os", "pkg", "PKG", "Os_Scan", "packages"])
def test_a_scan_for_packages_confirms(kind: str) -> None:
    assert result_of(report(), scans({"ScanType": kind, "Status": "SUCCESS"})).findings == []


@pytest.mark.parametrize(
    "kind", [None, "", "SECRET", "secret_scan", "FILE_INSIGHT", "MALWARE", "COMPLIANCE", 3, ["OS"]]
)
def test_a_scan_for_anything_else_confirms_nothing(kind: Any) -> None:
    with pytest.raises(BadReportError):
        result_of(report(), scans({"ScanType": kind, "Status": "SUCCESS"}))


@pytest.mark.parametrize("info", [{}, None, {"a": False, "b": None, "c": 0, "d": "", "e": []}])
def test_nothing_in_partial_scan_info_is_no_partial_scan(info: Any) -> None:
    scanned = scans({"ScanType": "OS", "Status": "SUCCESS", "PartialScanInfo": info})
    assert result_of(report(), scanned).findings == []


@pytest.mark.parametrize(
    "info", [{"a": True}, {"a": 1}, {"a": "layer 3"}, {"a": ["x"]}, {"a": True, "A": False}, True, "timeout", ["x"]]
)
def test_anything_in_partial_scan_info_is_a_partial_scan(info: Any) -> None:
    assert decode_inventory(
        encoded(scans({"ScanType": "OS", "Status": "SUCCESS", "PartialScanInfo": info}))
    ).incomplete  # fmt: skip


@pytest.mark.parametrize("performed", [None, {}, "OS", 1])
def test_scans_that_are_no_list_are_incomplete(performed: Any) -> None:
    assert result_of(report(EXPAT), SCANNED | {"ScansPerformed": performed}).notices == [PARTIAL_NOTICE]


def test_both_inventories_are_heard() -> None:
    assert result_of(report() | {"Inventory": SCANNED}).findings == []
    assert result_of(report() | {"Inventory": SCANNED}, {}).findings == []
    assert result_of(report() | {"Inventory": {}}, SCANNED).findings == []
    unconfirmed: list[tuple[Any, Any]] = [
        (None, None), (FAILED, SCANNED), (SCANNED, FAILED), ([], SCANNED), (SCANNED, b"{"),
    ]  # fmt: skip
    for inner, outer in unconfirmed:
        with pytest.raises(BadReportError):
            result_of(report() | {"Inventory": inner}, outer)
    assert result_of(report(EXPAT) | {"Inventory": FAILED}, SCANNED).notices == [PARTIAL_NOTICE]


def test_an_inventory_that_lists_vulnerabilities_contradicts_an_empty_report() -> None:
    contradicting = SCANNED | {"Vulnerabilities": [{"Qid": 7}]}
    with pytest.raises(BadReportError):
        result_of(report(), contradicting)
    assert result_of(report(), SCANNED | {"Vulnerabilities": []}).findings == []
    assert result_of(report(EXPAT), contradicting).notices == []


DIGEST, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def of_digests(*digests: Any) -> dict[str, Any]:
    return SCANNED | {"Metadata": {"Target": {"RepoDigests": list(digests)}}}


def test_an_inventory_of_another_image_does_not_confirm_that_this_one_is_clean() -> None:
    other = of_digests(f"core.harbor/library/mongo@{OTHER}")
    for inner, outer in ((None, other), (other, None)):
        with pytest.raises(BadReportError) as caught:
            result_of(report() | {"Inventory": inner}, outer, DIGEST)
        assert DIGEST in caught.value.message
        assert OTHER in caught.value.message
    assert result_of(report(EXPAT), other, DIGEST).findings


@pytest.mark.parametrize(
    "digests", [[], [f"a@{DIGEST}"], [f"a@{OTHER}", f"a@{DIGEST}"], [DIGEST], ["a:latest"], [None]]
)
def test_an_inventory_of_this_image_or_of_no_name_is_taken(digests: list[Any]) -> None:
    assert result_of(report(), of_digests(*digests), DIGEST).findings == []
    assert result_of(report(), of_digests(OTHER)).findings == []


# ---- signs that the platform did not answer in full


@pytest.mark.parametrize(
    ("sign", "quoted"),
    [
        ({"error": "report not ready"}, "error: report not ready"),
        ({"errors": [{"code": 1}]}, '{"code": 1}'),
        ({"errorMessage": "a\x1b[31m\nb\x00" + "c" * 999}, "errormessage: a b c"),
        ({"ErrorCode": 404}, "404"),
        ({"message": "No data found"}, "No data found"),
        ({"code": 7}, "7"),
        ({"code": "E1"}, "E1"),
        ({"status": 503}, "503"),
        ({"status": "404"}, "404"),
        ({"status": "IN_PROGRESS"}, "IN_PROGRESS"),
        ({"count": 3}, "3"),
        ({"totalCount": 1}, "1"),
        ({"total_elements": 1.0}, "1"),
        ({"totalVulnerabilities": 12}, "12"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_sign_of_trouble_makes_no_clean_image_and_is_told_beside_findings(
    sign: Any, quoted: str, inside: bool
) -> None:
    def document(*entries: Any) -> dict[str, Any]:
        return {"VulnerabilityReport": {"details": [*entries], **sign}} if inside else report(*entries) | sign

    with pytest.raises(BadReportError) as caught:
        result_of(document(), SCANNED)
    assert quoted in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()
    if "count" not in sign and "totalCount" not in sign and "total_elements" not in sign:
        assert result_of(document(EXPAT), SCANNED).notices == [PARTIAL_NOTICE]
    with pytest.raises(BadReportError):
        result_of({"details": []} | sign, SCANNED)


@pytest.mark.parametrize(
    "fields",
    [
        {"error": None, "errors": [], "errorMessage": "", "errorCode": 0, "message": None, "code": 0, "status": None},
        {"status": "SUCCESS", "message": "ok", "code": "0"},
        {"status": "Finished"},
        {"status": 200},
        {"count": 0, "total": 0, "totalCount": None, "totalElements": "many", "totalVulnerabilities": True},
    ],
)
def test_what_is_no_sign_of_trouble_leaves_a_clean_image_clean(fields: Any) -> None:
    assert result_of(report() | fields, SCANNED).notices == []
    assert result_of({"VulnerabilityReport": {"details": [], **fields}}, SCANNED).notices == []


def test_a_total_of_what_is_listed_is_no_sign() -> None:
    assert result_of(report(EXPAT) | {"count": 1, "total": 1}, SCANNED).notices == []
    assert result_of(report(EXPAT) | {"count": 2}, SCANNED).notices == [PARTIAL_NOTICE]


@pytest.mark.parametrize("outside", [[qid(8)], {"error": "not ready"}, "x"])
def test_a_list_outside_of_the_answer_neither_replaces_nor_hides_one(outside: Any) -> None:
    with pytest.raises(BadReportError):
        result_of(report() | {"Vulnerabilities": outside}, SCANNED)
    assert result_of(report(EXPAT) | {"details": outside}, SCANNED).notices == [PARTIAL_NOTICE]
    with pytest.raises(BadReportError):
        result_of({"VulnerabilityReport": {}, "details": [qid(8)]}, SCANNED)


@pytest.mark.parametrize("flag", [False, "FALSE", "false"], ids=repr)
def test_a_failed_invocation_makes_no_clean_image(flag: Any) -> None:
    invocations = [{"executionSuccessful": True}, {"executionSuccessful": flag}]
    with pytest.raises(BadReportError):
        result_of({"runs": [{"results": [], "invocations": invocations}]}, SCANNED, sarif=True)
    failed = {"runs": [RICH["runs"][0] | {"invocations": invocations}]}
    assert result_of(failed, SCANNED, sarif=True).notices == [PARTIAL_NOTICE]
    fine = {"runs": [{"results": [], "invocations": invocations[:1]}]}
    assert result_of(fine, SCANNED, sarif=True).notices == []


# ---- contradictions


@pytest.mark.parametrize(
    "document",
    [
        report(EXPAT) | {"vulnerabilityReport": {"details": []}},
        {"VulnerabilityReport": {"Vulnerabilities": [EXPAT], "vulnerabilities": [qid(7)]}},
        report() | {"status": 0, "Status": 404},
    ],
)
def test_a_report_that_contradicts_itself_is_refused(document: Any) -> None:
    with pytest.raises(BadReportError) as caught:
        result_of(document, SCANNED)
    assert "contradicts itself" in caught.value.message


def test_a_blank_list_hides_no_other() -> None:
    document = b'{"details": [ ], "Details": [{"qid": 7}], "DETAILS": [\n]}'
    assert ids(document, inventory=SCANNED) == ["QID-7"]


def test_an_inventory_that_contradicts_itself_confirms_nothing() -> None:
    with pytest.raises(BadReportError):
        result_of(report(), SCANNED | {"scansPerformed": [{"ScanType": "SCA", "Status": "FAILED"}]})
    with pytest.raises(BadReportError):
        result_of(report(), scans({"ScanType": "OS", "Status": "SUCCESS", "status": "FAILED"}))


def test_lists_of_two_spellings_in_an_entry_are_both_read() -> None:
    entry = {"qid": 7, "cveids": ["CVE-2021-1"], "CveIds": ["CVE-2021-2"], "cve_ids": "CVE-2021-3", "cve-ids": []}
    entry |= {"software": software("a"), "Software": software("b")[0]}
    assert set(ids(report(entry))) == {"CVE-2021-1", "CVE-2021-2", "CVE-2021-3"}
    assert {finding.package for finding in findings_of(entry)} == {"a", "b"}


@pytest.mark.parametrize("values", [{"qid": 7, "QID": 8}, {"qid": 7, "severity": 1, "Severity": 5}])
def test_an_entry_that_contradicts_itself_is_told(values: Any) -> None:
    result = result_of(report({**values, "cveids": CVES}))
    assert [finding.id for finding in result.findings] == CVES
    assert ["cannot be read" in notice for notice in result.notices] == [True]


@pytest.mark.parametrize("inventory", [FAILED, PARTIAL, {"ScansPerformed": [None]}, b'{"ScansPerformed": [', b""])
def test_a_partial_scan_is_no_clean_image_but_a_notice_beside_findings(inventory: Any) -> None:
    with pytest.raises(BadReportError) as caught:
        result_of(report(), inventory)
    assert "part of its scans" in caught.value.message
    result = result_of(report(EXPAT), inventory)
    assert len(result.findings) == 2
    assert ["partial" in notice for notice in result.notices] == [True]


@pytest.mark.parametrize("entry", [None, 3, "x", [], {}, {"title": "no id"}, {"qid": None, "cveids": [None]}])
def test_entries_that_cannot_be_read_are_told(entry: Any) -> None:
    with pytest.raises(BadReportError) as caught:
        result_of(report(entry), SCANNED)
    assert "1 vulnerabilities" in caught.value.message
    result = result_of(report(entry, EXPAT))
    assert len(result.findings) == 2
    assert ["cannot be read" in notice for notice in result.notices] == [True]


# ---- spellings

SPELLED = Finding("CVE-2021-3711", "openssl", "1.1.1k", Severity.HIGH, "1.1.1l")


def seen(finding: Finding) -> Finding:
    return Finding(finding.id, finding.package, finding.version, finding.severity, finding.fix_version)


PACKAGE = {"name": "openssl", "version": "1.1.1k", "fixVersion": "1.1.1l"}
CVES = ["CVE-2021-3711"]


@pytest.mark.parametrize(
    "entry",
    [
        {"qid": 7, "severity": 4, "cveids": CVES, "software": [PACKAGE]},
        {"QID": "7", "Severity": "4", "cves": CVES, "Softwares": [PACKAGE]},
        {"Qid": 7.0, "severity": 4.0, "Cves": [{"Id": "CVE-2021-3711"}], "Software": [PACKAGE]},
        {"qid": "QID-7", "severity": 4, "cve-ids": CVES, "vulnerableSoftware": [PACKAGE]},
        {"qid": 7, "severity": 4, "cveids": "cve-2021-3711", "software": PACKAGE},
        {
            "qid": 7,
            "severity": None,
            "Severity": 4,
            "cveids": None,
            "Cves": CVES,
            "software": None,
            "Software": [PACKAGE],
        },
        {"qid": 7, "severity": 1, "customerSeverity": "4", "cveids": CVES, "software": [PACKAGE]},
        {"qid": 7, "severity": 4, "customerSeverity": 0, "cveids": CVES, "software": [PACKAGE]},
        {"qid": 7, "severity": 4, "customerSeverity": 6, "cveids": CVES, "software": [PACKAGE]},
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        {"VulnerabilityReport": {"Vulnerabilities": "HERE"}},
        {"VulnerabilityReport": {"vulnerabilities": "HERE"}},
        {"VulnerabilityReport": {"details": "HERE", "Vulnerabilities": []}},
        {"VulnerabilityReport": {"details": "HERE", "vulnerabilities": None}},
        {"details": "HERE"},
        {"VulnerabilityReport": {"Vulnerabilities": "HERE", "vulnerabilities": None}},
        {"VulnerabilityReport": {"Vulnerabilities": "HERE", "vulnerabilities": []}},
        {"VulnerabilityReport": {"Vulnerabilities": [], "vulnerabilities": "HERE"}},
        {"Vulnerabilities": "HERE", "VulnerabilityReport": None},
    ],
)
def test_every_spelling_of_an_entry_and_its_place_is_read(entry: Any, place: Any) -> None:
    document = encoded(place).replace(b'"HERE"', encoded([entry]))
    (finding,) = result_of(document).findings
    assert seen(finding) == SPELLED
    assert finding.vendor_attributes["qids"] == [7]


@pytest.mark.parametrize(
    "package",
    [
        {"name": "openssl", "version": "1.1.1k", "fixVersion": "1.1.1l"},
        {"Name": "openssl", "InstalledVersion": "1.1.1k", "FixedVersion": "1.1.1l"},
        {"name": "openssl", "installedVersion": "1.1.1k", "fixedVersion": "1.1.1l"},
        {"Name": "openssl", "Version": "1.1.1k", "FixVersion": "1.1.1l"},
        {"name": None, "packagePath": "openssl", "version": "1.1.1k", "fixVersion": "1.1.1l"},
        {"Path": "openssl", "version": "", "InstalledVersion": "1.1.1k", "fixVersion": None, "FixedVersion": "1.1.1l"},
    ],
)
def test_every_spelling_of_a_package_is_read(package: Any) -> None:
    assert seen(finding_of(qid(7, severity=4, cveids=CVES, software=[package]))) == SPELLED


def test_numbers_that_stand_for_texts_are_read() -> None:
    finding = finding_of(qid(7, cveids=CVES, software=[{"name": "openssl", "version": 1.5, "fixVersion": 2}]))
    assert (finding.version, finding.fix_version) == ("1.5", "2")


WRONG: list[Any] = [None, True, -1, 10**400, 1.5, "", "x", [], ["x"], {}, {"x": 1}, [[1]], [{"a": None}]]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", [*EXPAT, "surprise"])
def test_a_wrong_value_never_loses_the_vulnerability(field: str, wrong: Any) -> None:
    found = findings_of(EXPAT | {field: wrong})
    if field != "cveids":
        assert {finding.id for finding in found} == {"CVE-2022-25235", "CVE-2022-25236"}
    assert found


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", ["version", "packagePath", "fixVersion", "layerSHA"])
def test_a_wrong_value_never_loses_the_package(field: str, wrong: Any) -> None:
    found = findings_of(qid(7, software=[{"name": "openssl", field: wrong}]))
    assert [finding.package for finding in found] == ["openssl"]


# ---- texts that are no Unicode


@pytest.mark.parametrize(
    ("title", "read"),
    [
        (b"caf\xe9", "caf\ufffd"),
        (rb"half \ud83d pair", "half \ufffd pair"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\\ud83d", r"\ud83d"),
    ],
)
def test_what_is_no_unicode_is_replaced(title: bytes, read: str) -> None:
    document = encoded(report(qid(7))).replace(b"Title 7", title)
    assert result_of(document).findings[0].description.startswith(read)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert len(result_of(b"\xef\xbb\xbf" + encoded(REPORT)).findings) == 3


def test_a_number_beyond_all_bounds_loses_nothing() -> None:
    document = encoded(report(qid(7, risk=1))).replace(b'"risk": 1', b'"risk": 1e999')
    assert ids(document) == ["QID-7"]


# ---- SARIF

RICH = {
    "runs": [
        {
            "tool": {
                "driver": {
                    "rules": [
                        {
                            "id": "QID-7",
                            "shortDescription": {"text": "OpenSSL: SM2 decryption"},
                            "defaultConfiguration": {"level": "error"},
                            "properties": {"severity": 5, "cve-ids": CVES, "qds": "87"},
                        }
                    ]
                }
            },
            "results": [
                {
                    "ruleId": "QID-7",
                    "level": "error",
                    "message": {"text": "openssl 1.1.1k"},
                    "properties": {
                        "QID": 7,
                        "vulnerableSoftware": [
                            {
                                "name": "openssl",
                                "installedVersion": "1.1.1k",
                                "fixedVersion": "1.1.1l",
                                "layerSHA": "sha256:1",
                            }
                        ],
                    },
                }
            ],
            "artifacts": [{"properties": {"osName": "Debian", "osVersion": "12"}}],
        }
    ]
}


def rich(result: Any = None, rule: Any = None) -> dict[str, Any]:
    document = deepcopy(RICH)
    run: dict[str, Any] = document["runs"][0]
    run["results"][0]["properties"] |= result or {}
    run["tool"]["driver"]["rules"][0]["properties"] |= rule or {}
    return document


def test_the_richer_sarif_is_read() -> None:
    (finding,) = result_of(RICH, sarif=True).findings
    assert seen(finding) == Finding("CVE-2021-3711", "openssl", "1.1.1k", Severity.CRITICAL, "1.1.1l")
    assert finding.description == "OpenSSL: SM2 decryption (QID 7)"
    assert finding.layer is not None
    assert finding.layer.digest == "sha256:1"
    assert finding.vendor_attributes["details"][0]["qdsScore"] == 87


def test_the_flat_sarif_is_read() -> None:
    properties = {
        "qid": "7",
        "cves": CVES,
        "severity": "4",
        "packageName": "openssl",
        "installedVersion": "1.1.1k",
        "fixedVersion": "1.1.1l",
    }
    document = {"runs": [{"results": [{"ruleId": "x", "level": "error", "properties": properties}]}]}
    assert [seen(finding) for finding in result_of(document, sarif=True).findings] == [SPELLED]


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        ({"severity": 4}, Severity.HIGH),
        ({"severity": 5, "customerSeverity": 2}, Severity.LOW),
        ({"severity": None}, Severity.HIGH),
    ],
)
def test_the_severity_of_sarif_is_the_rules_and_the_level_stands_in(rule: Any, severity: Severity) -> None:
    assert [found.severity for found in result_of(rich(rule=rule), sarif=True).findings] == [severity]


def test_a_sarif_result_without_a_package_stands_under_the_system() -> None:
    (finding,) = result_of(rich({"vulnerableSoftware": None}), sarif=True).findings
    assert (finding.package, finding.version) == ("Debian", "12")


def test_a_sarif_result_takes_its_qid_from_the_rule_if_it_has_none() -> None:
    (finding,) = result_of(rich({"QID": None}, {"cve-ids": []}), sarif=True).findings
    assert finding.id == "QID-7"


def test_results_of_all_runs_are_read() -> None:
    document = {"runs": [*RICH["runs"], {"results": [{"ruleId": "QID-8"}]}]}
    assert ids(document, sarif=True) == ["CVE-2021-3711", "QID-8"]
    assert result_of({"runs": [*RICH["runs"], {}]}, SCANNED, sarif=True).notices == [PARTIAL_NOTICE]


@pytest.mark.parametrize("level", ["error", "ERROR", " Error"])
def test_the_level_of_sarif_is_read_in_any_case(level: str) -> None:
    document = {"runs": [{"results": [{"ruleId": "QID-8", "level": level}]}]}
    assert [found.severity for found in result_of(document, sarif=True).findings] == [Severity.HIGH]


@pytest.mark.parametrize(
    "empty", [{"cve-ids": []}, {"cve-ids": None}, {"severity": 0}, {"severity": ""}, {"cve-ids": [], "severity": 0}]
)
def test_what_is_empty_in_a_sarif_result_does_not_hide_the_rules(empty: Any) -> None:
    (finding,) = result_of(rich(empty), sarif=True).findings
    assert seen(finding) == Finding("CVE-2021-3711", "openssl", "1.1.1k", Severity.CRITICAL, "1.1.1l")


@pytest.mark.parametrize(
    "reference",
    [{"ruleIndex": 0}, {"rule": {"index": 0}}, {"rule": {"id": "QID-7"}}, {"ruleIndex": 0, "ruleId": "unknown"}],
)
def test_a_sarif_rule_is_found_in_every_way(reference: Any) -> None:
    document = rich({"QID": None})
    result = document["runs"][0]["results"][0]
    del result["ruleId"]
    result |= reference
    (finding,) = result_of(document, sarif=True).findings
    assert seen(finding) == Finding("CVE-2021-3711", "openssl", "1.1.1k", Severity.CRITICAL, "1.1.1l")


@pytest.mark.parametrize("reference", [{"ruleIndex": -1}, {"ruleIndex": 9}, {"rule": 3}, {}])
def test_a_sarif_result_without_a_rule_is_told(reference: Any) -> None:
    document = {"runs": [{"results": [{"level": "error", **reference}]}]}
    with pytest.raises(BadReportError):
        result_of(document, SCANNED, sarif=True)


def test_a_sarif_rule_named_by_a_cve_is_that_cve() -> None:
    result = {"ruleId": "CVE-2021-1", "properties": {"cves": [], "cve-ids": []}}
    assert ids({"runs": [{"results": [result]}]}, sarif=True) == ["CVE-2021-1"]
    result = {"ruleId": "CVE-2021-1", "properties": {"cve": "CVE-2021-2"}}
    assert ids({"runs": [{"results": [result]}]}, sarif=True) == ["CVE-2021-2", "CVE-2021-1"]


# ---- the inventory


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"OS": "Red Hat Enterprise Linux 9.4"}, System("Red Hat Enterprise Linux", "9.4")),
        ({"OS": "Alpine"}, System("Alpine")),
        ({"OS": {"Name": "Debian", "Version": "12.5"}}, System("Debian", "12.5")),
        ({"OS": "Debian", "OSVersion": "12"}, System("Debian", "12")),
        ({"OS": "linux"}, System()),
        ({"OS": 7.5}, System("7.5")),
        ({"OS": None}, System()),
        ([], System()),
        (None, System()),
    ],
)
def test_the_system_is_read_from_the_inventory(target: Any, expected: System) -> None:
    assert decode_inventory(encoded({"Metadata": {"Target": target}})).system == expected


def test_software_may_stand_in_any_of_its_fields_at_once() -> None:
    entry = qid(7, cveids=CVES, software=software("a"), Softwares=software("b"))
    assert {finding.package for finding in findings_of(entry)} == {"a", "b"}
