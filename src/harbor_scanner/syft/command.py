"""The command line of `syft`, and its environment: it pulls straight from the registry of a request.

Flags and variables are those that `syft scan --help` and `syft config` tell of.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from harbor_scanner.errors import ImageError, RegistryError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Registry, ScanRequest

INVENTORY = "syft.json"
"""Name of the file with all that Syft found."""

SBOM_FILES = {media.SPDX: "spdx.json", media.CYCLONEDX: "cyclonedx.json"}
"""Names of the files with SBOMs."""

_FORMATS = {media.SPDX: "spdx-json@2.3", media.CYCLONEDX: "cyclonedx-json@1.5"}

DPKG_STATUS = "**/lib/dpkg/status"
"""The file whose content is asked for: Syft lists what was removed from a Debian among what is installed."""
_LARGEST_STATUS = 64 * 2**20

_FIXED = {
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
    "SYFT_LOG_LEVEL": "warn",
    # Nothing is kept between scans.
    "SYFT_CACHE_DIR": "",
    # Digests of all files of all packages take most of the time, and make most of an SBOM.
    "SYFT_FILE_METADATA_SELECTION": "none",
    "SYFT_RELATIONSHIPS_PACKAGE_FILE_OWNERSHIP": "false",
    # What cannot be read is told, also where something else of the same file could be.
    "SYFT_UNKNOWNS_REMOVE_WHEN_PACKAGES_DEFINED": "false",
    "SYFT_FILE_CONTENT_GLOBS": DPKG_STATUS,
    "SYFT_FILE_CONTENT_SKIP_FILES_ABOVE_SIZE": str(_LARGEST_STATUS),
}


def scan_command(program: str, request: ScanRequest, kinds: Iterable[str], output: Path) -> list[str]:
    """Return the command that lists what is in the image of `request`, into files under `output`.

    Among `kinds` are the media types of the SBOMs to write. The command holds no secret.
    Raises ImageError if the image cannot be named.
    """
    artifact = request.artifact
    if not artifact.repository or not artifact.digest:
        raise ImageError(f"The image of {artifact.repository or 'no repository'} has no digest to be pulled by.")
    outputs = [f"syft-json={output / INVENTORY}"]
    outputs += [f"{_FORMATS[kind]}={output / SBOM_FILES[kind]}" for kind in kinds if kind in _FORMATS]
    options = [word for one in outputs for word in ("--output", one)]
    return [program, "scan", f"registry:{request.reference}", *options]


def scan_environment(request: ScanRequest) -> dict[str, str]:
    """Return the variables by which Syft gets its settings and its credentials, which a command line would show.

    Raises RegistryError for unknown kinds of credentials.
    """
    plain_http = urlsplit(request.registry.url).scheme == "http"
    return {
        **_FIXED,
        "SYFT_REGISTRY_INSECURE_USE_HTTP": "true" if plain_http else "false",
        **_credentials(request.registry, authority=request.reference.partition("/")[0]),
    }


def scan_secrets(request: ScanRequest) -> list[str]:
    """Return what must not appear in any output of a scan, some of it perhaps empty."""
    robot = request.registry.credentials
    authorization = request.registry.authorization or ""
    return [authorization.strip().partition(" ")[2].strip(), robot.password if robot else ""]


def _credentials(registry: Registry, authority: str) -> dict[str, str]:
    robot = registry.credentials
    if robot is not None:
        return {
            "SYFT_REGISTRY_AUTH_AUTHORITY": authority,
            "SYFT_REGISTRY_AUTH_USERNAME": robot.username,
            "SYFT_REGISTRY_AUTH_PASSWORD": robot.password,
        }
    scheme, _, value = (registry.authorization or "").strip().partition(" ")
    if not scheme:
        return {}
    if scheme.lower() != "bearer" or not value.strip():
        raise RegistryError(
            "The scan request brings registry credentials that are neither Basic nor Bearer.",
            "See at the scanner's registration in Harbor how it authenticates.",
        )
    return {"SYFT_REGISTRY_AUTH_AUTHORITY": authority, "SYFT_REGISTRY_AUTH_TOKEN": value.strip()}
