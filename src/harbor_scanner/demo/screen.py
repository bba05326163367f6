"""What the demo shows: its steps, and what Harbor would show of the reports."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager
from textwrap import indent
from types import MappingProxyType
from typing import Any

from packageurl import PackageURL
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from harbor_scanner.harbor.checks import ReportedVulnerability, VulnerabilityReport
from harbor_scanner.harbor.models import Severity
from harbor_scanner.scanning.table import STYLES

_KINDS = MappingProxyType({"deb": "Debian", "maven": "Java", "npm": "Node.js", "pypi": "Python"})
"""By the type of a package URL."""
_NAMED = 4
_INDENT = 4
_PIPED_WIDTH = 200
"""Whoever reads a file wraps its lines."""


class Screen:
    """A terminal, or a file."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
        self._errors = Console(highlight=False, emoji=False, stderr=True, soft_wrap=True)

    def step(self, text: str) -> None:
        """Tell what is being done."""
        arrow = Table.grid(padding=(0, 1))
        arrow.add_row("[bold blue]==>[/]", text)
        self._console.print(arrow)

    def note(self, text: str) -> None:
        """Tell more of the step."""
        self._console.print(Padding(text, (0, 0, 0, _INDENT), expand=False))

    def working(self, text: str) -> AbstractContextManager[object]:
        """Tell on a terminal what goes on until the block ends."""
        # Not every terminal can show the default, which has no ASCII.
        return self._console.status(text, spinner="line")

    def fail(self, reason: str) -> None:
        """Tell that the demo has failed, and why."""
        self._errors.print("[bold red]==> The demo has failed:[/]")
        self._errors.print(indent(reason, " " * _INDENT), markup=False)

    def vulnerabilities(self, report: VulnerabilityReport) -> None:
        """Show a report as a table, the most severe first."""
        table = _table("SEVERITY", "ID", "PACKAGE", "VERSION", "FIXED IN")
        for item in sorted(report.vulnerabilities, key=_place):
            severity = _severity(item)
            table.add_row(
                f"[{STYLES[severity]}]{severity}[/]", escape(item.id or ""),
                escape(item.package or ""), escape(item.version or ""), escape(item.fix_version or "-"),
            )  # fmt: skip
        self._show(table)
        counts = Counter(_severity(item) for item in report.vulnerabilities)
        by_severity = ", ".join(f"{counts[name]} {name.lower()}" for name in STYLES if counts[name])
        fixable = sum(1 for item in report.vulnerabilities if item.fix_version)
        self.note(f"[bold]{len(report.vulnerabilities)} vulnerabilities[/]: {by_severity}; {fixable} have a fix.")

    def sbom(self, document: dict[str, Any]) -> None:
        """Show the packages of an SPDX document by their kinds."""
        found = defaultdict(list)
        for purl in sorted(_purls(document), key=lambda purl: purl.name):
            found[_KINDS.get(purl.type, purl.type)].append(purl.name)
        table = _table("KIND", "PACKAGES", "SUCH AS")
        for kind, names in sorted(found.items()):
            more = ", ..." if len(names) > _NAMED else ""
            table.add_row(escape(kind), f"{len(names):>8}", escape(", ".join(names[:_NAMED])) + more)
        self._show(table)

    def _show(self, table: Table) -> None:
        self._console.print()
        self._console.print(Padding(table, (0, 0, 0, _INDENT // 2), expand=False))
        self._console.print()


def packages(document: dict[str, Any]) -> int:
    """Return how many packages an SPDX document lists; the image itself, which is one in its words, does not count."""
    return sum(1 for _ in _purls(document))


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        # Only names of packages are so long that they may need two lines.
        table.add_column(title, no_wrap=title not in {"PACKAGE", "SUCH AS"}, overflow="fold")
    return table


def _place(item: ReportedVulnerability) -> tuple[int, str, str]:
    """Return where a vulnerability stands: by severity, then by package."""
    return (-_severity(item).rank, item.package or "", item.id or "")


def _severity(item: ReportedVulnerability) -> Severity:
    return Severity(item.severity) if item.severity in set(Severity) else Severity.UNKNOWN


def _purls(document: dict[str, Any]) -> Iterator[PackageURL]:
    for package in document.get("packages", []):
        for reference in package.get("externalRefs", []):
            if reference.get("referenceType") == "purl":
                purl = PackageURL.from_string(str(reference.get("referenceLocator")))
                if purl.type != "oci":
                    yield purl
                break
