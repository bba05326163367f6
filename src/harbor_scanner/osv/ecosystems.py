"""The ecosystems of the Open Source Vulnerability database: how each writes names, versions and releases.

The spellings are those of the schema's table of ecosystems (https://ossf.github.io/osv-schema/#defined-ecosystems).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from harbor_scanner.osv.package import Package
from harbor_scanner.osv.versions import Scheme


class Naming(StrEnum):
    """By which of an installed package's names the advisories of an ecosystem speak of it."""

    SOURCE = "source"
    """The package that it was built from, with that one's version."""
    EITHER = "either"
    """The package that it was built from, or its own; both have the same version."""
    OWN = "own"


class Ecosystem(msgspec.Struct, frozen=True):
    """What holds for all packages of an ecosystem."""

    scheme: Scheme
    """How its versions are ordered."""
    distribution: bool = False
    """Whether it is one of operating systems; otherwise it is one of a programming language."""
    naming: Naming = Naming.OWN
    release: str = ""
    """How a release is written after the ecosystem's name, by an example; empty where there are none."""


SUPPORTED: Mapping[str, Ecosystem] = MappingProxyType(
    {
        "AlmaLinux": Ecosystem(Scheme.RPM, distribution=True, release="9"),
        "Alpine": Ecosystem(Scheme.APK, distribution=True, naming=Naming.SOURCE, release="v3.19"),
        "Chainguard": Ecosystem(Scheme.APK, distribution=True, naming=Naming.EITHER),
        "Debian": Ecosystem(Scheme.DEBIAN, distribution=True, naming=Naming.SOURCE, release="12"),
        "Red Hat": Ecosystem(Scheme.RPM, distribution=True, release="enterprise_linux:9"),
        "Rocky Linux": Ecosystem(Scheme.RPM, distribution=True, naming=Naming.SOURCE, release="9"),
        "SUSE": Ecosystem(
            Scheme.RPM, distribution=True, naming=Naming.SOURCE, release="Linux Enterprise Server 15 SP5"
        ),
        "Ubuntu": Ecosystem(Scheme.DEBIAN, distribution=True, naming=Naming.SOURCE, release="22.04:LTS"),
        "Wolfi": Ecosystem(Scheme.APK, distribution=True, naming=Naming.EITHER),
        "openSUSE": Ecosystem(Scheme.RPM, distribution=True, naming=Naming.SOURCE, release="Leap 15.5"),
        "Go": Ecosystem(Scheme.GO),
        "Hex": Ecosystem(Scheme.SEMVER),
        "Maven": Ecosystem(Scheme.MAVEN),
        "NuGet": Ecosystem(Scheme.NUGET),
        "Packagist": Ecosystem(Scheme.COMPOSER),
        "Pub": Ecosystem(Scheme.SEMVER),
        "PyPI": Ecosystem(Scheme.PEP440),
        "RubyGems": Ecosystem(Scheme.GEM),
        "crates.io": Ecosystem(Scheme.SEMVER),
        "npm": Ecosystem(Scheme.SEMVER),
    }
)
"""The ecosystems whose packages are matched, by their names in the database.

The schema says that AlmaLinux and Red Hat name source packages too; their advisories list the binary ones, each with
its own version, which is what is compared here.
"""

_SEPARATORS = re.compile(r"[-_.]+")
_NAMES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        # https://packaging.python.org/en/latest/specifications/name-normalization/
        "PyPI": lambda name: _SEPARATORS.sub("-", name).lower(),
        # Cargo takes names that differ in case, or in - and _, for the same crate.
        "crates.io": lambda name: name.lower().replace("_", "-"),
        "Hex": str.lower,
        "Maven": lambda name: name if ":" in name else name.replace("/", ":", 1),
        "NuGet": str.lower,
        "Packagist": str.lower,
        "Pub": str.lower,
    }
)

_DEBIAN_SERIES = MappingProxyType(
    {"stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "sid": "sid"}
)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_SUSE_SERVER = "Linux Enterprise Server "


def base(ecosystem: str) -> str:
    """Return the name of an ecosystem without release: `Debian` for `Debian:12`."""
    return ecosystem.partition(":")[0]


def release(ecosystem: str) -> str:
    """Return what follows the name of an ecosystem: `12` for `Debian:12`, empty if nothing does."""
    return ecosystem.partition(":")[2]


def normalised(ecosystem: str, name: str) -> str:
    """Return the one spelling of `name` among those that the ecosystem takes for the same.

    Names of npm, Go, RubyGems and of the distributions have only one. npm has old packages that differ in case only.
    """
    spelling = _NAMES.get(base(ecosystem))
    return spelling(name) if spelling else name


def names(package: Package) -> tuple[str, ...]:
    """Return the normalised names under which advisories may speak of `package`."""
    own = normalised(package.ecosystem, package.name)
    known = SUPPORTED.get(package.ecosystem)
    if known and known.naming is Naming.EITHER and package.installed_name != own:
        return own, package.installed_name
    return (own,)


def release_of(distribution: str, version: str) -> tuple[str, str] | None:
    """Return ecosystem and release for `ID` and `VERSION_ID` of an os-release file, or None if no ecosystem has them.

    For Debian, whose testing and unstable have no `VERSION_ID`, the `VERSION_CODENAME` is taken as well.
    """
    spelled = _RELEASES.get(distribution.strip().lower())
    return spelled(version.strip()) if spelled else None


def same_release(ecosystem: str, installed: str, named: str) -> bool:
    """Whether an advisory for the release `named` holds for the `installed` one.

    What names no release holds for all. Of Red Hat the repositories of Enterprise Linux itself count, whichever its
    minor version; of SUSE all modules and products of a service pack, for os-release does not tell which of them
    brought a package. Which of Ubuntu's supports an advisory is for, `track` tells.
    """
    if not named or not installed:
        return True
    if ecosystem == "Red Hat":
        return _enterprise_linux(installed) == _enterprise_linux(named)
    if ecosystem == "SUSE":
        pack = re.escape(installed.removeprefix(_SUSE_SERVER))
        return bool(re.fullmatch(rf"(?!.*\bMicro\b)Linux Enterprise (?:.* )?{pack}(?:-\w+)*", named))
    if ecosystem == "Ubuntu":
        return _number(installed) == _number(named)
    return installed == named


def track(named: str) -> str:
    """Return which support an Ubuntu release speaks of: `Pro:FIPS` for `Pro:FIPS:22.04:LTS`, empty for the standard."""
    number = _NUMBER.search(named)
    return named[: number.start()].strip(":") if number else ""


def _number(text: str) -> str:
    number = _NUMBER.search(text)
    return number[0] if number else text


def _enterprise_linux(cpe: str) -> tuple[str, str]:
    """Return product and major version of the rest of a CPE: `enterprise_linux:9::baseos`."""
    product, _, rest = cpe.partition(":")
    return product, rest.partition(":")[0].partition(".")[0]


def _debian(version: str) -> tuple[str, str] | None:
    series = _DEBIAN_SERIES.get(version.partition("/")[0].lower())
    number = re.match(r"\d+", version)
    found = series or (number[0] if number else "")
    return ("Debian", found) if found else None


def _ubuntu(version: str) -> tuple[str, str] | None:
    number = re.match(r"(\d+)\.(\d+)", version)
    if not number:
        return None
    # A long-term release comes every second April.
    lasting = int(number[1]) % 2 == 0 and number[2] == "04"
    return "Ubuntu", f"{number[0]}:LTS" if lasting else number[0]


def _alpine(version: str) -> tuple[str, str] | None:
    number = re.match(r"\d+\.\d+", version)
    if version == "edge" or "_alpha" in version:
        return "Alpine", "edge"
    return ("Alpine", f"v{number[0]}") if number else None


def _major(ecosystem: str, prefix: str = "") -> Callable[[str], tuple[str, str] | None]:
    def spelled(version: str) -> tuple[str, str] | None:
        number = re.match(r"\d+", version)
        return (ecosystem, f"{prefix}{number[0]}") if number else None

    return spelled


def _suse(version: str) -> tuple[str, str] | None:
    number = re.fullmatch(r"(\d+)(?:\.(\d+))?", version)
    if not number:
        return None
    if int(number[1]) > 15:
        return "SUSE", f"{_SUSE_SERVER}{version}"
    pack = f" SP{number[2]}" if int(number[2] or 0) else ""
    return "SUSE", f"{_SUSE_SERVER}{number[1]}{pack}"


def _leap(version: str) -> tuple[str, str] | None:
    return ("openSUSE", f"Leap {version}") if _NUMBER.fullmatch(version) else None


_RELEASES: Mapping[str, Callable[[str], tuple[str, str] | None]] = MappingProxyType(
    {
        "almalinux": _major("AlmaLinux"),
        "alpine": _alpine,
        "chainguard": lambda _: ("Chainguard", ""),
        "debian": _debian,
        "opensuse-leap": _leap,
        "opensuse-tumbleweed": lambda _: ("openSUSE", "Tumbleweed"),
        "rhel": _major("Red Hat", "enterprise_linux:"),
        "rocky": _major("Rocky Linux"),
        "sled": _suse,
        "sles": _suse,
        "sles_sap": _suse,
        "ubuntu": _ubuntu,
        "wolfi": lambda _: ("Wolfi", ""),
    }
)
