"""The commands of the documentation, as their blocks stand there, and who runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>run by|not run): (?P<what>.+?) -->\n\n?)?"
    r"^(?P<indent>[ ]*)```(?:sh|bash)\n(?P<text>.*?)^[ ]*```$",
    re.MULTILINE | re.DOTALL,
)


class Block(msgspec.Struct, frozen=True):
    """A block of shell commands on a page."""

    page: str
    """Its path in the project."""
    line: int
    mark: str
    """`run by`, `not run`, or nothing."""
    what: str
    """The test that runs it, or the reason why none does."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page of the documentation."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.md")])


def blocks() -> Iterator[Block]:
    """Yield every block of shell commands of every page."""
    for path in pages():
        page = path.read_text(encoding="utf-8")
        for found in _BLOCK.finditer(page):
            indent = len(found["indent"])
            yield Block(
                page=str(path.relative_to(ROOT)),
                line=page.count("\n", 0, found.start("indent")) + 1,
                mark=found["mark"] or "",
                what=found["what"] or "",
                text="".join(line[indent:] or "\n" for line in found["text"].splitlines(keepends=True)),
            )
