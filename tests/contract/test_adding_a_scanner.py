"""The page on adding a scanner: its example is installed as it says, found, and scans a real image for Harbor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner import errors
from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import HarborClient
from harbor_scanner.harbor.models import Metadata, ScanRequest
from support import example, images
from support.oci import Registry
from support.registry import ROBOT
from support.service import Service, serving
from support.stage import push, run
from support.trivy import Trivy

DISTRIBUTION = "harbor-scanner-trivy"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example's distribution was installed by the command of the page."""
    directory = tmp_path_factory.mktemp("adding")
    example.write(directory / DISTRIBUTION)
    program, *arguments = shlex.split(example.commands()[0])
    assert program == "pip"
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    where = ("--target", str(directory / "site"))
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", *offline, *where]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory / "site"


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which the distribution is installed, and its program."""
    programs = Trivy(tmp_path / "programs").directory
    return {"PYTHONPATH": str(installed), "PATH": f"{programs}:{os.environ['PATH']}"}


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """A service started by the last command of the page."""
    variable, program, command = shlex.split(example.commands()[-1])
    assert (program, command) == ("harbor-scanner", "serve")
    name, _, value = variable.partition("=")
    with serving(tmp_path / "service", {**environment, name: value}) as running:
        yield running


def show_config(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    command = [sys.executable, "-m", "harbor_scanner", "config", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_the_page_has_all_that_a_distribution_needs() -> None:
    assert set(example.files()) == {f"{example.MODULE}.py", "pyproject.toml"}
    project: dict[str, Any] = tomllib.loads(example.files()["pyproject.toml"])["project"]
    assert project["name"] == DISTRIBUTION
    assert project["entry-points"] == {"harbor_scanner.scanners": {"trivy": f"{example.MODULE}:PLUGIN"}}


def test_the_module_is_in_shape() -> None:
    source = example.files()[f"{example.MODULE}.py"]
    for command in (["format", "--check"], ["check", "--ignore", "D,I002"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", "src/example.py", "-"]
        done = subprocess.run(
            ruff, input=source, cwd=example.PAGE.parents[1], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"ruff {command}: {done.stdout}{done.stderr}"


def test_what_the_page_names_of_this_package_exists() -> None:
    text = example.PAGE.read_text()
    for kind in ("BadReportError", "RegistryError", "ScannerConfigurationError", "ScannerFailedError"):
        assert kind in text
        assert issubclass(getattr(errors, kind), errors.ScanError)
    for path in ("tests/contract", "tests/support/scanners.py"):
        assert f"`{path}`" in text
        assert (example.PAGE.parents[1] / path).exists()


def test_its_settings_are_shown_and_make_it_a_configured_scanner(environment: dict[str, str]) -> None:
    shown = show_config({**environment, "SCANNER_TRIVY_TIMEOUT": "7m"})
    assert shown["SCANNER_ENABLED"]["value"] == "trivy"
    assert shown["SCANNER_TRIVY_TIMEOUT"]["value"] == "7m"
    assert shown["SCANNER_TRIVY_IGNORE_UNFIXED"] == {
        "name": "SCANNER_TRIVY_IGNORE_UNFIXED", "value": "false", "origin": "default",
    }  # fmt: skip


def test_without_its_distribution_it_is_not_there(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "harbor_scanner", "config"]
    without = {"PATH": environment["PATH"], "SCANNER_ENABLED": "trivy"}
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "trivy" in done.stderr
    assert "aqua, qualys, osv" in done.stderr


def test_harbor_scans_an_image_with_it(service: Service, registry: Registry) -> None:
    request = push(registry, images.alpine(), "contract/added")

    async def scan(url: str, request: ScanRequest) -> tuple[Metadata, VulnerabilityReport]:
        async with HarborClient(url) as harbor:
            metadata = await harbor.metadata()
            return metadata, (await harbor.wait_for_report(await harbor.submit(request))).content

    for url in (f"{service.url}/trivy", service.url):
        metadata, report = run(scan(url, request))
        assert (metadata.scanner.name, metadata.scanner.vendor) == ("Trivy", "Aqua Security")
        keys = {item.key: item.fix_version for item in report.vulnerabilities}
        assert keys["CVE-2019-14697", "musl", "1.1.20-r4"] == "1.1.20-r5"
    assert 'scanner="trivy"' in service.metrics()
    assert ROBOT.password not in service.log()


def test_the_version_is_told_to_harbor(service: Service) -> None:
    async def version() -> str:
        async with HarborClient(f"{service.url}/trivy") as harbor:
            return (await harbor.metadata()).scanner.version

    service.wait_for(lambda: run(version()) == "0.69.3", "told the version")
