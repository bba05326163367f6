"""Shows which advisories there are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from harbor_scanner.osv.age import age, too_old
from harbor_scanner.osv.database import Database, EcosystemInfo


class Row(msgspec.Struct, frozen=True):
    """An ecosystem, and what is to be said of it."""

    info: EcosystemInfo
    state: str
    """`ok`, `old`, `broken` or `missing`."""
    remark: str = ""


def rows(database: Database, wanted: Iterable[str]) -> list[Row]:
    """Return a row for each ecosystem that is there, and for each that is wanted."""
    now = datetime.now(UTC)
    there = [_row(info, now) for info in database.info()]
    names = {row.info.ecosystem for row in there}
    missing = [Row(EcosystemInfo(name), "missing") for name in wanted if name not in names]
    return sorted([*there, *missing], key=lambda row: row.info.ecosystem.casefold())


def as_json(directory: Path, rows: Iterable[Row]) -> str:
    """Return the rows as JSON, for programs."""
    found: dict[str, Any] = {
        "directory": str(directory),
        "ecosystems": [{**msgspec.structs.asdict(row.info), "state": row.state, "remark": row.remark} for row in rows],
    }
    return msgspec.json.format(msgspec.json.encode(found)).decode()


def show(directory: Path, rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    now = datetime.now(UTC)
    table = Table(box=None, pad_edge=False)
    for title in ("ECOSYSTEM", "ADVISORIES", "PACKAGES", "NEWEST", "CHECKED", "SIZE", "STATE"):
        right = title in {"ADVISORIES", "PACKAGES", "SIZE"}
        table.add_column(title, justify="right" if right else "left", overflow="fold", no_wrap=title == "ECOSYSTEM")
    styles = {"ok": None, "missing": "dim", "old": "yellow", "broken": "red"}
    for row in rows:
        info = row.info
        figures = (f"{info.advisories:,}", f"{info.packages:,}", _ago(info.modified, now), _ago(info.checked_at, now),
                   f"{info.size / 2**20:,.1f} MiB")  # fmt: skip
        remarks = [row.remark, f"{info.unreadable:,} could not be read" if info.unreadable else ""]
        state = ": ".join(filter(None, [row.state, "; ".join(filter(None, remarks))]))
        table.add_row(
            info.ecosystem, *(figures if info.imported_at else ["-"] * len(figures)), state, style=styles[row.state]
        )
    console = Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False, markup=False, highlight=False)
    console.print(f"Advisories in {directory}:")
    console.print(table)
    if any(row.state != "ok" for row in rows):
        console.print("What is missing, old or broken is fetched by `harbor-scanner db update`.")


def _row(info: EcosystemInfo, now: datetime) -> Row:
    if info.problem:
        return Row(info, "broken", info.problem)
    remark = too_old(info, now)
    return Row(info, "old" if remark else "ok", remark)


def _ago(text: str, now: datetime) -> str:
    past = age(text, now)
    if past is None:
        return "-"
    if past >= timedelta(days=2):
        return f"{past.days} days ago"
    hours = int(past / timedelta(hours=1))
    return f"{hours} h ago" if hours > 0 else "just now"
