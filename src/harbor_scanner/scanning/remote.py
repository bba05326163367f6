"""One scan by an adapter that runs elsewhere: asked and polled as Harbor does."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from harbor_scanner.errors import BadReportError, ScannerConfigurationError
from harbor_scanner.harbor import client as harbor
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.scanning.oneshot import Scanned, Tell
from harbor_scanner.scanning.subject import Subject

USERNAME, PASSWORD = "HARBOR_SCANNER_VIA_USERNAME", "HARBOR_SCANNER_VIA_PASSWORD"
TOKEN, API_KEY = "HARBOR_SCANNER_VIA_TOKEN", "HARBOR_SCANNER_VIA_API_KEY"
"""Variables of the environment by which the adapter knows who asks, as at Harbor's registration of a scanner."""


def check_url(url: str) -> str:
    """Return the address of an adapter. Raises ValueError."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{url!r} is no address of an adapter, such as http://scanner.example:8080")
    return url


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header that the environment gives, if any. Raises ScannerConfigurationError if it gives several."""
    ways = []
    if environment.get(USERNAME) or environment.get(PASSWORD):
        ways.append(harbor.basic(environment.get(USERNAME, ""), environment.get(PASSWORD, "")))
    if token := environment.get(TOKEN):
        ways.append(harbor.bearer(token))
    if key := environment.get(API_KEY):
        ways.append(harbor.api_key(key))
    if len(ways) > 1:
        raise ScannerConfigurationError(
            "The environment gives more than one way to authenticate at the adapter.",
            f"Set {USERNAME} and {PASSWORD}, or {TOKEN}, or {API_KEY}.",
        )
    return ways[0] if ways else {}


def secrets(environment: Mapping[str, str]) -> list[str]:
    """Return what of the environment must be seen nowhere."""
    return [environment[name] for name in (PASSWORD, TOKEN, API_KEY) if environment.get(name)]


async def scan(url: str, auth: Mapping[str, str], subject: Subject, kind: str, tell: Tell) -> Scanned:
    """Return the report of one kind (`ScanRequest.reports`). Raises AdapterError, and BadReportError."""
    async with harbor.HarborClient(url, auth=auth) as adapter:
        scanner = (await adapter.metadata()).scanner
        tell(f"Scanning {subject.name} with {scanner.name} by {url}")
        job = await adapter.submit(subject.request.asking_for([kind]))
        if kind == VULNERABILITY:
            return Scanned(subject, (await adapter.wait_for_report(job)).document)
        fetched = await adapter.wait_for_sbom(job, kind)
    try:
        sbom = msgspec.json.decode(fetched.document, type=_Sbom)
    except msgspec.DecodeError as error:
        raise BadReportError(f"The SBOM of {url} cannot be read: {error}") from None
    return Scanned(subject, bytes(sbom.sbom), tuple(sbom.vendor_attributes.get("notices", ())))


class _Sbom(msgspec.Struct):
    sbom: msgspec.Raw
    vendor_attributes: dict[str, list[str]] = msgspec.field(default_factory=dict)
