"""What tests tell the program in front of syft."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from standins.engine.config import load

NAME = "syft.json"
RECORD = "syft.jsonl"


class Config(NamedTuple):
    """Which syft is run, and how it shall misbehave."""

    program: str = ""
    """Path of the real syft."""
    version: str = ""
    behaviours: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    """Forced behaviours, the first that applies: repository (a pattern), times (or null), id, behaviour."""


def read(directory: Path) -> Config:
    """Read the config beside the script."""
    return Config(**load(directory / NAME))
