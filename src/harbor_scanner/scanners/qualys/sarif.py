"""The SARIF report of `qscanner` (`*-Report.sarif.json`), the less rich one, read where there is no other.

Its properties are not documented: the names are those that published readers of it expect, the richer set of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.qualys.documents import (
    ADVICE,
    Members,
    elements,
    folded,
    inner_members,
    is_null,
    members,
    text,
    value,
)
from harbor_scanner.scanners.qualys.inventory import System, system
from harbor_scanner.scanners.qualys.report import QualysReport, read_entries
from harbor_scanner.scanners.qualys.vulnerability import is_cve, read_qid, read_severity

_NAME = "The SARIF report of qscanner"
_LEVELS = {"error": 4, "warning": 3, "note": 2}
"""Severities by the level of a result, where nothing else tells: an `error` may be a 4 or a 5."""


def decode_sarif(document: bytes) -> QualysReport:
    """Decode a report. Raises BadReportError if `document` is no JSON object, or has no runs with results."""
    runs = [inner_members(run) for run in elements(members(document, _NAME).get("runs")) or ()]
    fields = [run for run in runs if run is not None]
    if not fields or len(fields) < len(runs):
        raise BadReportError(f"{_NAME} has no runs.", ADVICE)
    given = [run["results"] for run in fields if "results" in run and not is_null(run["results"])]
    results = [elements(raw) for raw in given]
    if any(found is None for found in results):
        raise BadReportError(f"The results in {_NAME[0].lower()}{_NAME[1:]} are no list.", ADVICE)
    vulnerabilities, unreadable = read_entries(entry for run in fields for entry in _entries(run))
    return QualysReport(
        vulnerabilities,
        listed=len(given) == len(fields),
        unreadable=unreadable,
        system=next((found for found in map(_system, fields) if found.name), System()),
    )


def _entries(run: Members) -> Iterator[dict[str, Any]]:
    """Yield the results of a run as entries of the JSON report would have them."""
    driver = folded(folded(value(run.get("tool"))).get("driver"))
    listed = driver.get("rules")
    rules = [folded(rule) for rule in listed] if isinstance(listed, list) else []
    by_id = {text(rule.get("id")): rule for rule in rules}
    for raw in elements(run.get("results")) or ():
        result = folded(value(raw))
        rule_id = text(result.get("ruleid"))
        yield _entry(result, by_id.get(rule_id, {}), rule_id)


def _entry(result: Mapping[str, Any], rule: Mapping[str, Any], rule_id: str) -> dict[str, Any]:
    message = text(folded(result.get("message")).get("text"), 64 * 1024)
    entry = {
        "title": text(folded(rule.get("shortdescription")).get("text")) or text(rule.get("name")) or message,
        "result": message,
        **folded(rule.get("properties")),
        **folded(result.get("properties")),
    }
    if not (read_severity(entry.get("severity")) or read_severity(entry.get("customerseverity"))):
        level = result.get("level") or folded(rule.get("defaultconfiguration")).get("level")
        entry["severity"] = _LEVELS.get(text(level))
    if not read_qid(entry.get("qid")):
        entry["qid"] = rule_id
    if is_cve(rule_id):
        entry.setdefault("cveids", [rule_id])
    return entry


def _system(run: Members) -> System:
    """Return the operating system that the first artifact or the run itself names."""
    artifacts = elements(run.get("artifacts"))
    artifact = folded(folded(value(artifacts[0])).get("properties")) if artifacts else {}
    if name := text(artifact.get("osname")):
        return system(name, text(artifact.get("osversion")))
    properties = folded(value(run.get("properties")))
    return system(text(properties.get("os")) or text(properties.get("operatingsystem")))
