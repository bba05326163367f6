"""Every test of the contract runs for every scanner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.scanners import MADE_UP_FINDINGS, SUBJECTS, VARIANTS, Subject


@pytest.fixture(params=list(SUBJECTS))
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A scanner whose program is found, and reports made-up findings of any image."""
    found = (SUBJECTS | VARIANTS)[request.param](tmp_path)
    monkeypatch.setenv("PATH", f"{found.program.directory}:{os.environ['PATH']}")
    found.force(findings=MADE_UP_FINDINGS)
    return found
