"""The JSON report of `scannercli`: the part of it that is used, and how a file becomes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from harbor_scanner.errors import BadReportError, DiskError

SIZE_LIMIT = 256 * 2**20
"""Bytes of a report file. Larger ones are not read: a report takes three to four times its size in memory."""

_ADVICE = (
    "Run the scan again. If it happens every time, keep the file with SCANNER_AQUA_REPORT_DELETE=false to look "
    "at it, and see whether the version of scannercli matches that of the Aqua console."
)

Number: TypeAlias = float | str | None
"""A number as reports may have it; `number` reads it."""


# The structs hold parsed JSON, which has no cycles: hence `gc=False`.


class Weakness(msgspec.Struct, gc=False):
    """An element of `cwe_info`."""

    id: str | None = msgspec.field(default=None, name="Id")


class Vulnerability(msgspec.Struct, gc=False):
    """A vulnerability, or an advisory of a Linux distribution with the vulnerabilities that it settles.

    Every field may be missing or null, as the reports of different Aqua versions show.
    """

    name: str | None = None
    """`CVE-…`, or an advisory such as `DSA-…` and `RHSA-…`, or another database's `WS-…`."""
    description: str | None = None
    nvd_url: str | None = None
    vendor_url: str | None = None
    fix_version: str | None = None
    """One version or a comma list."""
    solution: str | None = None
    publish_date: str | None = None
    modification_date: str | None = None
    fix_publish_date: str | None = None
    vendor_publish_date: str | None = None
    vendor_statement: str | None = None
    classification: str | None = None

    aqua_score: Number = None
    aqua_severity: str | None = None
    aqua_vectors: str | None = None
    aqua_scoring_system: str | None = None
    """Version of CVSS that `aqua_score` and `aqua_vectors` follow: `CVSS V2` or `CVSS V3`."""
    aqua_severity_classification: str | None = None
    aqua_score_classification: str | None = None

    nvd_score: Number = None
    nvd_score_version: str | None = None
    nvd_vectors: str | None = None
    nvd_severity: str | None = None
    nvd_score_v3: Number = None
    nvd_vectors_v3: str | None = None
    nvd_severity_v3: str | None = None

    vendor_score: Number = None
    vendor_score_version: str | None = None
    """`CVSS v2`, or `Aqua` for a figure of Aqua's own that is no CVSS score."""
    vendor_vectors: str | None = None
    vendor_severity: str | None = None
    vendor_score_v3: Number = None
    vendor_vectors_v3: str | None = None
    vendor_severity_v3: str | None = None

    cwe_info: tuple[Weakness, ...] | None = None
    epss_score: Number = None
    epss_percentile: Number = None
    epss_date: str | None = None
    cisa_publish_date: str | None = None
    cisa_due_date: str | None = None
    ref_vulns: list[Vulnerability] | None = None
    """Of an advisory: the vulnerabilities that it settles."""


class Resource(msgspec.Struct, gc=False):
    """A package or a file of the image."""

    type: Number = None
    """1 for a file, 2 for an executable, absent for a package."""
    name: str | None = None
    version: str | None = None
    path: str | None = None
    format: str | None = None
    arch: str | None = None
    license: str | None = None
    cpe: str | None = None
    hash: str | None = None
    src_name: str | None = None
    src_version: str | None = None
    layer_digest: str | None = None


class Examined(msgspec.Struct, gc=False):
    """An element of `resources`: a resource and what was found in it."""

    resource: Resource | None = None
    scanned: bool | None = None
    vulnerabilities: list[Vulnerability] | None = None


class Summary(msgspec.Struct, gc=False):
    """Counts over the whole image. `total` leaves out the negligible ones, which the report may not list."""

    total: Number = None
    critical: Number = None
    high: Number = None
    medium: Number = None
    low: Number = None
    sensitive: Number = None
    malware: Number = None


class Report(msgspec.Struct, gc=False):
    """The whole document."""

    resources: list[Examined] | None = None
    vulnerability_summary: Summary | None = None
    partial_results: bool | None = None


_DECODER = msgspec.json.Decoder(Report)
_STRUCTS = (Report, Summary, Examined, Resource, Vulnerability, Weakness)
_BRANCHES = {"resources", "vulnerability_summary", "resource", "vulnerabilities", "cwe_info", "ref_vulns"}
_LEAVES = {
    field.encode_name: field.type
    for struct in _STRUCTS
    for field in msgspec.structs.fields(struct)
    if field.encode_name not in _BRANCHES
}


def number(value: Number, most: float) -> float | None:
    """Return `value` if it is a number from 0 to `most`, or a text of one."""
    if value is None:
        return None
    try:
        figure = float(value)
    except ValueError:
        return None
    return figure if 0 <= figure <= most else None


def load_report(path: Path) -> Report:
    """Read a report file. Raises BadReportError if it is missing, empty, too large or no report."""
    try:
        size = path.stat().st_size
        if size > SIZE_LIMIT:
            raise BadReportError(
                f"The report of scannercli is too large to read: it has {size:,} bytes, the limit is {SIZE_LIMIT:,}.",
                "Set SCANNER_CLI_SHOW_NEGLIGIBLE=false to make reports smaller.",
            )
        return decode_report(path.read_bytes())
    except FileNotFoundError:
        raise BadReportError(f"scannercli wrote no report: {path.name} does not exist.", _ADVICE) from None
    except OSError as error:
        raise DiskError(
            f"The report of scannercli cannot be read: {error.strerror or error}.",
            "Look after the volume of SCANNER_AQUA_REPORTS_DIR.",
        ) from error


def decode_report(document: bytes) -> Report:
    """Decode a report. Raises BadReportError, which names the place, if `document` is no JSON or no report.

    A value of the wrong type counts as absent, and what is no Unicode in a text is replaced; but lists and objects
    must be what they should be.
    """
    if not document or document.isspace():
        raise BadReportError("The report of scannercli is empty.", _ADVICE)
    try:
        return _DECODER.decode(document)
    except (ValueError, RecursionError):
        text = document.decode("utf-8-sig", "replace")
    del document  # or a large one would stand in memory twice
    return _decode_with_care(text)


def _decode_with_care(text: str) -> Report:
    """Decode what the strict decoder refuses, in many times its time."""
    try:
        return msgspec.convert(json.loads(text, object_pairs_hook=_declared), Report)
    except (ValueError, RecursionError) as error:
        raise BadReportError(f"The report of scannercli cannot be read as such: {error}.", _ADVICE) from error


def _declared(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return of a JSON object what the structs declare, and of its values those of the right types."""
    return {
        name: _branch(value) if name in _BRANCHES else _leaf(value, _LEAVES[name])
        for name, value in pairs
        if name in _BRANCHES or name in _LEAVES
    }


def _branch(value: Any) -> Any:
    """Return a list without its nulls, which stand for nothing, and anything else as it is."""
    return [item for item in value if item is not None] if isinstance(value, list) else value


def _leaf(value: Any, declared: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        # Escapes such as `\ud800` stand for no character: they decode, but cannot be encoded again.
        value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return msgspec.convert(value, declared, strict=False)
    except msgspec.ValidationError:
        return None
