"""The order of versions, by cases from the documentation of each ecosystem."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.osv.versions import MAX_LENGTH, NoOrderError, Scheme, compare

ASCENDING = {
    # Debian policy, 5.6.12
    Scheme.DEBIAN: "1.0~~ 1.0~~a 1.0~ 1.0 1.0-1 1.0-1+b1 1.0-1+deb12u1 1.0-1.1 1.0a-1 1.0+git1-1 1.1~rc1-1 1.1 1:0",
    # The manual of rpm, version
    Scheme.RPM: "1.0~rc1-1 1.0-1 1.0-1.el9 1.0-1.el9_2 1.0^git1-1 1.0.1-1 1.2a-1 1.2.1-1 1.9-1 1.10-1 1:0.1-1",
    # The manual of apk, package format
    Scheme.APK: (
        "1.0_alpha 1.0_alpha2 1.0_beta 1.0_pre1 1.0_rc1 1.0_rc2-r0 1.0 1.0-r1 1.0-r10 1.0_git2023-r0 1.0_p1 1.0_p1-r1 "
        "1.0b 1.0.1-r0 1.1 1.10"
    ),
    # PEP 440
    Scheme.PEP440: "1.0.dev1 1.0a1.dev1 1.0a1 1.0b2 1.0rc1 1.0 1.0+cpu 1.0.post1.dev1 1.0.post1 1.1 1.10 2!0.1",
    # semver.org, item 11
    Scheme.SEMVER: (
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.2.0 1.10.0"
    ),
    # go.dev/ref/mod, pseudo-versions
    Scheme.GO: (
        "v0.0.0-20190101000000-ffffffffffff v0.0.0-20200101000000-aaaaaaaaaaaa v0.1.0 v1.2.3-rc.1 "
        "v1.2.3-rc.1.0.20200101000000-abcdefabcdef v1.2.3 v1.2.4-0.20200101000000-abcdefabcdef v1.2.4 "
        "1.20.0-0 go1.20beta1 go1.20rc2 1.20.0-rc.3 go1.20 go1.20.14 v2.0.0+incompatible v2.0.1"
    ),
    # maven.apache.org/pom.html, version order
    Scheme.MAVEN: "1-alpha-1 1-alpha2 1-beta-1 1-milestone-1 1-rc1 1-SNAPSHOT 1 1-sp 1-abc 1-1 1.0.1 1.1 1.10 2",
    # learn.microsoft.com/nuget/concepts/package-versioning
    Scheme.NUGET: "1.0.0-alpha 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-RC 1.0.0 1.0.0.1-a 1.0.0.1 1.0.0.10 1.0.1",
    # Gem::Version
    Scheme.GEM: "1.0.0.alpha 1.0.0.beta1 1.0.0.pre 1.0.0.rc1 1.0.0 1.0.0.1 1.0.1 1.0.10",
    # getcomposer.org/doc/articles/versions.md
    Scheme.COMPOSER: "1.0.0-dev 1.0.0-alpha1 1.0.0-beta2 1.0.0-beta10 1.0.0-RC1 1.0.0 1.0.0-p1 1.0.0.1 1.0.1 v1.10",
    Scheme.GENERIC: "1.0~rc1 1.0-dev 1.0a1 1.0-beta2 1.0-pre 1.0rc1 1.0 1.0.1 1.0.2 1.0.2a 1.0.2b 1.2 1.10 20230101",
}

EQUAL = [
    (Scheme.DEBIAN, "0:1.0-1", "1.0-1"),
    (Scheme.DEBIAN, "1.01", "1.1"),
    (Scheme.RPM, "0:1.0-1", "1.0-1"),
    (Scheme.RPM, "(none):1.0-1", "1.0-1"),
    (Scheme.RPM, "1.01-1", "1.1-1"),
    (Scheme.PEP440, "1.0", "1.0.0"),
    (Scheme.PEP440, "1.0-1", "1.0.post1"),
    (Scheme.PEP440, "v1.0.RC1", "1.0rc1"),
    (Scheme.SEMVER, "1.0.0+build.1", "1.0.0+build.2"),
    (Scheme.SEMVER, "v1.2", "1.2.0"),
    (Scheme.GO, "v2.0.0+incompatible", "2.0.0"),
    (Scheme.GO, "go1.21rc2", "1.21.0-rc.2"),
    (Scheme.GO, "go1.21.3 X:boringcrypto", "1.21.3"),
    (Scheme.MAVEN, "1", "1.0.0"),
    (Scheme.MAVEN, "1.0-ga", "1.0-FINAL"),
    (Scheme.MAVEN, "1.0-a1", "1.0-alpha-1"),
    (Scheme.NUGET, "1.0", "1.0.0.0"),
    (Scheme.NUGET, "1.0.0-BETA", "1.0.0-beta"),
    (Scheme.GEM, "1.16.2-x86_64-linux", "1.16.2"),
    (Scheme.GEM, "1.0", "1"),
    (Scheme.COMPOSER, "v1.0.0-RC1", "1.0.0rc1"),
    (Scheme.GENERIC, "1.0", "v1"),
]


@pytest.mark.parametrize("scheme", ASCENDING)
def test_versions_ascend_as_their_ecosystem_documents(scheme: Scheme) -> None:
    for earlier, later in combinations(ASCENDING[scheme].split(), 2):
        assert (compare(scheme, earlier, later), compare(scheme, later, earlier)) == (-1, 1), (earlier, later)


def test_every_scheme_is_tried() -> None:
    assert set(ASCENDING) == set(Scheme)


@pytest.mark.parametrize(("scheme", "one", "other"), EQUAL)
def test_versions_are_equal_as_their_ecosystem_documents(scheme: Scheme, one: str, other: str) -> None:
    assert compare(scheme, one, other) == compare(scheme, other, one) == 0


@pytest.mark.parametrize(
    ("scheme", "earlier", "later"),
    [
        (Scheme.PEP440, "0.8.6p1", "0.8.7p1"),
        (Scheme.PEP440, "2.0.1rc2-git", "2.0.1"),
        (Scheme.PEP440, "1.0-final-2", "1.1"),
        (Scheme.SEMVER, "1.2.3.4", "1.2.3.10"),
        (Scheme.APK, "01.2-r1", "01.10-r0"),
        (Scheme.DEBIAN, "r1234", "r12345"),
        (Scheme.RPM, "x:1.0", "x:1.1"),
        (Scheme.COMPOSER, "1.0.x-dev", "1.1.x-dev"),
    ],
)
def test_versions_that_break_the_rules_are_ordered_all_the_same(scheme: Scheme, earlier: str, later: str) -> None:
    assert (compare(scheme, earlier, later), compare(scheme, later, earlier)) == (-1, 1)


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("version", ["(devel)", "trunk", "", "1" * (MAX_LENGTH + 1)])
def test_what_has_no_order_says_so(scheme: Scheme, version: str) -> None:
    with pytest.raises(NoOrderError):
        compare(scheme, version, "1.0")
    with pytest.raises(NoOrderError):
        compare(scheme, "1.0", version)


_numbers = st.lists(st.integers(0, 12).map(str), min_size=1, max_size=4).map(".".join)
_triples = st.lists(st.integers(0, 12).map(str), min_size=3, max_size=3).map(".".join)


def _versions(numbers: st.SearchStrategy[str], *endings: str) -> st.SearchStrategy[str]:
    return st.tuples(numbers, st.sampled_from(("", *endings))).map("".join)


REALISTIC = {
    Scheme.DEBIAN: _versions(_numbers, "-1", "~rc1-1", "-1+deb12u2", "+dfsg-2", "-1ubuntu2~22.04.1", "+esm1", "-0"),
    Scheme.RPM: _versions(_numbers, "-1.el9", "~beta1-1", "^20230101git-3.fc40", "-150400.3.6.1", "-1.module+el8+7"),
    Scheme.APK: _versions(_numbers, "-r0", "_rc1-r2", "_p2-r1", "_git20230101-r0", "a-r3", "_alpha", "_pre2"),
    Scheme.PEP440: _versions(_numbers, "a1", "b2", "rc1", ".dev3", ".post1", "+cu118", "rc1.dev2"),
    Scheme.SEMVER: _versions(_triples, "-alpha", "-alpha.1", "-beta.11", "-rc.1", "+build", "-0", "-x.y.2"),
    Scheme.GO: _versions(_triples, "-0.20200101000000-abcdefabcdef", "+incompatible", "-rc.1", "-0"),
    Scheme.MAVEN: _versions(_numbers, "-SNAPSHOT", ".Final", "-alpha-1", "-jre", "-rc2", ".RELEASE", "-1", "-M3"),
    Scheme.NUGET: _versions(_numbers, "-alpha", "-beta.2", "-RC1", "+meta", "-preview.7.23375.6"),
    Scheme.GEM: _versions(_numbers, ".pre", ".rc1", ".beta.2", "-java", ".a", "-x86_64-linux"),
    Scheme.COMPOSER: _versions(_numbers, "-dev", "-alpha1", "-beta2", "-RC3", "-p1", "-patch2"),
    Scheme.GENERIC: _versions(_numbers, "a", "a1", "-rc1", "~x", "+meta", "_p1", "-final", ".dev"),
}


@pytest.mark.parametrize("scheme", list(Scheme))
@given(data=st.data())
def test_the_order_is_total(scheme: Scheme, data: st.DataObject) -> None:
    one, two, three = (data.draw(REALISTIC[scheme]) for _ in range(3))
    assert compare(scheme, one, one) == 0
    assert compare(scheme, one, two) == -compare(scheme, two, one)
    first, second, whole = compare(scheme, one, two), compare(scheme, two, three), compare(scheme, one, three)
    if first == second or 0 in {first, second}:
        assert whole == (first or second)


@given(st.sampled_from(list(Scheme)), st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_the_order(scheme: Scheme, one: str, other: str) -> None:
    try:
        assert compare(scheme, one, other) == -compare(scheme, other, one)
    except NoOrderError:
        assert not (any(map(str.isdecimal, one)) and any(map(str.isdecimal, other))) or not (one + other).isascii()
