"""Findings on a screen, and as plain lines where the output goes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harbor_scanner.harbor.models import Finding, Severity
from harbor_scanner.scanning.report import Report, count
from harbor_scanner.scanning.subject import Subject

STYLES = {
    Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan", Severity.NEGLIGIBLE: "dim", Severity.UNKNOWN: "dim",
}  # fmt: skip

_WIDE = 120
"""Columns from which on there is room for links."""
_ENDLESS = 100_000
"""Columns of what is no screen: a line for each finding, whatever its length."""
_DIGITS = 12


def show(subject: Subject, report: Report, shown: Sequence[Finding], file: IO[str], *, screen: bool) -> None:
    """Write the findings that are shown, and how many there are in all. Colours and links go to a screen only."""
    console = Console(
        file=file, markup=False, highlight=False, emoji=False,
        width=None if screen else _ENDLESS, color_system="auto" if screen else None, force_terminal=screen,
    )  # fmt: skip
    console.print(_head(subject, report), soft_wrap=True)
    if shown:
        console.print()
        console.print(_table(shown, screen=screen, links=not screen or console.width >= _WIDE))
    console.print()
    console.print(_totals(report, shown), soft_wrap=not screen)
    for notice in report.notices:
        console.print(Text(f"Note: {_line(notice)}", "yellow"), soft_wrap=not screen)


def _head(subject: Subject, report: Report) -> Text:
    digest = subject.artifact.digest
    algorithm, _, digits = digest.partition(":")
    parts = [subject.platform, f"{algorithm}:{digits[:_DIGITS]}" if digest not in subject.name else ""]
    rest = "  ".join(filter(None, [*parts, f"by {report.scanner.name} {report.scanner.version}"]))
    return Text.assemble((subject.name, "bold"), f"  {rest}")


def _table(shown: Sequence[Finding], *, screen: bool, links: bool) -> Table:
    gap = 2 if links else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim" if screen else "")
    for title in ("SEVERITY", "VULNERABILITY", "PACKAGE", "INSTALLED", "FIXED IN", *(("LINK",) if links else ())):
        fixed = not screen or title in {"SEVERITY", "VULNERABILITY"}
        table.add_column(title, overflow="fold", no_wrap=fixed, min_width=9 if not fixed else None)
    for finding in shown:
        link = finding.links[0] if finding.links else ""
        style = STYLES[finding.severity]
        row = [
            Text(finding.severity, style),
            Text(_line(finding.id), f"link {link}" if link and screen else ""),
            Text(_line(finding.package)),
            Text(_line(finding.version)),
            Text(_line(finding.fix_version) or "-", "green" if finding.fix_version else "dim"),
            *([Text(_line(link), f"dim link {link}" if link and screen else "")] if links else []),
        ]
        table.add_row(*row)
    return table


def _line(text: str) -> str:
    """Return a text that moves no cursor and begins no line: it comes from an image."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _totals(report: Report, shown: Sequence[Finding]) -> Text:
    hidden = len(report.findings) - len(shown)
    if not report.findings:
        return Text("No vulnerability was found.", "green")
    counts = count(report.findings)
    parts = [Text(f"{number:,} {severity}", STYLES[severity]) for severity, number in counts.items() if number]
    total = len(report.findings)
    fixable = sum(bool(finding.fix_version) for finding in report.findings)
    words = "1 vulnerability: " if total == 1 else f"{total:,} vulnerabilities: "
    text = Text.assemble((words, "bold"), Text(", ").join(parts))
    text.append(f"; {fixable:,} can be fixed." if fixable else "; none can be fixed yet.")
    if hidden:
        text.append(f" {hidden:,} less severe {'is' if hidden == 1 else 'are'} not shown.")
    return text
