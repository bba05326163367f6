"""The JSON report of `qscanner` (`*-Report.json`): where it lists vulnerabilities, and how a file becomes a report.

Its form is not documented. It is assumed to embed the answer of Qualys' Container Security API under
`VulnerabilityReport`, in one of the spellings that published readers of it guard for.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.qualys.documents import (
    ADVICE,
    Members,
    elements,
    folded,
    inner_members,
    is_null,
    members,
    number,
    text,
    value,
)
from harbor_scanner.scanners.qualys.inventory import Inventory, System, read_inventory
from harbor_scanner.scanners.qualys.vulnerability import Vulnerability, read_vulnerability

_LISTS = ("vulnerabilities", "details")
_RISK = {"riskscore": "riskScore", "qdsseverity": "qdsSeverity", "maxqdsscore": "maxQdsScore"}


class QualysReport(msgspec.Struct):
    """A report in the one form that findings are made of, whatever the file's."""

    vulnerabilities: list[Vulnerability]
    listed: bool = True
    """False if there is no list but a null, which may mean that nothing was found or that nobody looked."""
    unreadable: int = 0
    """Entries of the list that name neither a QID nor a CVE."""
    risk: dict[str, Any] = msgspec.field(default_factory=dict)
    """TruRisk of the image as a whole, in Qualys' words."""
    system: System = System()
    inventory: Inventory | None = None
    """The inventory that the report itself holds."""


def decode_report(document: bytes) -> QualysReport:
    """Decode a report. Raises BadReportError if `document` is no JSON object, or has no list of vulnerabilities."""
    top = members(document, "The report of qscanner")
    inner = inner_members(top.get("vulnerabilityreport")) or {}
    entries = _entries([inner, top])
    vulnerabilities, unreadable = read_entries(folded(value(entry)) for entry in entries or ())
    inventory = inner_members(top.get("inventory"))
    return QualysReport(
        vulnerabilities,
        listed=entries is not None,
        unreadable=unreadable,
        risk=_risk(top) | _risk(inner),
        inventory=read_inventory(inventory) if inventory else None,
    )


def read_entries(entries: Iterable[dict[str, Any]]) -> tuple[list[Vulnerability], int]:
    """Return the vulnerabilities of a list, and how many of its entries are none."""
    read = [read_vulnerability(entry) for entry in entries]
    vulnerabilities = [vulnerability for vulnerability in read if vulnerability is not None]
    return vulnerabilities, len(read) - len(vulnerabilities)


def _entries(places: Iterable[Members]) -> list[msgspec.Raw] | None:
    """Return the entries of all lists of vulnerabilities, or None if there are only nulls in their places."""
    found = [place[name] for place in places for name in _LISTS if name in place]
    lists = [elements(raw) for raw in found if not is_null(raw)]
    if not found:
        raise BadReportError("The report of qscanner has no list of vulnerabilities.", ADVICE)
    if any(listed is None for listed in lists):
        raise BadReportError("The vulnerabilities in the report of qscanner are no list.", ADVICE)
    return list(chain.from_iterable(listed for listed in lists if listed)) if lists else None


def _risk(fields: Members) -> dict[str, Any]:
    found = {name: value(fields.get(field)) for field, name in _RISK.items()}
    return {
        name: item if isinstance(item, int | float) else text(item, 64)
        for name, item in found.items()
        if number(item, 0, 2**53) is not None or text(item)
    }
