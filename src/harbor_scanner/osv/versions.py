"""The order of versions, by the rules of each ecosystem."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from univers import versions as univers


class Scheme(StrEnum):
    """A way to order versions."""

    APK = "apk"
    COMPOSER = "composer"
    DEBIAN = "debian"
    GEM = "gem"
    GENERIC = "generic"
    """What most programs mean by their versions; for those that break the rules of their own scheme."""
    GO = "go"
    MAVEN = "maven"
    NUGET = "nuget"
    PEP440 = "pep440"
    RPM = "rpm"
    SEMVER = "semver"


class NoOrderError(ValueError):
    """Two versions of which nobody can tell which is the later one."""


_Key: TypeAlias = tuple[tuple[int, int, str], ...]

MAX_LENGTH = 512
"""Characters of a version that is looked at; longer ones have no order."""

_DIGIT = re.compile(r"[0-9]")
_SEMVER = re.compile(r"[vV=]*([0-9]+(?:\.[0-9]+){0,2})(-[0-9A-Za-z.-]+)?(?:\+.*)?")
_GO_RELEASE = re.compile(r"(?:go)?([0-9]+(?:\.[0-9]+){0,2})(?:(rc|beta)([0-9]+))?(?:[ -].*)?")
_REPOSITORY_STAGE = re.compile(r"_(?:cvs|svn|git|hg)([0-9]*)")
_COMMIT = re.compile(r"~[0-9a-f]+")
_COMPOSER = re.compile(
    r"v?([0-9]+(?:\.[0-9]+)*)(?:[-_.+]?(alpha|beta|rc|patch|pl|a|b|p)[-_.]?([0-9]*))?([-.]?dev)?(?:\+.*)?"
)
_COMPOSER_WORDS = MappingProxyType(
    {"alpha": "a", "a": "a", "beta": "b", "b": "b", "rc": "rc", "patch": ".post", "pl": ".post", "p": ".post"}
)
_GEM_PLATFORM = re.compile(
    r"-(?:(?:x86|x64|i[3-6]86|aarch64|arm|powerpc|universal|s390x)[\w.-]*|java|jruby|mingw\w*|mswin\w*)$"
)
_MAVEN_WORD = re.compile(r"\.(?=[A-Za-z])")
_TOKEN = re.compile(r"[0-9]+|[a-z]+|~")

# What comes before the release of the same number, from the earliest.
_BEFORE = ("~", "dev", "snapshot", "alpha", "a", "beta", "b", "milestone", "m", "preview", "pre", "cr", "rc", "c")
_RANKS = MappingProxyType({word: rank for rank, word in enumerate(_BEFORE)})
# A letter is a word of its own without a number: 1.0.2a follows 1.0.2, 1.0a1 comes before 1.0.
_LETTERS = frozenset("abcm")
_END = (1, 0, "")


def compare(scheme: Scheme, one: str, other: str) -> int:
    """Return -1, 0 or 1 if `one` comes before `other`, is as good as it, or comes after it.

    A version that breaks the rules of the scheme is compared by those of `Scheme.GENERIC`.
    Raises NoOrderError if one of them holds no number or is too long.
    """
    if one == other:
        return 0
    return _compare(scheme, one, other)


@lru_cache(maxsize=65536)  # the advisories of a package name few versions, many times
def _compare(scheme: Scheme, one: str, other: str) -> int:
    for version in (one, other):
        if len(version) > MAX_LENGTH or not _DIGIT.search(version):
            raise NoOrderError(version[:MAX_LENGTH])
    first, second = _parsed(scheme, one), _parsed(scheme, other)
    if first is not None and second is not None:
        with suppress(Exception):  # univers fails in many ways over what it took for a version
            return _sign(first, second)
    return _sign(_generic(one), _generic(other))


def _sign(first: Any, second: Any) -> int:
    """Compare by `<` alone: what univers calls equal is at times only what is spelled the same."""
    if first < second:
        return -1
    return 1 if second < first else 0


@lru_cache(maxsize=65536)
def _parsed(scheme: Scheme, version: str) -> Any:
    """Return what can be compared within a scheme, or None if `version` breaks its rules."""
    if scheme is Scheme.GENERIC:
        return None
    kind, spelled = _SCHEMES[scheme]
    try:
        return kind(spelled(version.strip()))
    except Exception:  # noqa: BLE001 - what univers raises is as various as what it does not understand
        return None


@lru_cache(maxsize=65536)
def _generic(version: str) -> _Key:
    """Return a key by which most programs' versions sort: numbers by value, words such as rc before the release."""
    key: list[tuple[int, int, str]] = []
    tokens = _TOKEN.findall(version.lower().lstrip("v").partition("+")[0])
    for place, token in enumerate(tokens):
        number = token.isdigit()
        following = tokens[place + 1 : place + 2]
        if number:
            digits = token.lstrip("0")
            key.append((3, len(digits), digits))
        elif token in _RANKS and (token not in _LETTERS or (following and following[0].isdigit())):
            _drop_zeros(key)
            key.append((0, _RANKS[token], ""))
        else:
            _drop_zeros(key)
            key.append((2, 0, token))
    _drop_zeros(key)
    return (*key, _END)


def _drop_zeros(key: list[tuple[int, int, str]]) -> None:
    """Drop zeros at the end, for 1.0 is 1."""
    while key and key[-1] == (3, 0, ""):
        key.pop()


def _as_it_is(version: str) -> str:
    return version


def _apk(version: str) -> str:
    """Return a version without the hash of a commit, and with stages of a repository as what univers knows: patches.

    To apk, `_git` and its like come after the release and before its patches (`_p`).
    """
    return _REPOSITORY_STAGE.sub(r"_p0_p\1", _COMMIT.sub("", version))


def _semver(version: str) -> str:
    """Return a version without what does not count for its order: a leading v, and metadata of the build.

    https://semver.org/#spec-item-10; Go's `+incompatible` is metadata as well.
    """
    found = _SEMVER.fullmatch(version)
    if not found:
        raise ValueError(version)
    return found[1] + (found[2] or "")


def _go(version: str) -> str:
    """Return a version of a module, or of the standard library as the database has it: 1.21.0-rc.2 for go1.21rc2."""
    release = _GO_RELEASE.fullmatch(version)
    if release and (version.startswith("go") or release[2]):
        stage = f"-{release[2]}.{release[3]}" if release[2] else ""
        return ".".join([*release[1].split("."), "0", "0"][:3]) + stage
    return _semver(version)


def _composer(version: str) -> str:
    """Return a version in the words of PEP 440, which order as Composer does: dev, alpha, beta, RC, stable, patch."""
    found = _COMPOSER.fullmatch(version.lower())
    if not found:
        raise ValueError(version)
    stage = f"{_COMPOSER_WORDS[found[2]]}{found[3] or 0}" if found[2] else ""
    return found[1] + stage + (".dev0" if found[4] else "")


def _gem(version: str) -> str:
    """Return a version without the platform that it was built for, which would count as a pre-release."""
    return _GEM_PLATFORM.sub("", version)


def _maven(version: str) -> str:
    """Return a version with its words after hyphens: `1.0.Final` is `1.0-Final` (https://maven.apache.org/pom.html)."""
    return _MAVEN_WORD.sub("-", version)


def _rpm(version: str) -> str:
    return version.removeprefix("(none):")


_SCHEMES: Mapping[Scheme, tuple[Any, Callable[[str], str]]] = MappingProxyType(
    {
        Scheme.APK: (univers.AlpineLinuxVersion, _apk),
        Scheme.COMPOSER: (univers.PypiVersion, _composer),
        Scheme.DEBIAN: (univers.DebianVersion, _as_it_is),
        Scheme.GEM: (univers.RubygemsVersion, _gem),
        Scheme.GO: (univers.GolangVersion, _go),
        Scheme.MAVEN: (univers.MavenVersion, _maven),
        Scheme.NUGET: (univers.NugetVersion, _as_it_is),
        Scheme.PEP440: (univers.PypiVersion, _as_it_is),
        Scheme.RPM: (univers.RpmVersion, _rpm),
        Scheme.SEMVER: (univers.SemverVersion, _semver),
    }
)
