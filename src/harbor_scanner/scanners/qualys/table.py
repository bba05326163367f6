"""The `#table` text that Qualys writes as evidence, such as a list of packages."""

from __future__ import annotations

from collections.abc import Iterator

from harbor_scanner.scanners.qualys.documents import fold
from harbor_scanner.scanners.qualys.vulnerability import Package

_MARK = "#table"


def table_packages(evidence: str) -> list[Package]:
    """Return the packages that the tables of `evidence` name, without repetition.

    A line `#table cols="3"` is followed by the header, such as `Package Installed_Version Required_Version`, and a line
    for each package. Columns are separated by tabs or blanks. An underscore in a value is written twice, as
    `x86__64` shows; it is assumed that a single one stands for a blank, and it is left alone.
    """
    return list(dict.fromkeys(_packages(evidence)))


def _packages(evidence: str) -> Iterator[Package]:
    columns: list[str] | None = None
    waiting = False
    for line in evidence.splitlines():
        if line.startswith("#"):
            columns, waiting = None, line.startswith(_MARK)
        elif not line.strip():
            continue
        elif waiting:
            columns, waiting = [fold(cell.replace(" ", "")) for cell in _cells(line)], False
        elif columns and "package" in columns:
            package = _package(columns, _cells(line), certain="\t" in line)
            if package.name:
                yield package


def _package(columns: list[str], cells: list[str], *, certain: bool) -> Package:
    """Return the package of a line; of one whose cells do not fit the columns only the first is certain."""
    if len(cells) > len(columns) or (len(cells) < len(columns) and not certain):
        cells = cells[:1]
    values = dict(zip(columns, (cell.replace("__", "_") for cell in cells), strict=False))
    return Package(
        name=values.get("package", ""),
        version=values.get("installedversion", ""),
        fix=values.get("requiredversion", ""),
        path=values.get("installpath", ""),
    )


def _cells(line: str) -> list[str]:
    """Return the cells of a line. Empty ones at its end are left out; between blanks they cannot be told."""
    return [cell.strip() for cell in line.rstrip().split("\t")] if "\t" in line else line.split()
