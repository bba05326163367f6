"""Scan by `scannercli`: its command, its report file, and what its end means.

The command is the one of the Aqua adapter's README ("How does it work?").
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from harbor_scanner.errors import BadReportError, DiskError, ImageError, RegistryError, ScannerConfigurationError
from harbor_scanner.harbor.models import Artifact, Capability, Registry, ScanRequest
from harbor_scanner.scanners.aqua.failures import failure
from harbor_scanner.scanners.aqua.findings import to_result
from harbor_scanner.scanners.aqua.report import load_report
from harbor_scanner.scanners.aqua.settings import AquaSettings, RegisterImages
from harbor_scanner.scanners.base import IMAGE_VULNERABILITIES, Premises, Scanner, ScanResult, Workspace
from harbor_scanner.scanners.printed import plain, printed_version

PROGRAM = "scannercli"

_VERSION_TIME_LIMIT = 30.0

_REGISTER_OPTIONS = {
    RegisterImages.NEVER: [],
    RegisterImages.COMPLIANT: ["--register-compliant"],
    RegisterImages.ALWAYS: ["--register"],
}

_REPORT_WRITTEN = {0, 4}
"""Exit codes after which there is a report. 4 says that the image breaks a policy of the console: no failure here."""


class AquaScanner(Scanner):
    """Aqua Enterprise."""

    name = "aqua"
    title = "Aqua"
    vendor = "Aqua Security"

    def __init__(self, premises: Premises) -> None:
        self._premises = premises

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """Vulnerabilities of images: `scannercli` makes no SBOM."""
        return (IMAGE_VULNERABILITIES,)

    @property
    def properties(self) -> Mapping[str, str]:
        """The settings without credentials, as `env.NAME`."""
        return {f"env.{name}": value for name, value in self._settings().shown().items()}

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where the reports are written."""
        return (self._settings().reports_dir,)

    async def version(self, workspace: Workspace) -> str:
        """Return the version of the installed `scannercli`. Raises ScanError if it does not tell it in 30 seconds."""
        outcome = await workspace.run([PROGRAM, "version"], environment={}, time_limit=_VERSION_TIME_LIMIT)
        outcome.require_own_end()
        version = printed_version(outcome)
        if outcome.exit_code != 0 or not version:
            raise ScannerConfigurationError(
                f"`scannercli version` told no version (exit code {outcome.exit_code}).\n{plain(outcome.last_lines())}",
                "Install the scannercli of your Aqua Enterprise version, built for this machine.",
            )
        return version

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        """Scan the image by its name in the registry that the Aqua console knows."""
        settings = self._settings()
        report = _report_file(settings, workspace)
        outcome = await workspace.run(
            scan_command(settings, request, report),
            environment={},
            time_limit=settings.scan_timeout,
            secrets=scan_secrets(settings, request),
        )
        outcome.require_own_end()
        if outcome.exit_code not in _REPORT_WRITTEN:
            raise failure(outcome)
        try:
            return await asyncio.to_thread(_read, report)
        except BadReportError as error:
            raise BadReportError(f"{error.message}\n{plain(outcome.last_lines())}".rstrip(), error.advice) from error

    def _settings(self) -> AquaSettings:
        settings = self._premises.settings()
        assert isinstance(settings, AquaSettings)  # noqa: S101 - the plugin names this group
        return settings


def scan_command(settings: AquaSettings, request: ScanRequest, report: Path) -> list[str]:
    """Return the command that scans the image of `request` and writes the report to `report`.

    It holds credentials, for `scannercli` takes them in no other way. Raises ScannerConfigurationError if the
    credentials of the console are missing, RegistryError if those of the registry are, ImageError if the image
    cannot be named.
    """
    return [
        PROGRAM,
        "scan",
        "--checkonly",
        "--dockerless",
        *_console_credentials(settings),
        f"--host={settings.host}",
        f"--registry={settings.registry}",
        *(_registry_credentials(request.registry) if settings.override_registry_credentials else ()),
        f"--no-verify={_flag(settings.no_verify)}",
        f"--show-negligible={_flag(settings.show_negligible)}",
        f"--direct-cc={_flag(settings.direct_cc)}",
        *_REGISTER_OPTIONS[settings.register_images],
        "--jsonfile",
        str(report),
        _image(request.artifact, use_tag=settings.use_image_tag),
    ]


def scan_secrets(settings: AquaSettings, request: ScanRequest) -> list[str]:
    """Return what must not appear in any output of a scan, some of it perhaps empty."""
    before_host = settings.host.rpartition("@")[0].rpartition("://")[2]
    host_password = before_host.partition(":")[2]
    authorization = request.registry.authorization or ""
    robot = request.registry.credentials
    return [
        settings.password,
        settings.token,
        host_password,
        unquote(host_password),
        authorization.strip().partition(" ")[2].strip(),
        robot.password if robot else "",
    ]


def _read(report: Path) -> ScanResult:
    return to_result(load_report(report))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _console_credentials(settings: AquaSettings) -> list[str]:
    if settings.token:
        return [f"--token={settings.token}"]
    if not (settings.username and settings.password):
        raise ScannerConfigurationError(
            "There are no credentials for the Aqua console.",
            "Set SCANNER_AQUA_USERNAME and SCANNER_AQUA_PASSWORD, or SCANNER_AQUA_TOKEN.",
        )
    return [f"--user={settings.username}", f"--password={settings.password}"]


def _registry_credentials(registry: Registry) -> list[str]:
    robot = registry.credentials
    if robot is None:
        raise RegistryError(
            "The scan request brings no user name and password for the registry, which scannercli needs here.",
            "Let Harbor send Basic authorization, or set SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=false so that Aqua "
            "pulls with the account entered in its console.",
        )
    return [f"--robot-username={robot.username}", f"--robot-password={robot.password}"]


def _image(artifact: Artifact, *, use_tag: bool) -> str:
    """Return the image's name without the registry's, which `--registry` stands for."""
    repository = artifact.repository
    if not repository or repository.startswith("-"):
        raise ImageError(f"The image has a repository that cannot be handed to scannercli: {repository!r}.")
    if use_tag and artifact.tag:
        return f"{repository}:{artifact.tag}"
    if not artifact.digest:
        raise ImageError(f"The image of {repository} has no digest to be scanned by.")
    return f"{repository}@{artifact.digest}"


def _report_file(settings: AquaSettings, workspace: Workspace) -> Path:
    """Make an empty file for the report, of mode 0600, which goes with the workspace unless it is to be kept."""
    prefix, suffix, directory = "aqua_scan_report_", ".json", settings.reports_dir
    try:
        if settings.report_delete:
            return workspace.temporary_file(directory, prefix, suffix)
        descriptor, name = tempfile.mkstemp(suffix, prefix, directory)
        os.close(descriptor)
        return Path(name)
    except OSError as error:
        message = f"No report file can be made in {directory}: {error.strerror or error}."
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskError(message, "Make room on the volume of SCANNER_AQUA_REPORTS_DIR.") from error
        raise ScannerConfigurationError(
            message, "Set SCANNER_AQUA_REPORTS_DIR to a directory that exists and that this user may write to."
        ) from error
