"""Blocks of the documentation are run as they stand, with services on the ports and paths that they name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import mounts, pages
from support.pages import Block
from support.qualys import install_qscanner
from support.reader import read
from support.standin import install_scannercli

HERE = "tests/e2e/test_docs_commands.py"
BLOCKS = [block for block in pages.blocks() if block.what == HERE]

FILES = {
    "/run/secrets/aqua-password": "c0nsole$ecret\n",
    "/var/lib/scanner/reports/README": "",
    "/usr/share/qscanner/values.yaml": "scannerArgs:\n  pod: US2\n",
    "/usr/share/qscanner/accesstoken/token": "a-token\n",
}
"""What an administrator has put there before."""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory whose path is short enough for a Unix socket below it."""
    directory = Path(tempfile.mkdtemp(prefix="hd-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_documented_command_does_what_it_should(block: Block, home: Path, tmp_path: Path) -> None:
    if reason := mounts.missing():
        pytest.skip(reason)
    for install in (install_scannercli, install_qscanner):
        install(tmp_path / "bin")
    qualys = "harbor-registry-service" in block.text
    serves = qualys or "harbor-scanner serve" in block.text
    files = {name: content for name, content in FILES.items() if qualys or "qscanner" not in name}
    url = f"http://127.0.0.1:{5000 if qualys else 8080}" if serves else ""
    answer = read(block.text, url=url, files=files, programs=tmp_path / "bin", home=home, variables={"HOME": str(home)})
    if serves:
        # Without advisories, as in the quick start, `osv` says so and the service is up all the same.
        assert answer["status"] == ("degraded" if "osv" in answer["checks"] else "ready"), answer


def test_there_are_such_blocks() -> None:
    assert len(BLOCKS) >= 2
