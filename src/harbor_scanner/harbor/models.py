"""What Harbor sends and takes in: the schemas of the Pluggable Scanners API, v1.0 to v1.2.

Harbor's versions send null, leave out fields, and add new ones: every optional field accepts all three.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harbor_scanner.harbor import media

VULNERABILITY = "vulnerability"
SBOM = "sbom"
"""Types of capabilities (spec v1.2, `ScannerCapability.type`)."""

SBOM_MEDIA_TYPES = "sbom_media_types"
"""Name under which capabilities and requests list formats of SBOMs (spec v1.2, `SbomParameters`)."""

_KINDS = (VULNERABILITY, *media.SBOM_FORMATS)


class Severity(StrEnum):
    """Severity in Harbor's words (spec schema `Severity`), from the least to the most severe."""

    UNKNOWN = "Unknown"
    NEGLIGIBLE = "Negligible"
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    CRITICAL = "Critical"

    @property
    def rank(self) -> int:
        """Place in the order of severity, 0 for Unknown to 5 for Critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Credentials(msgspec.Struct, frozen=True):
    """User name and password of a registry account, as Harbor's robot has them."""

    username: str
    password: str


class Registry(msgspec.Struct, frozen=True):
    """Where the image lies, and how the scanner may pull it (spec schema `Registry`)."""

    url: str = ""
    """Base URL of the registry; its scheme tells TLS from plain HTTP."""
    authorization: str | None = None
    """Value of the HTTP Authorization header: `Basic …` with a robot's name and password, or `Bearer …`."""

    @property
    def credentials(self) -> Credentials | None:
        """User name and password of a `Basic` authorization; None for any other, and for none.

        Harbor's robot names contain `$`, `+` and blanks, and passwords may contain `:`.
        """
        scheme, _, value = (self.authorization or "").strip().partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, separator, password = text.partition(":")
        return Credentials(username, password) if separator else None


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """The image to scan (spec schema `Artifact`)."""

    repository: str = ""
    digest: str = ""
    tag: str | None = None
    """Absent from Harbor 2.0 to 2.2."""
    mime_type: str | None = None
    size: int | None = None
    """Bytes; Harbor sends it beyond the spec."""


def _sbom_formats(named: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the known ones of the formats named there; all that are known, if none is named."""
    listed = (named or {}).get(SBOM_MEDIA_TYPES)
    if not listed or not isinstance(listed, Sequence) or isinstance(listed, str):
        return media.SBOM_FORMATS
    names = {media.canonical(name) for name in listed if isinstance(name, str)}
    return tuple(media_type for media_type in media.SBOM_FORMATS if media_type in names)


class EnabledCapability(msgspec.Struct, frozen=True):
    """One capability that a scan request asks for (spec v1.2, `ScanRequest.enabled_capabilities`)."""

    type: str = VULNERABILITY
    produces_mime_types: list[str] | None = None
    parameters: dict[str, Any] | None = None

    @property
    def sbom_formats(self) -> tuple[str, ...]:
        """The formats of the SBOM asked for; all, if the parameters name none."""
        return _sbom_formats(self.parameters)


class ScanRequest(msgspec.Struct, frozen=True):
    """Body of `POST /scan` (spec schema `ScanRequest`)."""

    registry: Registry = Registry()
    artifact: Artifact = Artifact()
    enabled_capabilities: list[EnabledCapability] | None = None

    @property
    def reports(self) -> tuple[str, ...]:
        """The kinds of reports asked for: `vulnerability`, and the media types of SBOM formats.

        A request that names no capability comes from a Harbor that knows vulnerabilities only; an SBOM without a format
        is wanted in every format (spec v1.2, `ScanRequest.enabled_capabilities`).
        """
        asked = self.enabled_capabilities or [EnabledCapability()]
        kinds = {VULNERABILITY} & {capability.type for capability in asked}
        kinds.update(*(capability.sbom_formats for capability in asked if capability.type == SBOM))
        return tuple(kind for kind in _KINDS if kind in kinds)

    @property
    def reference(self) -> str:
        """The image's full name by its digest, as programs take it: `core.harbor.domain/library/mongo@sha256:…`."""
        url = urlsplit(self.registry.url)
        host = url.netloc.rpartition("@")[2]
        if url.port is None and "." not in host and host != "localhost":
            # Without a dot or a port, the first part of a reference is taken for a repository of Docker Hub.
            host = f"{host}:{443 if url.scheme == 'https' else 80}"
        return f"{host}/{self.artifact.repository}@{self.artifact.digest}"

    def asking_for(self, reports: Iterable[str]) -> ScanRequest:
        """Return this request with other kinds of reports to make. Raises ValueError if there are none."""
        kinds = set(reports)
        formats = [media_type for media_type in media.SBOM_FORMATS if media_type in kinds]
        asked = [EnabledCapability(VULNERABILITY)] if VULNERABILITY in kinds else []
        if formats:
            asked.append(EnabledCapability(SBOM, parameters={SBOM_MEDIA_TYPES: formats}))
        if not asked:
            raise ValueError("a request that names no capability asks for vulnerabilities")
        return msgspec.structs.replace(self, enabled_capabilities=asked)


class ScanResponse(msgspec.Struct, frozen=True):
    """Answer to an accepted scan request (spec schema `ScanResponse`)."""

    id: str


UNKNOWN_VERSION = "unknown"
"""Stands where the version of a scanner is not known yet, for Harbor refuses an empty one."""


class ScannerInfo(msgspec.Struct, frozen=True):
    """Name, vendor and version of a scanner (spec schema `Scanner`); Harbor refuses empty ones."""

    name: str
    vendor: str
    version: str


class Capability(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a scanner can do (spec schema `ScannerCapability`)."""

    type: str
    consumes_mime_types: tuple[str, ...]
    produces_mime_types: tuple[str, ...]
    additional_attributes: dict[str, Any] | None = None

    @property
    def sbom_formats(self) -> tuple[str, ...]:
        """The formats in which SBOMs are advertised; all, if the attributes name none."""
        return _sbom_formats(self.additional_attributes)


class Metadata(msgspec.Struct, frozen=True):
    """Answer to `GET /metadata` (spec schema `ScannerAdapterMetadata`)."""

    scanner: ScannerInfo
    capabilities: tuple[Capability, ...]
    properties: dict[str, str]


class ErrorBody(msgspec.Struct, frozen=True):
    """The inner object of an error answer."""

    message: str


class ErrorResponse(msgspec.Struct, frozen=True):
    """Every error answer of the API (spec schema `ErrorResponse`); Harbor shows nothing of any other shape."""

    error: ErrorBody


class Cvss(msgspec.Struct, omit_defaults=True):
    """Scores (0.0 to 10.0) and vectors of CVSS 2 and 3 (spec schema `CVSSDetails`)."""

    score_v3: float | None = None
    score_v2: float | None = None
    vector_v3: str | None = None
    vector_v2: str | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.score_v3, self.score_v2, self.vector_v3, self.vector_v2))


class Layer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The image layer that brought a package."""

    digest: str


class FindingStatus(StrEnum):
    """What the vendor of the package says, in the words of Harbor's `status` field."""

    AFFECTED = "affected"
    FIXED = "fixed"
    WILL_NOT_FIX = "will_not_fix"


class Finding(msgspec.Struct, omit_defaults=True):
    """One vulnerability of one package: what scanners yield, in the names of the spec's `VulnerabilityItem`.

    Scanners fill in what they know, as they know it; `harbor.report` makes it fit for Harbor's database.
    """

    id: str
    """The CVE id where there is one: Harbor's allow lists match it exactly."""
    package: str
    version: str
    severity: Severity
    fix_version: str = ""
    description: str = ""
    links: list[str] = msgspec.field(default_factory=list)
    status: FindingStatus | None = None
    preferred_cvss: Cvss | None = None
    cwe_ids: list[str] = msgspec.field(default_factory=list)
    layer: Layer | None = None
    vendor_attributes: dict[str, Any] = msgspec.field(default_factory=dict)
