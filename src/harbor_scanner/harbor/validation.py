"""Read a scan request as Harbor's versions send it, and refuse what cannot be scanned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harbor_scanner.errors import InvalidRequestError, MalformedRequestError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import (
    SBOM,
    SBOM_MEDIA_TYPES,
    VULNERABILITY,
    Capability,
    EnabledCapability,
    ScanRequest,
)

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_REPOSITORY_LENGTH = 255
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}


def parse_scan_request(body: bytes, capabilities: tuple[Capability, ...]) -> ScanRequest:
    """Return the request in `body`, checked against the `capabilities` of the scanner.

    An SBOM that is wanted in no format by name is wanted in all that the scanner advertises; they are named then.
    Null means the same as absent, and unknown fields are ignored, as Harbor's versions need it. Raises
    MalformedRequestError (no JSON, or wrong types) or InvalidRequestError, which names the field.
    """
    try:
        document = _without_nulls(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequestError(f"The body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequestError("The body is not a JSON object.")
    try:
        request = msgspec.convert(document, ScanRequest)
    except msgspec.ValidationError as error:
        raise MalformedRequestError(f"The body has a value of the wrong type: {error}") from None
    _check_registry(request)
    _check_artifact(request)
    return _with_formats(request, capabilities)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _check_registry(request: ScanRequest) -> None:
    url = request.registry.url
    if not url:
        raise InvalidRequestError("registry.url", "is missing")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise InvalidRequestError("registry.url", "must be an http or https URL, such as https://core.harbor.domain")
    authorization = request.registry.authorization or ""
    if not (authorization.isascii() and authorization.isprintable()):
        raise InvalidRequestError("registry.authorization", "holds characters that no HTTP header may have")
    credentials = request.registry.credentials
    if credentials and "\0" in credentials.username + credentials.password:
        raise InvalidRequestError("registry.authorization", "holds a NUL character, which no program can be given")


def _check_artifact(request: ScanRequest) -> None:
    artifact = request.artifact
    if not artifact.repository:
        raise InvalidRequestError("artifact.repository", "is missing")
    if len(artifact.repository) > _REPOSITORY_LENGTH or not _REPOSITORY.fullmatch(artifact.repository):
        raise InvalidRequestError(
            "artifact.repository", "must be a repository name of the OCI distribution spec, such as library/mongo"
        )
    if not artifact.digest:
        raise InvalidRequestError("artifact.digest", "is missing")
    if not _DIGEST.fullmatch(artifact.digest):
        raise InvalidRequestError("artifact.digest", "must be sha256: and 64 hexadecimal digits (or sha512: and 128)")
    if artifact.tag and not _TAG.fullmatch(artifact.tag):
        raise InvalidRequestError("artifact.tag", "must be a tag of the OCI distribution spec, such as 3.4-xenial")
    if artifact.mime_type:
        mime_type = media.canonical(artifact.mime_type)
        if mime_type in INDEXES:
            raise InvalidRequestError(
                "artifact.mime_type", f"{mime_type} is an index of images, which are scanned one by one"
            )
        if mime_type not in media.IMAGE_MANIFESTS:
            raise InvalidRequestError(
                "artifact.mime_type",
                f"{mime_type} is no image manifest; only {' and '.join(media.IMAGE_MANIFESTS)} can be scanned",
            )


def _with_formats(request: ScanRequest, capabilities: tuple[Capability, ...]) -> ScanRequest:
    """Return `request` with every format named in which an SBOM is wanted, if the scanner can do all that is asked."""
    known = {capability.type: capability for capability in capabilities}
    if not request.enabled_capabilities:
        _require_known("enabled_capabilities", VULNERABILITY, known)
        return request
    asked = [
        _supported(f"enabled_capabilities[{place}]", enabled, known)
        for place, enabled in enumerate(request.enabled_capabilities)
    ]
    return msgspec.structs.replace(request, enabled_capabilities=asked)


def _supported(field: str, asked: EnabledCapability, known: Mapping[str, Capability]) -> EnabledCapability:
    _require_known(f"{field}.type", asked.type, known)
    capability = known[asked.type]
    served = capability.produces_mime_types
    if asked.type == VULNERABILITY:  # either report is served, whichever is advertised
        served = (*served, *media.VULNERABILITY_REPORTS)
    produced = sorted({media.canonical(name) for name in served})
    for name in asked.produces_mime_types or ():
        if media.canonical(name) not in produced:
            raise InvalidRequestError(
                f"{field}.produces_mime_types", f"{name!r} is not supported; reports come as {', '.join(produced)}"
            )
    if asked.type != SBOM:
        return asked
    formats = _formats(f"{field}.parameters.{SBOM_MEDIA_TYPES}", asked.parameters or {}, capability.sbom_formats)
    return msgspec.structs.replace(asked, parameters={**(asked.parameters or {}), SBOM_MEDIA_TYPES: formats})


def _require_known(field: str, kind: str, known: Mapping[str, Capability]) -> None:
    if kind not in known:
        raise InvalidRequestError(field, f"{kind!r} is not supported; this scanner has {', '.join(known)}")


def _formats(field: str, parameters: Mapping[str, Any], advertised: tuple[str, ...]) -> list[str]:
    """Return the formats in which an SBOM is wanted; all that are advertised, if none is named."""
    named = parameters.get(SBOM_MEDIA_TYPES, [])
    if not isinstance(named, list):
        raise InvalidRequestError(field, f"must be a list; this scanner makes SBOMs as {' and '.join(advertised)}")
    for name in named:
        if not isinstance(name, str) or media.canonical(name) not in advertised:
            raise InvalidRequestError(
                field, f"{name!r} is not supported; this scanner makes SBOMs as {' and '.join(advertised)}"
            )
    return [media.canonical(name) for name in named or advertised]
