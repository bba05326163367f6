"""Fixtures that many tests share; what they are made of is in `support`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.oci import Registry
from support.registry import docker_registry
from support.servers import missing
from support.standin import ScannerCli, install_scannercli


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry, empty at first and shared by all tests: use a repository of your own."""
    if reason := missing("docker-registry"):
        pytest.skip(reason)
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def scannercli(tmp_path: Path) -> ScannerCli:
    """A stand-in for scannercli of this test's own, whose console knows no registry yet."""
    return install_scannercli(tmp_path / "scannercli")
