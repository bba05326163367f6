"""The command line of `qscanner`, its environment, and the time that it may take.

Flags, variables and defaults are those of Qualys' deployment guide. Where that is silent, the way is that of Qualys'
integrations with other products.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from harbor_scanner.duration import format_duration
from harbor_scanner.errors import RegistryError, ScannerConfigurationError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, Registry, ScanRequest
from harbor_scanner.scanners.qualys.settings import PODS, QualysSettings, StorageDriver, secrets

PROGRAM = "qscanner"

_FIRST_WAIT = 15.0
"""Seconds before the report is asked for a second time (Qualys' deployment guide, `network-retry-wait-min`)."""
_LONGEST_WAIT = 30.0
"""Seconds between two polls at most, unless the shortest wait is longer. Not documented; each wait is assumed to be
twice the one before, which fits what Qualys' integrations tell of their duration."""
_MARGIN = 60.0
"""Seconds for the start, the upload, and the answers of the platform."""
_SBOM_WORDS = {media.SPDX: "spdx", media.CYCLONEDX: "cyclonedx"}


def scan_command(settings: QualysSettings, request: ScanRequest, output: Path, cache: Path | None) -> list[str]:
    """Return the command that examines the image of `request` and writes what it found under `output`.

    It holds no secret. An SBOM alone is made without the platform, and needs no account there.
    Raises ScannerConfigurationError if the platform is needed and not named.
    """
    kinds = request.reports
    platform = VULNERABILITY in kinds
    formats = ["json", *(_SBOM_WORDS[kind] for kind in kinds if kind in _SBOM_WORDS)]
    command = [
        PROGRAM,
        *("--mode", "get-report" if platform else "inventory-only"),
        *("--scan-types", "pkg"),
        *("--format", ",".join(formats)),
        *(("--report-format", "json") if platform else ()),
        *("--output-dir", str(output)),
        *("--cache", settings.cache),
        *(("--cache-dir", str(cache)) if cache else ()),
        *("--scan-timeout", format_duration(settings.scan_timeout)),
        *("--log-level", settings.log_level),
        f"--offline-scan={_flag(settings.offline_scan)}",
    ]
    if settings.proxy and not _hides_user(settings.proxy):
        command += ["--proxy", settings.proxy]
    if settings.storage_driver is not StorageDriver.NONE:
        command += ["--storage-driver", settings.storage_driver]
    if platform:
        command += _platform(settings)
    return [*command, "image", request.reference]


def scan_environment(settings: QualysSettings, request: ScanRequest) -> dict[str, str]:
    """Return the variables by which qscanner gets its secrets, which other users cannot read as they can a command.

    Raises ScannerConfigurationError if the token is needed and missing, RegistryError for unknown kinds of credentials.
    """
    environment = _registry_credentials(request.registry)
    if settings.proxy and _hides_user(settings.proxy):
        # Without `--proxy`, qscanner takes the proxy from these.
        environment |= {"HTTP_PROXY": settings.proxy, "HTTPS_PROXY": settings.proxy}
    if VULNERABILITY not in request.reports:
        return environment
    if not settings.access_token:
        raise ScannerConfigurationError(
            "There is no access token for the Qualys platform.",
            "Mount it as /usr/share/qscanner/accesstoken/token, or set scannerArgs.access-token or "
            "QUALYS_ACCESS_TOKEN.",
        )
    return environment | {"QUALYS_ACCESS_TOKEN": settings.access_token}


def scan_secrets(settings: QualysSettings, request: ScanRequest) -> list[str]:
    """Return what must not appear in any output of a scan, some of it perhaps empty."""
    authorization = request.registry.authorization or ""
    robot = request.registry.credentials
    return [
        settings.access_token,
        *secrets(settings),
        authorization.strip().partition(" ")[2].strip(),
        robot.password if robot else "",
    ]


def time_limit(settings: QualysSettings, request: ScanRequest) -> float:
    """Return how many seconds qscanner may take: its scan timeout, and all that its polling can take."""
    if VULNERABILITY not in request.reports:
        return settings.scan_timeout + _MARGIN
    shortest = settings.network_retry_wait_min
    longest = max(_LONGEST_WAIT, shortest)
    # From a certain number on, every wait is the longest; a power of more could not even be computed.
    waits = sum(min(shortest * 2.0 ** min(number, 64), longest) for number in range(settings.max_network_retries))
    return settings.scan_timeout + _FIRST_WAIT + waits + _MARGIN


def _hides_user(url: str) -> bool:
    """Whether a URL holds a user, with a password or as a token in its place."""
    return "@" in urlsplit(url).netloc


def _platform(settings: QualysSettings) -> list[str]:
    """Return the flags for the Qualys platform, and the way there."""
    if settings.gateway_url:
        flags = ["--gateway-url", settings.gateway_url]
    elif settings.pod:
        flags = ["--pod", settings.pod]
    else:
        raise ScannerConfigurationError(
            "The Qualys platform is not named.",
            f"Set scannerArgs.pod to one of {', '.join(PODS)}, or scannerArgs.gateway-url.",
        )
    flags.append(f"--skip-verify-tls={_flag(settings.skip_verify_tls)}")
    if settings.cert_path is not None and not settings.skip_verify_tls:
        flags += ["--cert-path", str(settings.cert_path)]
    flags += ["--max-network-retries", str(settings.max_network_retries)]
    return [*flags, "--network-retry-wait-min", format_duration(settings.network_retry_wait_min)]


def _registry_credentials(registry: Registry) -> dict[str, str]:
    robot = registry.credentials
    if robot is not None:
        return {"QSCANNER_REGISTRY_USERNAME": robot.username, "QSCANNER_REGISTRY_PASSWORD": robot.password}
    scheme, _, value = (registry.authorization or "").strip().partition(" ")
    if not scheme:
        return {}
    if scheme.lower() != "bearer" or not value.strip():
        raise RegistryError(
            "The scan request brings registry credentials that are neither Basic nor Bearer.",
            "See at the scanner's registration in Harbor how it authenticates.",
        )
    return {"QSCANNER_REGISTRY_TOKEN": value.strip()}


def _flag(value: bool) -> str:
    return "true" if value else "false"
