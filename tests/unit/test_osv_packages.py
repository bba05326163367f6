"""From what Syft found to what is looked up, and what cannot be: nothing is passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from harbor_scanner.osv.package import Package
from harbor_scanner.scanners.osv.packages import Checkable, checkable
from harbor_scanner.syft.inventory import Installed, Inventory, System, Unread

DEBIAN = System("debian", "12", "Debian GNU/Linux 12 (bookworm)")
NONE = System()
ALL = frozenset({"Alpine", "AlmaLinux", "Debian", "Go", "Maven", "PyPI", "Rocky Linux", "Wolfi", "npm"})


class Known:
    """Advisories of some ecosystems, and of one release of each distribution."""

    def __init__(self, ecosystems: frozenset[str] = ALL) -> None:
        self.ecosystems = ecosystems

    def releases(self, ecosystem: str) -> frozenset[str]:
        found = {"Debian": "Debian:12", "Alpine": "Alpine:v3.9", "Rocky Linux": "Rocky Linux:9"}
        return frozenset({ecosystem, found.get(ecosystem, ecosystem), *(["AlmaLinux:9"] * (ecosystem == "AlmaLinux"))})


def deb(
    name: str = "bash", version: str = "5.2-2+b2", source: str = "bash-src", source_version: str = "5.2-2"
) -> Installed:
    return Installed(
        "deb", name, version, source=source, source_version=source_version, paths=("/s",), layer="sha256:1"
    )


def language(kind: str, name: str, version: str = "1.0", **fields: Any) -> Installed:
    return Installed(kind, name, version, **{"purl": f"pkg:x/{name}@{version}", **fields})


def check(system: System = NONE, *packages: Installed, known: Known | None = None, unread: Any = ()) -> Checkable:
    return checkable(Inventory(system, packages, unread), known or Known())


def only(found: Checkable) -> Package:
    [package] = found.packages
    assert found.unchecked == found.absent == found.notices == ()
    return package


def test_a_distribution_whose_advisories_name_sources_is_looked_up_by_them() -> None:
    assert only(check(DEBIAN, deb())) == Package(
        ecosystem="Debian", release="12", name="bash-src", version="5.2-2",
        installed_name="bash", installed_version="5.2-2+b2", paths=("/s",), layer="sha256:1",
    )  # fmt: skip


def test_a_distribution_whose_advisories_name_packages_is_looked_up_by_them() -> None:
    rpm = Installed("rpm", "bpftool", "4.18-1", source="kernel", source_version="4.18-1")
    for system, name in ((System("almalinux", "9.3", "A"), "bpftool"), (System("rocky", "9.3", "R"), "kernel")):
        package = only(check(system, rpm))
        assert (package.name, package.release, package.installed_name) == (name, "9", "bpftool")


@pytest.mark.parametrize(
    ("kind", "ecosystem", "name", "purl", "looked_up"),
    [
        ("python", "PyPI", "Flask_Login", "pkg:pypi/flask-login@1.0", "flask-login"),
        ("npm", "npm", "@babel/core", "pkg:npm/%40babel/core@1.0", "@babel/core"),
        ("go-module", "Go", "golang.org/x/net", "pkg:golang/golang.org/x/net@v1.0", "golang.org/x/net"),
        ("go-module", "Go", "stdlib", "pkg:golang/stdlib@1.22.1", "stdlib"),
        ("java-archive", "Maven", "log4j-core", "pkg:maven/org.apache/log4j-core@1.0", "org.apache:log4j-core"),
        ("jenkins-plugin", "Maven", "git", "pkg:maven/org.jenkins-ci/git@1.0", "org.jenkins-ci:git"),
        ("dotnet", "NuGet", "Newtonsoft.Json", "pkg:nuget/Newtonsoft.Json@1.0", "newtonsoft.json"),
        ("gem", "RubyGems", "rails", "pkg:gem/rails@1.0", "rails"),
        ("rust-crate", "crates.io", "serde", "pkg:cargo/serde@1.0", "serde"),
        ("php-composer", "Packagist", "symfony/http", "pkg:composer/symfony/http@1.0", "symfony/http"),
        ("hex", "Hex", "plug", "pkg:hex/plug@1.0", "plug"),
        ("dart-pub", "Pub", "http", "pkg:pub/http@1.0", "http"),
    ],
)
def test_each_language_is_looked_up_by_the_names_of_its_ecosystem(
    kind: str, ecosystem: str, name: str, purl: str, looked_up: str
) -> None:
    package = only(check(NONE, language(kind, name, purl=purl), known=Known(frozenset({ecosystem}))))
    assert (package.ecosystem, package.release, package.name, package.purl) == (ecosystem, "", looked_up, purl)


def test_an_image_of_nothing_is_clean() -> None:
    assert check() == Checkable()


UNCHECKED: dict[str, tuple[System, tuple[Installed, ...], Known, str]] = {
    "ecosystem absent": (DEBIAN, (deb(),), Known(ALL - {"Debian"}), "no advisories of Debian"),
    "release absent": (System("debian", "7", "Debian 7"), (deb(),), Known(), "none of 7"),
    "unknown distribution": (System("gentoo", "2.14", "Gentoo"), (deb(),), Known(), "'gentoo'"),
    "no version": (System("debian", "", "Debian"), (deb(),), Known(), "no version"),
    "no distribution": (System(), (deb(),), Known(), "does not tell which"),
    "no package database": (DEBIAN, (), Known(), "no package database"),
    "language absent": (System(), (language("npm", "x"),), Known(ALL - {"npm"}), "1 package of npm"),
}


@pytest.mark.parametrize(("system", "packages", "known", "words"), UNCHECKED.values(), ids=UNCHECKED)
def test_what_cannot_be_checked_is_told(
    system: System, packages: tuple[Installed, ...], known: Known, words: str
) -> None:
    found = check(system, *packages, known=known)
    assert found.packages == ()
    [sentence] = found.unchecked
    assert words in sentence


def test_what_is_to_be_fetched_is_named() -> None:
    found = check(DEBIAN, deb(), language("npm", "x"), language("python", "y"), known=Known(frozenset({"Go"})))
    assert found.absent == ("Debian", "PyPI", "npm")
    assert len(found.unchecked) == 3


def test_a_package_database_that_cannot_be_read_is_told_with_the_reason() -> None:
    broken = Unread("/var/lib/dpkg/status", "dpkg-db-cataloger", "unable to determine packages")
    [sentence] = check(DEBIAN, unread=(broken,)).unchecked
    assert "/var/lib/dpkg/status (unable to determine packages)" in sentence
    half = check(DEBIAN, deb(), unread=(broken,))
    assert len(half.packages) == len(half.unchecked) == 1


def test_another_file_that_cannot_be_read_is_a_notice() -> None:
    found = check(NONE, unread=(Unread("/app/x.jar", "java-archive-cataloger", "not a valid zip file"),))
    assert found.unchecked == ()
    [notice] = found.notices
    assert "/app/x.jar" in notice


def test_what_the_distribution_brought_is_checked_as_its_part_if_that_is_checked() -> None:
    wheel = language("python", "urllib3", owner="python3-urllib3")
    assert [package.name for package in check(DEBIAN, deb(), wheel).packages] == ["bash-src"]
    assert [package.name for package in check(System("gentoo", "", "G"), deb(), wheel).packages] == ["urllib3"]


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (language("npm", "nameless", ""), "version or group is not known: nameless"),
        (language("java-archive", "x", purl="pkg:maven/x@1.0"), "version or group is not known: x"),
        (language("java-archive", "x", purl="nonsense"), "version or group is not known: x"),
        (language("binary", "node", "18.1"), "no advisories of their kind: node 18.1 (binary)"),
        (language("linux-kernel", "linux", ""), "no advisories of their kind: linux (linux-kernel)"),
    ],
)
def test_what_can_never_be_checked_is_a_notice(package: Installed, words: str) -> None:
    found = check(NONE, package)
    assert (found.packages, found.unchecked) == ((), ())
    [notice] = found.notices
    assert words in notice


def test_a_package_of_the_distribution_without_a_version_is_a_notice() -> None:
    found = check(DEBIAN, deb(), deb("nameless", "", source_version=""))
    assert len(found.packages) == 1
    [notice] = found.notices
    assert "nameless" in notice


def test_long_lists_are_shortened() -> None:
    [notice] = check(NONE, *(language("binary", f"n{number}") for number in range(9))).notices
    assert notice.endswith("n4 1.0 (binary) and 4 more.")


def test_a_distribution_without_releases_needs_none() -> None:
    package = only(
        check(System("wolfi", "20230201", "Wolfi"), Installed("apk", "a", "1", source="b", source_version="1"))
    )
    assert (package.ecosystem, package.release, package.name, package.installed_name) == ("Wolfi", "", "b", "a")
