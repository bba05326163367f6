"""The contract of a scanner: everything that a backend must provide, and all that it is given.

A scanner knows nothing of HTTP or Redis. It gets a scan request and a workspace, and returns findings or raises one
of the errors of `harbor_scanner.errors`, whose class tells the service whether another run can help.

A package brings a scanner as a `ScannerPlugin`, under the entry point group `harbor_scanner.scanners`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harbor_scanner.doctor.check import Check
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, Capability, Finding, ScanRequest
from harbor_scanner.process import Outcome

IMAGE_VULNERABILITIES = Capability(
    type=VULNERABILITY,
    consumes_mime_types=media.IMAGE_MANIFESTS,
    produces_mime_types=(media.GENERIC_REPORT,),
)
"""The capability to find vulnerabilities in images."""

IMAGE_SBOMS = Capability(
    type=SBOM,
    consumes_mime_types=media.IMAGE_MANIFESTS,
    produces_mime_types=(media.SBOM_REPORT,),
    additional_attributes={"sbom_media_types": list(media.SBOM_FORMATS)},
)
"""The capability to list what images hold, in both formats."""


class Workspace(Protocol):
    """What one run of a scan may use. Everything in it is gone when the run ends."""

    @property
    def directory(self) -> Path:
        """A private, empty, writable directory (mode 0700)."""
        ...

    async def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str], time_limit: float, secrets: Sequence[str] = ()
    ) -> Outcome:
        """Run a scanner CLI to its end, or end its whole process tree after `time_limit` seconds.

        `environment` is all that the program sees, but for `HOME` and `TMPDIR`, which lead to this workspace, and
        for what it needs of this machine: `PATH`, locale, proxies, certificates (`scratch.PASSED_ON`). `secrets` are
        redacted from the outcome and from every log line of this run.
        Raises ScannerConfigurationError if the program does not exist or cannot be started.
        """
        ...

    def temporary_file(self, directory: Path, prefix: str, suffix: str) -> Path:
        """Create an empty file (mode 0600) in a directory of the operator's choice, outside of the workspace.

        It is removed with the workspace, and by the next start if the service dies. Raises OSError.
        """
        ...


class ScanResult(msgspec.Struct):
    """What a scan found."""

    findings: list[Finding]
    """Every vulnerability, if the request asks for them: an empty list claims that there are none."""
    notices: list[str] = msgspec.field(default_factory=list)
    """What a reader of the report must know about it as a whole, such as that it is partial."""
    sboms: dict[str, bytes] = msgspec.field(default_factory=dict)
    """The JSON documents of the SBOMs that the request asks for, by their media types."""


class Premises(msgspec.Struct, frozen=True):
    """What a scanner is given for its whole life."""

    settings: Callable[[], Any]
    """Returns the settings as they hold now: a struct of the plugin's own kind. A scan asks once, at its start."""
    directory: Path
    """Private to this scanner and this process, writable; made when first needed, and gone when the service ends."""
    lasting: Path
    """The data directory of the service, which outlives it: for a directory of the scanner's name, made when needed."""
    cleaned: Callable[[int, int], None] = lambda _files, _bytes: None
    """Told what was removed from a cache: how many files, and how many bytes they had."""


class Scanner(Protocol):
    """A backend. Inherit from it: what need not be provided has a default here."""

    name: str
    """Lower case, as in settings, metrics and URLs: `aqua`. The same as the name of the entry point."""
    title: str
    """As Harbor shows it: `Aqua`. Never empty."""
    vendor: str
    """As Harbor shows it. Never empty."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What this scanner can be asked for."""
        ...

    @property
    def properties(self) -> Mapping[str, str]:
        """Properties of the metadata, without secrets; Harbor accepts only strings."""
        return {}

    @property
    def directories(self) -> Sequence[Path]:
        """Directories outside of the workspace that scans write to, whose free space matters."""
        return ()

    @property
    def problem(self) -> str:
        """What keeps every scan from succeeding now, for the readiness probe; empty if nothing is known to. Quick."""
        return ""

    @property
    def database_updated_at(self) -> float | None:
        """Since when no part of the scanner's own database was brought up to date, in seconds since the epoch. Quick.

        0 if there is no database; None if the scanner keeps none on this machine.
        """
        return None

    async def version(self, workspace: Workspace) -> str:
        """Return the version of the installed scanner. Raises ScanError if it cannot be told."""
        ...

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Examine the image for all that `request` asks for, which may be several capabilities at once.

        Raises ScanError; never returns an empty result for an image that was not examined.
        """
        ...

    async def maintain(self) -> None:
        """Do what must be done from time to time, such as cleaning a cache, until cancelled; or return at once."""
        await asyncio.sleep(0)  # a default, and no abstract method


class ScannerPlugin(msgspec.Struct, frozen=True):
    """How the service makes a scanner: what an entry point of the group `harbor_scanner.scanners` refers to."""

    settings: type[msgspec.Struct]
    """A frozen struct whose fields are annotated with `harbor_scanner.settings.Setting`. A scanner of which any setting
    is given counts as configured."""
    make: Callable[[Premises], Scanner]
    problems: Callable[[Any], Iterable[str]] = lambda _settings: ()
    """Returns what is wrong with the settings as a whole, a line each that names the setting. The service does not
    start with them, and refuses a change that brings them."""
    warnings: Callable[[Any], Iterable[str]] = lambda _settings: ()
    """Returns what will fail some scans but not all, a line each that names the setting. It is logged."""
    checks: Callable[[Any, Surroundings], Iterable[Check]] = lambda _settings, _surroundings: ()
    """Returns what `harbor-scanner doctor` looks at for this scanner, besides its program and its directories: that a
    console is reached, or credentials are accepted. A check scans nothing and changes nothing."""
    secrets: Callable[[Any], Iterable[str]] = lambda _settings: ()
    """Returns secrets that lie hidden in settings, such as a password in a URL; those that a setting is marked with are
    known."""
