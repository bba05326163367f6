"""What lines of `qscanner`'s log tell of the cause of a failure.

Qualys documents none of them: the patterns are what programs written in Go say of networks, certificates and disks.
"""

from __future__ import annotations

from harbor_scanner.errors import (
    DiskError,
    ImageError,
    MemoryLimitError,
    RegistryError,
    RegistryUnreachableError,
    ScannerConfigurationError,
    ScannerUnreachableError,
    TimeLimitError,
)
from harbor_scanner.scanners.causes import DISK_FULL, OUT_OF_MEMORY, UNREACHABLE, UNTRUSTED, Cause

GIVEN_AS = "QUALYS_ACCESS_TOKEN, scannerArgs.access-token or the file /usr/share/qscanner/accesstoken/token"
"""Where the access token is given."""

_REFUSED = r"\b40[13]\b|unauthori[sz]ed|forbidden|(?<!permission )denied"
_UNREACHABLE = rf"{UNREACHABLE}|\b429\b|too ?many ?requests"


ANYWHERE = (
    Cause(
        DISK_FULL,
        DiskError,
        "qscanner ran out of disk space",
        "Make room where it works: in SCANNER_DATA_DIR and scannerArgs.cache-dir.",
    ),
    Cause(
        OUT_OF_MEMORY,
        MemoryLimitError,
        "qscanner ran out of memory",
        "Give the service more memory, or lower SCANNER_WORKERS (service.workerThreads) so that fewer scans share it.",
    ),
    Cause(
        r"InvalidStorageDriver|(?:invalid|unknown|unsupported) storage.?driver",
        ScannerConfigurationError,
        "qscanner cannot use the storage driver",
        "Set scannerArgs.storage-driver to none, so that images are pulled from the registry, or to the driver of this "
        "node's container runtime, whose storage must be mounted here.",
    ),
)
"""Causes that any failure may have."""

REGISTRY = (
    Cause(
        r"server gave HTTP response to HTTPS client",
        RegistryError,
        "qscanner speaks HTTPS, but the registry answered in plain HTTP",
        "Give Harbor a certificate, or a URL that begins with https://: qscanner has no documented option for a "
        "registry without TLS.",
    ),
    Cause(
        UNTRUSTED,
        RegistryError,
        "qscanner does not trust the TLS certificate of the registry",
        "Make this machine trust the certificate authority, or set SSL_CERT_FILE for the service to a file that has "
        "it; scannerArgs.skip-verify-tls and scannerArgs.cert-path are for the Qualys platform only.",
    ),
    Cause(
        r"412 Precondition Failed|precondition failed",
        RegistryError,
        "Harbor's deployment security kept qscanner from pulling the image (412 Precondition Failed)",
        "See that Harbor sends the credentials of its robot account, which may pull such images, or disable deployment "
        "security in the project's configuration in Harbor.",
    ),
    Cause(
        _REFUSED,
        RegistryError,
        "The registry refused the pull",
        "See in Harbor's log why its robot account of this scan may not pull the image.",
    ),
    Cause(
        _UNREACHABLE,
        RegistryUnreachableError,
        "qscanner could not reach the registry",
        "See that this machine reaches the registry under the URL that Harbor sends, and that scannerArgs.proxy, "
        "HTTPS_PROXY and NO_PROXY do not stand in the way.",
    ),
    Cause(
        r"unsupported (?:image|manifest|media ?type)|unknown media ?type|no (?:child|matching) .{0,40}platform",
        ImageError,
        "qscanner cannot read this artifact",
        "See in Qualys' documentation which kinds of images it scans.",
    ),
    Cause(
        r"manifest.?unknown|name.?unknown|not found|\b404\b",
        RegistryError,
        "The registry does not have the image",
        "See whether the image was deleted while its scan was waiting.",
    ),
)

PLATFORM = (
    Cause(
        UNTRUSTED,
        ScannerConfigurationError,
        "qscanner does not trust the TLS certificate of the Qualys platform, or of a proxy before it",
        "Set scannerArgs.cert-path to the certificate authority, or scannerArgs.skip-verify-tls to true.",
    ),
    Cause(
        r"\b407\b|proxy authentication required|proxyconnect|(?:invalid|unsupported) proxy",
        ScannerConfigurationError,
        "The proxy did not let qscanner through to the Qualys platform",
        "Correct scannerArgs.proxy, with user name and password if the proxy needs them.",
    ),
    Cause(
        rf"{_REFUSED}|(?:bad|expired|incorrect|invalid|wrong) (?:access )?(?:credentials|token)|token .{{0,40}}expired"
        r"|authentication (?:error|failed)",
        ScannerConfigurationError,
        "The Qualys platform refused the access token",
        f"Put a valid token of the platform that scannerArgs.pod or scannerArgs.gateway-url names into {GIVEN_AS}.",
    ),
    Cause(
        r"server gave HTTP response to HTTPS client|unsupported protocol scheme|(?:invalid|malformed).{0,40}\burl\b",
        ScannerConfigurationError,
        "qscanner cannot use the address of the Qualys platform",
        "Correct scannerArgs.gateway-url: a URL that begins with https://, as Qualys' platform identification page "
        "has it; or set scannerArgs.pod instead.",
    ),
    Cause(
        _UNREACHABLE,
        ScannerUnreachableError,
        "qscanner could not reach the Qualys platform",
        "See that this machine reaches the gateway of scannerArgs.pod or scannerArgs.gateway-url, if need be through "
        "scannerArgs.proxy.",
    ),
)

PARAMETERS = (
    Cause(
        r"unknown (?:shorthand )?(?:command|flag|option)|flag provided but not defined|unrecognized argument",
        ScannerConfigurationError,
        "This qscanner does not know one of its options",
        "Install a version of qscanner that knows it, or leave out the setting in scannerArgs that it comes from.",
    ),
    Cause(
        r"\btoken\b",
        ScannerConfigurationError,
        "qscanner has no usable access token",
        f"Put the token of your Qualys platform into {GIVEN_AS}.",
    ),
    Cause(
        r"\bpod\b|gateway",
        ScannerConfigurationError,
        "qscanner does not know which Qualys platform to use",
        "Set scannerArgs.pod to the name of your platform, such as US1 or EU2, or scannerArgs.gateway-url to the URL "
        "of its gateway.",
    ),
    Cause(
        r"storage.?driver",
        ScannerConfigurationError,
        "qscanner does not know the storage driver",
        "Correct scannerArgs.storage-driver, or set it to none.",
    ),
    Cause(r"\bproxy\b", ScannerConfigurationError, "qscanner cannot use the proxy", "Correct scannerArgs.proxy."),
    Cause(
        r"\bcert(?:ificate)?\b|cert-path",
        ScannerConfigurationError,
        "qscanner cannot use the certificate file",
        "Correct scannerArgs.cert-path: a file in this container that this user may read.",
    ),
)

STEPS = (
    Cause(
        r"deadline exceeded|scan.{0,40}timed? ?out|timeout.{0,40}scan",
        TimeLimitError,
        "qscanner reached its own limit of time",
        "Raise scannerArgs.scan-timeout.",
    ),
)
