"""`harbor-scanner db` in processes of their own: killed half-way it harms nothing, and readers are never disturbed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harbor_scanner.osv.database import NEW, Database
from support.exports import Exports, advisory, archive, serving, stalled, written

OLD = archive(advisory("PYSEC-OLD-1", "left"), advisory("PYSEC-OLD-2", "right"))
SECONDS = 60.0
MANY = 30_000
"""Advisories that take long enough to import for somebody to be killed meanwhile."""


class Commands:
    """Runs `harbor-scanner db` on one data directory."""

    def __init__(self, directory: Path, url: str) -> None:
        self.database = Database(directory / "data" / "osv")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "SCANNER_DATA_DIR": str(directory / "data"),
            "SCANNER_OSV_URL": url,
            "SCANNER_OSV_ECOSYSTEMS": "PyPI",
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "harbor_scanner", "db", *map(str, arguments)],
            env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str | Path) -> str:
        process = self.start(*arguments)
        said = process.communicate(timeout=SECONDS)[0].decode()
        assert process.returncode == 0, said
        return said

    def kill(self, process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
        """Kill a process as soon as it is there."""
        end = time.monotonic() + SECONDS
        while not when():
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < end
            time.sleep(0.002)
        process.kill()
        process.communicate()

    def half_written(self) -> bool:
        new = self.database.file("PyPI").with_name(f"PyPI.sqlite{NEW}")
        return new.exists() and new.stat().st_size > 0

    def served(self) -> set[str]:
        """The ids that scans find."""
        with self.database.open() as snapshot:
            return {found.id for name in ("left", "right") for found in snapshot.advisories("PyPI", name)}

    def left(self) -> set[str]:
        """What there is besides the database itself."""
        kept = {"PyPI.sqlite", "checked.json", "lock", "downloads"}
        return {path.name for path in self.database.directory.rglob("*")} - kept


@pytest.fixture
def exports() -> Iterator[Exports]:
    with serving() as exports:
        exports.put("PyPI", OLD)
        yield exports


@pytest.fixture
def commands(tmp_path: Path, exports: Exports) -> Commands:
    """With the advisories of an earlier update."""
    commands = Commands(tmp_path, exports.url)
    commands.run("update")
    assert commands.served() == {"PYSEC-OLD-1", "PYSEC-OLD-2"}
    return commands


@pytest.fixture(scope="module")
def many() -> bytes:
    """An archive of many advisories, one of them about what the others have too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(MANY):
            name = f"PYSEC-2026-{number}"
            document = advisory(name, f"package-{number}", details="Something goes wrong. " * 20)
            file.writestr(f"{name}.json", json.dumps(document))
        file.writestr("PYSEC-MANY-1.json", json.dumps(advisory("PYSEC-MANY-1", "left")))
    return buffer.getvalue()


def test_an_update_killed_while_it_fetches_leaves_the_old_database(commands: Commands, exports: Exports) -> None:
    large = archive(advisory("PYSEC-NEW-1", "left"), advisory("PYSEC-NEW-2", "right"), noise=os.urandom(2**22))
    end = threading.Event()
    exports.put("PyPI", large)
    exports.fail("PyPI", stalled(large, 2**21, end))
    part = commands.database.downloads / "PyPI.zip"
    try:
        commands.kill(commands.start("update"), lambda: part.exists() and part.stat().st_size > 0)
    finally:
        end.set()
    assert commands.served() == {"PYSEC-OLD-1", "PYSEC-OLD-2"}
    assert commands.run("update") == "PyPI: 2 advisories of 2 packages, +0\n"
    assert commands.served() == {"PYSEC-NEW-1", "PYSEC-NEW-2"}
    assert len(exports.ranges) == 1, "it goes on with what there is"
    assert commands.left() == set()


def test_an_update_killed_while_it_imports_leaves_the_old_database(
    commands: Commands, exports: Exports, many: bytes
) -> None:
    exports.put("PyPI", many)
    commands.kill(commands.start("update"), commands.half_written)
    assert commands.half_written()
    assert commands.served() == {"PYSEC-OLD-1", "PYSEC-OLD-2"}
    commands.run("update")
    assert commands.served() == {"PYSEC-MANY-1"}
    assert commands.left() == set()


def test_an_import_killed_half_way_leaves_the_old_database(commands: Commands, tmp_path: Path, many: bytes) -> None:
    path = written(tmp_path / "exports" / "PyPI" / "all.zip", many)
    commands.kill(commands.start("import", path.parents[1]), commands.half_written)
    assert commands.half_written()
    assert commands.served() == {"PYSEC-OLD-1", "PYSEC-OLD-2"}
    assert commands.run("update") == "PyPI: nothing new\n"
    assert commands.left() == set()
    commands.run("import", path.parents[1])
    assert commands.served() == {"PYSEC-MANY-1"}
    assert commands.left() == set()


def test_a_scan_sees_one_state_while_updates_go_on(commands: Commands, exports: Exports) -> None:
    seen: list[set[str]] = []
    torn: list[set[str]] = []
    stop = threading.Event()

    def scan() -> None:
        while not stop.is_set():
            with commands.database.open() as snapshot:
                of_left = {found.id.removesuffix("-1") for found in snapshot.advisories("PyPI", "left")}
                time.sleep(0.01)
                of_right = {found.id.removesuffix("-2") for found in snapshot.advisories("PyPI", "right")}
            (seen if of_left == of_right and len(of_left) == 1 else torn).append(of_left | of_right)

    scans = [threading.Thread(target=scan) for _ in range(4)]
    with commands.database.open() as before:
        for thread in scans:
            thread.start()
        for number in range(5):
            names = (("left", 1), ("right", 2))
            exports.put("PyPI", archive(*(advisory(f"PYSEC-{number}-{end}", name) for name, end in names)))
            commands.run("update")
        stop.set()
        for thread in scans:
            thread.join()
        assert [found.id for found in before.advisories("PyPI", "left")] == ["PYSEC-OLD-1"]
        assert [found.id for found in before.advisories("PyPI", "right")] == ["PYSEC-OLD-2"]
    assert torn == []
    assert {"PYSEC-OLD", "PYSEC-0", "PYSEC-1"} <= set.union(*seen)
    assert commands.served() == {"PYSEC-4-1", "PYSEC-4-2"}
