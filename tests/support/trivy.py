"""Install the stand-in for trivy in a directory of a test's own, and tell it how to behave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from standins.trivy.behaviour import Behaviour
from standins.trivy.config import Config
from support.installed import Installed


@dataclass
class Run:
    """A scan as the stand-in recorded it."""

    image: str
    pid: int
    argv: list[str]
    environment: dict[str, str]
    orphans: list[int] = field(default_factory=list)
    """Processes that it left behind."""


class Trivy(Installed[Config, Behaviour]):
    """An installed stand-in."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "trivy", "standins.trivy.cli", Config())

    def scans(self) -> list[Run]:
        """Return the scans so far, in the order of their starts."""
        runs: dict[str, Run] = {}
        for event in self._events():
            if event.kind == "start":
                runs[event.run] = Run(**event.fields)
            elif event.kind == "orphan":
                runs[event.run].orphans.append(event.fields["pid"])
        return list(runs.values())
