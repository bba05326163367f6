"""From packages and advisories to findings: one for each CVE of a package, with all advisories that stand for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from msgspec import structs

from harbor_scanner.harbor.models import Finding, FindingStatus, Layer
from harbor_scanner.osv import ecosystems, identities, ratings
from harbor_scanner.osv.advisory import Advisory
from harbor_scanner.osv.ecosystems import SUPPORTED, Naming
from harbor_scanner.osv.matching import Match, matches
from harbor_scanner.osv.package import Package
from harbor_scanner.osv.ratings import Rating, Score
from harbor_scanner.osv.texts import description

LookUp: TypeAlias = Callable[[str, str], Sequence[Advisory]]
"""Returns the advisories that speak of a package, by the ecosystem without release, and the normalised name."""

OSV = "https://osv.dev/vulnerability/"

MAX_NAMED = 100
"""Ids and paths of a finding that are named in its vendor attributes."""


_Item = TypeVar("_Item", bound=Hashable)


class _Hit(NamedTuple):
    """An advisory that affects a package."""

    advisory: Advisory
    match: Match
    rating: Rating

    @property
    def rank(self) -> tuple[bool, int, bool, str]:
        """The most severe first, then one with a summary; what stands in doubt last."""
        advisory = self.advisory
        return bool(self.match.doubt), -self.rating.severity.rank, not advisory.summary, advisory.id


def findings(packages: Iterable[Package], look_up: LookUp) -> list[Finding]:
    """Return what the advisories say of `packages`, in their order; one finding for each vulnerability of each.

    Its id is the CVE id where there is one. Findings share lists and vendor attributes, which must not be changed in
    place.
    """
    found: list[Finding] = []
    known: dict[tuple[str, ...], list[Finding]] = {}
    for package in _united(packages):
        # All packages that were built from one source are looked up once.
        asked = _asked(package)
        if asked not in known:
            known[asked] = list(_of_source(package, look_up))
        found += (_of_package(package, finding) for finding in known[asked])
    return found


def _united(packages: Iterable[Package]) -> Iterator[Package]:
    """Yield each package once, with all its paths, for Harbor tells packages by name and version."""
    copies: dict[tuple[str, ...], list[Package]] = {}
    for package in packages:
        key = (*_asked(package), package.installed_name, package.installed_version)
        copies.setdefault(key, []).append(package)
    for first, *others in copies.values():
        if not others:
            yield first
            continue
        yield structs.replace(
            first,
            purl=first.purl or next((other.purl for other in others if other.purl), ""),
            paths=_distinct([first.paths, *(other.paths for other in others)]),
            layer=first.layer or next((other.layer for other in others if other.layer), ""),
        )


def _asked(package: Package) -> tuple[str, ...]:
    """Return all of a package that counts for its advisories."""
    own = "=" if package.installed_name == package.name else ""
    names = ecosystems.names(package)
    return package.ecosystem, package.release, package.version, package.modularity, own, *names


def _of_package(package: Package, finding: Finding) -> Finding:
    """Return the finding of a package from that of its source."""
    attributes = dict(finding.vendor_attributes)
    known = SUPPORTED.get(package.ecosystem)
    sourced = (package.name, package.version) != (package.installed_name, package.installed_version)
    if sourced and known and known.naming is not Naming.OWN:
        attributes["source"] = {"name": package.name, "version": package.version}
    if package.purl:
        attributes["purl"] = package.purl
    if package.paths:
        attributes["paths"] = list(package.paths[:MAX_NAMED])
    return structs.replace(
        finding,
        package=package.installed_name,
        version=package.installed_version,
        layer=Layer(package.layer) if package.layer else None,
        vendor_attributes=attributes,
    )


def _of_source(package: Package, look_up: LookUp) -> Iterator[Finding]:
    """Yield the findings of all packages that are asked for as this one is."""
    known = SUPPORTED.get(package.ecosystem)
    advisories = {
        advisory.id: advisory
        for name in ecosystems.names(package)
        for advisory in look_up(package.ecosystem, name)
        if not advisory.withdrawn
    }
    hits = [
        _Hit(advisory, match, ratings.rating(advisory, match.entries))
        for advisory in advisories.values()
        if (match := matches(package, advisory))
    ]
    if not hits:
        return
    names = identities.named(list(advisories.values()), distribution=bool(known and known.distribution))
    groups: dict[str, list[_Hit]] = {}
    for hit in hits:
        for name in names[hit.advisory.id]:
            groups.setdefault(name, []).append(hit)
    for name, group in groups.items():
        yield _united_hits(package, name, sorted(group, key=lambda hit: hit.rank))


def _united_hits(package: Package, name: str, hits: Sequence[_Hit]) -> Finding:
    """Return what follows from all advisories of one vulnerability, the most severe first."""
    scores = _distinct(hit.rating.scores for hit in hits)
    fixes = _distinct(hit.match.fixes for hit in hits)
    return Finding(
        id=name,
        package=package.installed_name,
        version=package.installed_version,
        severity=max((hit.rating.severity for hit in hits), key=lambda severity: severity.rank),
        fix_version=", ".join(fixes),
        description=next(filter(None, (description(hit.advisory.summary, hit.advisory.details) for hit in hits)), ""),
        links=_links([hit.advisory for hit in hits]),
        status=_status(fixes, hits),
        preferred_cvss=ratings.cvss(scores),
        cwe_ids=list(_distinct(_cwe_ids(hit.advisory) for hit in hits)),
        vendor_attributes=_attributes(package, name, hits, scores),
    )


def _status(fixes: Sequence[str], hits: Sequence[_Hit]) -> FindingStatus:
    if fixes:
        return FindingStatus.FIXED
    refused = all(ratings.will_not_fix(hit.match.entries) for hit in hits)
    return FindingStatus.WILL_NOT_FIX if refused else FindingStatus.AFFECTED


def _links(advisories: Sequence[Advisory]) -> list[str]:
    """Return the links to advisories, then to the database, then all others."""
    references = [reference for advisory in advisories for reference in advisory.references]
    return list(
        _distinct(
            [
                [reference.url for reference in references if reference.type == "ADVISORY"],
                [f"{OSV}{advisory.id}" for advisory in advisories],
                [reference.url for reference in references],
            ]
        )
    )


def _cwe_ids(advisory: Advisory) -> list[str]:
    named = (advisory.database_specific or {}).get("cwe_ids")
    return [text for text in named if isinstance(text, str)] if isinstance(named, list) else []


def _attributes(package: Package, name: str, hits: Sequence[_Hit], scores: Sequence[Score]) -> dict[str, Any]:
    advisories = [hit.advisory for hit in hits]
    words = {hit.advisory.id: hit.rating.word for hit in hits if hit.rating.word}
    release = f":{package.release}" if package.release else ""
    attributes: dict[str, Any] = {
        "ecosystem": f"{package.ecosystem}{release}",
        "advisories": [advisory.id for advisory in advisories][:MAX_NAMED],
        "aliases": list(_distinct(_others(advisory, name) for advisory in advisories))[:MAX_NAMED],
        "published": min((advisory.published for advisory in advisories if advisory.published), default=""),
        "severities": words,
        "CVSS": {"osv": _harbor_scores(scores)} if any(score.version < 4 for score in scores) else {},
        "cvss4": _newest_score(scores),
        "ubuntuProFix": ", ".join(_distinct(hit.match.pro_fixes for hit in hits)),
        "uncertain": hits[0].match.doubt,
    }
    return {key: value for key, value in attributes.items() if value}


def _others(advisory: Advisory, name: str) -> Iterator[str]:
    """Yield the ids under which an advisory knows a vulnerability besides `name`, but not others of a bundle."""
    for other in (advisory.id, *advisory.aliases, *advisory.upstream):
        if other != name and identities.cve_of(other) in {"", name}:
            yield other


def _harbor_scores(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the scores in the names that Harbor knows in `vendor_attributes.CVSS`."""
    preferred = ratings.cvss(scores)
    if preferred is None:
        return {}
    named = {
        "V2Score": preferred.score_v2,
        "V2Vector": preferred.vector_v2,
        "V3Score": preferred.score_v3,
        "V3Vector": preferred.vector_v3,
    }
    return {key: value for key, value in named.items() if value is not None}


def _newest_score(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the score of CVSS 4, for which Harbor has no place of its own."""
    four = max((score for score in scores if score.version == 4), default=None)
    return {"score": four.score, "vector": four.vector} if four else {}


def _distinct(lists: Iterable[Iterable[_Item]]) -> tuple[_Item, ...]:
    """Return the items of all lists in their order, each once."""
    return tuple(dict.fromkeys(item for listed in lists for item in listed))
