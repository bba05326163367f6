"""The settings of Qualys QScanner: keys and defaults of Qualys' deployment guide, with our additions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from harbor_scanner.settings import (
    BOOLEAN,
    OPTIONAL_PATH,
    PATH,
    Kind,
    Setting,
    as_text,
    choice,
    duration,
    integer,
    mask_user,
    password_in,
    settings_of,
    unreadable,
)

PODS = ("US1", "US2", "US3", "US4", "EU1", "EU2", "EU3", "IN1", "CA1", "AE1", "UK1", "AU1", "KSA1", "GOV1")
"""Platforms: those of the deployment guide, and GOV1, which only Qualys' own integrations name."""
TOKEN_FILE = Path("/usr/share/qscanner/accesstoken/token")

_CACHE_DIR = "/root/.cache/qualys/qscanner"
_HTTPS = re.compile(r"https://[^\s/?#@]+(/[^\s?#]*)?", re.IGNORECASE)
_PROXY = re.compile(r"(https?|socks5h?)://([^\s/?#]*@)?[^\s/?#@]+/?", re.IGNORECASE)
_DAY = 86400.0


class ScanLogLevel(StrEnum):
    """How much `qscanner` tells of each scan."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Cache(StrEnum):
    """Whether `qscanner` keeps what it found in layers."""

    LOCAL = "local"
    NONE = "none"


class StorageDriver(StrEnum):
    """Where `qscanner` reads layers: from the registry, or from the storage of the node's runtime."""

    NONE = "none"
    DOCKER = "docker-overlay2"
    CONTAINERD = "containerd-overlayfs"
    PODMAN = "podman-overlay"
    CRIO = "crio-overlay"


def _pod(text: str) -> str:
    if text and text.upper() not in PODS:
        raise ValueError
    return text.upper()


def _matching(pattern: re.Pattern[str], allowed: str) -> Kind:
    def parse(text: str) -> str:
        if text and not pattern.fullmatch(text):
            raise ValueError
        return text

    return Kind(parse, allowed)


def _proxy(text: str) -> str:
    if text:
        parts = urlsplit(text)
        if not (_PROXY.fullmatch(text) and parts.hostname and (parts.port or 1) > 0):
            raise ValueError
    return text


def _token(text: str) -> str:
    token = text.strip()
    if not token.isprintable() or " " in token:
        raise ValueError("it holds blanks, line breaks or characters that cannot be printed")
    return token


POD = Kind(
    _pod,
    f"one of {', '.join(PODS)}; for another platform leave it empty and set scannerArgs.gateway-url "
    "(SCANNER_QUALYS_GATEWAY_URL)",
)
GATEWAY = _matching(_HTTPS, "a URL such as https://gateway.qg1.apps.qualys.com")
PROXY = Kind(_proxy, "a URL such as http://user:password@proxy:3128")
TOKEN = Kind(_token, "a single word")


class QualysSettings(msgspec.Struct, frozen=True):
    """How `qscanner` reaches the Qualys platform, and how it scans."""

    pod: Annotated[
        str,
        Setting("SCANNER_QUALYS_POD", "", POD, "Platform that the account is on", keys=("scannerArgs.pod",)),
    ] = ""
    gateway_url: Annotated[
        str,
        Setting(
            "SCANNER_QUALYS_GATEWAY_URL", "", GATEWAY,
            "URL of the platform's gateway, instead of a pod; it holds if both are set",
            mask=mask_user, keys=("scannerArgs.gateway-url",),
        ),
    ] = ""  # fmt: skip
    access_token: Annotated[
        str,
        Setting(
            "QUALYS_ACCESS_TOKEN", "", TOKEN,
            f"Access token of the platform; also read from the file `{TOKEN_FILE}`, if it exists",
            secret=True, standing_file=TOKEN_FILE, keys=("scannerArgs.access-token",),
        ),
    ] = ""  # fmt: skip
    log_level: Annotated[
        ScanLogLevel,
        Setting(
            "SCANNER_QUALYS_LOG_LEVEL", "info", choice(ScanLogLevel), "How much `qscanner` tells of each scan",
            keys=("scannerArgs.log-level",),
        ),
    ] = ScanLogLevel.INFO  # fmt: skip
    cache: Annotated[
        Cache,
        Setting(
            "SCANNER_QUALYS_CACHE", "local", choice(Cache), "Whether `qscanner` keeps what it found in layers",
            keys=("scannerArgs.cache",),
        ),
    ] = Cache.LOCAL  # fmt: skip
    cache_dir: Annotated[
        Path,
        Setting(
            "SCANNER_QUALYS_CACHE_DIR", _CACHE_DIR, PATH, "Directory of a cache that outlives the service",
            keys=("scannerArgs.cache-dir",),
        ),
    ] = Path(_CACHE_DIR)  # fmt: skip
    persistence: Annotated[
        bool,
        Setting(
            "SCANNER_QUALYS_PERSISTENCE", "false", BOOLEAN,
            "Keep the cache in its directory; otherwise it lies in scratch space and ends with the service",
            keys=("persistence.enable", "persistence.enabled"),
        ),
    ] = False  # fmt: skip
    skip_verify_tls: Annotated[
        bool,
        Setting(
            "SCANNER_QUALYS_SKIP_VERIFY_TLS", "false", BOOLEAN, "Accept any TLS certificate of the platform",
            keys=("scannerArgs.skip-verify-tls",),
        ),
    ] = False  # fmt: skip
    cert_path: Annotated[
        Path | None,
        Setting(
            "SCANNER_QUALYS_CERT_PATH", "", OPTIONAL_PATH,
            "Certificate file for the platform; not used if any certificate is accepted",
            keys=("scannerArgs.cert-path",),
        ),
    ] = None  # fmt: skip
    proxy: Annotated[
        str,
        Setting(
            "SCANNER_QUALYS_PROXY", "", PROXY,
            "Proxy towards the platform. Empty: as `HTTPS_PROXY` and the like say",
            secret=True, mask=mask_user, keys=("scannerArgs.proxy",),
        ),
    ] = ""  # fmt: skip
    offline_scan: Annotated[
        bool,
        Setting(
            "SCANNER_QUALYS_OFFLINE_SCAN", "false", BOOLEAN, "Ask nobody else when dependencies are identified",
            keys=("scannerArgs.offline-scan",),
        ),
    ] = False  # fmt: skip
    scan_timeout: Annotated[
        float,
        Setting(
            "SCANNER_QUALYS_SCAN_TIMEOUT", "5m0s", duration(1),
            "How long `qscanner` may examine an image; waiting for the platform comes on top",
            keys=("scannerArgs.scan-timeout",),
        ),
    ] = 300.0  # fmt: skip
    """Seconds."""
    max_network_retries: Annotated[
        int,
        Setting(
            "SCANNER_QUALYS_MAX_NETWORK_RETRIES", "10", integer(0, 1000),
            "How often `qscanner` asks the platform again (0: not at all)",
            keys=("scannerArgs.max-network-retries",),
        ),
    ] = 10  # fmt: skip
    network_retry_wait_min: Annotated[
        float,
        Setting(
            "SCANNER_QUALYS_NETWORK_RETRY_WAIT_MIN", "5s", duration(), "Least time between two such questions",
            keys=("scannerArgs.network-retry-wait-min",),
        ),
    ] = 5.0  # fmt: skip
    """Seconds."""
    cache_cleanup_threshold: Annotated[
        float,
        Setting(
            "SCANNER_QUALYS_CACHE_CLEANUP_DURATION_THRESHOLD", "4320h0m0s", duration(),
            "Entries of the cache that were not used for so long are removed",
            keys=("scannerArgs.cache-cleanup-duration-threshold",),
        ),
    ] = 180 * _DAY  # fmt: skip
    """Seconds."""
    cache_cleanup_frequency: Annotated[
        float,
        Setting(
            "SCANNER_QUALYS_CACHE_CLEANUP_FREQUENCY", "720h0m0s", duration(1), "Time between two cleanups of the cache",
            keys=("scannerArgs.cache-cleanup-frequency",),
        ),
    ] = 30 * _DAY  # fmt: skip
    """Seconds."""
    enable_cache_cleanup: Annotated[
        bool,
        Setting(
            "SCANNER_QUALYS_ENABLE_CACHE_CLEANUP", "true", BOOLEAN, "Clean the cache",
            keys=("scannerArgs.enable-cache-cleanup",),
        ),
    ] = True  # fmt: skip
    storage_driver: Annotated[
        StorageDriver,
        Setting(
            "SCANNER_QUALYS_STORAGE_DRIVER", "none", choice(StorageDriver),
            "Read layers from the storage of the node's runtime instead of the registry",
            keys=("scannerArgs.storage-driver",),
        ),
    ] = StorageDriver.NONE  # fmt: skip
    narrow_report: Annotated[
        bool,
        Setting(
            "SCANNER_QUALYS_NARROW_REPORT", "false", BOOLEAN,
            "Report no more than Qualys' adapter: one QID for each CVE and package, and none without a package",
            keys=("scannerArgs.narrow-report",),
        ),
    ] = False  # fmt: skip

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown().items())
        return f"QualysSettings({shown})"

    def shown(self) -> dict[str, str]:
        """Return the settings that anybody may see, as text by their names in the environment."""
        return {
            setting.name: setting.shown(as_text(getattr(self, field)))
            for field, setting in settings_of(type(self)).items()
            if not setting.secret
        }


def problems(settings: QualysSettings) -> Iterator[str]:
    """Yield what would fail every scan of vulnerabilities."""
    if not settings.skip_verify_tls:
        yield from unreadable("SCANNER_QUALYS_CERT_PATH", settings.cert_path)


def warnings(settings: QualysSettings) -> Iterator[str]:
    """Yield what fails scans for vulnerabilities; SBOMs need neither platform nor token."""
    if not settings.pod and not settings.gateway_url:
        yield (
            "SCANNER_QUALYS_POD: neither it nor SCANNER_QUALYS_GATEWAY_URL is set; "
            "scans for vulnerabilities will fail, SBOMs can be made"
        )
    if not settings.access_token:
        yield (
            f"QUALYS_ACCESS_TOKEN: it is not set, nor is there a token in {TOKEN_FILE}; "
            "scans for vulnerabilities will fail, SBOMs can be made"
        )
    if settings.pod and settings.gateway_url:
        yield "SCANNER_QUALYS_POD and SCANNER_QUALYS_GATEWAY_URL: both are set; SCANNER_QUALYS_GATEWAY_URL holds"
    if settings.cache is Cache.LOCAL and not settings.persistence and settings.cache_dir != Path(_CACHE_DIR):
        yield "SCANNER_QUALYS_CACHE_DIR: it is used only if SCANNER_QUALYS_PERSISTENCE is true; the cache is in scratch"
    if settings.cert_path is not None and settings.skip_verify_tls:
        yield "SCANNER_QUALYS_CERT_PATH: it is not used, for SCANNER_QUALYS_SKIP_VERIFY_TLS is true"


def secrets(settings: QualysSettings) -> Iterator[str]:
    """Yield the token as it is used, without blanks around it, and what the proxy's URL may hold of a login."""
    yield settings.access_token
    # A token may stand in the place of the user, with no password.
    user = settings.proxy.rpartition("@")[0].rpartition("://")[2]
    hidden = password_in(settings.proxy) or user
    yield hidden
    yield unquote(hidden)
