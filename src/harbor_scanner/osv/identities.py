"""Which vulnerabilities advisories speak of: CVE ids where there are any."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harbor_scanner.osv.advisory import Advisory

_CVE = re.compile(r"(?:^|-)(CVE-[0-9]{4}-[0-9]{4,})$", re.IGNORECASE)
_PREFERRED = ("GHSA-", "GO-", "PYSEC-", "RUSTSEC-")


def cve_of(name: str) -> str:
    """Return the CVE id that an id is or carries, as `UBUNTU-CVE-2024-6387` does, otherwise an empty text."""
    found = _CVE.search(name)
    return found[1].upper() if found else ""


def cves(advisory: Advisory, *, distribution: bool) -> tuple[str, ...]:
    """Return the CVE ids that an advisory speaks of itself.

    A distribution's advisory bundles vulnerabilities of what it packages: those `upstream`, which older ones have under
    `aliases` or `related`. In a programming language, what is `related` is another vulnerability.
    """
    own = _carried([advisory.id])
    if own:
        return own
    named = _carried([*advisory.aliases, *advisory.upstream])
    return named or (_carried(advisory.related) if distribution else ())


def named(advisories: Sequence[Advisory], *, distribution: bool) -> dict[str, tuple[str, ...]]:
    """Return, for the id of each advisory of a package, the ids under which Harbor is to have it.

    An alias of an alias is an alias (https://ossf.github.io/osv-schema/#aliases-field): an advisory without a CVE id
    has those of its aliases, and if they have none either, all of them are known by the id of one.
    """
    found = {advisory.id: cves(advisory, distribution=distribution) for advisory in advisories}
    if all(found.values()):
        return found
    kin = _kinship(advisories)
    for advisory in advisories:
        if not found[advisory.id]:
            family = list(_reached(advisory.id, kin))
            found[advisory.id] = _united(found.get(name, ()) for name in family) or (_foremost(family, found),)
    return found


def _carried(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(cve_of, ids))))


def _kinship(advisories: Iterable[Advisory]) -> dict[str, set[str]]:
    """Return who is whose alias, both ways."""
    kin: dict[str, set[str]] = {}
    for advisory in advisories:
        for alias in advisory.aliases:
            kin.setdefault(advisory.id, set()).add(alias)
            kin.setdefault(alias, set()).add(advisory.id)
    return kin


def _reached(start: str, kin: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield `start` and all its aliases, and theirs."""
    seen, open_ = {start}, [start]
    while open_:
        name = open_.pop()
        yield name
        # Beyond a CVE id there are only others that speak of it as well.
        for alias in sorted(kin.get(name, ())) if not cve_of(name) else ():
            if alias not in seen:
                seen.add(alias)
                open_.append(alias)


def _foremost(family: Iterable[str], found: Mapping[str, object]) -> str:
    """Return the id of an advisory that stands for all, for everyone who asks the same."""
    present = [name for name in family if name in found]
    return min(present, key=lambda name: (not name.startswith(_PREFERRED), not name.startswith("GHSA-"), name))


def _united(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for listed in lists for name in listed}))
