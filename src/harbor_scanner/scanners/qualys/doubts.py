"""What speaks against a report: that it is not all, or that no finding is no evidence."""

from __future__ import annotations

from collections.abc import Iterator

from harbor_scanner.errors import BadReportError
from harbor_scanner.scanners.qualys.inventory import Inventory
from harbor_scanner.scanners.qualys.report import QualysReport

PARTIAL = (
    "The results may be partial: qscanner did not complete all of its scans of the image, or the Qualys platform did "
    "not report all that it found. The image may hold more than they tell."
)
"""The notice of a result that lacks a part."""

_EXAMINE = "Look in the Qualys platform and in the log of qscanner what kept it from scanning, and scan again."
_SUPPORTED = "See whether this version of qscanner is supported."


def require_clean(report: QualysReport, inventory: Inventory, digest: str) -> None:
    """Raise BadReportError unless a report without vulnerabilities can be believed of the image with this digest.

    That the inventory's `RepoDigests` hold the digest by which the image was asked for is assumed.
    """
    if report.unreadable:
        raise BadReportError(
            f"None of the {report.unreadable} vulnerabilities in the report of qscanner can be read: "
            "they name neither a QID nor a CVE.",
            _SUPPORTED,
        )
    if report.doubts:
        raise BadReportError(f"The report of qscanner lists no vulnerabilities, but {report.doubts[0]}.", _EXAMINE)
    if digest and inventory.digests and digest not in inventory.digests:
        raise BadReportError(
            f"qscanner lists no vulnerabilities, but of another image than {digest}: its inventory names "
            f"{inventory.digests[0][:200]}.",
            _EXAMINE,
        )
    if inventory.incomplete:
        raise BadReportError(
            "qscanner completed only part of its scans of the image, and nothing was found in that part.", _EXAMINE
        )
    if inventory.vulnerable:
        raise BadReportError(
            "The report of qscanner lists no vulnerabilities, but its inventory does, where none are expected.",
            _SUPPORTED,
        )
    if not inventory.performed:
        raise BadReportError(
            "The report of qscanner lists no vulnerabilities, and no inventory confirms that the packages of the image "
            "were scanned.",
            _EXAMINE,
        )


def notices(report: QualysReport, inventory: Inventory, left_out: int) -> Iterator[str]:
    """Yield what users are to know of a report with vulnerabilities, of which `left_out` are in no finding."""
    if inventory.incomplete or report.doubts:
        yield PARTIAL
    if report.unreadable or not all(vulnerability.clear for vulnerability in report.vulnerabilities):
        yield (
            "The report of Qualys has entries that cannot be read, or not in full: see the Qualys platform for all "
            "vulnerabilities."
        )
    if left_out:
        yield (
            "QIDs without a package are left out, as scannerArgs.narrow-report says: see the Qualys platform for all "
            "vulnerabilities."
        )
