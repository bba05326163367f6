"""A scanner with SBOMs by Syft: each does its part, only if it is asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import BadReportError, RegistryError, RegistryUnreachableError, ScanError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, Capability, Finding, ScanRequest, Severity
from harbor_scanner.scanners import sbom
from harbor_scanner.scanners.base import Premises, Scanner, ScanResult, Workspace
from harbor_scanner.scanners.osv import OsvSettings
from harbor_scanner.scanners.osv.scanner import OsvScanner
from harbor_scanner.scanners.sbom import with_sboms
from harbor_scanner.syft.examination import Examination
from harbor_scanner.syft.inventory import Inventory, Unread
from support.stage import request_for

FINDING = Finding("CVE-2026-1", "tar", "1.34", Severity.LOW)
NOWHERE: Any = None
"""A workspace that nobody uses."""


class Inner(Scanner):
    """A scanner that makes no SBOMs."""

    name, title, vendor = "inner", "Inner", "Nobody"
    properties = {"a": "b"}  # noqa: RUF012 - a property elsewhere
    directories = (Path("/reports"),)
    problem = "it is ill"
    database_updated_at = 5.0

    def __init__(self, error: ScanError | None = None) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.error = error

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        return (Capability(VULNERABILITY, media.IMAGE_MANIFESTS, (media.GENERIC_REPORT,)),)

    async def version(self, workspace: Workspace) -> str:
        return "1.2"

    async def scan(self, request: ScanRequest, workspace: Workspace) -> ScanResult:
        self.asked.append(request.reports)
        if self.error:
            raise self.error
        return ScanResult(findings=[FINDING], notices=["of the scanner"])


class Syft:
    """What stands for a run of Syft."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], float]] = []
        self.error: ScanError | None = None
        self.unread: tuple[Unread, ...] = ()

    async def __call__(
        self, request: ScanRequest, workspace: Workspace, kinds: tuple[str, ...], *, time_limit: float
    ) -> Examination:
        self.asked.append((kinds, time_limit))
        if self.error:
            raise self.error
        formats = set(kinds) - {VULNERABILITY}
        return Examination(Inventory(unread=self.unread), dict.fromkeys(formats, b"{}"))


@pytest.fixture
def syft(monkeypatch: pytest.MonkeyPatch) -> Syft:
    replacement = Syft()
    monkeypatch.setattr(sbom, "examine", replacement)
    return replacement


def scan(scanner: Scanner, *kinds: str) -> ScanResult:
    return asyncio.run(with_sboms(scanner, time_limit=77).scan(request_for("a/b").asking_for(kinds), NOWHERE))


def test_it_is_the_scanner_in_all_but_sboms() -> None:
    inner = Inner()
    outer = with_sboms(inner, time_limit=77)
    for name in ("name", "title", "vendor", "properties", "directories", "problem", "database_updated_at"):
        assert getattr(outer, name) == getattr(inner, name)
    assert asyncio.run(outer.version(NOWHERE)) == "1.2"
    vulnerability, sbom_capability = outer.capabilities
    assert vulnerability == inner.capabilities[0]
    assert sbom_capability.type == SBOM
    assert sbom_capability.sbom_formats == media.SBOM_FORMATS


def test_a_scanner_that_makes_sboms_makes_its_own() -> None:
    scanner = OsvScanner(Premises(OsvSettings, Path("/nonexistent"), Path("/nonexistent")))
    assert with_sboms(scanner, time_limit=77) is scanner


def test_vulnerabilities_alone_need_no_syft(syft: Syft) -> None:
    inner = Inner()
    assert scan(inner, VULNERABILITY).findings == [FINDING]
    assert (inner.asked, syft.asked) == ([(VULNERABILITY,)], [])


def test_an_sbom_alone_needs_no_scanner(syft: Syft) -> None:
    inner = Inner()
    assert scan(inner, media.SPDX) == ScanResult([], sboms={media.SPDX: b"{}"})
    assert (inner.asked, syft.asked) == ([], [((media.SPDX,), 77)])


def test_both_are_one_scan(syft: Syft) -> None:
    inner = Inner()
    result = scan(inner, VULNERABILITY, *media.SBOM_FORMATS)
    assert result.findings == [FINDING]
    assert set(result.sboms) == set(media.SBOM_FORMATS)
    assert (inner.asked, len(syft.asked)) == ([(VULNERABILITY,)], 1)


def test_what_syft_could_not_read_is_told_as_a_matter_of_the_sbom(syft: Syft) -> None:
    syft.unread = (Unread("/app/x.jar", "java-archive-cataloger", "not a zip"),)
    first, second = scan(Inner(), VULNERABILITY, media.SPDX).notices
    assert first == "of the scanner"
    assert second.startswith("SBOM: ")
    assert "/app/x.jar" in second


def test_trouble_with_the_sbom_does_not_cost_the_vulnerabilities(syft: Syft) -> None:
    syft.error = RegistryError("wrong password", "correct it")
    with pytest.raises(BadReportError, match="wrong password") as caught:
        scan(Inner(), VULNERABILITY, media.SPDX)
    assert caught.value.advice == "correct it"
    with pytest.raises(RegistryError):
        scan(Inner(), media.SPDX)


def test_trouble_that_may_pass_is_told_as_such(syft: Syft) -> None:
    syft.error = RegistryUnreachableError("nobody there")
    for kinds in ([media.SPDX], [VULNERABILITY, media.SPDX]):
        with pytest.raises(RegistryUnreachableError):
            scan(Inner(), *kinds)


def test_trouble_of_the_scanner_is_its_own(syft: Syft) -> None:
    with pytest.raises(RegistryError):
        scan(Inner(RegistryError("no")), VULNERABILITY, media.SPDX)
    assert syft.asked == []
