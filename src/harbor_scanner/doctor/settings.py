"""The settings: what is wrong with them, or odd."""

from __future__ import annotations

from collections.abc import AsyncIterator

from harbor_scanner.config import Config
from harbor_scanner.doctor.check import Area, Verdict
from harbor_scanner.errors import SettingsError

SETTINGS = Area("settings")

_LIST = "docs/configuration.md lists all settings; `harbor-scanner config` shows what holds, and why."


async def look(config: Config) -> AsyncIterator[Verdict]:
    """Yield what is to be said of settings with which the service starts."""
    given = sum(entry.given for entry in config.effective)
    scanners = ", ".join(enabled.name for enabled in config.scanners)
    yield SETTINGS.ok(
        "values", f"All {len(config.effective)} can be read, {given} of them are set. Scanners: {scanners}."
    )
    for line in config.unknown:
        yield SETTINGS.warning("unknown", f"{line}.", _LIST)
    for line in config.warnings:
        yield SETTINGS.warning("values", f"{line}.", "Correct it if that is not what you want.")


def refused(error: SettingsError) -> list[Verdict]:
    """Return the verdicts on settings with which the service does not start."""
    verdicts = [SETTINGS.failure("values", f"{problem}.", _LIST) for problem in error.problems]
    notes = getattr(error, "__notes__", ())
    verdicts += [SETTINGS.warning("unknown", f"{note}.", "Correct it if that is not what you want.") for note in notes]
    return [*verdicts, SETTINGS.skipped("rest", "Nothing else was looked at, for it takes settings that can be read.")]
