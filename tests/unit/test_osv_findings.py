"""What findings say: one for each CVE of a package, with all advisories that stand for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harbor_scanner.harbor import models
from harbor_scanner.harbor.models import Cvss, Finding, FindingStatus, Layer
from harbor_scanner.osv.advisory import Advisory, Reference, Severity
from harbor_scanner.osv.findings import findings
from harbor_scanner.osv.matching import UNORDERED
from harbor_scanner.osv.package import Package
from harbor_scanner.osv.texts import MAX_LENGTH, description
from support.osv import advisory, affected, package

LOG4J = package("Maven", "org.apache.logging.log4j:log4j-core", "2.14.1")
V2 = "AV:N/AC:M/Au:N/C:C/I:C/A:C"
V3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"
V3_LOW = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:L"
V4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"


def found(installed: Package | Sequence[Package], *advisories: Advisory) -> list[Finding]:
    """Return the findings of packages for which the database holds these advisories, whatever their names."""

    def look_up(ecosystem: str, name: str) -> list[Advisory]:
        assert ":" not in ecosystem
        named = [(one, part.package) for one in advisories for part in one.affected if part.package]
        return [one for one, entry in named if entry.name == name]

    return findings([installed] if isinstance(installed, Package) else installed, look_up)


def left(name: str, *points: str, version: str = "PyPI", **fields: Any) -> Advisory:
    return advisory(name, affected(version, "left", *(points or ("introduced 0",))), **fields)


def only(*advisories: Advisory, version: str = "1.0", ecosystem: str = "PyPI") -> Finding:
    (finding,) = found(package(ecosystem, "left", version), *advisories)
    return finding


def test_an_advisory_fills_every_field() -> None:
    ghsa = advisory(
        "GHSA-jfh8-c2jp-5v3q",
        affected(LOG4J.ecosystem, LOG4J.name, "introduced 2.13.0", "fixed 2.15.0"),
        aliases=("CVE-2021-44228",),
        summary="Remote code execution in Log4j",
        details="# Impact\n\nA **message** that is logged can load code, see [the site](https://example.org).",
        published="2021-12-10T00:40:56Z",
        severity=(Severity("CVSS_V3", V3),),
        references=(
            Reference("WEB", "https://logging.apache.org/log4j/2.x/security.html"),
            Reference("ADVISORY", "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"),
        ),
        database_specific={"severity": "CRITICAL", "cwe_ids": ["CWE-20", "CWE-502"]},
    )
    installed = package(
        LOG4J.ecosystem, LOG4J.name, LOG4J.version, purl="pkg:maven/x", paths=("/app.jar",), layer="sha256:aa"
    )
    assert found(installed, ghsa) == [
        Finding(
            id="CVE-2021-44228",
            package=LOG4J.name,
            version="2.14.1",
            severity=models.Severity.CRITICAL,
            fix_version="2.15.0",
            description="Remote code execution in Log4j\n\nImpact\n\n"
            "A message that is logged can load code, see the site.",
            links=[
                "https://nvd.nist.gov/vuln/detail/CVE-2021-44228",
                "https://osv.dev/vulnerability/GHSA-jfh8-c2jp-5v3q",
                "https://logging.apache.org/log4j/2.x/security.html",
            ],
            status=FindingStatus.FIXED,
            preferred_cvss=Cvss(score_v3=10.0, vector_v3=V3),
            cwe_ids=["CWE-20", "CWE-502"],
            layer=Layer("sha256:aa"),
            vendor_attributes={
                "ecosystem": "Maven",
                "advisories": ["GHSA-jfh8-c2jp-5v3q"],
                "aliases": ["GHSA-jfh8-c2jp-5v3q"],
                "published": "2021-12-10T00:40:56Z",
                "severities": {"GHSA-jfh8-c2jp-5v3q": "CRITICAL"},
                "CVSS": {"osv": {"V3Score": 10.0, "V3Vector": V3}},
                "purl": "pkg:maven/x",
                "paths": ["/app.jar"],
            },
        )
    ]


# Identity


def test_several_advisories_of_one_cve_are_one_finding() -> None:
    finding = only(
        left("PYSEC-2024-1", "introduced 0", "fixed 1.1", aliases=("CVE-2024-0001", "GHSA-aaaa-bbbb-cccc")),
        left(
            "GHSA-aaaa-bbbb-cccc",
            "introduced 0",
            "fixed 1.2",
            aliases=("CVE-2024-0001", "PYSEC-2024-1"),
            database_specific={"severity": "HIGH", "cwe_ids": ["CWE-79"]},
            references=(Reference("ADVISORY", "https://example.org/ghsa"),),
        ),
    )
    assert (finding.id, finding.severity, finding.fix_version) == ("CVE-2024-0001", "High", "1.2, 1.1")
    assert finding.vendor_attributes["aliases"] == ["GHSA-aaaa-bbbb-cccc", "PYSEC-2024-1"]
    assert finding.links == [
        "https://example.org/ghsa",
        "https://osv.dev/vulnerability/GHSA-aaaa-bbbb-cccc",
        "https://osv.dev/vulnerability/PYSEC-2024-1",
    ]
    assert finding.cwe_ids == ["CWE-79"]


def test_what_one_advisory_calls_fixed_and_another_affected_is_affected() -> None:
    fixed = left("PYSEC-2024-1", "introduced 0", "fixed 0.9", aliases=("CVE-2024-0001",))
    finding = only(fixed, left("GHSA-aaaa-bbbb-cccc", "introduced 0", aliases=("CVE-2024-0001",)))
    assert (finding.id, finding.status, finding.fix_version) == ("CVE-2024-0001", FindingStatus.AFFECTED, "")


def test_an_advisory_without_a_cve_takes_that_of_its_alias() -> None:
    pysec = left("PYSEC-2024-1", aliases=("GHSA-aaaa-bbbb-cccc",))
    not_matching = left("GHSA-aaaa-bbbb-cccc", "introduced 5", aliases=("CVE-2024-0001",))
    assert only(pysec, not_matching).id == "CVE-2024-0001"


def test_aliases_without_any_cve_are_one_finding_whatever_their_order() -> None:
    ghsa = left("GHSA-aaaa-bbbb-cccc")
    pysec = left("PYSEC-2024-1", aliases=("GHSA-aaaa-bbbb-cccc",))
    assert {only(ghsa, pysec).id, only(pysec, ghsa).id} == {"GHSA-aaaa-bbbb-cccc"}
    assert only(pysec).id == "PYSEC-2024-1"


def test_a_withdrawn_alias_lends_nothing() -> None:
    own = left("PYSEC-2024-1", aliases=("GHSA-aaaa-bbbb-cccc",))
    withdrawn = left("GHSA-aaaa-bbbb-cccc", aliases=("CVE-2024-0001",), withdrawn="2024-02-02T00:00:00Z")
    assert only(own, withdrawn).id == "PYSEC-2024-1"


def test_another_bundle_of_the_same_cve_lends_nothing() -> None:
    own = left("PYSEC-2024-1", aliases=("GHSA-aaaa-bbbb-cccc",))
    alias = left("GHSA-aaaa-bbbb-cccc", aliases=("CVE-2024-0001",))
    bundle = left("GHSA-dddd-eeee-ffff", "introduced 9", aliases=("CVE-2024-0001", "CVE-2024-0002"))
    assert only(own, alias, bundle).id == "CVE-2024-0001"


def test_what_is_related_in_a_language_is_another_vulnerability() -> None:
    assert only(left("GHSA-aaaa-bbbb-cccc", related=("CVE-2024-0001",))).id == "GHSA-aaaa-bbbb-cccc"


@pytest.mark.parametrize("field", ["aliases", "upstream", "related"])
def test_a_bundle_of_a_distribution_is_a_finding_for_each_cve(field: str) -> None:
    ids = ("CVE-2024-0001", "UBUNTU-CVE-2024-0002", "CVE-2024-0002")
    bundle = left("USN-1-1", "introduced 0", "fixed 2", version="Ubuntu:22.04:LTS", **{field: ids})
    one, two = found(package("Ubuntu:22.04:LTS", "left", "1"), bundle)
    assert (one.id, two.id) == ("CVE-2024-0001", "CVE-2024-0002")
    assert (one.fix_version, two.fix_version) == ("2", "2")
    assert "USN-1-1" in one.vendor_attributes["aliases"]
    assert not [alias for alias in one.vendor_attributes["aliases"] if "0002" in alias]


@pytest.mark.parametrize("name", ["UBUNTU-CVE-2024-0001", "DEBIAN-CVE-2024-0001", "CVE-2024-0001"])
def test_a_cve_in_the_name_of_an_advisory_is_the_one_it_is_about(name: str) -> None:
    one = left(name, version="Debian:12", related=("CVE-2024-0009",), upstream=("CVE-2024-0001",))
    assert only(one, ecosystem="Debian:12").id == "CVE-2024-0001"


def test_an_advisory_without_a_cve_keeps_its_id() -> None:
    assert only(left("MAL-2024-1")).id == "MAL-2024-1"


# Packages


def test_a_finding_names_the_package_as_installed() -> None:
    one = advisory("DEBIAN-CVE-2024-0001", affected("Debian:12", "openssl", "introduced 0"))
    packages = [package("Debian:12", name, "3.0.1-1", source="openssl") for name in ("libssl3", "openssl")]
    first, second = found(packages, one)
    assert (first.package, second.package) == ("libssl3", "openssl")
    assert first.vendor_attributes["source"] == {"name": "openssl", "version": "3.0.1-1"}
    assert "source" not in second.vendor_attributes


def test_another_spelling_is_no_source() -> None:
    one = advisory("CVE-2024-0001", affected("PyPI", "zope-interface", "introduced 0"))
    (finding,) = found(package("PyPI", "Zope.Interface", "1.0", source="zope-interface"), one)
    assert finding.package == "Zope.Interface"
    assert "source" not in finding.vendor_attributes


def test_copies_of_a_package_are_one_finding_with_all_paths() -> None:
    copies = [package("PyPI", "left", "1.0", paths=(path,), layer=layer) for path, layer in (("/a", ""), ("/b", "l"))]
    (finding,) = found(copies, left("CVE-2024-0001"))
    assert finding.vendor_attributes["paths"] == ["/a", "/b"]
    assert finding.layer == Layer("l")


def test_versions_of_a_package_are_judged_apart() -> None:
    versions = [package("PyPI", "left", version) for version in ("1.0", "2.0", "1.5")]
    affected_ones = found(versions, left("CVE-2024-0001", "introduced 0", "fixed 2.0"))
    assert [finding.version for finding in affected_ones] == ["1.0", "1.5"]


def test_streams_of_a_module_are_judged_apart() -> None:
    named, purl = "Red Hat:enterprise_linux:8", "pkg:rpm/redhat/left?rpmmod=left%3A20"
    one = advisory("RHSA-1", affected(f"{named}::appstream", "left", "introduced 0", purl=purl))
    streams = [package(named, "left", "18-1", modularity=f"left:{stream}:1:a") for stream in (18, 20)]
    assert [len(found(stream, one)) for stream in streams] == [0, 1]
    assert len(found(streams, one)) == 1


def test_epochless_sources_are_judged_apart() -> None:
    one = advisory("RLSA-1", affected("Rocky Linux:9", "left", "introduced 0", "fixed 1:1.0-1"))
    sourced = package("Rocky Linux:9", "left-libs", "1.0-1", source="left")
    assert [finding.package for finding in found([sourced, package("Rocky Linux:9", "left", "1.0-1")], one)] == ["left"]


def test_an_uncertain_finding_says_why() -> None:
    one = left("CVE-2024-0001", "introduced 0", "fixed 2.0")
    assert only(one, version="trunk").vendor_attributes["uncertain"] == UNORDERED
    assert "uncertain" not in only(one, left("GHSA-a", aliases=("CVE-2024-0001",)), version="trunk").vendor_attributes


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert found([package("PyPI", "left", "1.0"), package("Debian:12", "right", "1")]) == []


# Severity


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"database_specific": {"severity": "CRITICAL"}}, "Critical"),
        ({"database_specific": {"severity": "MODERATE"}}, "Medium"),
        ({"database_specific": {"severity": "Important"}}, "High"),
        ({"database_specific": {"severity": "LOW"}, "severity": (Severity("CVSS_V3", V3),)}, "Low"),
        ({"severity": (Severity("Ubuntu", "negligible"),)}, "Negligible"),
        ({"severity": (Severity("Ubuntu", "untriaged"),)}, "Unknown"),
        ({"severity": (Severity("CVSS_V2", V2),)}, "High"),
        ({"severity": (Severity("CVSS_V3", V3),)}, "Critical"),
        ({"severity": (Severity("CVSS_V3", V3_LOW),)}, "Low"),
        ({"severity": (Severity("CVSS_V2", V2), Severity("CVSS_V3", V3_LOW))}, "Low"),
        ({"severity": (Severity("CVSS_V4", V4),)}, "Critical"),
        ({"severity": (Severity("CVSS_V3", "CVSS:3.1/AV:Z"),)}, "Unknown"),
        ({"severity": (Severity("CVSS_V9", "x"),), "database_specific": {"severity": 7}}, "Unknown"),
        ({}, "Unknown"),
    ],
)
def test_the_advisorys_word_is_its_severity_else_its_vector(fields: dict[str, Any], expected: str) -> None:
    assert only(left("CVE-2024-0001", **fields)).severity == expected


@pytest.mark.parametrize(
    ("specific", "severity", "status"),
    [
        ({"urgency": "unimportant"}, "Negligible", FindingStatus.WILL_NOT_FIX),
        ({"urgency": "end-of-life"}, "Critical", FindingStatus.WILL_NOT_FIX),
        ({"urgency": "not yet assigned"}, "Critical", FindingStatus.AFFECTED),
        ({"urgency": "medium**"}, "Medium", FindingStatus.AFFECTED),
        (None, "Critical", FindingStatus.AFFECTED),
    ],
)
def test_debians_urgency_is_heard(specific: dict[str, Any] | None, severity: str, status: FindingStatus) -> None:
    part = affected("Debian:12", "left", "introduced 0", ecosystem_specific=specific)
    finding = only(advisory("DEBIAN-CVE-2024-0001", part, severity=(Severity("CVSS_V3", V3),)), ecosystem="Debian:12")
    assert (finding.severity, finding.status) == (severity, status)


def test_one_part_that_may_be_mended_is_enough() -> None:
    urgencies = ({"urgency": "unimportant"}, {"urgency": "low"})
    parts = [affected("Debian:12", "left", "introduced 0", ecosystem_specific=urgency) for urgency in urgencies]
    assert only(advisory("CVE-2024-0001", *parts), ecosystem="Debian:12").status is FindingStatus.AFFECTED


def test_an_unimportant_one_with_a_fix_is_fixed() -> None:
    part = affected("Debian:12", "left", "introduced 0", "fixed 2", ecosystem_specific={"urgency": "unimportant"})
    assert only(advisory("DEBIAN-CVE-2024-0001", part), ecosystem="Debian:12").status is FindingStatus.FIXED


def test_the_part_that_affects_has_the_rating() -> None:
    twelve = affected("Debian:12", "left", "introduced 0", severity=(Severity("CVSS_V3", V3_LOW),))
    eleven = affected("Debian:11", "left", "introduced 0", severity=(Severity("CVSS_V3", V3),))
    assert only(advisory("CVE-2024-0001", eleven, twelve), ecosystem="Debian:12").severity == "Low"


def test_cvss_goes_where_harbor_has_a_place_for_it() -> None:
    ratings = (Severity("CVSS_V2", V2), Severity("CVSS_V3", V3), Severity("CVSS_V4", V4))
    finding = only(left("CVE-2024-0001", severity=ratings))
    assert finding.preferred_cvss == Cvss(10.0, 9.3, V3, V2)
    assert finding.vendor_attributes["cvss4"] == {"score": 9.3, "vector": V4}
    assert only(left("CVE-2024-0001", severity=ratings[2:])).preferred_cvss is None


def test_a_fix_of_ubuntu_pro_is_told_but_is_no_fix() -> None:
    part = affected("Ubuntu:Pro:22.04:LTS", "left", "introduced 0", "fixed 2+esm1")
    finding = only(advisory("UBUNTU-CVE-2024-0001", part), ecosystem="Ubuntu:22.04:LTS")
    assert (finding.status, finding.fix_version) == (FindingStatus.AFFECTED, "")
    assert finding.vendor_attributes["ubuntuProFix"] == "2+esm1"


# Texts


@pytest.mark.parametrize(
    ("summary", "details", "expected"),
    [
        ("Title", "", "Title"),
        ("", "Some `code` and <b>bold</b> &amp; more", "Some code and bold & more"),
        ("Title.", "title, and more", "title, and more"),
        ("", "## Head\r\n\r\n\r\n\r\n> quoted ![image](a.png)\n```py\nx = 1\n```", "Head\n\nquoted image\nx = 1"),
        ("", "a_b_c __init__ 2 < 3 and 5 > 4 [x]", "a_b_c __init__ 2 < 3 and 5 > 4 [x]"),
        ("Only\n  one line", "", "Only one line"),
    ],
)
def test_descriptions_are_plain_text(summary: str, details: str, expected: str) -> None:
    assert description(summary, details) == expected


def test_long_descriptions_end_after_a_word() -> None:
    text = description("", "word " * MAX_LENGTH)
    assert text.endswith("word…")
    assert len(text) <= MAX_LENGTH
    assert len(description("", "x" * 3 * MAX_LENGTH)) == MAX_LENGTH
