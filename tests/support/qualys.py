"""Install the stand-in for qscanner in a directory of a test's own, and tell it how to behave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from standins.qualys.behaviour import Behaviour
from standins.qualys.config import Config
from support.installed import Installed


@dataclass
class Run:
    """A scan as the stand-in recorded it."""

    image: str
    """As on the command line."""
    repository: str
    mode: str
    pod: str
    gateway_url: str
    token: str
    """Of the flag or the environment; empty if there was none."""
    pid: int
    argv: list[str]
    environment: dict[str, str]
    started: float
    locked: float | None = None
    """When the cache became this run's own; None for a run without a cache, or still waiting for it."""
    hits: list[str] = field(default_factory=list)
    """Digests of the layers that the cache had."""
    misses: list[str] = field(default_factory=list)
    ended: float | None = None
    """None if the run did not end by itself."""
    code: int | None = None
    orphans: list[int] = field(default_factory=list)
    """Processes that it left behind."""


class QScanner(Installed[Config, Behaviour]):
    """An installed stand-in, and the platform that it belongs to."""

    def __init__(self, directory: Path, config: Config) -> None:
        super().__init__(directory, "qscanner", "standins.qualys.cli", config)

    def scans(self, repository: str = "") -> list[Run]:
        """Return the scans so far, of one repository or of all, in the order of their starts."""
        runs: dict[str, Run] = {}
        for event in self._events():
            if event.kind == "start":
                runs[event.run] = Run(**event.fields, started=event.time)
                continue
            run = runs[event.run]
            if event.kind == "end":
                run.ended, run.code = event.time, event.fields["code"]
            elif event.kind == "orphan":
                run.orphans.append(event.fields["pid"])
            elif event.kind == "locked":
                run.locked = event.time
            elif event.kind == "cache":
                run.hits, run.misses = event.fields["hits"], event.fields["misses"]
        return [run for run in runs.values() if repository in {"", run.repository}]


def install_qscanner(
    directory: Path, *, token: str = "qualys-t0ken.eyJhbGciOiJub25lIn0", pod: str = "US2", **settings: Any
) -> QScanner:
    """Install the stand-in as `directory/qscanner`, for the platform `pod` that knows `token`.

    `settings` are further fields of Config.
    """
    return QScanner(directory, Config(token, pod)._replace(**settings))
