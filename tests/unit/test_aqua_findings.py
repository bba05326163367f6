"""What the findings of a report hold: the traps of real reports, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from harbor_scanner.harbor.models import Cvss, Finding, FindingStatus, Layer, Severity
from support.aqua import (
    GLIBC,
    LOG4J,
    LOG4SHELL,
    LOONEY_TUNABLES,
    element,
    finding_of,
    report,
    result_of,
)

V3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"
V2 = "AV:N/AC:M/Au:N/C:C/I:C/A:C"
ZLIB_V3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
ZLIB_V2 = "AV:N/AC:L/Au:N/C:N/I:N/A:P"


def bare(**fields: Any) -> dict[str, Any]:
    """Return a vulnerability of these fields alone."""
    return {"name": "CVE-2018-25032", **fields}


def test_a_modern_vulnerability_fills_every_field() -> None:
    assert finding_of(LOG4SHELL) == Finding(
        id="CVE-2021-44228",
        package="log4j-core",
        version="2.14.1",
        severity=Severity.CRITICAL,
        fix_version="2.15.0",
        description="Log4j looks up what it logs over JNDI, and so runs what an attacker sends.",
        links=[
            "https://nvd.nist.gov/vuln/detail/CVE-2021-44228",
            "https://logging.apache.org/log4j/2.x/security.html",
        ],
        status=FindingStatus.FIXED,
        preferred_cvss=Cvss(score_v3=10.0, score_v2=9.3, vector_v3=V3, vector_v2=V2),
        cwe_ids=["CWE-502", "CWE-400"],
        layer=Layer("sha256:" + "a" * 64),
        vendor_attributes={
            "solution": "Upgrade package log4j-core to version 2.15.0 or above.",
            "aqua_severity_classification": "NVD CVSS V3 Score: 10.0",
            "aqua_score_classification": "NVD CVSS V3 Score: 10.0",
            "publish_date": "2021-12-10",
            "modification_date": "2023-04-03",
            "CVSS": {
                "aqua": {"V3Score": 10.0, "V3Vector": V3},
                "nvd": {"V2Score": 9.3, "V2Vector": V2, "V3Score": 10.0, "V3Vector": V3},
            },
            "epss": {"score": 0.97, "percentile": 0.999, "date": "2024-01-22"},
            "cisa": {"published": "2021-12-10", "due": "2021-12-24"},
            "resource": {
                "path": "/app/lib/log4j-core-2.14.1.jar",
                "format": "java",
                "license": "Apache-2.0",
                "cpe": "pkg:/maven:*:log4j-core:2.14.1",
            },
        },
    )


def test_a_vulnerability_without_details_says_what_it_can() -> None:
    finding = finding_of({"name": "WS-2009-0001"}, {"name": "commons-codec", "version": "1.9"})
    assert finding == Finding(
        id="WS-2009-0001",
        package="commons-codec",
        version="1.9",
        severity=Severity.UNKNOWN,
        status=FindingStatus.AFFECTED,
        vendor_attributes={},
    )


# ---- severity


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("critical", Severity.CRITICAL),
        ("high", Severity.HIGH),
        ("medium", Severity.MEDIUM),
        ("low", Severity.LOW),
        ("negligible", Severity.NEGLIGIBLE),
        ("HIGH", Severity.HIGH),
        ("unimportant", Severity.UNKNOWN),
        ("", Severity.UNKNOWN),
    ],
)
def test_severities_map_one_to_one(word: str, severity: Severity) -> None:
    assert finding_of(bare(aqua_severity=word)).severity is severity


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"aqua_severity": "low", "vendor_severity": "high", "nvd_severity_v3": "critical"}, Severity.LOW),
        ({"vendor_severity": "high", "nvd_severity_v3": "critical", "nvd_severity": "low"}, Severity.HIGH),
        ({"nvd_severity_v3": "critical", "nvd_severity": "high"}, Severity.CRITICAL),
        ({"nvd_severity": "medium"}, Severity.MEDIUM),
        ({"aqua_severity": None, "vendor_severity": "medium"}, Severity.MEDIUM),
    ],
)
def test_other_severities_stand_in_where_aquas_is_absent(fields: Any, severity: Severity) -> None:
    assert finding_of(bare(**fields)).severity is severity


# ---- scores


def cvss_of(**fields: Any) -> tuple[Cvss | None, Any]:
    finding = finding_of(bare(**fields))
    return finding.preferred_cvss, finding.vendor_attributes.get("CVSS")


@pytest.mark.parametrize(
    ("system", "cvss"),
    [
        ("CVSS V2", Cvss(score_v2=7.5)),
        ("CVSS V3", Cvss(score_v3=7.5)),
        ("CVSS V3.1", Cvss(score_v3=7.5)),
        ("CVSS V4", None),
        ("Aqua", None),
        (None, None),
    ],
)
def test_aquas_score_goes_where_its_scoring_system_says(system: str | None, cvss: Cvss | None) -> None:
    assert cvss_of(aqua_score=7.5, aqua_scoring_system=system)[0] == cvss


@pytest.mark.parametrize(
    ("vector", "cvss"),
    [(ZLIB_V3, Cvss(score_v3=7.5, vector_v3=ZLIB_V3)), (ZLIB_V2, Cvss(score_v2=7.5, vector_v2=ZLIB_V2))],
)
def test_without_a_scoring_system_the_vector_says_it(vector: str, cvss: Cvss) -> None:
    assert cvss_of(aqua_score=7.5, aqua_vectors=vector)[0] == cvss


def test_the_other_version_comes_from_the_nvd_then_from_the_vendor() -> None:
    aqua = {"aqua_score": 5.0, "aqua_vectors": ZLIB_V2, "aqua_scoring_system": "CVSS V2"}
    vendor = {"vendor_score_v3": 6.5, "vendor_vectors_v3": V3}
    nvd = {"nvd_score_v3": 7.5, "nvd_vectors_v3": ZLIB_V3}
    assert cvss_of(**aqua, **vendor, **nvd)[0] == Cvss(7.5, 5.0, ZLIB_V3, ZLIB_V2)
    assert cvss_of(**aqua, **vendor)[0] == Cvss(6.5, 5.0, V3, ZLIB_V2)


def test_aquas_own_figures_are_no_cvss_scores() -> None:
    """`vendor_score` 3 of version "Aqua" is a severity in figures, next to real CVSS 3 scores."""
    preferred, sources = cvss_of(
        vendor_score=3, vendor_score_version="Aqua", vendor_score_v3=7.5, vendor_vectors_v3=ZLIB_V3
    )
    assert preferred == Cvss(score_v3=7.5, vector_v3=ZLIB_V3)
    assert sources == {"vendor": {"V3Score": 7.5, "V3Vector": ZLIB_V3}}


def test_a_vector_is_taken_over_from_a_source_of_the_same_score_only() -> None:
    aqua = {"aqua_score": 5, "aqua_scoring_system": "CVSS V2"}
    assert cvss_of(**aqua, nvd_score=5.0, nvd_vectors=ZLIB_V2)[0] == Cvss(score_v2=5.0, vector_v2=ZLIB_V2)
    assert cvss_of(**aqua, nvd_score=4.3, nvd_vectors=ZLIB_V2)[0] == Cvss(score_v2=5.0)


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "junk",
        "CVSS:3.1",
        "CVSS:3.1/",
        "AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
        ZLIB_V2,
        f"{ZLIB_V3}\n",
        f" {ZLIB_V3}",
    ],
)
def test_what_is_no_vector_of_its_version_is_left_out(vector: str) -> None:
    preferred, sources = cvss_of(nvd_score_v3=7.5, nvd_vectors_v3=vector)
    assert preferred == Cvss(score_v3=7.5)
    assert sources == {"nvd": {"V3Score": 7.5}}


def test_a_score_that_is_missing_follows_from_its_vector() -> None:
    preferred, sources = cvss_of(nvd_vectors_v3=ZLIB_V3, nvd_vectors=ZLIB_V2)
    assert preferred == Cvss(7.5, 5.0, ZLIB_V3, ZLIB_V2)
    assert sources == {"nvd": {"V2Score": 5.0, "V2Vector": ZLIB_V2, "V3Score": 7.5, "V3Vector": ZLIB_V3}}


@pytest.mark.parametrize("vector", ["CVSS:3.1/AV:X/AC:L", "CVSS:3.7/AV:N", "CVSS:3.1/AV:N/AV:N"])
def test_a_vector_that_gives_no_score_is_left_out(vector: str) -> None:
    assert cvss_of(nvd_vectors_v3=vector) == (None, None)


def test_a_zero_without_a_vector_means_that_there_is_no_score() -> None:
    assert cvss_of(aqua_score=0, aqua_scoring_system="CVSS V3", nvd_score=0, nvd_score_v3=0) == (None, None)
    harmless = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"
    assert cvss_of(nvd_score_v3=0, nvd_vectors_v3=harmless)[0] == Cvss(score_v3=0.0, vector_v3=harmless)


@pytest.mark.parametrize("score", [-1, 10.1, 98])
def test_a_score_out_of_range_is_no_score(score: float) -> None:
    assert cvss_of(nvd_score_v3=score) == (None, None)


# ---- links, fixes, weaknesses


@pytest.mark.parametrize(
    ("nvd", "vendor", "links"),
    [
        ("https://a.example", "http://b.example", ["https://a.example", "http://b.example"]),
        ("https://a.example", "https://a.example", ["https://a.example"]),
        ("", None, []),
        ("javascript:alert(1)", "ftp://c.example", []),
        ("n/a", "https://b.example", ["https://b.example"]),
    ],
)
def test_links_are_web_links_and_differ(nvd: str, vendor: str | None, links: list[str]) -> None:
    assert finding_of(bare(nvd_url=nvd, vendor_url=vendor)).links == links


@pytest.mark.parametrize(
    ("text", "fix_version"),
    [
        ("2.15.0", "2.15.0"),
        ("5.2.4, 6.2.3, 7.5.10", "5.2.4, 6.2.3, 7.5.10"),
        ("0:4.14.3-19.el8_5.2 ", "0:4.14.3-19.el8_5.2"),
        ("1.18\nThe vendor has issued a fix (1.18).\n\nSee http://a.example", "1.18"),
        ("3.2.8,4.0.2\n3.2.8,4.0.2", "3.2.8, 4.0.2"),
        ("Upgrade soon:\n\tto 4.0.0 or later", "Upgrade soon: to 4.0.0 or later"),
    ],
)
def test_fix_versions_fit_on_a_line(text: str, fix_version: str) -> None:
    finding = finding_of(bare(fix_version=text))
    assert finding.fix_version == fix_version
    assert finding.status is FindingStatus.FIXED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, FindingStatus.AFFECTED),
        ({"fix_version": ""}, FindingStatus.AFFECTED),
        ({"fix_version": " "}, FindingStatus.AFFECTED),
        ({"vendor_statement": "Red Hat will not fix this."}, FindingStatus.WILL_NOT_FIX),
        ({"vendor_statement": "It will not be fixed in version 6."}, FindingStatus.WILL_NOT_FIX),
        ({"classification": "Won't fix"}, FindingStatus.WILL_NOT_FIX),
        ({"classification": "WONTFIX"}, FindingStatus.WILL_NOT_FIX),
        ({"vendor_statement": "Affects only servers."}, FindingStatus.AFFECTED),
        ({"vendor_statement": "will not fix", "fix_version": "1.2.12"}, FindingStatus.FIXED),
        ({"description": "It will not fix itself."}, FindingStatus.AFFECTED),
    ],
)
def test_the_status_follows_from_fix_and_vendor(fields: Any, status: FindingStatus) -> None:
    assert finding_of(bare(**fields)).status is status


def test_weaknesses_without_an_id_are_left_out() -> None:
    assert finding_of(bare(cwe_info=[{"name": "Other"}, {"Id": ""}, {"Id": "CWE-787"}])).cwe_ids == ["CWE-787"]
    assert finding_of(bare(cwe_info=None)).cwe_ids == []


# ---- where it was found


@pytest.mark.parametrize(
    ("resource", "package", "version"),
    [
        ({"name": "ssl", "version": "1.1"}, "ssl", "1.1"),
        ({"type": 2, "name": "node.js", "version": "18.17.1", "path": "/nodejs/bin/node"}, "node.js", "18.17.1"),
        ({"type": 1, "path": "/usr/lib/python2.7/ssl.py", "hash": "sha1:11a5"}, "/usr/lib/python2.7/ssl.py", ""),
        ({"type": 1, "path": "/app/a.jar", "name": "a", "version": "1"}, "/app/a.jar", "1"),
        ({"type": "1", "path": "/app/a.jar", "name": "a"}, "/app/a.jar", ""),
        ({"type": 1, "name": "a.jar"}, "a.jar", ""),
        ({"path": "/srv/app.war:WEB-INF/lib/codec-1.9.jar"}, "/srv/app.war:WEB-INF/lib/codec-1.9.jar", ""),
        ({"cpe": "file:/11a5", "hash": "sha1:11a5"}, "file:/11a5", ""),
        ({"hash": "sha1:11a5"}, "sha1:11a5", ""),
        ({"name": "", "path": "/bin/a"}, "/bin/a", ""),
    ],
)
def test_a_package_has_a_name_as_long_as_there_is_any(resource: Any, package: str, version: str) -> None:
    finding = finding_of(LOG4SHELL, resource)
    assert (finding.package, finding.version) == (package, version)


def test_no_vulnerability_is_lost_for_want_of_a_resource_or_a_name() -> None:
    nowhere = {"vulnerabilities": [LOG4SHELL, {"description": "It has no name."}]}
    first, second = result_of(report(nowhere)).findings
    assert (first.id, first.package) == ("CVE-2021-44228", "")
    assert (second.id, second.description) == ("", "It has no name.")


def test_the_layer_is_told_only_where_it_is_known() -> None:
    assert finding_of(LOG4SHELL, LOG4J).layer == Layer("sha256:" + "a" * 64)
    assert finding_of(LOG4SHELL, LOG4J | {"layer_digest": ""}).layer is None
    assert finding_of(LOG4SHELL, {"name": "a", "layer": "COPY . ."}).layer is None


def test_the_resource_is_described_without_what_is_empty() -> None:
    resource = GLIBC | {"license": "", "path": None, "layer": "COPY . ."}
    assert finding_of(LOG4SHELL, resource).vendor_attributes["resource"] == {
        "arch": "amd64",
        "format": "deb",
        "src_name": "glibc",
        "src_version": "2.36",
    }


def test_exploitation_is_told_without_what_is_not_known() -> None:
    finding = finding_of(bare(epss_score=0, cisa_due_date="2022-04-15"))
    assert finding.vendor_attributes["epss"] == {"score": 0.0}
    assert finding.vendor_attributes["cisa"] == {"due": "2022-04-15"}
    assert "epss" not in finding_of(bare(epss_percentile=0.5, epss_date="2024-01-22")).vendor_attributes


def test_the_same_vulnerability_keeps_each_of_its_places() -> None:
    places = [LOG4J | {"path": path} for path in ("/a.jar", "/b.jar")]
    findings = result_of(report(*(element(place, LOG4SHELL) for place in places))).findings
    assert [finding.vendor_attributes["resource"]["path"] for finding in findings] == ["/a.jar", "/b.jar"]
    assert {(finding.id, finding.package, finding.version) for finding in findings} == {
        ("CVE-2021-44228", "log4j-core", "2.14.1")
    }


def test_resources_keep_their_order() -> None:
    resources = [element(LOG4J | {"name": f"p{n}"}, LOG4SHELL) for n in range(5)]
    assert [finding.package for finding in result_of(report(*resources)).findings] == ["p0", "p1", "p2", "p3", "p4"]


# ---- advisories

DSA = {
    "name": "DSA-5514-1",
    "description": "Debian mended the loader.",
    "vendor_url": "https://lists.debian.org/dsa-5514",
    "fix_version": "2.36-9+deb12u9",
    "solution": "Upgrade package libc6.",
    "nvd_severity_v3": "low",
    "aqua_severity": "medium",
    "aqua_score": 4.4,
    "aqua_scoring_system": "CVSS V3",
}


def test_an_advisory_gives_way_to_its_vulnerabilities() -> None:
    second = {"name": "CVE-2023-4527"}
    first, other = result_of(report(element(GLIBC, DSA | {"ref_vulns": [LOONEY_TUNABLES, second]}))).findings
    assert [first.id, other.id] == ["CVE-2023-4911", "CVE-2023-4527"]
    assert first.vendor_attributes["advisory"] == other.vendor_attributes["advisory"] == "DSA-5514-1"


def test_a_vulnerability_of_an_advisory_keeps_what_it_says_itself() -> None:
    (finding,) = result_of(report(element(GLIBC, DSA | {"ref_vulns": [LOONEY_TUNABLES]}))).findings
    assert finding.severity is Severity.HIGH
    assert finding.preferred_cvss is not None
    assert finding.preferred_cvss.score_v3 == 7.8
    assert finding.fix_version == "2.36-9+deb12u3"
    assert finding.links == [
        "https://nvd.nist.gov/vuln/detail/CVE-2023-4911",
        "https://security-tracker.debian.org/tracker/CVE-2023-4911",
        "https://lists.debian.org/dsa-5514",
    ]


def test_a_vulnerability_of_an_advisory_takes_over_what_it_does_not_say() -> None:
    bare_one = {"name": "CVE-2023-4911", "description": ""}
    (finding,) = result_of(report(element(GLIBC, DSA | {"ref_vulns": [bare_one]}))).findings
    assert finding.severity is Severity.MEDIUM
    assert finding.preferred_cvss == Cvss(score_v3=4.4)
    assert finding.description == "Debian mended the loader."
    assert finding.fix_version == "2.36-9+deb12u9"
    assert finding.status is FindingStatus.FIXED
    assert finding.vendor_attributes["solution"] == "Upgrade package libc6."


def test_scores_and_severity_are_never_mixed_with_those_of_the_advisory() -> None:
    own = {"name": "CVE-2023-4911", "nvd_severity": "critical", "nvd_score": 9.3, "nvd_vectors": V2}
    (finding,) = result_of(report(element(GLIBC, DSA | {"ref_vulns": [own]}))).findings
    assert finding.severity is Severity.CRITICAL
    assert finding.preferred_cvss == Cvss(score_v2=9.3, vector_v2=V2)


@pytest.mark.parametrize("nested", [{}, {"ref_vulns": None}, {"ref_vulns": []}])
def test_an_advisory_of_no_vulnerabilities_stays_a_finding(nested: Any) -> None:
    (finding,) = result_of(report(element(GLIBC, DSA | nested))).findings
    assert (finding.id, finding.severity) == ("DSA-5514-1", Severity.MEDIUM)
    assert "advisory" not in finding.vendor_attributes


def test_an_advisory_may_list_advisories() -> None:
    inner = {"name": "RHSA-2023:5453", "ref_vulns": [LOONEY_TUNABLES]}
    (finding,) = result_of(report(element(GLIBC, DSA | {"ref_vulns": [inner]}))).findings
    assert (finding.id, finding.vendor_attributes["advisory"]) == ("CVE-2023-4911", "RHSA-2023:5453")


def test_a_report_that_lists_less_than_it_counts_says_so() -> None:
    short = report(element(GLIBC, LOONEY_TUNABLES), vulnerability_summary={"total": 98, "critical": 15})
    assert any("counted more" in notice for notice in result_of(short).notices)


def test_resources_that_were_not_scanned_make_the_results_partial() -> None:
    some = report(element(GLIBC), {**element(GLIBC), "scanned": False}, vulnerability_summary={"total": 0})
    assert any("partial" in notice for notice in result_of(some).notices)


def test_null_elements_stand_for_nothing() -> None:
    document = report(element(GLIBC, LOONEY_TUNABLES))
    document["resources"][0]["vulnerabilities"].append(None)
    document["resources"].append(None)
    assert len(result_of(document).findings) == len(result_of(report(element(GLIBC, LOONEY_TUNABLES))).findings)
