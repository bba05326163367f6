"""The exit codes of `qscanner`, as Qualys' integrations with build pipelines know them; Qualys documents none."""

from __future__ import annotations

import msgspec

from harbor_scanner.errors import (
    ImageError,
    RegistryError,
    ScanError,
    ScannerConfigurationError,
    ScannerFailedError,
    ScannerUnreachableError,
)
from harbor_scanner.scanners.causes import Cause
from harbor_scanner.scanners.qualys.causes import GIVEN_AS, PARAMETERS, PLATFORM, REGISTRY, STEPS

REPORT_WRITTEN = frozenset({0})
"""Codes with which all that was asked for is written."""

_DEBUG = "Set scannerArgs.log-level to debug, and scan again to learn more."
_GATEWAY = (
    "See that this machine reaches the gateway of scannerArgs.pod or scannerArgs.gateway-url, if need be through "
    "scannerArgs.proxy. Where the network is slow, raise scannerArgs.max-network-retries."
)
_WAIT_LONGER = (
    "If it happens often, raise scannerArgs.max-network-retries or scannerArgs.network-retry-wait-min, so that "
    "qscanner waits longer."
)
_ROOM = f"See that SCANNER_DATA_DIR has room and may be written to. {_DEBUG}"
_NO_PACKAGES = (
    "Images made from scratch and distroless ones have no package database. See in Qualys' documentation which "
    "operating systems it scans."
)


class Exit(msgspec.Struct, frozen=True):
    """An exit code: what it means by itself, and the causes that the log may tell beside it."""

    name: str
    error: type[ScanError]
    message: str
    advice: str
    about_registry: tuple[Cause, ...] = ()
    """Causes that only lines about the registry show; they are looked for first."""
    causes: tuple[Cause, ...] = ()
    """Causes that any line shows."""


def _artifact(name: str, artifact: str) -> Exit:
    return Exit(name, ScannerFailedError, f"qscanner failed to read {artifact}", _DEBUG, about_registry=REGISTRY)


def _step(name: str, step: str, advice: str = _DEBUG) -> Exit:
    return Exit(name, ScannerFailedError, f"qscanner failed to {step}", advice, causes=STEPS)


def _handler(name: str, work: str) -> Exit:
    return Exit(name, ScannerFailedError, f"qscanner failed to {work}", _ROOM)


def _upload(name: str, data: str) -> Exit:
    message = f"qscanner failed to upload {data} to the Qualys platform"
    return Exit(name, ScannerUnreachableError, message, _GATEWAY, causes=PLATFORM)


def _verdict(name: str) -> Exit:
    message = "qscanner gave the verdict of a policy, which it was not asked for, instead of a report"
    return Exit(name, ScannerFailedError, message, _DEBUG)


def _waiting(name: str, awaited: str) -> Exit:
    message = f"qscanner uploaded its scan, but the Qualys platform did not deliver {awaited} in time"
    return Exit(name, ScannerUnreachableError, message, _WAIT_LONGER)


UNKNOWN = Exit("", ScannerFailedError, "qscanner failed for a reason that it did not make clear", _DEBUG)

EXITS = {
    1: msgspec.structs.replace(UNKNOWN, name="GENERIC_ERROR", about_registry=REGISTRY, causes=PLATFORM),
    2: Exit(
        "INVALID_PARAMETER",
        ScannerConfigurationError,
        "qscanner does not accept its parameters",
        "Correct what it names in scannerArgs: above all scannerArgs.pod or scannerArgs.gateway-url, and the token in "
        f"{GIVEN_AS}.",
        causes=PARAMETERS,
    ),
    3: _handler("LOGGER_INIT_FAILED", "start its log"),
    5: _artifact("FILESYSTEM_ARTIFACT_FAILED", "a file system"),
    6: Exit(
        "IMAGE_ARTIFACT_FAILED",
        RegistryError,
        "qscanner could not pull the image",
        "See that this machine reaches the registry under the URL that Harbor sends, and that Harbor's robot account "
        "may pull from the project.",
        causes=REGISTRY,
    ),
    7: _artifact("IMAGE_ARCHIVE_ARTIFACT_FAILED", "an image archive"),
    8: Exit(
        "IMAGE_STORAGE_DRIVER_ARTIFACT_FAILED",
        ScannerConfigurationError,
        "qscanner cannot read the image by its storage driver",
        "Set scannerArgs.storage-driver to none, so that images are pulled from the registry, or to the driver of this "
        "node's container runtime, whose storage must be mounted here.",
    ),
    9: _artifact("CONTAINER_ARTIFACT_FAILED", "a container"),
    10: _artifact("OTHER_ARTIFACT_FAILED", "what it was to scan"),
    11: _step("METADATA_SCAN_FAILED", "scan the metadata of the image"),
    12: _step("OS_SCAN_FAILED", "scan the packages of the operating system"),
    13: _step(
        "SCA_SCAN_FAILED",
        "scan the packages of programming languages",
        "Where this machine has no access to the Internet, set scannerArgs.offline-scan to true: otherwise qscanner "
        f"fetches what identifies packages. {_DEBUG}",
    ),
    14: _step("SECRET_SCAN_FAILED", "look for secrets"),
    15: Exit("OS_NOT_FOUND", ImageError, "qscanner found no operating system in the image", _NO_PACKAGES),
    16: _step("MALWARE_SCAN_FAILED", "look for malware"),
    17: Exit(
        "OS_NOT_SUPPORTED", ImageError, "qscanner does not support the operating system of the image", _NO_PACKAGES
    ),
    18: _step("FILE_INSIGHT_SCAN_FAILED", "look into the files of the image"),
    19: _step("COMPLIANCE_SCAN_FAILED", "check compliance"),
    20: _step("MANIFEST_SCAN_FAILED", "scan the manifests of packages"),
    21: _step("WINREGISTRY_SCAN_FAILED", "scan the Windows registry of the image"),
    30: _handler("JSON_RESULT_HANDLER_FAILED", "write its inventory"),
    31: _handler("CHANGELIST_CREATION_FAILED", "make the data to upload"),
    32: _handler("CHANGELIST_COMPRESSION_FAILED", "compress the data to upload"),
    33: _upload("CHANGELIST_UPLOAD_FAILED", "its scan"),
    34: _handler("SPDX_HANDLER_FAILED", "write the SPDX document"),
    35: _handler("CDX_HANDLER_FAILED", "write the CycloneDX document"),
    36: _handler("SBOM_COMPRESSION_FAILED", "compress the SBOM"),
    37: _upload("SBOM_UPLOAD_FAILED", "the SBOM"),
    38: _handler("SECRET_RESULT_CREATION_FAILED", "make the list of secrets"),
    39: _upload("SECRET_RESULT_UPLOAD_FAILED", "the list of secrets"),
    40: _waiting("FAILED_TO_GET_VULN_REPORT", "the report of vulnerabilities"),
    41: _waiting("FAILED_TO_GET_POLICY_EVALUATION_RESULT", "the verdict of the policy"),
    42: _verdict("POLICY_EVALUATION_DENY"),
    43: _verdict("POLICY_EVALUATION_AUDIT"),
}
"""The failures, by their codes. 71 and 72, which a build for other purposes has, are left out."""
