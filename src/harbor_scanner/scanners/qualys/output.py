"""The files that `qscanner` leaves in its output directory, found and read.

Their whole names are not documented: reports and the inventory are known by their ends, SBOMs by their content.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harbor_scanner.errors import BadReportError, DiskError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.harbor.report import MAX_DOCUMENT
from harbor_scanner.scanners.qualys.documents import (
    ADVICE,
    Members,
    elements,
    folded,
    listed,
    load,
    members,
    mended,
    text,
    texts,
    value,
)
from harbor_scanner.scanners.qualys.inventory import Inventory, decode_inventory
from harbor_scanner.scanners.qualys.report import QualysReport, decode_report
from harbor_scanner.scanners.qualys.sarif import decode_sarif

REPORT, SARIF_REPORT, INVENTORY = "-Report.json", "-Report.sarif.json", "-ScanResult.json"
"""How the names of files end."""

_FORMATS = {media.SPDX: "SPDX", media.CYCLONEDX: "CycloneDX"}
_SHOWN = 10
"""Names of files in a message."""


class Output(msgspec.Struct, frozen=True):
    """What a run of `qscanner` wrote."""

    report: QualysReport | None = None
    """The vulnerabilities, if they are asked for."""
    inventory: Inventory | None = None
    sboms: dict[str, bytes] = msgspec.field(default_factory=dict)
    """The SBOMs asked for, by their media types."""


def read_output(directory: Path, reports: Sequence[str]) -> Output:
    """Read what is asked for, `vulnerability` and media types of SBOMs, from a directory and those in it.

    Links are not followed. Raises BadReportError if anything asked for is missing, cannot be read, or is there twice;
    DiskError if the directory cannot be read.
    """
    files = sorted(_files(directory))
    recorded = _only(files, INVENTORY)
    inventory = decode_inventory(load(recorded)) if recorded else None
    return Output(
        report=_report(files) if VULNERABILITY in reports else None,
        inventory=inventory,
        sboms=_sboms(files, [kind for kind in _FORMATS if kind in reports], inventory or Inventory()),
    )


def _files(directory: Path) -> Iterator[Path]:
    """Yield the regular JSON files of `directory` and of the directories in it."""
    for place, _, names in os.walk(directory, onerror=_unreadable):
        for name in names:
            path = Path(place, name)
            if name.endswith(".json") and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _unreadable(error: OSError) -> None:
    raise DiskError(
        f"The output directory of qscanner cannot be read: {error.strerror or error}.",
        "Look after the volume of SCANNER_DATA_DIR.",
    ) from error


def _only(files: Sequence[Path], end: str) -> Path | None:
    """Return the file whose name ends with `end`, or None. Raises BadReportError if there are two that differ."""
    found = [path for path in files if path.name.endswith(end)]
    if any(not filecmp.cmp(found[0], other, shallow=False) for other in found[1:]):
        raise BadReportError(
            f"qscanner wrote several files that differ, where there must be one: {_listed(found)}.", ADVICE
        )
    return found[0] if found else None


def _report(files: Sequence[Path]) -> QualysReport:
    if path := _only(files, REPORT):
        report = decode_report(load(path))
        if not report.vulnerabilities and (beside := _only(files, SARIF_REPORT)):
            sarif = decode_sarif(load(beside))
            report.doubts += sarif.doubts
            if sarif.vulnerabilities or sarif.unreadable:
                report.doubts.append(f"{beside.name[:100]} lists some")
        return report
    if path := _only(files, SARIF_REPORT):
        return decode_sarif(load(path))
    raise BadReportError(
        f"qscanner wrote no report: no file ends with {REPORT} or {SARIF_REPORT}. {_written(files)}", ADVICE
    )


def _sboms(files: Sequence[Path], formats: Sequence[str], inventory: Inventory) -> dict[str, bytes]:
    if not formats:
        return {}
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for path in files:
        if path.name.endswith((REPORT, SARIF_REPORT, INVENTORY)):
            continue
        try:
            document = mended(load(path, MAX_DOCUMENT))
            kind, parts = _recognised(document, path.name)
        except BadReportError as error:
            problems.append(error.message)
            continue
        if kind not in formats:
            continue
        if found.setdefault(kind, document) != document:
            raise BadReportError(f"qscanner wrote several {_FORMATS[kind]} documents that differ.", ADVICE)
        if not inventory.performed and not (inventory.incomplete and parts):
            raise BadReportError(
                f"The {_FORMATS[kind]} document of qscanner cannot be relied on: it lists {len(parts)} packages, and "
                "no inventory confirms that all packages of the image were looked for.",
                ADVICE,
            )
        if len(document) > MAX_DOCUMENT:
            problems.append(f"{path.name} is too large.")
            del found[kind]
    missing = [_FORMATS[kind] for kind in formats if kind not in found]
    if missing:
        raise BadReportError(
            " ".join([f"qscanner wrote no {' and no '.join(missing)} document that can be read.", *problems[:_SHOWN]])
            + f" {_written(files)}",
            ADVICE,
        )
    return found


def _recognised(document: bytes, name: str) -> tuple[str, Sequence[Any]]:
    """Return the media type of an SBOM and its list of packages, or no media type for any other JSON object."""
    fields = members(document, name)
    version = value(fields.get("spdxversion"))
    if isinstance(version, str) and version.startswith("SPDX-"):
        packages = elements(fields.get("packages")) or ()
        return media.SPDX, () if len(packages) == 1 and _is_root(value(packages[0]), fields) else packages
    if value(fields.get("bomformat")) == "CycloneDX":
        return media.CYCLONEDX, elements(fields.get("components")) or ()
    return "", ()


def _is_root(package: Any, fields: Members) -> bool:
    """Whether the only package of an SPDX 2 document is what the document describes: the image itself."""
    identifier = text(folded(package).get("spdxid"))
    related = [folded(relationship) for relationship in listed(value(fields.get("relationships")))]
    described = {
        text(each.get("relatedspdxelement")) for each in related if each.get("relationshiptype") == "DESCRIBES"
    }
    return identifier in {*described, *texts(value(fields.get("documentdescribes")))} - {""}


def _written(files: Sequence[Path]) -> str:
    return f"It wrote {_listed(files)}." if files else "It wrote no JSON file at all."


def _listed(files: Sequence[Path]) -> str:
    names = ", ".join(path.name[:100] for path in files[:_SHOWN])
    return f"{names} and more" if len(files) > _SHOWN else names
