"""Why `scannercli` failed, read from its exit code and its log, and what the operator can do about it.

The causes of the Aqua adapter's README (Troubleshooting) stand among what programs written in Go say of networks,
certificates, disks and memory.
"""

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
    ScannerUnreachableError,
)
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.causes import (
    DISK_FULL,
    OUT_OF_MEMORY,
    UNREACHABLE,
    UNTRUSTED,
    Cause,
    error_lines,
    with_output,
)

LICENCE_EXIT_CODE = 5
"""Aqua did not accept the licence (seen in integrations of `scannercli` with build pipelines)."""

_NO_ERROR = re.compile(r"(?:[\dT:.,Z+-]+\s+){0,2}(?:DEBUG|INFO|WARN(?:ING)?)\b")
"""Begins lines of the log that tell of no error. Warnings are no causes: that no Docker was found is a usual one."""

_ABOUT_REGISTRY = re.compile(
    r"(?<!api)/v2/|\bmanifests?\b|\bblobs?\b|\blayers?\b|\bpull(?:ing)?\b|\bregistry (?:auth|login|token)"
    r"|\b(?:against|from|in|to|with) (?:the |remote )?registry\b",
    re.IGNORECASE,
)
"""Found in lines about the registry. Other lines are about the Aqua console."""

_REFUSED = r"\b40[13]\b|unauthori[sz]ed|forbidden|denied"
_NO_SUCH_PROTOCOL = r"server gave HTTP response to HTTPS client|HTTP request to an HTTPS server"


class AquaCause(Cause, frozen=True):
    """A cause of failure of `scannercli`."""

    registry: bool = False
    """Whether the line must be about the registry."""

    def shows_in(self, line: str) -> bool:
        """Whether a line of the log tells of this cause."""
        return super().shows_in(line) and (not self.registry or _ABOUT_REGISTRY.search(line) is not None)


_LICENCE = AquaCause(
    r"\blicen[cs]e\b.{0,100}\b(?:exceeded|expired|invalid|missing|not valid|required|validat)",
    ScannerConfigurationError,
    "Aqua did not accept the licence",
    "See whether the licence in the Aqua console is valid and has room for this image.",
)

CAUSES = (
    AquaCause(
        DISK_FULL,
        DiskError,
        "scannercli ran out of disk space",
        "Make room where it works: in SCANNER_DATA_DIR, SCANNER_AQUA_REPORTS_DIR and /opt/aquascans.",
    ),
    AquaCause(
        OUT_OF_MEMORY,
        MemoryLimitError,
        "scannercli ran out of memory",
        "Give the service more memory, or lower SCANNER_WORKERS so that fewer scans share it.",
    ),
    AquaCause(
        r"412 Precondition Failed",
        RegistryError,
        "Harbor's deployment security kept scannercli from pulling the image (412 Precondition Failed)",
        "With scannercli 4.6.20181 or newer set SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true, for the robot account "
        "that Harbor sends may pull such images. With an older one the only way is to disable deployment security in "
        "the project's configuration in Harbor.",
    ),
    AquaCause(
        r"image was not found in registry",
        RegistryError,
        "Aqua did not find the image in the registry",
        "With Harbor 2.0 to 2.2, which send no tag, set SCANNER_AQUA_USE_IMAGE_TAG=false. With any version, see that "
        "the account that Aqua pulls with is a member of the project.",
    ),
    AquaCause(
        r"no such registry",
        ScannerConfigurationError,
        "The Aqua console knows no registry of this name",
        "Set SCANNER_AQUA_REGISTRY to the Registry Name that Harbor has in the Aqua console, under Integrations / "
        "Image Registries.",
    ),
    AquaCause(
        r"unknown (?:shorthand )?(?:command|flag|option)|flag provided but not defined|unrecognized argument",
        ScannerConfigurationError,
        "This scannercli does not know one of its options",
        "Install the scannercli of your Aqua Enterprise version. SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true needs "
        "4.6.20181 or newer.",
    ),
    AquaCause(
        UNTRUSTED,
        ScannerConfigurationError,
        "scannercli does not trust a TLS certificate",
        "Make this machine trust the certificate authority, or set SCANNER_CLI_NO_VERIFY=true.",
    ),
    _LICENCE,
    AquaCause(
        _REFUSED,
        RegistryError,
        "The registry refused the pull",
        "See that the account that Aqua pulls with may pull from the project. It is the one entered in the Aqua "
        "console, or with SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true Harbor's robot account of this scan.",
        registry=True,
    ),
    AquaCause(
        UNREACHABLE,
        RegistryUnreachableError,
        "scannercli could not reach the registry",
        "See that this machine reaches the registry under the URL entered in the Aqua console.",
        registry=True,
    ),
    AquaCause(
        _NO_SUCH_PROTOCOL,
        RegistryError,
        "scannercli and the registry do not agree on TLS",
        "Correct the registry's URL in the Aqua console: http:// or https://, whichever it speaks.",
        registry=True,
    ),
    AquaCause(
        r"manifest unknown|name unknown|not found",
        RegistryError,
        "The registry does not have the image",
        "See whether the image was deleted while its scan was waiting.",
        registry=True,
    ),
    AquaCause(
        rf"{_REFUSED}|(?:bad|incorrect|invalid|wrong) (?:credentials|password|token|user)"
        r"|authentication (?:error|failed)|login failed|failed (?:to log|logging) ?in",
        ScannerConfigurationError,
        "The Aqua console refused the login",
        "Correct SCANNER_AQUA_USERNAME and SCANNER_AQUA_PASSWORD, or SCANNER_AQUA_TOKEN. The user needs the Scanner "
        "role.",
    ),
    AquaCause(
        rf"{_NO_SUCH_PROTOCOL}|(?:unsupported|missing) protocol scheme"
        r"|(?:invalid|malformed)\b.{0,100}\b(?:host|url)\b",
        ScannerConfigurationError,
        "scannercli cannot use the address of the Aqua console",
        "Correct SCANNER_AQUA_HOST: a URL with the right one of http:// and https://, such as https://aqua-console:8443.",
    ),
    AquaCause(
        UNREACHABLE,
        ScannerUnreachableError,
        "scannercli could not reach the Aqua console",
        "See that the console runs and that this machine reaches it at SCANNER_AQUA_HOST.",
    ),
    AquaCause(
        r"unsupported (?:image|manifest|media type|os)|(?:image|os|platform) (?:is )?not supported|invalid tar header",
        ImageError,
        "scannercli cannot read this image",
        "See in Aqua's documentation which kinds of images it scans.",
    ),
)
"""From the most telling to the least: where several fit, the first one holds."""


def failure(outcome: Outcome) -> ScanError:
    """Return the error that tells why `scannercli` failed, with the last lines that it printed.

    A failure of no known cause is a ScannerFailedError, which no second run follows.
    """
    if outcome.exit_code == LICENCE_EXIT_CODE:
        return _error(_LICENCE, outcome)
    errors = error_lines(outcome, _NO_ERROR)
    for cause in CAUSES:
        for line in errors:
            if cause.shows_in(line):
                return _error(cause, outcome, line)
    return ScannerFailedError(
        with_output("scannercli failed for a reason that it did not make clear", outcome),
        "See whether the Aqua console tells more of this scan, and whether other images can be scanned.",
    )


def _error(cause: Cause, outcome: Outcome, line: str = "") -> ScanError:
    return cause.error(with_output(cause.message, outcome, line), cause.advice)
