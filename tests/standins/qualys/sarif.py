"""The SARIF form of the vulnerability report."""

from __future__ import annotations

from standins.qualys.qid import Json
from standins.qualys.subject import Subject

_LEVELS = {5: "error", 4: "error", 3: "warning", 2: "note", 1: "note"}


def document(subject: Subject, details: list[Json], version: str, where: str) -> Json:
    """Return the report. `where` QIDs, CVEs and packages stand: at `rules` and lists, or all in `results`."""
    of_rules = where == "rules"
    results = [result for detail in details for result in ([_result(detail)] if of_rules else _flat(detail))]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "QScanner",
                        "version": version,
                        "informationUri": "https://www.qualys.com",
                        "rules": [_rule(detail, full=of_rules) for detail in details],
                    }
                },
                "artifacts": [
                    {
                        "location": {"uri": subject.image},
                        "properties": {
                            "imageID": subject.image_id,
                            "repoDigest": subject.digest,
                            "osName": subject.inventory.os,
                            "osVersion": subject.inventory.version,
                        },
                    }
                ],
                "results": results,
                "properties": {
                    "imageID": subject.image_id,
                    "imageDigest": subject.digest,
                    "imageName": subject.image,
                    "os": f"{subject.inventory.os} {subject.inventory.version}",
                    "repoTags": [],
                },
            }
        ],
    }


def _rule(detail: Json, *, full: bool) -> Json:
    rule: Json = {
        "id": str(detail["qid"]),
        "name": detail["title"],
        "shortDescription": {"text": detail["title"]},
        "defaultConfiguration": {"level": _LEVELS[detail["severity"]]},
    }
    if full:
        rule["help"] = {"text": detail["result"] or detail["title"]}
        rule["properties"] = {
            "severity": detail["severity"],
            "customerSeverity": detail["customerSeverity"],
            "cve-ids": detail["cveids"] or [],
            "qds": str(detail["qdsScore"] or ""),
        }
    return rule


def _result(detail: Json) -> Json:
    software = [
        {
            "name": one["name"],
            "installedVersion": one["version"],
            "fixedVersion": one["fixVersion"] or "",
            "layerSHA": (detail["layerSha"] or [""])[0],
        }
        for one in detail["software"] or ()
    ]
    return {**_head(detail), "properties": {"QID": detail["qid"], "vulnerableSoftware": software}}


def _flat(detail: Json) -> list[Json]:
    """Return a result for each package."""
    common = {
        "qid": detail["qid"],
        "cves": detail["cveids"] or [],
        "severity": detail["severity"],
        "cvssScore": float((detail["cvss3Info"] or detail["cvssInfo"] or {"baseScore": 0})["baseScore"]),
    }
    packages = [
        {"packageName": one["name"], "installedVersion": one["version"], "fixedVersion": one["fixVersion"]}
        for one in detail["software"] or ()
    ]
    return [{**_head(detail), "properties": {**common, **package}} for package in packages or [{}]]


def _head(detail: Json) -> Json:
    return {
        "ruleId": str(detail["qid"]),
        "level": _LEVELS[detail["severity"]],
        "message": {"text": detail["title"]},
    }
