"""`harbor-scanner db`: advisories are fetched, taken from a disk and shown, and what goes wrong is told."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner import cli
from harbor_scanner.osv.database import Database
from support.exports import Exports, advisory, archive, serving, status, written

NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    for name in os.environ:
        if name.startswith("SCANNER_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCANNER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCANNER_OSV_ECOSYSTEMS", "PyPI")
    return Database(tmp_path / "data" / "osv")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exports]:
    with serving() as exports:
        monkeypatch.setenv("SCANNER_OSV_URL", exports.url)
        exports.put("PyPI", archive(advisory(modified=NOW)))
        yield exports


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["harbor-scanner", "db", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def there(database: Database) -> dict[str, int]:
    return {info.ecosystem: info.advisories for info in database.info()}


def test_update_fetches_what_the_settings_name_and_says_so(
    monkeypatch: pytest.MonkeyPatch, database: Database, exports: Exports, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "update") == 0
    assert capsys.readouterr().out == "PyPI: 1 advisories of 1 packages\n"
    assert run(monkeypatch, "update") == 0
    assert capsys.readouterr().out == "PyPI: nothing new\n"
    assert there(database) == {"PyPI": 1}


def test_update_takes_names_in_any_case_and_tells_what_failed(
    monkeypatch: pytest.MonkeyPatch, database: Database, exports: Exports, capsys: pytest.CaptureFixture[str]
) -> None:
    exports.put("Rocky Linux", archive(advisory("RLSA-1", "x", "Rocky Linux:9")))
    assert run(monkeypatch, "update", "rocky linux", "NPM") == 1
    printed = capsys.readouterr()
    assert printed.out == "Rocky Linux: 1 advisories of 1 packages\n"
    assert "npm: failed. " in printed.err
    assert "1 of 2 failed: npm." in printed.err
    assert there(database) == {"Rocky Linux": 1}


def test_update_refuses_names_that_there_are_not(
    monkeypatch: pytest.MonkeyPatch, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "update", "PyPy") == 2
    assert "PyPy" in capsys.readouterr().err


def test_wrong_settings_are_told(
    monkeypatch: pytest.MonkeyPatch, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCANNER_OSV_URL", "mirror")
    assert run(monkeypatch, "info") == 2
    assert "SCANNER_OSV_URL: 'mirror' is not allowed" in capsys.readouterr().err


def test_settings_may_stand_in_the_file(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SCANNER_DATA_DIR")
    values = written(tmp_path / "values.yaml", f"SCANNER_DATA_DIR: {tmp_path / 'there'}\n".encode())
    assert run(monkeypatch, "info", "--json", "--config", values) == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(tmp_path / "there" / "osv")
    assert run(monkeypatch, "info", "--config", tmp_path / "none.yaml") == 2
    assert "none.yaml" in capsys.readouterr().err


def test_import_takes_a_file_a_folder_and_one_advisory(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exports"
    written(folder / "PyPI" / "all.zip", archive(advisory("PYSEC-1")))
    written(folder / "npm" / "all.zip", archive(advisory("GHSA-1", "x", "npm")))
    assert run(monkeypatch, "import", folder) == 0
    assert there(database) == {"PyPI": 1, "npm": 1}
    assert run(monkeypatch, "import", written(tmp_path / "x.json", json.dumps(advisory("OURS-1")).encode())) == 0
    assert there(database) == {"PyPI": 2, "npm": 1}
    assert run(monkeypatch, "import", folder / "PyPI" / "all.zip") == 0
    assert there(database) == {"PyPI": 1, "npm": 1}
    assert "PyPI: 2 advisories of 1 packages, +1\n" in capsys.readouterr().out


def test_import_takes_addresses_of_the_same(
    monkeypatch: pytest.MonkeyPatch, database: Database, exports: Exports
) -> None:
    monkeypatch.setenv("SCANNER_OSV_URL", "http://127.0.0.1:1")
    exports.files["/one.json"] = json.dumps(advisory("OURS-1")).encode()
    both = advisory("GHSA-1")
    both["affected"].append({"package": {"ecosystem": "npm", "name": "x"}})
    exports.files["/m/PyPI/all.zip"] = archive(both)
    assert run(monkeypatch, "import", f"{exports.url}/m/PyPI/all.zip") == 0
    assert there(database) == {"PyPI": 1}
    assert run(monkeypatch, "import", f"{exports.url}/one.json") == 0
    assert there(database) == {"PyPI": 2}
    assert list(database.downloads.iterdir()) == []
    assert run(monkeypatch, "import", f"{exports.url}/") == 0
    assert there(database) == {"PyPI": 1}


def test_import_does_what_it_can_and_tells_the_rest(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exports"
    written(folder / "PyPI" / "all.zip", archive(advisory()))
    written(folder / "npm" / "all.zip", b"broken")
    assert run(monkeypatch, "import", folder) == 1
    assert f"{folder / 'npm' / 'all.zip'}: The file is no zip archive" in capsys.readouterr().err
    assert there(database) == {"PyPI": 1}


@pytest.mark.parametrize("name", ["none.zip", "notes.txt"])
def test_import_tells_of_what_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    written(tmp_path / "notes.txt", b"text")
    source = tmp_path / name
    assert run(monkeypatch, "import", source) == 1
    assert capsys.readouterr().err
    assert there(database) == {}


def test_unreadable_advisories_are_counted_and_named(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = [advisory(f"PYSEC-{number}") for number in range(199)]
    path = written(tmp_path / "all.zip", archive(*documents, **{"bad.json": b"{"}))
    assert run(monkeypatch, "import", path) == 0
    err = capsys.readouterr().err
    assert "1 cannot be read and are missing" in err
    assert "bad.json: it is not JSON" in err
    assert run(monkeypatch, "info") == 0
    assert "1 could not be read" in capsys.readouterr().out


def rows(text: str) -> dict[str, dict[str, Any]]:
    return {row["ecosystem"]: row for row in json.loads(text)["ecosystems"]}


def test_info_marks_what_is_missing_old_or_broken(
    monkeypatch: pytest.MonkeyPatch, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCANNER_OSV_ECOSYSTEMS", "PyPI,npm")
    exports = tmp_path / "exports"
    written(exports / "PyPI" / "all.zip", archive(advisory(modified=NOW)))
    written(exports / "Go" / "all.zip", archive(advisory("GO-1", "x", "Go", modified="2020-01-01T00:00:00Z")))
    assert run(monkeypatch, "import", exports) == 0
    database.file("Hex").write_bytes(b"broken")
    capsys.readouterr()
    assert run(monkeypatch, "info", "--json") == 0
    found = rows(capsys.readouterr().out)
    assert {name: row["state"] for name, row in found.items()} == {
        "Go": "old", "Hex": "broken", "npm": "missing", "PyPI": "ok"
    }  # fmt: skip
    assert found["PyPI"]["advisories"] == 1
    assert found["PyPI"]["modified"] == NOW
    assert run(monkeypatch, "info") == 0
    table = capsys.readouterr().out
    for word in ("ECOSYSTEM", str(database.directory), "old: the newest advisory is", "missing", "broken", "db update"):
        assert word in table


def test_info_of_nothing_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "info") == 0
    assert "missing" in capsys.readouterr().out
    assert not database.directory.exists(), "who only looks leaves nothing behind"


def test_on_a_terminal_there_are_bars(database: Database, exports: Exports) -> None:
    leader, terminal = pty.openpty()
    argv = [sys.executable, "-m", "harbor_scanner", "db", "update"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.stdout == b"PyPI: 1 advisories of 1 packages\n"
    assert "PyPI" in shown


def test_without_one_there_are_plain_lines(database: Database, exports: Exports) -> None:
    argv = [sys.executable, "-m", "harbor_scanner", "db", "update"]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"PyPI: 1 advisories of 1 packages\n", b"")


def test_a_second_writer_says_that_it_waits(database: Database, exports: Exports) -> None:
    argv = [sys.executable, "-m", "harbor_scanner", "db", "update"]
    with database.writing():
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert b"waiting for it" in process.stderr.readline()
        assert exports.asked == []
    out, _ = process.communicate(timeout=30)
    assert out == b"PyPI: 1 advisories of 1 packages\n"


def test_trouble_that_passes_is_waited_out(
    monkeypatch: pytest.MonkeyPatch, database: Database, exports: Exports
) -> None:
    exports.fail("PyPI", status(503))
    assert run(monkeypatch, "update") == 0
