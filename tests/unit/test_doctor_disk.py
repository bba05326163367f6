"""Directories: there, writable, with room; and the ways in which they are not."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harbor_scanner.doctor import disk
from harbor_scanner.doctor.check import Verdict
from harbor_scanner.http.settings import ListenAddress
from harbor_scanner.presence import announce
from support.doctor import found, outcomes, settings, told


def data(directory: Path, **environment: str) -> list[Verdict]:
    return found(disk.data(settings(directory, **environment)))


def reports(directory: Path, path: Path) -> list[Verdict]:
    return found(disk.scanner(settings(directory), "aqua", path))


def test_one_that_is_well_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert outcomes(data(tmp_path)) == {"directory": "ok", "space": "ok"}
    assert list((tmp_path / "data").iterdir()) == []


def test_one_that_the_service_will_make(tmp_path: Path) -> None:
    verdicts = data(tmp_path)
    assert outcomes(verdicts) == {"directory": "ok", "space": "ok"}
    assert f"the service makes it in {tmp_path}" in told(verdicts, "directory")
    assert not (tmp_path / "data").exists()


def test_one_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert outcomes(found(disk.data(settings(tmp_path / "data" / "x")))) == {"directory": "failure"}
    assert outcomes(data(tmp_path)) == {"directory": "failure"}


def test_a_directory_of_a_scanner_is_made_where_its_parent_is_by_a_service_that_starts(tmp_path: Path) -> None:
    verdicts = reports(tmp_path, tmp_path / "new")
    assert outcomes(verdicts) == {"directory": "ok", "space": "ok"}
    assert f"makes it in {tmp_path} when it starts" in told(verdicts, "directory")
    assert not (tmp_path / "new").exists()
    run = tmp_path / "data" / "scratch" / "run"
    run.mkdir(parents=True)
    announce(run, ListenAddress("127.0.0.1", 1), tls=False, asks_certificate=False)
    assert outcomes(reports(tmp_path, tmp_path / "new")) == {"directory": "failure"}


def test_a_directory_of_a_scanner_must_be_there_or_its_parent(tmp_path: Path) -> None:
    verdicts = reports(tmp_path, tmp_path / "nowhere" / "reports")
    assert outcomes(verdicts) == {"directory": "failure"}
    assert "No such file" in told(verdicts, "directory")
    assert "aqua" in told(verdicts, "directory")


def test_where_nobody_may_write_is_a_failure_with_the_room_there(tmp_path: Path) -> None:
    assert outcomes(reports(tmp_path, Path("/proc")))["directory"] == "failure"


def test_a_floor_that_is_not_reached_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    verdicts = data(tmp_path, SCANNER_DISK_FLOOR="1000Ti")
    assert outcomes(verdicts)["space"] == "failure"
    assert "scans wait" in told(verdicts, "space")


def test_a_floor_that_is_near_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert outcomes(data(tmp_path, SCANNER_DISK_FLOOR=str(free * 3 // 4)))["space"] == "warning"


@pytest.mark.parametrize(("left", "outcome"), [(0, "failure"), (10, "warning"), (100_000, None)])
def test_files_that_can_still_be_made_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, outcome: str | None
) -> None:
    real = os.statvfs

    def statvfs(path: Any) -> Any:
        about = real(path)
        fields = {name: getattr(about, name) for name in dir(about) if name.startswith("f_")}
        return SimpleNamespace(**{**fields, "f_files": 1_000_000, "f_favail": left})

    monkeypatch.setattr(os, "statvfs", statvfs)
    (tmp_path / "data").mkdir()
    assert outcomes(data(tmp_path)).get("inodes") == outcome


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_is_told_that_it_sees_more_than_the_service_may(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 1000, 1000)
    verdicts = data(tmp_path)
    assert outcomes(verdicts)["owner"] == "warning"
    assert "belongs to user 1000" in told(verdicts, "owner")
