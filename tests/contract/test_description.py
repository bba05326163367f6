"""What every scanner tells of itself."""

from __future__ import annotations

import asyncio
import contextlib
import re

import msgspec
import pytest

from harbor_scanner.errors import ScanError
from harbor_scanner.harbor.checks import check_metadata
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.scanners.base import Scanner
from harbor_scanner.settings import settings_of
from support.scanners import Place, Subject, leaks


def scanner_of(subject: Subject) -> Scanner:
    async def work(place: Place) -> Scanner:
        return place.scanner

    return subject.run(work)


@pytest.mark.parametrize("legacy_report", [False, True])
def test_harbor_would_register_it(subject: Subject, legacy_report: bool) -> None:
    metadata = check_metadata(ScannerMetadata(scanner_of(subject), legacy_report=legacy_report).encoded)
    types = [capability.type for capability in metadata.capabilities]
    assert len(types) == len(set(types))


def test_its_name_is_that_of_its_entry_point_and_fits_settings_and_urls(subject: Subject) -> None:
    assert scanner_of(subject).name == subject.name
    assert re.fullmatch(r"[a-z][a-z0-9-]*", subject.name)


def test_its_metadata_holds_no_secret(subject: Subject) -> None:
    scanner = scanner_of(subject)
    assert leaks(ScannerMetadata(scanner, legacy_report=True).encoded.decode(), subject.secrets) == set()
    assert all(isinstance(value, str) for value in scanner.properties.values())


def test_its_settings_do_not_show_their_secrets(subject: Subject) -> None:
    assert leaks(repr(subject.settings), subject.secrets) == set()


def test_the_service_is_told_of_every_secret_among_its_settings(subject: Subject) -> None:
    told = set(subject.plugin.secrets(subject.settings))
    for name, setting in settings_of(subject.plugin.settings).items():
        if setting.secret and setting.redacted and setting.mask is None:
            told.add(getattr(subject.settings, name))
    assert subject.secrets <= told


def test_every_setting_has_a_default_that_can_be_read(subject: Subject) -> None:
    group = settings_of(subject.plugin.settings)
    assert set(group) == set(subject.plugin.settings.__struct_fields__)
    defaults = {name: setting.kind.parse(setting.default) for name, setting in group.items()}
    settings = msgspec.convert(defaults, subject.plugin.settings, strict=True)
    assert all(isinstance(line, str) for line in subject.plugin.problems(settings))
    assert all(isinstance(line, str) for line in subject.plugin.warnings(settings))


def test_its_settings_as_they_are_here_are_in_order(subject: Subject) -> None:
    assert list(subject.plugin.problems(subject.settings)) == []


def test_the_directories_that_it_writes_to_are_there(subject: Subject) -> None:
    assert all(directory.is_dir() for directory in scanner_of(subject).directories)


def test_its_version_is_told(subject: Subject) -> None:
    assert subject.run(Place.version) == subject.program.config.version


@pytest.mark.parametrize("script", ["exit 0", "exit 3", "echo 1.2.3; exit 3", "echo 1.2.3; kill -KILL $$"])
def test_no_version_is_an_error(subject: Subject, script: str) -> None:
    subject.program.path.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(ScanError) as caught:
        subject.run(Place.version)
    assert caught.value.message
    assert caught.value.advice


def test_its_upkeep_ends_by_itself_or_when_it_is_cancelled(subject: Subject) -> None:
    async def work(place: Place) -> None:
        await place.scan()
        upkeep = asyncio.create_task(place.scanner.maintain())
        await place.scan()
        upkeep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep

    subject.run(work)
