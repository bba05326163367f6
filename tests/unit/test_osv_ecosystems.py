"""How ecosystems write names and releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.osv import ecosystems
from support.osv import package


@pytest.mark.parametrize(
    ("ecosystem", "name", "expected"),
    [
        ("PyPI", "Zope.Interface__X", "zope-interface-x"),
        ("npm", "JSONStream", "JSONStream"),
        ("npm", "@Babel/core", "@Babel/core"),
        ("Go", "github.com/BurntSushi/toml", "github.com/BurntSushi/toml"),
        ("NuGet", "Newtonsoft.Json", "newtonsoft.json"),
        ("Packagist", "Symfony/Http-Kernel", "symfony/http-kernel"),
        ("Packagist:https://packages.drupal.org/8", "Drupal/Core", "drupal/core"),
        ("Maven", "org.apache.logging.log4j/log4j-core", "org.apache.logging.log4j:log4j-core"),
        ("Maven", "org.Example:Name", "org.Example:Name"),
        ("Hex", "Phoenix", "phoenix"),
        ("Pub", "HTTP", "http"),
        ("crates.io", "Serde_JSON", "serde-json"),
        ("RubyGems", "RedCloth", "RedCloth"),
        ("Debian:12", "libsigc++-2.0", "libsigc++-2.0"),
        ("Unheard of", "Some_Thing", "Some_Thing"),
    ],
)
def test_names_have_the_one_spelling_of_their_ecosystem(ecosystem: str, name: str, expected: str) -> None:
    assert ecosystems.normalised(ecosystem, name) == expected


@given(st.sampled_from(sorted(ecosystems.SUPPORTED)), st.text(max_size=30))
def test_a_normalised_name_stays_as_it_is(ecosystem: str, name: str) -> None:
    once = ecosystems.normalised(ecosystem, name)
    assert ecosystems.normalised(ecosystem, once) == once


@pytest.mark.parametrize(
    ("distribution", "version", "expected"),
    [
        ("debian", "12", ("Debian", "12")),
        ("debian", "11.9", ("Debian", "11")),
        ("debian", "trixie", ("Debian", "13")),
        ("debian", "trixie/sid", ("Debian", "13")),
        ("debian", "", None),
        ("ubuntu", "22.04", ("Ubuntu", "22.04:LTS")),
        ("ubuntu", "23.10", ("Ubuntu", "23.10")),
        ("ubuntu", "23.04", ("Ubuntu", "23.04")),
        ("alpine", "3.19.1", ("Alpine", "v3.19")),
        ("alpine", "3.21.0_alpha20240923", ("Alpine", "edge")),
        ("rocky", "9.3", ("Rocky Linux", "9")),
        ("almalinux", "8.10", ("AlmaLinux", "8")),
        ("rhel", "9.4", ("Red Hat", "enterprise_linux:9")),
        ("rhel", "10.0", ("Red Hat", "enterprise_linux:10")),
        ("sles", "15.5", ("SUSE", "Linux Enterprise Server 15 SP5")),
        ("sles", "15", ("SUSE", "Linux Enterprise Server 15")),
        ("sles", "16.0", ("SUSE", "Linux Enterprise Server 16.0")),
        ("opensuse-leap", "15.6", ("openSUSE", "Leap 15.6")),
        ("opensuse-tumbleweed", "20240801", ("openSUSE", "Tumbleweed")),
        ("wolfi", "20230201", ("Wolfi", "")),
        ("chainguard", "20230214", ("Chainguard", "")),
        ("Debian", " 12 ", ("Debian", "12")),
        ("fedora", "40", None),
        ("amzn", "2023", None),
        ("", "", None),
    ],
)
def test_os_releases_become_ecosystems(distribution: str, version: str, expected: tuple[str, str] | None) -> None:
    assert ecosystems.release_of(distribution, version) == expected


@pytest.mark.parametrize(
    ("ecosystem", "installed", "named", "expected"),
    [
        ("Debian", "12", "12", True),
        ("Debian", "12", "11", False),
        ("Debian", "12", "", True),
        ("Alpine", "v3.1", "v3.19", False),
        ("Ubuntu", "22.04:LTS", "Pro:22.04:LTS", True),
        ("Ubuntu", "22.04:LTS", "22.04", True),
        ("Ubuntu", "22.04:LTS", "Pro:FIPS-updates:20.04:LTS", False),
        ("Red Hat", "enterprise_linux:9", "enterprise_linux:9::baseos", True),
        ("Red Hat", "enterprise_linux:10", "enterprise_linux:10.1", True),
        ("Red Hat", "enterprise_linux:9", "enterprise_linux:8::appstream", False),
        ("Red Hat", "enterprise_linux:9", "rhel_eus:9.2::baseos", False),
        ("SUSE", "Linux Enterprise Server 15 SP5", "Linux Enterprise Module for Basesystem 15 SP5", True),
        ("SUSE", "Linux Enterprise Server 15 SP5", "Linux Enterprise Server 15 SP5-LTSS", True),
        ("SUSE", "Linux Enterprise Server 15 SP5", "Linux Enterprise Server 15 SP4", False),
        ("SUSE", "Linux Enterprise Server 15", "Linux Enterprise Server 15 SP4", False),
        ("SUSE", "Linux Enterprise Server 15 SP5", "Linux Enterprise Micro 15 SP5", False),
        ("SUSE", "Linux Enterprise Server 12 SP5", "Linux Enterprise Server 2 SP5", False),
        ("openSUSE", "Leap 15.5", "Leap 15.6", False),
        ("openSUSE", "Tumbleweed", "Tumbleweed", True),
    ],
)
def test_an_advisory_holds_for_its_release(ecosystem: str, installed: str, named: str, expected: bool) -> None:
    assert ecosystems.same_release(ecosystem, installed, named) is expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [("22.04:LTS", ""), ("23.10", ""), ("Pro:18.04:LTS", "Pro"), ("Pro:FIPS-updates:20.04:LTS", "Pro:FIPS-updates")],
)
def test_ubuntu_tells_its_supports_apart(named: str, expected: str) -> None:
    assert ecosystems.track(named) == expected


def test_an_apk_of_wolfi_is_asked_for_under_its_origin_and_its_own_name() -> None:
    assert ecosystems.names(package("Wolfi", "libcrypto3", "3.1-r0", source="openssl")) == ("openssl", "libcrypto3")
    assert ecosystems.names(package("Alpine:v3.19", "libcrypto3", "3.1-r0", source="openssl")) == ("openssl",)


def test_ecosystem_and_release_make_the_whole() -> None:
    assert ecosystems.base("Ubuntu:Pro:22.04:LTS") == "Ubuntu"
    assert ecosystems.release("Ubuntu:Pro:22.04:LTS") == "Pro:22.04:LTS"
    assert (ecosystems.base("npm"), ecosystems.release("npm")) == ("npm", "")
