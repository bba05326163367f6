"""What tests tell the stand-in for qscanner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from standins.engine.config import load

NAME = "qscanner.json"
RECORD = "qscanner.jsonl"


class Config(NamedTuple):
    """The Qualys platform and the node that this qscanner belongs to, and how it shall misbehave."""

    token: str = ""
    pod: str = "US2"
    """The platform that knows the token."""
    gateway_url: str = ""
    """That platform's gateway, if it is not the pod's public one."""
    version: str = "4.8.0-2"
    spelling: str = "details"
    """How the JSON report names things: a key of `spelling.NAMES`."""
    sarif: str = "rules"
    """Where SARIF holds QIDs, CVEs and packages: `rules` for rules and `vulnerableSoftware`, or `results`."""
    poll_seconds: float = 0.01
    """How long one wait for the vulnerability report really takes."""
    schemes: dict[str, str] = {}  # noqa: RUF012 - never changed
    """`http` or `https` of registries, by host and port, where the usual rule does not hold."""
    storage_drivers: list[str] = []  # noqa: RUF012 - never changed
    """The runtimes whose storage is on this node, and has every image."""
    behaviours: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    """Forced behaviours, the first that applies: repository (a pattern), times (or null), id, behaviour."""


def read(directory: Path) -> Config:
    """Read the config beside the script."""
    return Config(**load(directory / NAME))
