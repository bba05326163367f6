"""The SARIF report of `qscanner` (`*-Report.sarif.json`), the less rich one, read where there is no other.

Its properties are not documented: the names are those that published readers of it expect, the richer set of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    listed,
    members,
    text,
    value,
    whole,
)
from harbor_scanner.scanners.qualys.inventory import System, system
from harbor_scanner.scanners.qualys.report import QualysReport, read_entries
from harbor_scanner.scanners.qualys.vulnerability import is_cve, read_qid, read_severity

_NULL = msgspec.Raw(b"null")
_NAME = "The SARIF report of qscanner"
_LEVELS = {"error": 4, "warning": 3, "note": 2}
"""Severities by the level of a result, where nothing else tells: an `error` may be a 4 or a 5."""


def decode_sarif(document: bytes) -> QualysReport:
    """Decode a report. Raises BadReportError if `document` is no JSON object, contradicts itself, or has no runs."""
    runs = [inner_members(run) for run in elements(members(document, _NAME).get("runs")) or ()]
    fields = [run for run in runs if run is not None]
    if not fields or len(fields) < len(runs):
        raise BadReportError(f"{_NAME} has no runs.", ADVICE)
    vulnerabilities, unreadable = read_entries(entry for run in fields for entry in _entries(run))
    return QualysReport(
        vulnerabilities,
        doubts=[doubt for run in fields for doubt in _doubts(run)],
        unreadable=unreadable,
        system=next((found for found in map(_system, fields) if found.name), System()),
    )


def _doubts(run: Members) -> Iterator[str]:
    if is_null(run.get("results", _NULL)):
        yield "a run in it has no results"
    invocations = [folded(value(invocation)) for invocation in elements(run.get("invocations")) or ()]
    successes = [flag for invocation in invocations for flag in listed(invocation.get("executionsuccessful"))]
    if any(flag is False or text(flag).lower() == "false" for flag in successes):
        yield "it says that a scan failed (executionSuccessful is false)"


def _entries(run: Members) -> Iterator[dict[str, Any]]:
    """Yield the results of a run as entries of the JSON report would have them."""
    results = elements(run.get("results", _NULL))
    if results is None:
        if is_null(run.get("results", _NULL)):
            return
        raise BadReportError(f"The results in {_NAME[0].lower()}{_NAME[1:]} are no list.", ADVICE)
    driver = folded(folded(value(run.get("tool"))).get("driver"))
    rules = [folded(rule) for rule in listed(driver.get("rules", []))]
    by_id = {text(rule.get("id")): rule for rule in rules}
    for raw in results:
        result = folded(value(raw))
        named = folded(result.get("rule"))
        rule_id = text(result.get("ruleid")) or text(named.get("id"))
        index = whole(result.get("ruleindex", named.get("index")), 0, len(rules) - 1)
        rule = by_id.get(rule_id) if rule_id else None
        if rule is None:
            rule = {} if index is None else rules[index]
        yield _entry(result, rule, rule_id or text(rule.get("id")))


def _entry(result: Mapping[str, Any], rule: Mapping[str, Any], rule_id: str) -> dict[str, Any]:
    message = text(folded(result.get("message")).get("text"), 64 * 1024)
    entry = {
        "title": text(folded(rule.get("shortdescription")).get("text")) or text(rule.get("name")) or message,
        "result": message,
        **_properties(rule),
        **_properties(result),
    }
    if not (read_severity(entry.get("severity")) or read_severity(entry.get("customerseverity"))):
        level = result.get("level") or folded(rule.get("defaultconfiguration")).get("level")
        entry["severity"] = _LEVELS.get(text(level).lower(), entry.get("severity"))
    if not read_qid(entry.get("qid")):
        entry["qid"] = rule_id
    if is_cve(rule_id):
        entry["cve"] = [entry.get("cve"), rule_id]
    return entry


def _properties(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a result or a rule without empty ones, so that they hide no others."""
    return {name: item for name, item in folded(fields.get("properties")).items() if item or item is False}


def _system(run: Members) -> System:
    """Return the operating system that the first artifact or the run itself names."""
    artifacts = elements(run.get("artifacts"))
    artifact = folded(folded(value(artifacts[0])).get("properties")) if artifacts else {}
    if name := text(artifact.get("osname")):
        return system(name, text(artifact.get("osversion")))
    properties = folded(value(run.get("properties")))
    return system(text(properties.get("os")) or text(properties.get("operatingsystem")))
