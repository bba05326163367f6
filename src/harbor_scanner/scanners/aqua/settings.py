"""The settings of the Aqua scanner: names and defaults of the Aqua adapter's README, with our additions."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from harbor_scanner.settings import (
    BOOLEAN,
    PATH,
    TEXT,
    Setting,
    as_text,
    choice,
    duration,
    mask_user,
    password_in,
    settings_of,
)

_DEFAULT_HOST = "http://csp-console-svc.aqua:8080"
_DEFAULT_REPORTS_DIR = "/var/lib/scanner/reports"


class RegisterImages(StrEnum):
    """Which scanned images appear in the Aqua console afterwards."""

    NEVER = "Never"
    COMPLIANT = "Compliant"
    ALWAYS = "Always"


class AquaSettings(msgspec.Struct, frozen=True):
    """How `scannercli` reaches the Aqua console, and what it is asked for."""

    username: Annotated[
        str,
        Setting(
            "SCANNER_AQUA_USERNAME",
            "",
            TEXT,
            "User of the Aqua console, with the Scanner role",
            secret=True,
            redacted=False,
        ),
    ] = ""
    password: Annotated[str, Setting("SCANNER_AQUA_PASSWORD", "", TEXT, "Password of that user", secret=True)] = ""
    token: Annotated[
        str, Setting("SCANNER_AQUA_TOKEN", "", TEXT, "Scanner token, instead of user and password", secret=True)
    ] = ""
    host: Annotated[
        str, Setting("SCANNER_AQUA_HOST", _DEFAULT_HOST, TEXT, "URL of the Aqua console", mask=mask_user)
    ] = _DEFAULT_HOST
    registry: Annotated[
        str, Setting("SCANNER_AQUA_REGISTRY", "Harbor", TEXT, "Registry Name that Harbor has in the Aqua console")
    ] = "Harbor"
    reports_dir: Annotated[
        Path,
        Setting("SCANNER_AQUA_REPORTS_DIR", _DEFAULT_REPORTS_DIR, PATH, "Directory of the reports of running scans"),
    ] = Path(_DEFAULT_REPORTS_DIR)
    use_image_tag: Annotated[
        bool,
        Setting("SCANNER_AQUA_USE_IMAGE_TAG", "false", BOOLEAN, "Name images by their tag instead of their digest"),
    ] = False
    report_delete: Annotated[
        bool, Setting("SCANNER_AQUA_REPORT_DELETE", "true", BOOLEAN, "Delete the report of `scannercli` after the scan")
    ] = True
    scan_timeout: Annotated[
        float, Setting("SCANNER_AQUA_SCAN_TIMEOUT", "30m", duration(1), "How long one run of `scannercli` may take")
    ] = 1800.0
    """Seconds."""
    no_verify: Annotated[bool, Setting("SCANNER_CLI_NO_VERIFY", "false", BOOLEAN, "Accept any TLS certificate")] = False
    show_negligible: Annotated[
        bool,
        Setting(
            "SCANNER_CLI_SHOW_NEGLIGIBLE", "true", BOOLEAN, "Report vulnerabilities of negligible or unknown severity"
        ),
    ] = True
    override_registry_credentials: Annotated[
        bool,
        Setting(
            "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS", "false", BOOLEAN,
            "Pull with the robot account that Harbor sends, not with the account entered in the Aqua console",
        ),
    ] = False  # fmt: skip
    direct_cc: Annotated[
        bool,
        Setting(
            "SCANNER_CLI_DIRECT_CC", "false", BOOLEAN, "Contact Aqua's CyberCenter directly, not through the console"
        ),
    ] = False
    register_images: Annotated[
        RegisterImages,
        Setting(
            "SCANNER_CLI_REGISTER_IMAGES", "Never", choice(RegisterImages),
            "Which scanned images are registered in the Aqua console",
        ),
    ] = RegisterImages.NEVER  # fmt: skip

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown().items())
        return f"AquaSettings({shown})"

    def shown(self) -> dict[str, str]:
        """Return the settings that anybody may see, as text by their names in the environment."""
        return {
            setting.name: setting.shown(as_text(getattr(self, field)))
            for field, setting in settings_of(type(self)).items()
            if not setting.secret
        }


def problems(settings: AquaSettings) -> Iterator[str]:
    """Yield what is missing for every scan."""
    if settings.token:
        return
    either = "(or set SCANNER_AQUA_TOKEN instead of user and password)"
    if not settings.username:
        yield f"SCANNER_AQUA_USERNAME: it is required; a user of the Aqua console {either}"
    if not settings.password:
        yield f"SCANNER_AQUA_PASSWORD: it is required; that user's password {either}"


def secrets(settings: AquaSettings) -> Iterator[str]:
    """Yield the password that the URL of the console may hold."""
    yield password_in(settings.host)
