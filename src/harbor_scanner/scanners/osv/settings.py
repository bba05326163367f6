"""The settings of the scanner `osv`: those of its database, and those of its scans."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from harbor_scanner.osv.settings import OsvDatabaseSettings
from harbor_scanner.settings import Setting, as_text, choice, duration, password_in, settings_of


class Missing(StrEnum):
    """What becomes of a scan when there are no advisories of something that the image holds."""

    FAIL = "fail"
    NOTICE = "notice"


class OsvSettings(OsvDatabaseSettings, frozen=True):
    """Which advisories `osv` keeps, and how it scans."""

    scan_timeout: Annotated[
        float, Setting("SCANNER_OSV_TIMEOUT", "10m", duration(1), "How long Syft may take to pull and list an image")
    ] = 600.0
    """Seconds."""
    missing: Annotated[
        Missing,
        Setting(
            "SCANNER_OSV_MISSING", "fail", choice(Missing),
            "What becomes of a scan when packages of the image cannot be checked, for there are no advisories of their "
            "distribution or ecosystem, or a package database cannot be read: `fail`, or a `notice` in the report",
        ),
    ] = Missing.FAIL  # fmt: skip

    def shown(self) -> dict[str, str]:
        """Return the settings as anybody may see them, as text by their names in the environment."""
        return {
            setting.name: setting.shown(_text(getattr(self, field)))
            for field, setting in settings_of(type(self)).items()
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown().items())
        return f"OsvSettings({shown})"


def secrets(settings: OsvSettings) -> Iterator[str]:
    """Yield the password that the URL of a mirror may hold."""
    yield password_in(settings.url)


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else as_text(value)
