"""What the stand-ins know of vulnerabilities: a few dozen true facts, in `facts.json`."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from standins.engine.model import Package
from standins.engine.versions import older

Fact = dict[str, Any]


def of(package: Package) -> list[Fact]:
    """Return the facts that apply to a package, by the source it was built from."""
    return [
        fact
        for fact in _by_source().get((package.format, package.source), ())
        if "fix" not in fact or older(package.source_version, fact["fix"])
    ]


@lru_cache(maxsize=1)
def _by_source() -> dict[tuple[str, str], list[Fact]]:
    index: dict[tuple[str, str], list[Fact]] = {}
    for fact in json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8")):
        index.setdefault((fact["format"], fact["source"]), []).append(fact)
    return index
