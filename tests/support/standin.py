"""Install the stand-in for scannercli in a directory of a test's own, and tell it how to behave."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standins.aqua import config as configuration
from standins.aqua.behaviour import Behaviour
from standins.aqua.config import Config
from standins.engine.model import Source
from support.oci import Registry
from support.registry import CONSOLE

TESTS = Path(__file__).resolve().parents[1]

# As `standins/scannercli`, but started by the interpreter that runs the tests: `python3` may be a slow wrapper.
_LAUNCHER = """\
#!{python} -S
import sys
sys.path[0] = {tests!r}
from standins.aqua.cli import main
sys.exit(main())
"""


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


class ScannerCli:
    """An installed stand-in, and the console that it belongs to."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.path = directory / "scannercli"
        self._ids = itertools.count()
        self._record = directory / configuration.RECORD
        self.config = config

    def configure(self, **changes: Any) -> None:
        """Change what the console or its registry is like: any field of Config."""
        self.config = self.config._replace(**changes)
        # Written aside and moved, for scans may read it just now.
        written = self.directory / "scannercli.json.new"
        written.write_text(json.dumps(self.config._asdict(), indent=2))
        written.replace(self.directory / configuration.NAME)

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

    def force(self, behaviour: Behaviour, *, repository: str = "*", times: int | None = None) -> None:
        """Make scans of matching repositories behave so, `times` times if given. The last call counts first."""
        entry = {
            "id": f"forced-{next(self._ids)}",
            "repository": repository,
            "times": times,
            "behaviour": behaviour._asdict(),
        }
        self.configure(behaviours=[entry, *self.config.behaviours])

    def reset(self) -> None:
        """Take back all that was forced."""
        self.configure(behaviours=[])

    def scans(self, repository: str = "") -> list[Run]:
        """Return the scans so far, of one repository or of all, in the order of their starts."""
        runs: dict[str, Run] = {}
        for line in self._record.read_text().splitlines():
            event = json.loads(line)
            kind, name, time = event.pop("event"), event.pop("run"), event.pop("time")
            if kind == "start":
                runs[name] = Run(**event, started=time)
            elif kind == "end":
                runs[name].ended, runs[name].code = time, event["code"]
            elif kind == "orphan":
                runs[name].orphans.append(event["pid"])
            else:
                runs[name].registered = True
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
    directory.mkdir(parents=True, exist_ok=True)
    installed = ScannerCli(directory, Config(username, password, token))
    installed.configure(**settings)
    installed.path.write_text(_LAUNCHER.format(python=sys.executable, tests=str(TESTS)))
    installed.path.chmod(0o755)
    (directory / configuration.RECORD).touch()
    return installed
