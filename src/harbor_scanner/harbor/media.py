"""Media types of the Pluggable Scanners API, and which one a client asks for."""

from __future__ import annotations

import re
import string

METADATA = "application/vnd.scanner.adapter.metadata+json; version=1.1"
SCAN_RESPONSE = "application/vnd.scanner.adapter.scan.response+json; version=1.0"
ERROR = "application/vnd.scanner.adapter.error+json; version=1.0"

NATIVE_REPORT = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"
"""The report of API v1.0, which Harbor 1.10 to 2.1 asks for."""

GENERIC_REPORT = "application/vnd.security.vulnerability.report; version=1.1"
"""The report of API v1.1, which Harbor 2.2 and newer asks for."""

VULNERABILITY_REPORTS = (GENERIC_REPORT, NATIVE_REPORT)

SBOM_REPORT = "application/vnd.security.sbom.report+json; version=1.0"
"""The SBOM report of API v1.2, which Harbor 2.11 and newer asks for."""

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
SBOM_FORMATS = (SPDX, CYCLONEDX)
"""Formats of an SBOM (spec v1.2, `SbomParameters`). Harbor itself asks for SPDX only."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
IMAGE_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)

_BLANKS_AND_QUOTES = string.whitespace + '"'
_WEIGHT = re.compile(r"; q=([01](?:\.[0-9]{0,3})?)(?=;|$)")


def canonical(media_type: str) -> str:
    """Return `media_type` in one spelling: names in lower case, parameters sorted, `; ` between them.

    Harbor's versions differ in the blank after the semicolon, and RFC 9110 (5.6.6) leaves it free, as it does the
    quotes around a value. Text that is no media type comes back as something that equals none.
    """
    essence, *parameters = media_type.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    values = ((name.strip().lower(), value.strip(_BLANKS_AND_QUOTES)) for name, _, value in pairs)
    return "; ".join([essence.strip().lower(), *sorted(f"{name}={value}" for name, value in values if value)])


def negotiate(
    accept: str | None, offered: tuple[str, ...] = VULNERABILITY_REPORTS, presumed: str = NATIVE_REPORT
) -> str | None:
    """Return the report type to answer with, or None if the client accepts none of `offered`.

    No header, or `*/*`, means the type `presumed`, or the first one offered where it is not: the native report of v1.0,
    if the request tells nothing else (spec v1.0 to v1.2, operation GetScanReport).
    """
    fallback = presumed if presumed in offered else offered[0]
    if not accept or not accept.strip():
        return fallback
    by_name = {canonical(media_type): media_type for media_type in offered}
    for wanted in _preferences(accept):
        if wanted in {"*/*", "application/*"}:
            return fallback
        for name, media_type in by_name.items():
            if wanted in {name, name.partition(";")[0]}:
                return media_type
    return None


def _preferences(accept: str) -> list[str]:
    """Return what an Accept header names, most wanted first, without what it refuses (RFC 9110, 12.4.2 and 12.5.1)."""
    weighed = []
    for part in accept.split(","):
        spelled = canonical(part)
        weight = _WEIGHT.search(spelled)
        weighed.append((float(weight[1]) if weight else 1.0, _WEIGHT.sub("", spelled)))
    weighed.sort(key=lambda item: -item[0])
    return [name for weight, name in weighed if weight > 0]
