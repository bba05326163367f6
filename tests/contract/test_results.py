"""What every scanner finds: all that is there and nothing else, in the words of Harbor, and every time the same."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harbor_scanner.errors import ScanError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import ReportedVulnerability, VulnerabilityReport, check_report, check_sbom
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, ScannerInfo, ScanRequest, Severity
from harbor_scanner.harbor.report import render
from harbor_scanner.harbor.sbom import render_sbom
from harbor_scanner.scanners.base import ScanResult
from standins.engine import facts
from standins.engine.inventory import take
from standins.engine.model import Layer, Package
from support import images
from support.images import Image
from support.oci import Registry
from support.scanners import MADE_UP, MADE_UP_FINDINGS, Place, Subject, Watched
from support.stage import push

INFO = ScannerInfo("Name", "Vendor", "1.0")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SBOM_MEMBERS = {media.SPDX: ("packages", "versionInfo"), media.CYCLONEDX: ("components", "version")}
Key = tuple[str, str, str]


@pytest.fixture
def pulling(subject: Subject, registry: Registry) -> Subject:
    """A scanner that pulls its images from the registry."""
    subject.program.reset()
    subject.connect(registry)
    return subject


def kinds_of(subject: Subject) -> list[str]:
    """Return all that the scanner says it can be asked for."""

    async def work(place: Place) -> list[str]:
        kinds: list[str] = []
        for capability in place.scanner.capabilities:
            kinds += capability.sbom_formats if capability.type == SBOM else [capability.type]
        return kinds

    return subject.run(work)


def reported(request: ScanRequest, result: ScanResult) -> VulnerabilityReport:
    rendered = render(request.artifact, INFO, result.findings, result.notices, NOW)
    assert rendered.dropped == 0
    return check_report(gzip.decompress(rendered.body))


def timeless(subject: Subject, result: ScanResult) -> list[Any]:
    """Return the findings as built-in types, without what changes from scan to scan."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in subject.changing}
        return [strip(item) for item in value] if isinstance(value, list) else value

    findings: list[Any] = strip(msgspec.to_builtins(result.findings))
    return findings


def packages_of(image: Image) -> list[Package]:
    return take([Layer(images.digest(layer), "", layer) for layer in image.layers]).packages


def known_of(image: Image) -> dict[Key, str]:
    """Return what is known to be wrong with an image, by its CVEs, packages and versions, and what mends it."""
    return {
        (fact["name"], package.name, package.version): fact.get("fix", "")
        for package in packages_of(image)
        for fact in facts.of(package)
        if is_cve(fact["name"])
    }


def is_cve(name: str) -> bool:
    return re.fullmatch(r"CVE-\d{4}-\d{4,}", name) is not None


def key_of(item: ReportedVulnerability) -> Key:
    """Return what a finding is about. Vendors write the name of a package with its architecture, as dpkg does."""
    name, package, version = item.key
    return name, package.removesuffix(":amd64"), version


def test_it_does_all_that_it_says_it_can_alone_and_together(subject: Subject) -> None:
    kinds = kinds_of(subject)
    choices = [choice for count in range(1, len(kinds) + 1) for choice in itertools.combinations(kinds, count)]

    async def work(place: Place) -> list[ScanResult]:
        return await asyncio.gather(*(place.scan(MADE_UP.asking_for(choice)) for choice in choices))

    for asked, result in zip(choices, subject.run(work), strict=True):
        assert len(result.findings) == (MADE_UP_FINDINGS if VULNERABILITY in asked else 0)
        assert set(result.sboms) == set(asked) - {VULNERABILITY}
        for media_type, document in result.sboms.items():
            rendered = render_sbom(MADE_UP.artifact, INFO, media_type, document, NOW)
            check_sbom(gzip.decompress(rendered.body), media_type)


def test_a_harbor_that_names_no_capability_gets_vulnerabilities(subject: Subject) -> None:
    assert MADE_UP.enabled_capabilities is None
    result = subject.scan()
    assert len(result.findings) == MADE_UP_FINDINGS
    assert result.sboms == {}


@pytest.mark.parametrize("image", [images.debian(), images.alpine().as_docker()], ids=["debian", "alpine"])
def test_what_is_known_of_an_image_is_reported_exactly(pulling: Subject, registry: Registry, image: Image) -> None:
    request = push(registry, image, "contract/exact").asking_for(kinds_of(pulling))
    result = pulling.scan(request)
    found = {key_of(item): item for item in reported(request, result).vulnerabilities if is_cve(item.id or "")}
    known = known_of(image)
    assert set(found) == set(known)
    assert {key: item.fix_version or "" for key, item in found.items()} == known
    assert {key for key, item in found.items() if item.severity == Severity.UNKNOWN} == set()
    installed = {(package.name, package.version) for package in packages_of(image) if package.format != "jar"}
    for media_type, document in result.sboms.items():
        members, version = SBOM_MEMBERS[media_type]
        assert installed <= {(one["name"], one.get(version)) for one in json.loads(document)[members]}


def test_a_second_scan_finds_the_same(pulling: Subject, registry: Registry) -> None:
    request = push(registry, images.debian(), "contract/twice")

    async def work(place: Place) -> tuple[ScanResult, ScanResult]:
        return await place.scan(request), await place.scan(request)

    first, second = pulling.run(work)
    assert first.findings
    assert first.notices == second.notices
    assert timeless(pulling, first) == timeless(pulling, second)


def test_scans_at_once_do_not_disturb_each_other(pulling: Subject, registry: Registry) -> None:
    requests = [
        push(registry, images.debian(), "contract/debian"),
        push(registry, images.alpine(), "contract/alpine"),
    ] * 2

    async def one_by_one(place: Place) -> list[ScanResult]:
        return [await place.scan(request) for request in requests[:2]]

    async def at_once(place: Place) -> list[ScanResult]:
        return await asyncio.gather(*(place.scan(request) for request in requests))

    alone, together = pulling.run(one_by_one), pulling.run(at_once)
    for first, second in zip(alone * 2, together, strict=True):
        assert first.findings
        assert timeless(pulling, first) == timeless(pulling, second)


def test_a_scan_leaves_nothing_but_a_cache_that_does_not_grow(pulling: Subject, registry: Registry) -> None:
    request = push(registry, images.alpine(), "contract/leftovers")

    async def work(place: Place) -> tuple[set[Path], set[Path]]:
        own = {place.area.directory, *place.scanner.directories}
        await place.scan(request)
        kept = place.files()
        assert all(place.area.directory in {path, *path.parents} for path in kept)
        assert [path for directory in own - {place.area.directory} for path in directory.iterdir()] == []
        await place.scan(request)
        return kept, place.files()

    first, second = pulling.run(work)
    assert first == second
    assert list((pulling.data / "scratch").iterdir()) == []


def test_a_large_report_is_reported_whole(subject: Subject) -> None:
    subject.force(findings=5_000)
    assert len(reported(MADE_UP, subject.scan()).vulnerabilities) == 5_000


def test_changed_settings_hold_from_the_next_scan_on(subject: Subject) -> None:
    subject.force(exit=1)
    before = subject.settings.scan_timeout

    async def scans(place: Place) -> list[float]:
        limits = []
        for changes in ({}, subject.change):
            subject.set(**changes)
            async with place.area.workspace() as workspace:
                watched = Watched(workspace)
                with pytest.raises(ScanError):
                    await place.scanner.scan(MADE_UP, watched)
            limits += watched.limits
        return limits

    first_limit, second_limit = subject.run(scans)
    first, second = (run.argv for run in subject.program.scans())
    if subject.word:
        assert subject.word not in first
        assert subject.word in second
    assert first_limit - second_limit == before - subject.settings.scan_timeout
