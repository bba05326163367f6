"""Metadata: in memory before anybody asks, right for Harbor, and never unhealthy for a scanner that is silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from harbor_scanner import __version__, metadata
from harbor_scanner.errors import ScannerConfigurationError, StoreUnavailableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Capability, ScanRequest
from harbor_scanner.log import redacting
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.scanners.base import Scanner, ScanResult, Workspace

SECRET = "hunter2-metadata"


class Some(Scanner):
    """A scanner with as little as the contract asks for."""

    name = "some"
    title = "Some Scanner"
    vendor = "Some Vendor"

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        return (Capability("vulnerability", media.IMAGE_MANIFESTS, (media.GENERIC_REPORT,)),)

    @property
    def properties(self) -> Mapping[str, str]:
        return {"env.SCANNER_SOME": "thing"}

    async def version(self, workspace: Workspace) -> str:
        raise AssertionError("metadata scans nothing")

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        raise AssertionError("metadata scans nothing")


def some(*, legacy_report: bool = False) -> ScannerMetadata:
    return ScannerMetadata(Some(), legacy_report=legacy_report)


def answer(found: ScannerMetadata) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(found.encoded)
    return document


def tells(version: str) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        return version

    return read


def fails(error: Exception) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        raise error

    return read


def test_the_answer_is_complete_before_the_version_is_known() -> None:
    document = answer(some())
    assert document["scanner"] == {"name": "Some Scanner", "vendor": "Some Vendor", "version": "unknown"}
    assert all(document["scanner"].values())


def test_harbor_finds_a_capability_it_can_use() -> None:
    [capability] = answer(some())["capabilities"]
    assert capability["type"] == "vulnerability"
    assert "application/vnd.docker.distribution.manifest.v2+json" in capability["consumes_mime_types"]
    assert "application/vnd.oci.image.manifest.v1+json" in capability["consumes_mime_types"]
    assert capability["produces_mime_types"] == ["application/vnd.security.vulnerability.report; version=1.1"]


def test_the_older_report_is_advertised_only_on_demand() -> None:
    found = some(legacy_report=True)
    assert found.capabilities[0].produces_mime_types == (media.GENERIC_REPORT, media.NATIVE_REPORT)
    [capability] = answer(found)["capabilities"]
    assert "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0" in capability["produces_mime_types"]


def test_other_capabilities_are_advertised_as_they_are() -> None:
    class WithSbom(Some):
        @property
        def capabilities(self) -> tuple[Capability, ...]:
            return (*super().capabilities, Capability("sbom", media.IMAGE_MANIFESTS, ("application/x",)))

    found = ScannerMetadata(WithSbom(), legacy_report=True)
    assert [capability.produces_mime_types for capability in found.capabilities] == [
        (media.GENERIC_REPORT, media.NATIVE_REPORT),
        ("application/x",),
    ]


def test_all_properties_are_text_as_harbor_needs_them() -> None:
    properties = answer(some())["properties"]
    assert all(isinstance(value, str) for value in properties.values())
    assert properties["harbor.scanner-adapter/scanner-type"] == "os-package-vulnerability"
    assert properties["harbor.scanner-adapter/registry-authorization-type"] == "Basic"
    assert properties["env.SCANNER_SOME"] == "thing"
    assert __version__ in properties.values()


def test_the_version_that_was_read_is_told_from_then_on() -> None:
    found = some()
    assert asyncio.run(found.refresh(tells("6.5.22")))
    assert found.info.version == "6.5.22"
    assert answer(found)["scanner"]["version"] == "6.5.22"
    assert found.problem == ""


@pytest.mark.parametrize(
    "error",
    [
        ScannerConfigurationError("scannercli cannot be started.", "Install it."),
        StoreUnavailableError("no answer"),
        OSError("disk trouble"),
        RuntimeError("a defect"),
    ],
)
def test_a_version_that_cannot_be_read_keeps_the_last_one_and_says_why(error: Exception) -> None:
    found = some()
    asyncio.run(found.refresh(tells("6.5.22")))
    assert not asyncio.run(found.refresh(fails(error)))
    assert found.info.version == "6.5.22"
    assert str(error) in found.problem


def test_properties_that_changed_are_told_with_the_next_look_whatever_the_version() -> None:
    told = {"env.SCANNER_SOME": "thing"}

    class Changing(Some):
        @property
        def properties(self) -> Mapping[str, str]:
            return told

    found = ScannerMetadata(Changing(), legacy_report=False)
    asyncio.run(found.refresh(tells("6.5.22")))
    for version in ("6.5.22", ""):
        told["env.SCANNER_SOME"] += " else"
        asyncio.run(found.refresh(tells(version)))
        assert answer(found)["properties"]["env.SCANNER_SOME"] == told["env.SCANNER_SOME"]
        assert answer(found)["scanner"]["version"] == "6.5.22"


def test_the_problem_is_gone_when_the_version_can_be_read_again() -> None:
    found = some()
    asyncio.run(found.refresh(fails(ScannerConfigurationError("gone"))))
    assert found.problem
    assert asyncio.run(found.refresh(tells("6.5.22")))
    assert found.problem == ""


@pytest.mark.parametrize("error", [ScannerConfigurationError(f"user {SECRET} refused"), ValueError(SECRET)])
def test_the_problem_shows_no_secret(error: Exception) -> None:
    found = some()
    with redacting([SECRET]):
        asyncio.run(found.refresh(fails(error)))
    assert found.problem
    assert SECRET not in found.problem


def test_an_empty_version_is_not_told_for_harbor_refuses_it() -> None:
    found = some()
    assert not asyncio.run(found.refresh(tells("")))
    assert answer(found)["scanner"]["version"] == "unknown"


def test_the_version_is_read_again_and_again_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(metadata, "RETRY_SECONDS", 0)
    found = some()
    told: list[str] = []

    async def watch() -> None:
        enough = asyncio.Event()
        outcomes: list[Exception | str] = [
            ScannerConfigurationError("not yet"), RuntimeError("a defect"), "1.0", "", "2.0",
        ]  # fmt: skip

        async def read() -> str:
            told.append(found.info.version)
            if not outcomes:
                enough.set()
                return "2.0"
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        task = asyncio.create_task(found.keep_fresh(read))
        async with asyncio.timeout(60):
            await enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert told[:6] == ["unknown", "unknown", "unknown", "1.0", "1.0", "2.0"]
