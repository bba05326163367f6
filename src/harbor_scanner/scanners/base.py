"""The contract of a scanner: everything that a backend must provide, and all that it is given.

A scanner knows nothing of HTTP or Redis. It gets a scan request and a workspace, and returns findings or raises one
of the errors of `harbor_scanner.errors`, whose class tells the service whether another run can help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from harbor_scanner.harbor.models import Capability, Finding, ScanRequest
from harbor_scanner.process import Outcome


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
    notices: list[str] = msgspec.field(default_factory=list)
    """What a reader of the report must know about it as a whole, such as that it is partial."""


class Scanner(Protocol):
    """A backend."""

    name: str
    """Lower case, as in settings, metrics and URLs: `aqua`."""
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
        ...

    @property
    def directories(self) -> Sequence[Path]:
        """Directories outside of the workspace that scans write to, whose free space matters."""
        ...

    async def version(self, workspace: Workspace) -> str:
        """Return the version of the installed scanner. Raises ScanError if it cannot be told."""
        ...

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Scan the image. Raises ScanError; never returns an empty result for an image that was not examined."""
        ...
