"""What tests tell the stand-in for scannercli."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from standins.engine.config import load

NAME = "scannercli.json"
RECORD = "scannercli.jsonl"


class Config(NamedTuple):
    """The Aqua console that this scannercli belongs to, and how it shall misbehave."""

    username: str = ""
    password: str = ""
    token: str = ""
    version: str = "6.5.22034"
    registries: dict[str, dict[str, str]] = {}  # noqa: RUF012 - never changed
    """Registries known to the console, by name: url, username, password, ca_file."""
    check_host: bool = False
    """Whether the console's host is really connected to."""
    robot_required: bool = False
    """Whether the registry refuses the console's account, as Harbor does for images that it holds back."""
    compliant: bool = True
    """Whether images comply with the console's policies."""
    behaviours: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    """Forced behaviours, the first that applies: repository (a pattern), times (or null), id, behaviour."""


def read(directory: Path) -> Config:
    """Read the config beside the script."""
    return Config(**load(directory / NAME))
