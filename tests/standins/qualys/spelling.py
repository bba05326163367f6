"""How the JSON report names things, in every way that was seen or guarded against by those who read it."""

from __future__ import annotations

from standins.qualys.qid import Json

NAMES: dict[str, dict[str, str]] = {
    "details": {"": "details"},
    "vulnerabilities": {"": "vulnerabilities"},
    "QID": {
        "": "Vulnerabilities",
        "qid": "QID",
        "cveids": "Cves",
        "software": "Softwares",
        "version": "InstalledVersion",
        "packagePath": "Path",
        "fixVersion": "FixedVersion",
    },
    "Qid": {
        "": "Vulnerabilities",
        "qid": "Qid",
        "cveids": "Cves",
        "software": "Software",
        "version": "InstalledVersion",
        "packagePath": "PackagePath",
        "fixVersion": "FixVersion",
    },
}
"""By spelling: the name of the list, and of fields in it. Where one name has a capital, all others have one too, which
is assumed; lists of CVEs are then lists of objects with an `Id`."""


def respell(details: list[Json], spelling: str) -> Json:
    """Return the body of VulnerabilityReport in a spelling."""
    names = NAMES[spelling]
    if len(names) > 1:
        details = [_capitals(detail, names) for detail in details]
    return {names[""]: details}


def _capitals(detail: Json, names: dict[str, str]) -> Json:
    def respelt(fields: Json) -> Json:
        return {names.get(name, name[0].upper() + name[1:]): value for name, value in fields.items()}

    return respelt(
        {
            **detail,
            "cveids": detail["cveids"] and [{"Id": cve} for cve in detail["cveids"]],
            "software": detail["software"] and [respelt(software) for software in detail["software"]],
        }
    )
