"""What tests tell the stand-in for trivy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from standins.engine.config import load

NAME = "trivy.json"
RECORD = "trivy.jsonl"


class Config(NamedTuple):
    """How this trivy shall misbehave."""

    version: str = "0.69.3"
    behaviours: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    """Forced behaviours, the first that applies: repository (a pattern), times (or null), id, behaviour."""


def read(directory: Path) -> Config:
    """Read the config beside the script."""
    return Config(**load(directory / NAME))
