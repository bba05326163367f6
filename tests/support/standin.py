"""Install the stand-in for scannercli in a directory of a test's own, and tell it how to behave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standins.aqua.behaviour import Behaviour
from standins.aqua.config import Config
from standins.engine.model import Source
from support.installed import Installed
from support.oci import Registry
from support.registry import CONSOLE


@dataclass
class Run:
    """A scan as the stand-in recorded it."""

    image: str
    pid: int
    argv: list[str]
    environment: dict[str, str]
    started: float
    ended: float | None = None
    """None if the run did not end by itself."""
    code: int | None = None
    registered: bool = False
    orphans: list[int] = field(default_factory=list)
    """Processes that it left behind."""


class ScannerCli(Installed[Config, Behaviour]):
    """An installed stand-in, and the console that it belongs to."""

    def __init__(self, directory: Path, config: Config) -> None:
        super().__init__(directory, "scannercli", "standins.aqua.cli", config)

    def connect(
        self,
        registry: Registry,
        *,
        name: str = "Harbor",
        username: str = CONSOLE.username,
        password: str = CONSOLE.password,
    ) -> None:
        """Make a registry known to the console, with the console's own account there."""
        ca_file = str(registry.ca_file or "")
        known = Source(registry.url, username, password, ca_file)._asdict()
        self.configure(registries={**self.config.registries, name: known})

    def scans(self, repository: str = "") -> list[Run]:
        """Return the scans so far, of one repository or of all, in the order of their starts."""
        runs: dict[str, Run] = {}
        for event in self._events():
            if event.kind == "start":
                runs[event.run] = Run(**event.fields, started=event.time)
            elif event.kind == "end":
                runs[event.run].ended, runs[event.run].code = event.time, event.fields["code"]
            elif event.kind == "orphan":
                runs[event.run].orphans.append(event.fields["pid"])
            else:
                runs[event.run].registered = True
        names = (f"{repository}@", f"{repository}:") if repository else ""
        return [run for run in runs.values() if run.image.startswith(names)]


def install_scannercli(
    directory: Path,
    *,
    username: str = "harbor_scanner",
    password: str = "c0nsole$ecret",
    token: str = "",
    **settings: Any,
) -> ScannerCli:
    """Install the stand-in as `directory/scannercli`, for a console with this account.

    `settings` are further fields of Config. No registry is known before `connect`.
    """
    return ScannerCli(directory, Config(username, password, token)._replace(**settings))
