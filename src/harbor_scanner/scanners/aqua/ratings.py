"""CVSS scores of a vulnerability: who gave which score of which version."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypedDict

from harbor_scanner.harbor.models import Cvss
from harbor_scanner.scanners.aqua.report import Number, Vulnerability, number

_METRICS = r"(?:/[A-Za-z]{1,3}:[A-Za-z]{1,4})"
_VECTOR_2 = re.compile(rf"AV:[LAN]{_METRICS}*/Au:[MSN]{_METRICS}+")
_VECTOR_3 = re.compile(rf"CVSS:3\.\d{_METRICS}+")
_SYSTEM = re.compile(r"CVSS v([23])\b", re.IGNORECASE)


class Scores(TypedDict, total=False):
    """The scores of one source, in the names that Harbor knows in `vendor_attributes.CVSS`."""

    V2Score: float
    V2Vector: str
    V3Score: float
    V3Vector: str


class Ratings(NamedTuple):
    """All scores of a vulnerability."""

    preferred: Cvss | None
    """For each version the first score among Aqua's, the NVD's and the vendor's, with the vector of that same score."""
    by_source: dict[str, Scores]
    """Under `aqua`, `nvd` and `vendor`, without those that gave none."""


class _Given(NamedTuple):
    """The fields of a vulnerability from which its ratings follow."""

    aqua_score: Number
    aqua_vectors: str | None
    aqua_scoring_system: str | None
    nvd_score: Number
    nvd_vectors: str | None
    nvd_score_version: str | None
    nvd_score_v3: Number
    nvd_vectors_v3: str | None
    vendor_score: Number
    vendor_vectors: str | None
    vendor_score_version: str | None
    vendor_score_v3: Number
    vendor_vectors_v3: str | None


RATING_FIELDS = _Given._fields

given_ratings: Callable[[Vulnerability], tuple[Any, ...]] = attrgetter(*RATING_FIELDS)
"""Return the fields of a vulnerability from which `ratings` follow; many vulnerabilities have the same."""


def ratings(fields: tuple[Any, ...]) -> Ratings:
    """Return the ratings that follow from `given_ratings`: each score under the version of CVSS that it has."""
    given = _Given._make(fields)
    aqua = (given.aqua_score, given.aqua_vectors)
    version = system_version(given.aqua_scoring_system) or vector_version(given.aqua_vectors)
    nvd = (_version_2_only(given.nvd_score, given.nvd_score_version), given.nvd_vectors)
    vendor = (_version_2_only(given.vendor_score, given.vendor_score_version), given.vendor_vectors)
    sources = {
        "aqua": _scores(aqua if version == 2 else (None, None), aqua if version == 3 else (None, None)),
        "nvd": _scores(nvd, (given.nvd_score_v3, given.nvd_vectors_v3)),
        "vendor": _scores(vendor, (given.vendor_score_v3, given.vendor_vectors_v3)),
    }
    by_source = {source: scores for source, scores in sources.items() if scores}
    return Ratings(_preferred(by_source), by_source)


def system_version(system: str | None) -> int:
    """Return 2 or 3 for names of scoring systems such as `CVSS V2`, `CVSS v3` and `CVSS V3.1`, else 0."""
    match = _SYSTEM.match(system) if system else None
    return int(match[1]) if match else 0


def vector_version(vector: str | None) -> int:
    """Return 2 or 3 if `vector` looks like a vector of that version of CVSS, else 0."""
    if not vector:
        return 0
    if _VECTOR_3.fullmatch(vector):
        return 3
    return 2 if _VECTOR_2.fullmatch(vector) else 0


def base_score(vector: str) -> float | None:
    """Return the base score that follows from a vector, or None if its metrics are not those of its version."""
    from cvss import CVSS2, CVSS3, CVSSError  # noqa: PLC0415 - few reports lack scores, and its import takes time

    try:
        return float((CVSS3(vector) if vector_version(vector) == 3 else CVSS2(vector)).base_score)
    except CVSSError:
        return None


def _preferred(by_source: dict[str, Scores]) -> Cvss | None:
    preferred = Cvss()
    for scores in by_source.values():
        two, three = scores.get("V2Score"), scores.get("V3Score")
        if preferred.vector_v2 is None and preferred.score_v2 in {None, two}:
            preferred.score_v2, preferred.vector_v2 = two, scores.get("V2Vector")
        if preferred.vector_v3 is None and preferred.score_v3 in {None, three}:
            preferred.score_v3, preferred.vector_v3 = three, scores.get("V3Vector")
    return preferred or None


def _scores(two: tuple[Number, str | None], three: tuple[Number, str | None]) -> Scores:
    """Return the scores of a source that gave score and vector `two` by CVSS 2 and `three` by CVSS 3."""
    scores = Scores()
    score, vector = _checked(*two, version=2)
    if score is not None:
        scores["V2Score"] = score
        if vector:
            scores["V2Vector"] = vector
    score, vector = _checked(*three, version=3)
    if score is not None:
        scores["V3Score"] = score
        if vector:
            scores["V3Vector"] = vector
    return scores


@lru_cache(maxsize=4096)  # all vulnerabilities there are have some hundreds of different ratings
def _checked(score: Number, vector: str | None, version: int) -> tuple[float | None, str | None]:
    """Return score and vector where there are any, without a vector of another version.

    A zero without a vector is what Aqua writes where nobody gave a score.
    """
    figure = number(score, 10)
    if vector and vector_version(vector) == version:
        return (base_score(vector) if figure is None else figure), vector
    return figure or None, None


def _version_2_only(score: Number, system: str | None) -> Number:
    """Return `score` unless the report says that it is no CVSS 2 score, such as a figure of Aqua's own."""
    return score if not system or system_version(system) == 2 else None
