"""The JSON report of `qscanner` (`*-Report.json`): where it lists vulnerabilities, and how a file becomes a report.

Its form is not documented. It is assumed to embed the answer of Qualys' Container Security API under
`VulnerabilityReport`, in one of the spellings that published readers of it guard for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.printed import plain
from harbor_scanner.scanners.qualys.documents import (
    ADVICE,
    Members,
    elements,
    folded,
    inner_members,
    is_nothing,
    is_null,
    members,
    number,
    text,
    value,
)
from harbor_scanner.scanners.qualys.inventory import Inventory, System, decode_inventory
from harbor_scanner.scanners.qualys.vulnerability import Vulnerability, read_vulnerability

_LISTS = ("vulnerabilities", "details")
_TOTALS = {
    "count",
    "numberofelements",
    "total",
    "totalcount",
    "totalelements",
    "totalitems",
    "totalrecords",
    "totalvulnerabilities",
    "vulnerabilitiescount",
    "vulnerabilitycount",
}
"""Names of numbers that may tell how many vulnerabilities there are."""
_FINE = {"", "0", "complete", "completed", "done", "finished", "none", "ok", "succeeded", "success", "successful"}
"""What a status or message says where nothing is wrong."""
_QUOTED = 200
_RISK = {"riskscore": "riskScore", "qdsseverity": "qdsSeverity", "maxqdsscore": "maxQdsScore"}


class QualysReport(msgspec.Struct):
    """A report in the one form that findings are made of, whatever the file's."""

    vulnerabilities: list[Vulnerability]
    doubts: list[str] = msgspec.field(default_factory=list)
    """Why it may lack something, though it can be read."""
    unreadable: int = 0
    """Entries of the list that name neither a QID nor a CVE."""
    risk: dict[str, Any] = msgspec.field(default_factory=dict)
    """TruRisk of the image as a whole, in Qualys' words."""
    system: System = System()
    inventory: Inventory | None = None
    """The inventory that the report itself holds."""


def decode_report(document: bytes) -> QualysReport:
    """Decode a report.

    Raises BadReportError if `document` is no JSON object, contradicts itself, or has no list of vulnerabilities. A null
    is no list: whether it means that nothing was found, or that nobody looked, is not documented.
    """
    top = members(document, "The report of qscanner")
    answer = top.get("vulnerabilityreport")
    answered = answer is not None and not is_null(answer)
    place = (inner_members(answer) or {}) if answered else top
    entries = _entries(place)
    vulnerabilities, unreadable = read_entries(folded(value(entry)) for entry in entries)
    doubts = [*_signs(place, len(entries)), *(_signs(top, len(entries)) if answered else ())]
    if answered and any(not is_nothing(top[name]) for name in _LISTS if name in top):
        doubts.append("it lists vulnerabilities outside of VulnerabilityReport as well")
    if answer is not None and not answered:
        doubts.append("its VulnerabilityReport is null")
    recorded = top.get("inventory")
    return QualysReport(
        vulnerabilities,
        doubts=doubts,
        unreadable=unreadable,
        risk=_risk(top) | _risk(place),
        inventory=None if recorded is None or is_null(recorded) else decode_inventory(bytes(recorded)),
    )


def read_entries(entries: Iterable[dict[str, Any]]) -> tuple[list[Vulnerability], int]:
    """Return the vulnerabilities of a list, and how many of its entries are none."""
    read = [read_vulnerability(entry) for entry in entries]
    vulnerabilities = [vulnerability for vulnerability in read if vulnerability is not None]
    return vulnerabilities, len(read) - len(vulnerabilities)


def _entries(place: Members) -> list[msgspec.Raw]:
    """Return the entries of all lists of vulnerabilities."""
    lists = [elements(place[name]) for name in _LISTS if name in place and not is_null(place[name])]
    if not lists:
        raise BadReportError(
            "The report of qscanner has no list of vulnerabilities, so that it does not tell whether the Qualys "
            "platform looked for any.",
            ADVICE,
        )
    if any(entries is None for entries in lists):
        raise BadReportError("The vulnerabilities in the report of qscanner are no list.", ADVICE)
    return list(chain.from_iterable(entries for entries in lists if entries))


def _signs(fields: Members, listed: int) -> Iterator[str]:
    """Yield what beside a list of this length shows that the platform did not answer in full."""
    for name, raw in fields.items():
        if name in _TOTALS:
            total = value(raw)
            if isinstance(total, int | float) and not isinstance(total, bool) and total > listed:
                yield f"it tells of {total} vulnerabilities ({name}), and lists {listed}"
        elif name.startswith("error") or name in {"code", "message", "status"}:
            item = value(raw)
            if _is_sign(name, item):
                yield f"it says `{name}: {_quoted(text(item) or bytes(raw).decode(errors='replace'))}`"


def _is_sign(name: str, item: Any) -> bool:
    if not item or (isinstance(item, str) and item.strip().lower() in _FINE):
        return False
    return name != "status" or number(item, -(2**53), 399) is None


def _quoted(words: str) -> str:
    """Return the beginning of a text, in one line and without what is not printable."""
    begin = plain(words[:1024])
    return " ".join("".join(letter if letter.isprintable() else " " for letter in begin).split())[:_QUOTED]


def _risk(fields: Members) -> dict[str, Any]:
    found = {name: value(fields.get(field)) for field, name in _RISK.items()}
    return {
        name: item if isinstance(item, int | float) else text(item, 64)
        for name, item in found.items()
        if number(item, 0, 2**53) is not None or text(item)
    }
