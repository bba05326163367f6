"""Updates over HTTP: only what changed is fetched, broken transfers go on, and failures leave what was there."""

from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harbor_scanner.osv import updating
from harbor_scanner.osv.database import Database
from harbor_scanner.osv.fetching import Download
from harbor_scanner.osv.importing import Imported
from harbor_scanner.osv.settings import PUBLIC_URL, OsvDatabaseSettings
from harbor_scanner.osv.updating import Observer, Outcome, Updater, keep_updated, update_due
from harbor_scanner.settings import settings_of
from support.exports import Exports, advisory, archive, cut, serving, status, written

NO_WAITS = (0.0,) * 5
PYPI = archive(*(advisory(f"PYSEC-{number}", f"package-{number}") for number in range(20)))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "osv")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exports]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving() as exports:
        exports.put("PyPI", PYPI)
        yield exports


def update(
    database: Database, url: str, *names: str, force: bool = False, observer: Observer | None = None
) -> dict[str, Outcome]:
    async def run() -> list[Outcome]:
        return await Updater(database, url, observer, waits=NO_WAITS).update(names or ["PyPI"], force=force)

    with database.writing():
        return {outcome.ecosystem: outcome for outcome in asyncio.run(run())}


def imported(outcome: Outcome) -> Imported:
    assert outcome.problem is None, outcome.problem
    assert outcome.imported is not None
    return outcome.imported


def problem(outcome: Outcome) -> str:
    assert outcome.problem is not None
    return str(outcome.problem)


def there(database: Database) -> dict[str, int]:
    return {info.ecosystem: info.advisories for info in database.info()}


def set_checked(database: Database, ecosystem: str, ago: timedelta) -> None:
    then = (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")
    (database.directory / "checked.json").write_bytes(msgspec.json.encode({ecosystem: then}))


def test_an_ecosystem_is_fetched_and_nothing_is_left_behind(database: Database, exports: Exports) -> None:
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20
    assert there(database) == {"PyPI": 20}
    assert list(database.downloads.iterdir()) == []
    assert database.info()[0].source == f"{exports.url}/PyPI/all.zip"


def test_what_did_not_change_is_not_fetched_again_but_counts_as_looked_at(database: Database, exports: Exports) -> None:
    update(database, exports.url)
    set_checked(database, "PyPI", timedelta(days=9))
    before = database.info()[0].checked_at
    outcome = update(database, exports.url)["PyPI"]
    assert (outcome.imported, outcome.problem) == (None, None)
    assert exports.asked[-1][1]["if-none-match"]
    assert exports.asked[-1][1]["if-modified-since"] == "Thu, 01 Oct 2026 10:00:00 GMT"
    assert database.info()[0].checked_at > before
    exports.put("PyPI", archive(*(advisory(f"PYSEC-{number}") for number in range(21))))
    assert imported(update(database, exports.url)["PyPI"]).before == 20
    assert there(database) == {"PyPI": 21}


def test_another_mirror_is_not_asked_whether_this_one_changed(database: Database, exports: Exports) -> None:
    update(database, exports.url)
    exports.files["/mirror/PyPI/all.zip"] = PYPI
    imported(update(database, f"{exports.url}/mirror")["PyPI"])
    assert "if-none-match" not in exports.asked[-1][1]


def test_with_force_all_is_fetched_again(database: Database, exports: Exports) -> None:
    update(database, exports.url)
    exports.put("PyPI", archive(advisory()))
    assert "--force" in problem(update(database, exports.url)["PyPI"])
    assert there(database) == {"PyPI": 20}
    for _ in range(2):
        assert imported(update(database, exports.url, force=True)["PyPI"]).about.advisories == 1


@pytest.mark.parametrize("length", [1, 100, len(PYPI) - 1])
def test_a_broken_transfer_goes_on_where_it_ended(database: Database, exports: Exports, length: int) -> None:
    exports.fail("PyPI", cut(PYPI, length))
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20
    assert exports.ranges == [f"bytes={length}-"]


def test_a_transfer_may_break_as_often_as_it_brings_something_new(database: Database, exports: Exports) -> None:
    def part(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Range", f"bytes {start}-{len(PYPI) - 1}/{len(PYPI)}")
        handler.send_header("Content-Length", str(len(PYPI) - start))
        handler.end_headers()
        handler.wfile.write(PYPI[start : start + len(PYPI) // 10])
        handler.close_connection = True

    exports.fail("PyPI", *[part] * 11)
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20
    assert len(exports.ranges) == 10


def test_what_changed_meanwhile_is_fetched_from_its_beginning(database: Database, exports: Exports) -> None:
    exports.fail("PyPI", cut(archive(advisory("PYSEC-OLD")), 100))
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20
    assert exports.ranges == ["bytes=100-"]


def test_a_killed_update_leaves_the_old_database_and_the_next_one_goes_on(database: Database, exports: Exports) -> None:
    update(database, exports.url)
    newer = archive(*(advisory(f"PYSEC-{number}", details="x" * 99) for number in range(30)))
    exports.put("PyPI", newer)
    exports.fail("PyPI", cut(newer, 300), *[status(500)] * 5)
    assert "status 500" in problem(update(database, exports.url)["PyPI"])
    assert there(database) == {"PyPI": 20}
    written(database.directory / "PyPI.sqlite.new", b"half")
    written(database.downloads / "npm.zip", b"of an ecosystem that nobody wants any more")
    asked = len(exports.ranges)
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 30
    assert exports.ranges[asked:] == ["bytes=300-"]
    assert [path.name for path in database.directory.rglob("*.new")] == []
    assert list(database.downloads.iterdir()) == []


def test_what_was_fetched_whole_before_the_end_came_is_used(database: Database, exports: Exports) -> None:
    written(database.downloads / "PyPI.zip", PYPI)
    update(database, exports.url, "npm")  # removes it: it is not known what it is
    exports.fail("PyPI", cut(PYPI, 200), *[status(500)] * 5)
    update(database, exports.url)
    with (database.downloads / "PyPI.zip").open("ab") as file:
        file.write(PYPI[200:])
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20
    assert exports.ranges[-1] == f"bytes={len(PYPI)}-"


def test_a_process_killed_in_the_middle_of_an_import_does_no_harm(database: Database, exports: Exports) -> None:
    update(database, exports.url)
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from harbor_scanner.osv.building import Builder\n"
        "from harbor_scanner.osv.database import Database\n"
        "from harbor_scanner.osv.documents import ArchivedDocuments\n"
        "from harbor_scanner.osv.importing import Origin, import_documents\n"
        "finish = Builder.finish\n"
        "def killed(builder, **about):\n"
        "    finish(builder, **about)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Builder.finish = killed\n"
        "database = Database(Path(sys.argv[1]))\n"
        "with database.writing():\n"
        "    import_documents(database, ArchivedDocuments(Path(sys.argv[2])), Origin('x'), force=True)\n"
    )
    path = written(database.directory.parent / "all.zip", archive(advisory("PYSEC-OTHER")))
    done = subprocess.run([sys.executable, "-c", script, database.directory, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (database.directory / "PyPI.sqlite.new").exists()
    assert there(database) == {"PyPI": 20}
    update(database, exports.url)
    assert not (database.directory / "PyPI.sqlite.new").exists()


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_troubles_that_may_pass_are_waited_out(database: Database, exports: Exports, code: int) -> None:
    exports.fail("PyPI", status(code, Retry_After="0"), status(code), status(code, Retry_After="soon"))
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 20


@pytest.mark.parametrize(("code", "advice"), [(404, "Is the name"), (403, "access"), (401, "user"), (400, "PROXY")])
def test_troubles_that_stay_are_told_at_once(database: Database, exports: Exports, code: int, advice: str) -> None:
    exports.fail("PyPI", status(code))
    line = problem(update(database, exports.url)["PyPI"])
    assert f"status {code}" in line
    assert advice in line
    assert len(exports.asked) == 1


def test_a_server_that_says_unchanged_to_who_has_nothing_is_no_success(database: Database, exports: Exports) -> None:
    exports.fail("PyPI", status(304))
    assert "status 304" in problem(update(database, exports.url)["PyPI"])


@pytest.mark.parametrize("content", [b"<html>Sign in</html>", PYPI[:200], archive(), b""])
def test_what_is_no_export_leaves_what_there_was(database: Database, exports: Exports, content: bytes) -> None:
    update(database, exports.url)
    exports.put("PyPI", content)
    assert problem(update(database, exports.url)["PyPI"])
    assert there(database) == {"PyPI": 20}
    exports.put("PyPI", archive(*(advisory(f"PYSEC-{number}") for number in range(19))))
    # What was refused is not gone on with.
    assert imported(update(database, exports.url)["PyPI"]).about.advisories == 19


def test_one_that_fails_does_not_keep_others_from_being_done(database: Database, exports: Exports) -> None:
    exports.put("Rocky Linux", archive(advisory("RLSA-1", "x", "Rocky Linux:9")))
    outcomes = update(database, exports.url, "npm", "PyPI", "Rocky Linux", "PyPI")
    assert list(outcomes) == ["npm", "PyPI", "Rocky Linux"]
    assert "404" in problem(outcomes["npm"])
    assert there(database) == {"PyPI": 20, "Rocky Linux": 1}


def test_nobody_there_is_told_with_advice_and_without_the_password(database: Database, exports: Exports) -> None:
    port = exports.url.rpartition(":")[2]
    address = f"http://user:hunter2@127.0.0.1:{port}"
    update(database, address)
    assert exports.asked[0][1]["authorization"].startswith("Basic ")
    exports.fail("PyPI", status(403))
    assert "hunter2" not in problem(update(database, address)["PyPI"])
    for path in database.directory.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()
    line = problem(update(database, "http://user:hunter2@127.0.0.1:1")["PyPI"])
    assert "http://127.0.0.1:1/PyPI/all.zip cannot be fetched" in line
    assert "db import" in line
    assert "hunter2" not in line


def test_a_full_disk_is_told_and_gets_its_room_back(
    database: Database, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(download: Download, *_: Any) -> None:
        written(download.path, PYPI[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Download, "_write", full)
    assert "No space left on device. Make room" in problem(update(database, exports.url)["PyPI"])
    assert list(database.downloads.iterdir()) == []


def test_wrong_certificates_of_the_environment_are_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(written(tmp_path / "ca.pem", b"none")))
    assert "SSL_CERT_FILE" in problem(update(database, "https://127.0.0.1:1")["PyPI"])


def test_the_observer_sees_how_it_goes(database: Database, exports: Exports) -> None:
    seen: list[tuple[Any, ...]] = []

    class Noting(Observer):
        def fetching(self, ecosystem: str, done: int, total: int) -> None:
            seen.append(("fetching", ecosystem, done, total))

        def importing(self, ecosystem: str, done: int, total: int) -> None:
            seen.append(("importing", ecosystem, done, total))

        def ended(self, outcome: Outcome) -> None:
            seen.append(("ended", outcome.ecosystem))

    exports.fail("PyPI", cut(PYPI, 100))
    update(database, exports.url, observer=Noting())
    size = len(PYPI)
    assert {total for kind, _, _, total in (each for each in seen if each[0] == "fetching")} == {size}
    assert ("fetching", "PyPI", size, size) in seen
    assert seen[-2:] == [("importing", "PyPI", 20, 20), ("ended", "PyPI")]


def test_a_cancelled_update_ends_its_import_before_it_lets_go(
    database: Database, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def run() -> None:
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def importing(*_: Any, progress: Any, **__: Any) -> None:
            loop.call_soon_threadsafe(started.set)
            try:
                while True:
                    progress(1, 2)
            finally:
                ended.append("thread")

        monkeypatch.setattr(updating, "import_documents", importing)
        task = asyncio.create_task(Updater(database, exports.url).update(["PyPI"]))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended.append("update")

    with database.writing():
        asyncio.run(run())
    assert ended == ["thread", "update"]


def due(database: Database, url: str, **more: Any) -> bool:
    settings = OsvDatabaseSettings(url=url, **{"ecosystems": ("PyPI",), **more})
    return asyncio.run(update_due(database, settings, waits=NO_WAITS))


def test_only_what_is_missing_or_old_is_due(database: Database, exports: Exports) -> None:
    exports.put("npm", archive(advisory("GHSA-1", "x", "npm")))
    assert due(database, exports.url) is False
    assert due(database, exports.url) is False
    assert [path for path, _ in exports.asked] == ["/PyPI/all.zip"]
    set_checked(database, "PyPI", timedelta(hours=25))
    due(database, exports.url, update_every=26 * 3600.0)
    assert len(exports.asked) == 1
    due(database, exports.url, ecosystems=("npm", "PyPI"))
    assert sorted(path for path, _ in exports.asked[1:]) == ["/PyPI/all.zip", "/npm/all.zip"]
    assert there(database) == {"PyPI": 20, "npm": 1}


def test_a_very_long_time_between_updates_is_no_trouble(database: Database, exports: Exports) -> None:
    due(database, exports.url)
    assert due(database, exports.url, update_every=2.0**63 / 10**9) is False
    assert len(exports.asked) == 1


def test_a_broken_file_is_due(database: Database, exports: Exports) -> None:
    due(database, exports.url)
    database.file("PyPI").write_bytes(b"broken")
    due(database, exports.url)
    assert there(database) == {"PyPI": 20}


def test_failures_in_the_service_are_told_by_the_result_and_leave_the_rest(
    database: Database, exports: Exports
) -> None:
    assert due(database, exports.url, ecosystems=("npm", "PyPI")) is True
    assert there(database) == {"PyPI": 20}


def test_while_another_process_writes_the_service_leaves_it_alone(database: Database, exports: Exports) -> None:
    with database.writing():
        assert due(database, exports.url) is False
    assert exports.asked == []


def test_the_service_keeps_on_and_follows_its_settings(
    database: Database, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(updating, "RETRY_SECONDS", 0.01)
    asked = 0

    def settings() -> OsvDatabaseSettings:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise asyncio.CancelledError
        # Off at first; then an ecosystem that fails; then one that is there.
        names = [("PyPI",), ("npm",), ("PyPI",)][asked - 1]
        return OsvDatabaseSettings(exports.url, names, 0.0 if asked == 1 else 3600.0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep_updated(database, settings))
    assert [path for path, _ in exports.asked] == ["/npm/all.zip", "/PyPI/all.zip"]
    assert there(database) == {"PyPI": 20}


def test_the_settings_read_what_operators_write() -> None:
    read = {setting.name: setting.kind.parse for setting in settings_of(OsvDatabaseSettings).values()}
    assert read["SCANNER_OSV_ECOSYSTEMS"]("pypi, rocky linux,Debian") == ("PyPI", "Rocky Linux", "Debian")
    assert read["SCANNER_OSV_ECOSYSTEMS"]("") == ()
    assert read["SCANNER_OSV_URL"]("https://mirror.example.com/osv/") == "https://mirror.example.com/osv"
    for name, text in [
        ("SCANNER_OSV_ECOSYSTEMS", "PyPI,pypi"), ("SCANNER_OSV_ECOSYSTEMS", "Debain"), ("SCANNER_OSV_ECOSYSTEMS", ","),
        ("SCANNER_OSV_URL", "mirror.example.com"), ("SCANNER_OSV_URL", "file:///osv"),
    ]:  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011 - any will do
            read[name](text)
    defaults = {
        field: setting.kind.parse(setting.default) for field, setting in settings_of(OsvDatabaseSettings).items()
    }
    assert OsvDatabaseSettings(**defaults) == OsvDatabaseSettings()
    assert OsvDatabaseSettings().url == PUBLIC_URL
