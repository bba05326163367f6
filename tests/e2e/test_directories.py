"""Directories that a new volume lacks are made at the start; others that are missing are told of."""

from __future__ import annotations

import stat

from support.stage import Stage


def test_a_missing_directory_is_made_where_its_parent_is(stage: Stage) -> None:
    directory = stage.directory / "new"
    with stage.service(AQUA_REPORTS_DIR=str(directory)) as service:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert "scans will fail" not in service.log()


def test_no_path_is_made_for_a_typing_mistake(stage: Stage) -> None:
    directory = stage.directory / "mistake" / "reports"
    with stage.service(AQUA_REPORTS_DIR=str(directory)) as service:
        assert "scans will fail: this directory does not exist" in service.log()
        assert str(directory) in service.log()
    assert not directory.parent.exists()
