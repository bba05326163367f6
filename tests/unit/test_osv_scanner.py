"""The scanner `osv`: what it needs for what, and what it makes of packages that cannot be checked."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import ImageError, ScannerConfigurationError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, ScanRequest
from harbor_scanner.scanners.base import Premises, ScanResult, Workspace
from harbor_scanner.scanners.osv import OsvSettings, scanner
from harbor_scanner.scanners.osv.scanner import OsvScanner
from harbor_scanner.scanners.osv.settings import Missing
from harbor_scanner.syft.examination import Examination
from harbor_scanner.syft.inventory import Installed, Inventory, System, Unread
from support import advisories
from support.stage import request_for

UPDATED_AT = "harbor.scanner-adapter/vulnerability-database-updated-at"
DEBIAN = System("debian", "12", "Debian GNU/Linux 12 (bookworm)")
TAR = Installed("deb", "tar", "1.34", source="tar", source_version="1.34", layer="sha256:1")
NPM = Installed("npm", "minimist", "1.2.5")
FACTS = [
    advisories.advisory("CVE-2026-1", "Debian:12", "tar", "1.35"),
    advisories.advisory("CVE-2026-2", "npm", "minimist"),
]
NOTICE = OsvSettings(missing=Missing.NOTICE)
NOWHERE: Any = None
"""A workspace that nobody uses."""


class Syft:
    """What stands for a run of Syft."""

    def __init__(self) -> None:
        self.inventory = Inventory(DEBIAN, (TAR,))
        self.asked: list[tuple[str, ...]] = []

    async def __call__(
        self, request: ScanRequest, workspace: Workspace, kinds: tuple[str, ...], *, time_limit: float
    ) -> Examination:
        self.asked.append(kinds)
        return Examination(self.inventory, {kind: b"{}" for kind in kinds if kind != VULNERABILITY})


@pytest.fixture
def syft(monkeypatch: pytest.MonkeyPatch) -> Syft:
    replacement = Syft()
    monkeypatch.setattr(scanner, "examine", replacement)
    return replacement


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the service has its data, with a database."""
    advisories.install(tmp_path, FACTS)
    return tmp_path


def osv_in(data: Path, settings: OsvSettings | None = None) -> OsvScanner:
    return OsvScanner(Premises(lambda: settings or OsvSettings(), data / "scratch", data))


def scan(data: Path, *kinds: str, settings: OsvSettings | None = None) -> ScanResult:
    request = request_for("a/b").asking_for(kinds or [VULNERABILITY])
    return asyncio.run(osv_in(data, settings).scan(request, NOWHERE))


def test_what_is_known_is_found(data: Path, syft: Syft) -> None:
    syft.inventory = Inventory(DEBIAN, (TAR, NPM))
    result = scan(data)
    assert [(one.id, one.package, one.version, one.fix_version) for one in result.findings] == [
        ("CVE-2026-1", "tar", "1.34", "1.35"), ("CVE-2026-2", "minimist", "1.2.5", ""),
    ]  # fmt: skip
    assert result.notices == []


def test_one_run_of_syft_serves_all(data: Path, syft: Syft) -> None:
    kinds = (VULNERABILITY, *media.SBOM_FORMATS)
    result = scan(data, *kinds)
    assert syft.asked == [kinds]
    assert len(result.findings) == 1
    assert set(result.sboms) == set(media.SBOM_FORMATS)


def test_without_a_database_no_image_is_clean(tmp_path: Path, syft: Syft) -> None:
    for settings in (OsvSettings(), NOTICE):
        with pytest.raises(ScannerConfigurationError) as caught:
            scan(tmp_path, settings=settings)
        assert "harbor-scanner db update" in caught.value.advice
    assert syft.asked == [], "nothing is pulled for it"
    assert "harbor-scanner db update" in osv_in(tmp_path).problem


def test_without_a_database_sboms_are_made(tmp_path: Path, syft: Syft) -> None:
    syft.inventory = Inventory(unread=(Unread("/x.jar", "java-archive-cataloger", "not a zip"),))
    result = scan(tmp_path, media.SPDX)
    assert set(result.sboms) == {media.SPDX}
    assert result.findings == []
    [notice] = result.notices
    assert "/x.jar" in notice


def test_a_database_that_is_broken_is_none(data: Path, syft: Syft) -> None:
    for file in (data / "osv").glob("*.sqlite"):
        file.write_bytes(b"SQLite format 3\0 and nothing more")
    assert osv_in(data).problem
    with pytest.raises(ScannerConfigurationError):
        scan(data)


def test_a_database_that_breaks_later_is_told(data: Path, syft: Syft) -> None:
    file = data / "osv" / "Debian.sqlite"
    whole = bytearray(file.read_bytes())
    for page in range(4096, len(whole), 4096):
        whole[page : page + 4096] = b"\xaa" * 4096
    file.write_bytes(whole)
    with pytest.raises(ScannerConfigurationError) as caught:
        scan(data)
    assert caught.value.advice


def test_an_ecosystem_that_is_absent_fails_the_scan_or_is_a_notice(data: Path, syft: Syft) -> None:
    syft.inventory = Inventory(DEBIAN, (TAR, Installed("gem", "rails", "7.0")))
    with pytest.raises(ScannerConfigurationError, match="RubyGems") as caught:
        scan(data)
    assert "`harbor-scanner db update RubyGems`" in caught.value.advice
    assert "SCANNER_OSV_MISSING=notice" in caught.value.advice
    result = scan(data, settings=NOTICE)
    assert [one.id for one in result.findings] == ["CVE-2026-1"]
    [notice] = result.notices
    assert "RubyGems" in notice


@pytest.mark.parametrize(
    "inventory",
    [
        Inventory(System("gentoo", "2", "Gentoo"), (TAR,)),
        Inventory(System("debian", "6", "Debian 6"), (TAR,)),
        Inventory(DEBIAN),
        Inventory(DEBIAN, (TAR,), (Unread("/var/lib/dpkg/status", "dpkg-db-cataloger", "garbage"),)),
    ],
    ids=["unknown distribution", "unknown release", "no database", "broken database"],
)
def test_a_distribution_that_cannot_be_checked_fails_the_scan_or_is_a_notice(
    data: Path, syft: Syft, inventory: Inventory
) -> None:
    syft.inventory = inventory
    with pytest.raises(ImageError) as caught:
        scan(data)
    assert "SCANNER_OSV_MISSING=notice" in caught.value.advice
    [notice] = scan(data, settings=NOTICE).notices
    assert notice in caught.value.message


def test_an_image_of_nothing_is_clean(data: Path, syft: Syft) -> None:
    syft.inventory = Inventory()
    assert scan(data) == ScanResult([])


def test_old_advisories_are_told_if_they_were_used(data: Path, syft: Syft) -> None:
    checks = data / "osv" / "checked.json"
    checks.write_text(json.dumps(json.loads(checks.read_text()) | {"Debian": "2019-01-01T00:00:00Z"}))
    [notice] = scan(data).notices
    assert "too old" in notice
    syft.inventory = Inventory(packages=(NPM,))
    assert not [line for line in scan(data).notices if "Debian" in line]


def test_harbor_is_told_how_old_the_oldest_part_of_the_database_is(data: Path, tmp_path: Path) -> None:
    checks = data / "osv" / "checked.json"
    checks.write_text(json.dumps({"Debian": "2026-02-01T00:00:00Z", "npm": "2026-01-01T00:00:00Z"}))
    assert osv_in(data).properties[UPDATED_AT] == "2026-01-01T00:00:00Z"
    assert UPDATED_AT not in osv_in(tmp_path / "empty").properties
    assert osv_in(data).problem == ""


@pytest.mark.parametrize(
    ("checks", "updated"),
    [
        ({"Debian": "2026-02-01T00:00:00Z", "npm": "2026-01-01T00:00:00Z"}, datetime(2026, 1, 1, tzinfo=UTC)),
        ({"Debian": "2026-02-01T00:00:00Z", "npm": "yesterday"}, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_prometheus_is_told_how_old_the_oldest_part_of_the_database_is(
    data: Path, checks: dict[str, str], updated: datetime
) -> None:
    (data / "osv" / "checked.json").write_text(json.dumps(checks))
    assert osv_in(data).database_updated_at == updated.timestamp()


def test_no_database_is_older_than_any(tmp_path: Path) -> None:
    assert osv_in(tmp_path / "empty").database_updated_at == 0


def test_the_settings_are_told_without_the_password_of_a_mirror() -> None:
    settings = OsvSettings(url="https://me:hunter2@mirror/osv", ecosystems=("Debian", "npm"))
    shown = settings.shown()
    assert shown["SCANNER_OSV_ECOSYSTEMS"] == "Debian,npm"
    assert (shown["SCANNER_OSV_TIMEOUT"], shown["SCANNER_OSV_MISSING"]) == ("10m", "fail")
    assert "hunter2" not in repr(settings)
