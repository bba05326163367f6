"""The groups of the service's own settings. Those of the API and of the store stand with these."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from harbor_scanner.http.settings import ApiSettings
from harbor_scanner.jobs.settings import RedisSettings, StoreSettings
from harbor_scanner.plugins import MOST_WORKERS
from harbor_scanner.settings import BOOLEAN, PATH, Kind, Setting, absolute_path, choice, duration, integer, size

VALUES_PATH = Path("/usr/share/qscanner/values.yaml")
"""Where Qualys' deployment guide mounts the file."""


class LogLevel(StrEnum):
    """Levels as the Aqua adapter's README lists them; some of them mean the same here."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"
    PANIC = "panic"


def _data_directory(text: str) -> Path:
    if text != DATA_DIR_DEFAULT:
        return absolute_path(text)
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    return absolute_path(base if base.startswith("/") else "~/.local/share") / "harbor-scanner"


DATA_DIR_DEFAULT = "$XDG_DATA_HOME/harbor-scanner"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if not all(names) or len(set(names)) < len(names):
        raise ValueError
    return names


class SourceSettings(msgspec.Struct, frozen=True):
    """Where settings come from."""

    values: Annotated[
        Path,
        Setting(
            "SCANNER_CONFIG", str(VALUES_PATH), PATH,
            "File of settings (YAML); read if it exists, and required if it is named here",
        ),
    ]  # fmt: skip


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged."""

    level: Annotated[
        LogLevel,
        Setting(
            "SCANNER_LOG_LEVEL", "info", choice(LogLevel), "The least level that is logged",
            keys=("service.logLevel",), values_default="debug",
        ),
    ]  # fmt: skip
    file: Annotated[
        bool,
        Setting(
            "SCANNER_LOG_FILE", "false", BOOLEAN,
            "Also write JSON lines to `log/harbor-scanner.log` in the data directory, at most 50 MiB in five files",
        ),
    ]  # fmt: skip


class ScannersSettings(msgspec.Struct, frozen=True):
    """Which scanners answer."""

    enabled: Annotated[
        tuple[str, ...],
        Setting(
            "SCANNER_ENABLED", "", Kind(_names, "a comma list of scanners, each once"),
            "Comma list of scanners, such as `aqua,qualys`; the first also answers at the root path. "
            "Empty: those of which any setting is given, or else `osv`",
        ),
    ]  # fmt: skip


class SbomSettings(msgspec.Struct, frozen=True):
    """SBOMs for scanners that make none."""

    by_syft: Annotated[
        bool,
        Setting("SCANNER_SBOM", "false", BOOLEAN, "Have Syft make the SBOMs for scanners that cannot, such as Aqua's"),
    ]
    timeout: Annotated[
        float, Setting("SCANNER_SBOM_TIMEOUT", "10m", duration(1), "How long Syft may take for such an SBOM")
    ]
    """Seconds."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """How scans are run."""

    workers: Annotated[
        int,
        Setting(
            "SCANNER_WORKERS", "2", integer(1, MOST_WORKERS), "Scans of each scanner that run at once in this process",
            keys=("service.workerThreads",),
        ),
    ]  # fmt: skip
    max_attempts: Annotated[
        int,
        Setting(
            "SCANNER_MAX_ATTEMPTS", "3", integer(1, 100),
            "Runs of one job when the cause of its failure is not the image (worker death, unreachable console)",
        ),
    ]  # fmt: skip
    data_dir: Annotated[
        Path,
        Setting(
            "SCANNER_DATA_DIR", DATA_DIR_DEFAULT, Kind(_data_directory, "a path"),
            "Directory of the embedded store and of scratch space",
        ),
    ]  # fmt: skip
    disk_floor: Annotated[
        int,
        Setting("SCANNER_DISK_FLOOR", "200Mi", size(), "With less free space than this, scans wait instead of failing"),
    ]
    shutdown_grace: Annotated[
        float,
        Setting(
            "SCANNER_SHUTDOWN_GRACE", "30s", duration(),
            "How long running scans may go on after SIGTERM, before they are given back to the queue",
        ),
    ]  # fmt: skip


GROUPS_BEFORE: tuple[type[msgspec.Struct], ...] = (
    SourceSettings, LogSettings, ApiSettings, ScannersSettings, SbomSettings,
)  # fmt: skip
GROUPS_AFTER: tuple[type[msgspec.Struct], ...] = (WorkerSettings, StoreSettings, RedisSettings)
"""The groups of the service itself, in the order of the documentation, before and after those of the scanners."""
