"""How severe an advisory is: by its own words, else by its CVSS vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from harbor_scanner.harbor.models import Cvss, Severity
from harbor_scanner.osv.advisory import Advisory, Affected


class Score(NamedTuple):
    """A CVSS vector and the base score that follows from it."""

    version: int
    """Of CVSS: 2, 3 or 4."""
    score: float
    vector: str


class Rating(NamedTuple):
    """What an advisory says of the severity of a vulnerability."""

    severity: Severity = Severity.UNKNOWN
    word: str = ""
    """The advisory's own word, as it is written."""
    scores: tuple[Score, ...] = ()


WORDS = MappingProxyType(
    {
        "critical": Severity.CRITICAL,
        "high": Severity.HIGH,
        "important": Severity.HIGH,
        "medium": Severity.MEDIUM,
        "moderate": Severity.MEDIUM,
        "low": Severity.LOW,
        "minimal": Severity.NEGLIGIBLE,
        "negligible": Severity.NEGLIGIBLE,
        "none": Severity.NEGLIGIBLE,
        "unimportant": Severity.NEGLIGIBLE,
    }
)
"""The words of GitHub, Debian (urgency), Ubuntu (priority), Red Hat, its rebuilds and SUSE, in those of Harbor."""

WILL_NOT_FIX = frozenset({"unimportant", "end-of-life", "ignored", "will not fix", "wontfix", "won't fix"})
"""What a distribution says of a package that it will not mend, as urgency, status or fix state."""

# Where the databases keep their own word.
_WORDED = ("severity", "urgency", "priority", "ubuntu_priority", "cvss_severity")
_STATED = ("urgency", "status", "fix_state", "state")
_VERSIONS = MappingProxyType({"CVSS_V2": 2, "CVSS_V3": 3, "CVSS_V4": 4})


def rating(advisory: Advisory, entries: Sequence[Affected]) -> Rating:
    """Return the rating of an advisory for those of its parts that hold for a package."""
    words = list(_words(advisory, entries))
    scores = tuple(dict.fromkeys(_scores(advisory, entries)))
    if words:
        word = max(words, key=lambda word: WORDS[_plain(word)].rank)
        return Rating(WORDS[_plain(word)], word, scores)
    # The newest version of CVSS counts, as the databases themselves have it.
    newest = max(scores, default=None)
    return Rating(_by_score(newest) if newest else Severity.UNKNOWN, "", scores)


def will_not_fix(entries: Sequence[Affected]) -> bool:
    """Whether all the parts of an advisory say that there will be no fix."""
    return bool(entries) and all(
        any(_plain(text) in WILL_NOT_FIX for text in _texts(_specifics(entry), _STATED)) for entry in entries
    )


def cvss(scores: Sequence[Score]) -> Cvss | None:
    """Return the highest scores of CVSS 2 and 3, the versions that Harbor knows, with their vectors."""
    two, three = (max((score for score in scores if score.version == version), default=None) for version in (2, 3))
    preferred = Cvss(
        score_v3=three.score if three else None,
        score_v2=two.score if two else None,
        vector_v3=three.vector if three else None,
        vector_v2=two.vector if two else None,
    )
    return preferred or None


def _words(advisory: Advisory, entries: Sequence[Affected]) -> Iterator[str]:
    """Yield the words of the parts if they have any, else those of the advisory."""
    texts = [text for entry in entries for text in _texts(_specifics(entry), _WORDED)]
    texts += [rated.score for entry in entries for rated in entry.severity if rated.type not in _VERSIONS]
    known = [text for text in texts if _plain(text) in WORDS]
    if not known:
        texts = [*_texts([advisory.database_specific], _WORDED)]
        texts += [rated.score for rated in advisory.severity if rated.type not in _VERSIONS]
        known = [text for text in texts if _plain(text) in WORDS]
    yield from known


def _scores(advisory: Advisory, entries: Sequence[Affected]) -> Iterator[Score]:
    own = [rated for entry in entries for rated in entry.severity]
    for rated in own or advisory.severity:
        version = _VERSIONS.get(rated.type)
        figure = base_score(version, rated.score) if version else None
        if version and figure is not None:
            yield Score(version, figure, rated.score.strip())


def _specifics(entry: Affected) -> list[dict[str, Any] | None]:
    return [entry.ecosystem_specific, entry.database_specific]


def _texts(specifics: Sequence[dict[str, Any] | None], names: Sequence[str]) -> Iterator[str]:
    for specific in specifics:
        for name in names:
            text = (specific or {}).get(name)
            if isinstance(text, str):
                yield text


def _plain(word: str) -> str:
    """Return a word without case and Debian's asterisks, which tell that it is a guess."""
    return word.strip().lower().rstrip("*")


@lru_cache(maxsize=8192)  # all vulnerabilities there are have some thousands of different vectors
def base_score(version: int, vector: str) -> float | None:
    """Return the base score that follows from a vector of a version of CVSS, or None if it is not one."""
    from cvss import CVSS2, CVSS3, CVSS4, CVSSError  # noqa: PLC0415 - its import takes time

    kinds = {2: CVSS2, 3: CVSS3, 4: CVSS4}
    try:
        return float(kinds[version](vector.strip()).base_score)
    except (CVSSError, ValueError, KeyError, IndexError):
        return None


def _by_score(score: Score) -> Severity:
    """Return the word for a score (https://nvd.nist.gov/vuln-metrics/cvss); CVSS 2 knows nothing above high."""
    for least, severity in ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM)):
        if score.score >= least:
            return Severity.HIGH if score.version == 2 and severity is Severity.CRITICAL else severity
    return Severity.LOW if score.score > 0 else Severity.NEGLIGIBLE
