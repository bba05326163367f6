"""Whether an advisory affects a package."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.osv.advisory import Affected, Range
from harbor_scanner.osv.matching import NO_RELEASE, UNORDERED, Match, matches
from harbor_scanner.osv.package import Package
from support.osv import advisory, affected, events, package


def hit(given_package: Package, *parts: Affected, **fields: Any) -> Match | None:
    return matches(given_package, advisory("CVE-2024-0001", *parts, **fields))


def fixes(given_package: Package, *parts: Affected) -> tuple[str, ...] | None:
    found = hit(given_package, *parts)
    return found.fixes if found else None


# Ranges


@pytest.mark.parametrize(
    ("version", "points", "expected"),
    [
        ("1.0", ["introduced 0"], ()),
        ("0.dev0", ["introduced 0", "fixed 2"], ("2",)),
        ("1.9", ["introduced 0", "fixed 2"], ("2",)),
        ("2", ["introduced 0", "fixed 2"], None),
        ("2.0.0", ["introduced 0", "fixed 2"], None),
        ("10", ["introduced 0", "fixed 2"], None),
        ("0.9", ["introduced 1", "fixed 2"], None),
        ("1", ["introduced 1", "fixed 2"], ("2",)),
        ("2rc1", ["introduced 1", "fixed 2"], ("2",)),
        ("2", ["introduced 1", "last_affected 2"], ()),
        ("2+cpu", ["introduced 1", "last_affected 2"], ()),
        ("2.0.1", ["introduced 1", "last_affected 2"], None),
        ("2", ["introduced 1", "fixed 2+patch"], ("2+patch",)),
        ("3.5", ["introduced 1", "fixed 2", "introduced 3", "fixed 4"], ("4",)),
        ("1.5", ["introduced 1", "fixed 2", "introduced 3", "fixed 4"], ("2",)),
        ("2.5", ["introduced 1", "fixed 2", "introduced 3", "fixed 4"], None),
        ("3.5", ["fixed 4", "introduced 3", "fixed 2", "introduced 1"], ("4",)),
        ("2.5", ["fixed 4", "introduced 3", "fixed 2", "introduced 1"], None),
        ("2", ["introduced 1", "fixed 2", "introduced 2", "fixed 3"], ("3",)),
        ("1", ["introduced 1", "fixed 1"], None),
        ("1.5", ["introduced 0", "limit 2"], ()),
        ("2", ["introduced 0", "limit 2"], None),
        ("3.5", ["introduced 0", "limit 2", "limit 4"], ()),
        ("9", ["introduced 0", "limit *"], ()),
        ("0", ["introduced 0", "fixed 0"], None),
        ("0.dev2", ["introduced 0", "fixed 0.dev1", "introduced 1"], None),
    ],
)
def test_ranges_are_evaluated_as_the_schema_says(
    version: str, points: list[str], expected: tuple[str, ...] | None
) -> None:
    assert fixes(package("PyPI", "left", version), affected("PyPI", "left", *points)) == expected


@given(st.data())
def test_ranges_hold_what_counting_holds(data: st.DataObject) -> None:
    ordered = ["0.9", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.2", "1.10", "2.0.dev1", "2.0", "2!0.1"]
    kinds = st.sampled_from(["introduced", "fixed", "last_affected"])
    places = data.draw(st.lists(st.integers(0, len(ordered) - 1), min_size=1, max_size=6, unique=True).map(sorted))
    points = [(data.draw(kinds), ordered[place]) for place in places]
    if data.draw(st.booleans()):
        points = [("introduced", "0"), *points]
    affected_now, oracle = False, set()
    for version in ordered:
        before = [kind for kind, named in points if named == version]
        affected_now = affected_now or (points[0] == ("introduced", "0") and version == ordered[0])
        affected_now = {"introduced": True, "fixed": False}.get(before[0], affected_now) if before else affected_now
        if affected_now:
            oracle.add(version)
        if before == ["last_affected"]:
            affected_now = False
    shuffled = data.draw(st.permutations(points))
    entry = affected("PyPI", "left", *(f"{kind} {version}" for kind, version in shuffled))
    assert {version for version in ordered if hit(package("PyPI", "left", version), entry)} == oracle


def test_any_of_several_ranges_is_enough_and_gives_the_fix() -> None:
    entry = Affected(
        package=affected("npm", "left").package,
        ranges=(
            Range("SEMVER", events("introduced 1.0.0", "fixed 1.4.2")),
            Range("SEMVER", events("introduced 2.0.0", "fixed 2.1.0")),
        ),
    )
    assert fixes(package("npm", "left", "2.0.5"), entry) == ("2.1.0",)
    assert fixes(package("npm", "left", "1.4.2"), entry) is None


def test_ranges_of_commits_are_left_to_the_versions() -> None:
    entry = affected("PyPI", "left", "introduced 0", "fixed abcdef12", kind="GIT", versions=("1.0", "1.1"))
    assert fixes(package("PyPI", "left", "1.1.0"), entry) == ()
    assert fixes(package("PyPI", "left", "1.2"), entry) is None
    assert hit(package("PyPI", "left", "1.0"), affected("PyPI", "left", "introduced 0", kind="GIT")) is None


def test_a_listed_version_is_affected_whatever_the_ranges_say() -> None:
    entry = affected("Go", "example.org/left", "introduced 2.0.0", kind="SEMVER", versions=("1.5.0", "v1.6.0"))
    assert hit(package("Go", "example.org/left", "v1.5.0"), entry)
    assert hit(package("Go", "example.org/left", "1.6.0"), entry)
    assert not hit(package("Go", "example.org/left", "v1.7.0"), entry)


def test_an_entry_that_names_neither_ranges_nor_versions_affects_nothing() -> None:
    assert hit(package("PyPI", "left", "1.0"), affected("PyPI", "left")) is None


def test_a_withdrawn_advisory_affects_nothing() -> None:
    entry = affected("PyPI", "left", "introduced 0")
    assert hit(package("PyPI", "left", "1.0"), entry)
    assert hit(package("PyPI", "left", "1.0"), entry, withdrawn="2024-01-01T00:00:00Z") is None


def test_semver_ranges_are_ordered_by_semver_in_every_ecosystem() -> None:
    semver, own = (affected("PyPI", "left", "introduced 0", "fixed 1.0.0", kind=k) for k in ("SEMVER", "ECOSYSTEM"))
    before_for_semver = package("PyPI", "left", "1.0.0-1")
    assert hit(before_for_semver, semver)
    assert not hit(before_for_semver, own)


# Versions without an order


@pytest.mark.parametrize("version", ["(devel)", "", "unknown"])
def test_a_version_without_an_order_counts_as_affected_and_says_why(version: str) -> None:
    found = hit(
        package("Go", "example.org/left", version), affected("Go", "example.org/left", "introduced 0", "fixed 1.2")
    )
    assert found
    assert (found.doubt, found.fixes) == (UNORDERED, ("1.2",))


def test_a_version_without_an_order_needs_none_where_all_are_affected() -> None:
    found = hit(package("Go", "example.org/left", "(devel)"), affected("Go", "example.org/left", "introduced 0"))
    assert found
    assert not found.doubt


def test_an_event_without_an_order_leaves_the_package_affected() -> None:
    found = hit(package("PyPI", "left", "1.0"), affected("PyPI", "left", "introduced 0", "fixed trunk"))
    assert found
    assert found.doubt == UNORDERED


def test_what_is_certain_leaves_no_doubt() -> None:
    unclear = affected("Go", "example.org/left", "introduced 0", "fixed 1.2")
    clear = affected("Go", "example.org/left", "introduced 0")
    found = hit(package("Go", "example.org/left", "(devel)"), unclear, clear)
    assert found
    assert not found.doubt
    assert len(found.entries) == 2


# Names and releases


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        (package("PyPI", "zope-interface", "1"), ("PyPI", "Zope.Interface")),
        (package("Debian:12", "libssl3", "1", source="openssl"), ("Debian:12", "openssl")),
        (package("Debian:12", "openssl", "1"), ("Debian", "openssl")),
        (package("Alpine:v3.19", "libcrypto3", "1", source="openssl"), ("Alpine:v3.19", "openssl")),
        (package("Wolfi", "libcrypto3", "1", source="openssl"), ("Wolfi", "openssl")),
        (package("Wolfi", "libcrypto3", "1", source="openssl"), ("Wolfi", "libcrypto3")),
        (package("Rocky Linux:9", "openssl-libs", "1-1", source="openssl"), ("Rocky Linux:9", "openssl")),
        (package("AlmaLinux:9", "openssl-libs", "1-1"), ("AlmaLinux:9", "openssl-libs")),
        (package("Red Hat:enterprise_linux:9", "zlib", "1-1"), ("Red Hat:enterprise_linux:9::baseos", "zlib")),
        (
            package("SUSE:Linux Enterprise Server 15 SP5", "libz1", "1-1", source="zlib"),
            ("SUSE:Linux Enterprise Module for Basesystem 15 SP5", "zlib"),
        ),
        (package("openSUSE:Leap 15.5", "libz1", "1-1", source="zlib"), ("openSUSE:Leap 15.5", "zlib")),
        (package("Ubuntu:23.10", "zlib", "1"), ("Ubuntu:23.10", "zlib")),
        (package("Maven", "com.google:x", "1"), ("Maven:https://maven.google.com", "com.google:x")),
        (package("Go", "stdlib", "go1.21.3"), ("Go", "stdlib")),
    ],
)
def test_packages_are_known_by_the_names_of_their_ecosystem(installed: Package, named: tuple[str, str]) -> None:
    assert hit(installed, affected(*named, "introduced 0"))


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        (package("npm", "left", "1"), ("PyPI", "left")),
        (package("npm", "left", "1"), ("npm", "left-pad")),
        (package("npm", "jsonstream", "1"), ("npm", "JSONStream")),
        (package("Debian:12", "libssl3", "1", source="openssl"), ("Debian:12", "libssl3")),
        (package("Debian:12", "openssl", "1"), ("Debian:11", "openssl")),
        (package("Ubuntu:22.04:LTS", "zlib", "1"), ("Ubuntu:20.04:LTS", "zlib")),
        (package("SUSE:Linux Enterprise Server 15 SP5", "zlib", "1-1"), ("openSUSE:Leap 15.5", "zlib")),
    ],
)
def test_packages_of_other_names_ecosystems_and_releases_are_left_alone(
    installed: Package, named: tuple[str, str]
) -> None:
    assert not hit(installed, affected(*named, "introduced 0"))


def test_an_unknown_release_is_compared_with_all_and_says_so() -> None:
    found = hit(package("Debian", "zlib", "1"), affected("Debian:11", "zlib", "introduced 0"))
    assert found
    assert found.doubt == NO_RELEASE


def test_a_part_without_a_package_affects_nothing() -> None:
    assert not hit(package("npm", "left", "1"), Affected(versions=("1",)))


def test_the_epoch_that_a_source_rpm_does_not_tell_does_not_count() -> None:
    entry = affected("Rocky Linux:9", "openssl", "introduced 0", "fixed 1:3.0.7-25.el9_3")
    source = {"source": "openssl"}
    assert not hit(package("Rocky Linux:9", "openssl-libs", "3.0.7-25.el9_3", **source), entry)
    assert hit(package("Rocky Linux:9", "openssl-libs", "3.0.7-24.el9", **source), entry)
    assert hit(package("Rocky Linux:9", "openssl", "3.0.8-1.el9"), entry)
    assert not hit(package("Rocky Linux:9", "openssl-libs", "1:3.0.7-25.el9_3", **source), entry)


def test_another_stream_of_a_module_has_versions_of_its_own() -> None:
    named = "Red Hat:enterprise_linux:8::appstream"
    entry = affected(named, "nodejs", "introduced 0", "fixed 1:20.9-1", purl="pkg:rpm/redhat/nodejs?rpmmod=nodejs%3A20")
    installed = package("Red Hat:enterprise_linux:8", "nodejs", "1:18.1-1")
    assert hit(installed, entry)
    assert not hit(package("Red Hat:enterprise_linux:8", "nodejs", "1:18.1-1", modularity="nodejs:18:80600:a"), entry)
    assert hit(package("Red Hat:enterprise_linux:8", "nodejs", "1:20.1-1", modularity="nodejs:20:80600:a"), entry)


# Ubuntu Pro

STANDARD = affected("Ubuntu:20.04:LTS", "left", "introduced 0")
STANDARD_FIXED = affected("Ubuntu:20.04:LTS", "left", "introduced 0", "fixed 1.0-1ubuntu2")
PRO = affected("Ubuntu:Pro:20.04:LTS", "left", "introduced 0", "fixed 1.0-1ubuntu1+esm1")
FIPS = affected("Ubuntu:Pro:FIPS-updates:20.04:LTS", "left", "introduced 0", "fixed 1.0-1ubuntu1+fips.9")


@pytest.mark.parametrize(
    ("version", "parts", "expected"),
    [
        ("1.0-1ubuntu1", [STANDARD, PRO], ((), ())),
        ("1.0-1ubuntu1", [PRO], ((), ("1.0-1ubuntu1+esm1",))),
        ("1.0-1ubuntu1", [STANDARD_FIXED, PRO], (("1.0-1ubuntu2",), ())),
        ("1.0-1ubuntu2", [STANDARD_FIXED, PRO], None),
        ("1.0-1ubuntu1+esm1", [STANDARD, PRO], None),
        ("1.0-1ubuntu0+esm1", [STANDARD, PRO], (("1.0-1ubuntu1+esm1",), ())),
        ("1.0-1ubuntu1+esm1", [STANDARD], ((), ())),
        ("1.0-1ubuntu1", [FIPS], None),
        ("1.0-1ubuntu1+fips.8", [STANDARD, FIPS], (("1.0-1ubuntu1+fips.9",), ())),
        ("1.0-1ubuntu1+fips.9", [STANDARD, FIPS], None),
    ],
)
def test_fixes_of_ubuntu_pro_neither_hide_nor_mend_what_came_without_it(
    version: str, parts: list[Affected], expected: tuple[tuple[str, ...], tuple[str, ...]] | None
) -> None:
    found = hit(package("Ubuntu:20.04:LTS", "left", version), *parts)
    assert (found and (found.fixes, found.pro_fixes)) == expected
