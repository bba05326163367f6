"""Why `scannercli` failed, read from its exit code and its log, and what the operator can do about it.

The causes of the Aqua adapter's README (Troubleshooting) stand among what programs written in Go say of networks,
certificates, disks and memory.
"""

from __future__ import annotations

import re

import msgspec

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
from harbor_scanner.scanners.printed import plain

LICENCE_EXIT_CODE = 5
"""Aqua did not accept the licence (seen in integrations of `scannercli` with build pipelines)."""

_LINE = 2000
"""Characters of a line that are looked at: the patterns would take seconds over much longer ones."""

_NO_ERROR = re.compile(r"(?:[\dT:.,Z+-]+\s+){0,2}(?:DEBUG|INFO|WARN(?:ING)?)\b")
"""Begins lines of the log that tell of no error. Warnings are no causes: that no Docker was found is a usual one."""

_ABOUT_REGISTRY = re.compile(
    r"(?<!api)/v2/|\bmanifests?\b|\bblobs?\b|\blayers?\b|\bpull(?:ing)?\b|\bregistry (?:auth|login|token)"
    r"|\b(?:against|from|in|to|with) (?:the |remote )?registry\b",
    re.IGNORECASE,
)
"""Found in lines about the registry. Other lines are about the Aqua console."""

_REFUSED = r"\b40[13]\b|unauthori[sz]ed|forbidden|denied"
_UNREACHABLE = (
    r"connection (?:refused|reset)|no such host|no route to host|network is unreachable|name resolution"
    r"|server misbehaving|i/o timeout|TLS handshake|deadline exceeded|Client\.Timeout|timeout awaiting"
    r"|\b50[234] (?:Bad Gateway|Service (?:Temporarily )?Unavailable|Gateway Time-?out)"
    r"|(?:code|HTTP|status)\W{1,3}50[234]\b"
)
_NO_SUCH_PROTOCOL = r"server gave HTTP response to HTTPS client|HTTP request to an HTTPS server"


class Cause(msgspec.Struct, frozen=True):
    """A cause of failure: what shows it in a line of the log, and what it means."""

    pattern: str
    """A regular expression; case does not matter."""
    error: type[ScanError]
    message: str
    advice: str
    registry: bool = False
    """Whether the line must be about the registry."""


_LICENCE = Cause(
    r"\blicen[cs]e\b.{0,100}\b(?:exceeded|expired|invalid|missing|not valid|required|validat)",
    ScannerConfigurationError,
    "Aqua did not accept the licence",
    "See whether the licence in the Aqua console is valid and has room for this image.",
)

CAUSES = (
    Cause(
        r"no space left on device|disk quota exceeded",
        DiskError,
        "scannercli ran out of disk space",
        "Make room where it works: in SCANNER_DATA_DIR, SCANNER_AQUA_REPORTS_DIR and /opt/aquascans.",
    ),
    Cause(
        r"out of memory|cannot allocate memory",
        MemoryLimitError,
        "scannercli ran out of memory",
        "Give the service more memory, or lower SCANNER_WORKERS so that fewer scans share it.",
    ),
    Cause(
        r"412 Precondition Failed",
        RegistryError,
        "Harbor's deployment security kept scannercli from pulling the image (412 Precondition Failed)",
        "With scannercli 4.6.20181 or newer set SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true, for the robot account "
        "that Harbor sends may pull such images. With an older one the only way is to disable deployment security in "
        "the project's configuration in Harbor.",
    ),
    Cause(
        r"image was not found in registry",
        RegistryError,
        "Aqua did not find the image in the registry",
        "With Harbor 2.0 to 2.2, which send no tag, set SCANNER_AQUA_USE_IMAGE_TAG=false. With any version, see that "
        "the account that Aqua pulls with is a member of the project.",
    ),
    Cause(
        r"no such registry",
        ScannerConfigurationError,
        "The Aqua console knows no registry of this name",
        "Set SCANNER_AQUA_REGISTRY to the Registry Name that Harbor has in the Aqua console, under Integrations / "
        "Image Registries.",
    ),
    Cause(
        r"unknown (?:shorthand )?(?:command|flag|option)|flag provided but not defined|unrecognized argument",
        ScannerConfigurationError,
        "This scannercli does not know one of its options",
        "Install the scannercli of your Aqua Enterprise version. SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true needs "
        "4.6.20181 or newer.",
    ),
    Cause(
        r"\bx509\b|certificate (?:is not trusted|signed by unknown|has expired|verify failed)",
        ScannerConfigurationError,
        "scannercli does not trust a TLS certificate",
        "Make this machine trust the certificate authority, or set SCANNER_CLI_NO_VERIFY=true.",
    ),
    _LICENCE,
    Cause(
        _REFUSED,
        RegistryError,
        "The registry refused the pull",
        "See that the account that Aqua pulls with may pull from the project. It is the one entered in the Aqua "
        "console, or with SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=true Harbor's robot account of this scan.",
        registry=True,
    ),
    Cause(
        _UNREACHABLE,
        RegistryUnreachableError,
        "scannercli could not reach the registry",
        "See that this machine reaches the registry under the URL entered in the Aqua console.",
        registry=True,
    ),
    Cause(
        _NO_SUCH_PROTOCOL,
        RegistryError,
        "scannercli and the registry do not agree on TLS",
        "Correct the registry's URL in the Aqua console: http:// or https://, whichever it speaks.",
        registry=True,
    ),
    Cause(
        r"manifest unknown|name unknown|not found",
        RegistryError,
        "The registry does not have the image",
        "See whether the image was deleted while its scan was waiting.",
        registry=True,
    ),
    Cause(
        rf"{_REFUSED}|(?:bad|incorrect|invalid|wrong) (?:credentials|password|token|user)"
        r"|authentication (?:error|failed)|login failed|failed (?:to log|logging) ?in",
        ScannerConfigurationError,
        "The Aqua console refused the login",
        "Correct SCANNER_AQUA_USERNAME and SCANNER_AQUA_PASSWORD, or SCANNER_AQUA_TOKEN. The user needs the Scanner "
        "role.",
    ),
    Cause(
        rf"{_NO_SUCH_PROTOCOL}|(?:unsupported|missing) protocol scheme"
        r"|(?:invalid|malformed)\b.{0,100}\b(?:host|url)\b",
        ScannerConfigurationError,
        "scannercli cannot use the address of the Aqua console",
        "Correct SCANNER_AQUA_HOST: a URL with the right one of http:// and https://, such as https://aqua-console:8443.",
    ),
    Cause(
        _UNREACHABLE,
        ScannerUnreachableError,
        "scannercli could not reach the Aqua console",
        "See that the console runs and that this machine reaches it at SCANNER_AQUA_HOST.",
    ),
    Cause(
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
    lines = [line.strip()[:_LINE] for line in plain(f"{outcome.stdout}\n{outcome.stderr}").splitlines()]
    errors = [line for line in reversed(lines) if not _NO_ERROR.match(line)]
    for cause in CAUSES:
        for line in errors:
            if re.search(cause.pattern, line, re.IGNORECASE) and (not cause.registry or _ABOUT_REGISTRY.search(line)):
                return _error(cause, outcome, line)
    return ScannerFailedError(
        _with_output("scannercli failed for a reason that it did not make clear", outcome),
        "See whether the Aqua console tells more of this scan, and whether other images can be scanned.",
    )


def _error(cause: Cause, outcome: Outcome, line: str = "") -> ScanError:
    return cause.error(_with_output(cause.message, outcome, line), cause.advice)


def _with_output(message: str, outcome: Outcome, line: str = "") -> str:
    """Return the message with the exit code and the last lines printed, after the telling `line` if it is not there."""
    printed = plain(outcome.last_lines())
    if line not in printed:
        printed = f"{line}\n{printed}"
    return f"{message} (exit code {outcome.exit_code}).\n{printed}".rstrip()
