"""How Harbor asks adapters for their metadata (Harbor v2.16 src/pkg/scan/rest/v1/client.go and models.go)."""

from __future__ import annotations

import base64
import json
import ssl
import time
from typing import Any

import httpx2

from standins.harbor.model import Registration, UnusableAdapterError

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_REPORTS = {
    "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
    "application/vnd.security.vulnerability.report; version=1.1",
    "application/vnd.security.sbom.report+json; version=1.0",
}
_REMEMBERED = 30.0


class Adapters:
    """Harbor's client of adapters. What it learns of a registration, errors too, it remembers for half a minute."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._known: dict[str, tuple[float, dict[str, Any] | str]] = {}

    async def known(self, row: Registration) -> dict[str, Any]:
        """Return the metadata of a registration. Raises UnusableAdapterError."""
        until, found = self._known.get(row.uuid, (0.0, ""))
        if until < time.monotonic():
            try:
                found = await self.ask(row)
            except UnusableAdapterError as error:
                found = str(error)
            self._known[row.uuid] = (time.monotonic() + _REMEMBERED, found)
        if isinstance(found, str):
            raise UnusableAdapterError(found)
        return found

    def forget(self) -> None:
        """Let half a minute pass."""
        self._known.clear()

    async def ask(self, row: Registration) -> dict[str, Any]:
        """Ask an adapter anew. Raises UnusableAdapterError."""
        verify = False if row.skip_certVerify else self._tls
        try:
            async with httpx2.AsyncClient(verify=verify, timeout=5, trust_env=False) as client:
                response = await client.get(f"{row.url}/api/v1/metadata", headers=_headers(row))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UnusableAdapterError(repr(error)) from None
        if response.status_code != 200:
            raise UnusableAdapterError(f"unexpected status code: {response.status_code}, expected: 200")
        try:
            metadata = response.json()
        except json.JSONDecodeError as error:
            raise UnusableAdapterError(str(error)) from None
        _check(metadata)
        return dict(metadata)


def _headers(row: Registration) -> dict[str, str]:
    match row.auth:
        case "Basic":
            return {"Authorization": f"Basic {base64.b64encode(row.access_credential.encode()).decode()}"}
        case "Bearer":
            return {"Authorization": f"Bearer {row.access_credential}"}
        case "X-ScannerAdapter-API-Key":
            return {"X-ScannerAdapter-API-Key": row.access_credential}
    return {}


def _check(metadata: Any) -> None:
    scanner = metadata.get("scanner") or {}
    if not all(scanner.get(name) for name in ("name", "vendor", "version")):
        raise UnusableAdapterError("invalid scanner in metadata")
    if not metadata.get("capabilities"):
        raise UnusableAdapterError("invalid capabilities in metadata")
    for capability in metadata["capabilities"]:
        if _DOCKER not in capability["consumes_mime_types"]:
            raise UnusableAdapterError(f"missing {_DOCKER} in consumes_mime_types")
        if _REPORTS.isdisjoint(capability["produces_mime_types"]):
            raise UnusableAdapterError("missing a report in produces_mime_types")
