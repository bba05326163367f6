"""What every scanner must keep to, written once for all of them. A new scanner adds a line to `SCANNERS`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from harbor_scanner.errors import ScanError, ScannerConfigurationError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import check_metadata
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest
from harbor_scanner.metadata import ScannerMetadata
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.aqua import AquaScanner, AquaSettings
from harbor_scanner.scanners.base import Scanner

SECRET = "Marked$ecret"


class Subject(NamedTuple):
    """One scanner under test."""

    make: Callable[[Path], Scanner]
    """Make it, with a secret wherever it takes one, and with a directory for its files."""


def _aqua(directory: Path) -> Scanner:
    return AquaScanner(AquaSettings(username="scanner", password=SECRET, token=SECRET, reports_dir=directory))


SCANNERS = {"aqua": Subject(_aqua)}

REQUEST = ScanRequest(
    Registry("https://core.harbor.domain", "Basic cm9ib3Q6c2VjcmV0"),
    Artifact("library/mongo", "sha256:" + "6c" * 32, mime_type=media.OCI_MANIFEST),
)


class Workspace:
    """A workspace in which every program ends as told, and writes nothing."""

    def __init__(self, directory: Path, *, exit_code: int = 0, stdout: str = "", missing: bool = False) -> None:
        self.directory = directory / "work"
        self.directory.mkdir()
        self.environments: list[Mapping[str, str]] = []
        self._exit_code, self._stdout, self._missing = exit_code, stdout, missing

    async def run(
        self, argv: Sequence[str], *, environment: Mapping[str, str], time_limit: float, secrets: Sequence[str] = ()
    ) -> Outcome:
        self.environments.append(environment)
        if self._missing:
            raise ScannerConfigurationError(f"{argv[0]} cannot be started")
        return Outcome(argv[0], self._exit_code, False, time_limit, 0.1, self._stdout, "some words of its own")

    def temporary_file(self, directory: Path, prefix: str, suffix: str) -> Path:
        path = directory / f"{prefix}1{suffix}"
        path.touch(mode=0o600)
        return path


@pytest.fixture(params=list(SCANNERS))
def scanner(request: pytest.FixtureRequest, tmp_path: Path) -> Scanner:
    subject = SCANNERS[request.param]
    directory = tmp_path / "files"
    directory.mkdir()
    return subject.make(directory)


def test_harbor_would_register_it(scanner: Scanner) -> None:
    for legacy in (False, True):
        check_metadata(ScannerMetadata(scanner, legacy_report=legacy).encoded)


def test_its_metadata_holds_no_secret(scanner: Scanner) -> None:
    assert SECRET not in ScannerMetadata(scanner, legacy_report=True).encoded.decode()
    assert all(isinstance(value, str) for value in scanner.properties.values())


def test_its_name_fits_settings_and_urls(scanner: Scanner) -> None:
    assert scanner.name.isalnum()
    assert scanner.name.islower()


def test_no_report_is_a_failure_and_never_a_clean_image(scanner: Scanner, tmp_path: Path) -> None:
    for number, exit_code in enumerate((0, 1, 2, 4, 5, 127)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with pytest.raises(ScanError) as caught:
            asyncio.run(scanner.scan(REQUEST, Workspace(directory, exit_code=exit_code)))
        assert caught.value.message


def test_a_program_that_is_missing_is_a_matter_of_configuration(scanner: Scanner, tmp_path: Path) -> None:
    with pytest.raises(ScannerConfigurationError):
        asyncio.run(scanner.scan(REQUEST, Workspace(tmp_path, missing=True)))


def test_a_version_is_told_or_an_error_raised(scanner: Scanner, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    assert asyncio.run(scanner.version(Workspace(tmp_path / "good", stdout="version 6.5.1\n"))) == "6.5.1"
    with pytest.raises(ScanError):
        asyncio.run(scanner.version(Workspace(tmp_path / "bad", exit_code=1)))


def test_the_directories_that_it_writes_to_are_named(scanner: Scanner) -> None:
    assert all(isinstance(directory, Path) for directory in scanner.directories)
    assert json.dumps([str(directory) for directory in scanner.directories])
