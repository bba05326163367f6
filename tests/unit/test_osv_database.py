"""The local database: what is imported is found again, whole or not at all, and readers are never disturbed."""

from __future__ import annotations

import errno
import json
import sqlite3
import struct
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harbor_scanner.osv import archive as archives
from harbor_scanner.osv import building
from harbor_scanner.osv.age import too_old
from harbor_scanner.osv.database import Database, EcosystemInfo
from harbor_scanner.osv.documents import find_sources
from harbor_scanner.osv.errors import BusyError, DatabaseError
from harbor_scanner.osv.importing import Imported, Origin, import_documents
from support.exports import advisory, archive, written


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "osv")


def take(database: Database, path: Path, *, force: bool = False) -> list[Imported]:
    """Import from a path."""
    with database.writing():
        return [
            imported
            for source in find_sources(path)
            for imported in import_documents(
                database, source.documents, Origin(str(path)), only=source.only, add=source.add, force=force
            )
        ]


def found(database: Database, ecosystem: str, name: str) -> list[str]:
    """The ids of the advisories that name a package."""
    with database.open() as snapshot:
        return [advisory.id for advisory in snapshot.advisories(ecosystem, name)]


def there(database: Database) -> dict[str, int]:
    """How many advisories there are of each ecosystem."""
    assert not list(database.directory.glob("*.new"))
    return {info.ecosystem: info.advisories for info in database.info()}


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    return [advisory(f"PYSEC-1-{number}", f"package-{number}", **more) for number in range(count)]


def test_what_is_imported_is_found_by_any_spelling_of_the_name(database: Database, tmp_path: Path) -> None:
    document = advisory("PYSEC-2020-1", "Zope.Interface", summary="Text")
    take(database, written(tmp_path / "all.zip", archive(document, advisory())))
    with database.open() as snapshot:
        assert snapshot.ecosystems == {"PyPI"}
        [one] = snapshot.advisories("PyPI", "zope_interface")
        assert (one.id, one.summary, one.affected[0].ranges[0].events[1].fixed) == ("PYSEC-2020-1", "Text", "2.8.1")
        assert snapshot.advisories("PyPI", "zope") == []


def test_an_advisory_is_found_by_all_packages_of_its_ecosystem_and_no_other(database: Database, tmp_path: Path) -> None:
    affected = [
        {"package": {"ecosystem": ecosystem, "name": name}}
        for ecosystem, name in [("Debian:11", "jinja2"), ("Debian:12", "jinja2"), ("Debian:12", "jinja3"), ("npm", "x")]
    ]
    folder = tmp_path / "exports"
    written(folder / "Debian" / "all.zip", archive(advisory("DSA-1", affected=[*affected, {"versions": ["1"]}])))
    take(database, folder)
    assert found(database, "Debian", "jinja2") == found(database, "Debian:12", "jinja3") == ["DSA-1"]
    assert found(database, "Debian", "x") == []
    assert there(database) == {"Debian": 1}
    with database.open() as snapshot:
        assert snapshot.releases("Debian") == {"Debian:11", "Debian:12"}


def test_an_ecosystem_that_is_not_there_is_no_clean_one(database: Database) -> None:
    with database.open() as snapshot:
        assert snapshot.ecosystems == frozenset()
        for look in (lambda: snapshot.advisories("PyPI", "jinja2"), lambda: snapshot.releases("PyPI")):
            with pytest.raises(DatabaseError, match="no advisories of PyPI"):
                look()


def test_a_snapshot_does_not_change_while_the_database_does(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory("PYSEC-1"))))
    with database.open() as snapshot:
        take(database, written(tmp_path / "all.zip", archive(advisory("PYSEC-2"))))
        assert [each.id for each in snapshot.advisories("PyPI", "jinja2")] == ["PYSEC-1"]
    assert found(database, "PyPI", "jinja2") == ["PYSEC-2"]


def test_withdrawn_advisories_are_kept_with_the_word_that_they_are(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory(withdrawn="2026-01-01T00:00:00Z"))))
    with database.open() as snapshot:
        assert snapshot.advisories("PyPI", "jinja2")[0].withdrawn == "2026-01-01T00:00:00Z"


def test_of_two_with_one_id_the_later_changed_one_holds(database: Database, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for modified, name in [("2026-01-01", "a"), ("2026-03-01", "b"), ("2026-02-01", "c")]:
            file.writestr(f"{name}.json", json.dumps(advisory("PYSEC-1", name, modified=f"{modified}T00:00:00Z")))
    take(database, tmp_path / "all.zip")
    assert there(database) == {"PyPI": 1}
    with database.open() as snapshot:
        [one] = snapshot.advisories("PyPI", "b")
        assert one.modified == "2026-03-01T00:00:00Z"


def test_the_layout_of_the_exports_is_taken_with_all_its_names(database: Database, tmp_path: Path) -> None:
    for folder, ecosystem in [
        ("PyPI", "PyPI"), ("Rocky Linux", "Rocky Linux:9"), ("Red%20Hat", "Red Hat:enterprise_linux:9::baseos"),
        ("Debian", "Debian:12"), ("Debian:11", "Debian:11"), ("Alpine:v3.18", "Alpine:v3.18"),
        ("Alpine:v3.19", "Alpine:v3.19"), ("Hackage", "Hackage"),
    ]:  # fmt: skip
        written(tmp_path / "x" / folder / "all.zip", archive(advisory(f"X-{folder}", "x", ecosystem)))
    take(database, tmp_path / "x")
    assert there(database) == {"Alpine": 2, "Debian": 1, "PyPI": 1, "Red Hat": 1, "Rocky Linux": 1}
    assert found(database, "Rocky Linux:9", "x") == ["X-Rocky Linux"]
    assert found(database, "Debian", "x") == ["X-Debian"], "the archive of a release is a part of the whole one"


def test_an_archive_is_that_of_what_all_its_advisories_are_about(database: Database, tmp_path: Path) -> None:
    both = advisory("GHSA-1")
    both["affected"].append({"package": {"ecosystem": "npm", "name": "jinja"}})
    nothing = {"id": "GHSA-2", "affected": []}
    take(database, written(tmp_path / "all.zip", archive(both, nothing, advisory("GHSA-3"))))
    assert there(database) == {"PyPI": 2}, "a few advisories of npm would make it look complete"


def test_an_archive_of_all_kinds_replaces_all_that_it_names(database: Database, tmp_path: Path) -> None:
    documents = advisory("GHSA-1"), advisory("GHSA-2", "a", "npm"), advisory("GHSA-3", "a", "Hackage")
    take(database, written(tmp_path / "all.zip", archive(*documents)))
    assert there(database) == {"PyPI": 1, "npm": 1}


def test_a_folder_of_files_is_taken_with_the_folders_in_it(database: Database, tmp_path: Path) -> None:
    written(tmp_path / "x" / "2026" / "01" / "a.JSON", json.dumps(advisory()).encode())
    written(tmp_path / "x" / "README.md", b"# Advisories")
    take(database, tmp_path / "x")
    assert there(database) == {"PyPI": 1}


def test_a_single_file_is_added_and_the_source_stays(database: Database, tmp_path: Path) -> None:
    export = written(tmp_path / "all.zip", archive(advisory("PYSEC-1")))
    take(database, export)
    one = written(tmp_path / "one.json", json.dumps(advisory("OURS-1")).encode())
    take(database, one)
    assert found(database, "PyPI", "jinja2") == ["OURS-1", "PYSEC-1"]
    assert [info.source for info in database.info()] == [str(export)]
    take(database, export)
    assert found(database, "PyPI", "jinja2") == ["PYSEC-1"]


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6", b"no archive"])
def test_what_is_no_archive_is_refused(database: Database, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatabaseError):
        take(database, written(tmp_path / "all.zip", content))
    assert there(database) == {}


@pytest.mark.parametrize("content", [archive(), archive(**{"README.md": b"#"}), archive(advisory(ecosystem="npm"))])
def test_what_holds_no_advisory_is_refused(database: Database, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DatabaseError, match="There are no advisories of PyPI"):
        take(database, written(tmp_path / "PyPI" / "all.zip", content))
    assert there(database) == {}


def test_few_that_cannot_be_read_are_counted_and_named(database: Database, tmp_path: Path) -> None:
    content = archive(*numbered(199), **{"broken.json": b"{", "notes.txt": b"{"})
    [imported] = take(database, written(tmp_path / "all.zip", content))
    assert imported.unreadable_count == 1
    assert imported.unreadable[0].startswith("broken.json: it is not JSON")
    assert [(info.advisories, info.unreadable) for info in database.info()] == [(199, 1)]


def test_many_that_cannot_be_read_change_nothing(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory())))
    content = archive(*numbered(98), **{"a.json": b"{", "b.json": b"{}"})
    with pytest.raises(DatabaseError, match=r"2 of 100 .*(?s:.)*a\.json: it is not JSON(?s:.)*b\.json: it has no id"):
        take(database, written(tmp_path / "all.zip", content))
    assert found(database, "PyPI", "jinja2") == ["PYSEC-2018-32"]
    assert there(database) == {"PyPI": 1}


def test_a_source_that_lost_most_of_it_is_refused_unless_forced(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(*numbered(10))))
    take(database, written(tmp_path / "all.zip", archive(*numbered(5))))
    with pytest.raises(DatabaseError, match=r"2 advisories of PyPI, and there are 5 here.*--force"):
        take(database, written(tmp_path / "all.zip", archive(*numbered(2))))
    assert there(database) == {"PyPI": 5}
    take(database, tmp_path / "all.zip", force=True)
    assert there(database) == {"PyPI": 2}


def member_of(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


def test_a_member_with_a_wrong_checksum_is_not_read(database: Database, tmp_path: Path) -> None:
    content = archive(*numbered(199), advisory("PYSEC-BAD", "bad"))
    entry = content.rindex(b"PK\1\2")
    [imported] = take(database, written(tmp_path / "all.zip", member_of(content, entry + 16, b"\0\0\0\0")))
    assert imported.unreadable == ("PYSEC-BAD.json: its checksum is wrong",)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, b"\1\0", "it is encrypted"),
        (10, b"\x0c\0", "method 12"),
        (42, b"\xff\0\0\0", "its part of the archive is broken"),
        (20, b"\1\0\0\0", "its checksum is wrong"),
    ],
)
def test_a_member_that_cannot_be_unpacked_is_named(
    database: Database, tmp_path: Path, offset: int, value: bytes, reason: str
) -> None:
    content = archive(*numbered(199), advisory("PYSEC-BAD", "bad"))
    entry = content.rindex(b"PK\1\2")
    [imported] = take(database, written(tmp_path / "all.zip", member_of(content, entry + offset, value)))
    [line] = imported.unreadable
    assert line.startswith("PYSEC-BAD.json: ")
    assert reason in line


def test_an_archive_cut_short_anywhere_is_refused(database: Database, tmp_path: Path) -> None:
    content = archive(*numbered(3))
    for length in range(0, len(content) - 1, 7):
        with pytest.raises(DatabaseError):
            take(database, written(tmp_path / "PyPI" / "all.zip", content[:length]))


def test_an_archive_whose_directory_lacks_entries_is_refused(database: Database, tmp_path: Path) -> None:
    content = archive(*numbered(3))
    end = content.rindex(b"PK\5\6")
    with pytest.raises(DatabaseError, match="broken"):
        take(database, written(tmp_path / "all.zip", member_of(content, end + 10, struct.pack("<H", 2))))


def test_bombs_are_bounded(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 10_000)
    content = archive(*numbered(199), advisory("PYSEC-BOMB", "bomb", details="0" * 100_000))
    [imported] = take(database, written(tmp_path / "all.zip", content))
    assert imported.unreadable[0].startswith("PYSEC-BOMB.json: it is larger than")
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 2**20)
    monkeypatch.setattr(archives, "_FLOOR", 100_000)
    monkeypatch.setattr(archives, "_RATIO", 1)
    with pytest.raises(DatabaseError, match="far more"):
        take(database, tmp_path / "all.zip")
    assert there(database) == {"PyPI": 199}


def test_names_of_members_lead_nowhere(database: Database, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        for name in ("../../escaped.json", "/etc/escaped.json", "a/b/../c.json"):
            file.writestr(name, json.dumps(advisory(f"X-{name}")))
        file.mkdir("folder.json")
    take(database, tmp_path / "all.zip")
    assert there(database) == {"PyPI": 3}
    assert not list(tmp_path.rglob("escaped*"))


def test_archives_written_as_large_ones_are_read(database: Database, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file, file.open("a.json", "w", force_zip64=True) as member:
        member.write(json.dumps(advisory()).encode())
    # More members than 16 bits count: their number stands in the record for large archives.
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as file:
        for number in range(0x10001):
            file.writestr(f"{number}.txt", b"")
        file.writestr("a.json", json.dumps(advisory("PYSEC-LAST")))
    take(database, tmp_path / "all.zip")
    take(database, tmp_path / "large.zip")
    assert found(database, "PyPI", "jinja2") == ["PYSEC-LAST"]


def test_ecosystems_and_names_of_any_kind_lead_nowhere(database: Database, tmp_path: Path) -> None:
    document = advisory("X-1", "../x'; --\n\0", "PyPI")
    document["affected"].append({"package": {"ecosystem": "../../etc", "name": "x"}})
    take(database, written(tmp_path / "all.zip", archive(document)))
    assert found(database, "PyPI", "../x'; --\n\0") == ["X-1"]
    assert there(database) == {"PyPI": 1}


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(errno.ENOSPC, "full")])
def test_a_full_disk_is_told_and_changes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = written(tmp_path / "all.zip", archive(advisory()))
    take(database, path)

    def full(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(building.Builder, "finish", full)
        with pytest.raises(DatabaseError, match=r"cannot be written to.*full.*Make room"):
            take(database, path)
    assert found(database, "PyPI", "jinja2") == ["PYSEC-2018-32"]
    assert there(database) == {"PyPI": 1}


def test_a_file_system_that_is_really_full_is_told(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "all.zip", archive(*numbered(3000)))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from harbor_scanner.osv.database import Database\n"
        "from harbor_scanner.osv.documents import ArchivedDocuments\n"
        "from harbor_scanner.osv.errors import DatabaseError\n"
        "from harbor_scanner.osv.importing import Origin, import_documents\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "database = Database(Path(sys.argv[1]))\n"
        "try:\n"
        "    with database.writing():\n"
        "        import_documents(database, ArchivedDocuments(Path(sys.argv[2])), Origin('x'))\n"
        "except DatabaseError as error:\n"
        "    print(error)\n"
    )
    argv = [sys.executable, "-c", script, str(database.directory), str(path)]
    assert "cannot be written to" in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert there(database) == {}


def test_only_one_writes_and_what_the_dead_left_is_removed(database: Database) -> None:
    left = written(database.directory / "PyPI.sqlite.new", b"half")
    with database.writing():
        assert not left.exists()
        with pytest.raises(BusyError), database.writing():
            pass
    with database.writing():
        pass


def test_a_directory_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    written(tmp_path / "file", b"")
    with (
        pytest.raises(DatabaseError, match=r"cannot be written to: Not a directory.*SCANNER_DATA_DIR"),
        Database(tmp_path / "file" / "osv").writing(),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 4096])
def test_a_broken_file_is_told_and_counts_as_missing(database: Database, tmp_path: Path, content: bytes) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory())))
    database.file("npm").write_bytes(content)
    with database.open() as snapshot:
        assert snapshot.ecosystems == {"PyPI"}
    assert {info.ecosystem: bool(info.problem) for info in database.info()} == {"PyPI": False, "npm": True}
    take(database, written(tmp_path / "npm" / "all.zip", archive(advisory("GHSA-1", "a", "npm"))))
    assert found(database, "npm", "a") == ["GHSA-1"]


def test_an_advisory_broken_on_the_disk_is_an_error(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory())))
    with sqlite3.connect(database.file("PyPI")) as connection:
        connection.execute("UPDATE advisories SET body = x'00'")
    connection.close()
    with pytest.raises(DatabaseError, match="advisories of PyPI cannot be read"):
        found(database, "PyPI", "jinja2")


def test_the_file_of_another_version_is_not_read(database: Database, tmp_path: Path) -> None:
    take(database, written(tmp_path / "all.zip", archive(advisory())))
    with sqlite3.connect(database.file("PyPI")) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert "another version" in database.info()[0].problem
    with database.open() as snapshot:
        assert snapshot.ecosystems == frozenset()


def test_info_tells_counts_and_times(database: Database, tmp_path: Path) -> None:
    assert database.info() == []
    documents = [advisory("X-1", "a", modified="2026-05-01T00:00:00Z"), advisory("X-2", "a"), advisory("X-3", "b")]
    path = written(tmp_path / "all.zip", archive(*documents))
    take(database, path)
    [info] = database.info()
    assert (info.ecosystem, info.advisories, info.packages) == ("PyPI", 3, 2)
    assert (info.modified, info.source, info.problem) == ("2026-10-01T10:00:00Z", str(path), "")
    assert info.size == database.file("PyPI").stat().st_size
    for text in (info.imported_at, info.checked_at):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("checked", "modified", "reason"),
    [
        ("2026-10-02T00:00:00Z", "2026-10-01T00:00:00Z", ""),
        ("2026-09-20T00:00:00Z", "2026-09-19T00:00:00Z", "not updated for more than 7 days"),
        ("", "2026-09-19T00:00:00Z", "not updated for more than 7 days"),
        ("2026-10-02T00:00:00Z", "2026-01-01T00:00:00Z", "the newest advisory is 275 days old"),
        ("2026-10-02T00:00:00Z", "0001-01-01T00:00:00Z", ""),
        ("2026-10-02T00:00:00Z", "never", ""),
    ],
)
def test_what_is_too_old_is_told_with_the_reason(checked: str, modified: str, reason: str) -> None:
    info = EcosystemInfo("PyPI", checked_at=checked, modified=modified)
    assert too_old(info, datetime(2026, 10, 3, tzinfo=UTC)) == reason


def test_the_body_of_an_advisory_comes_back_whole(database: Database, tmp_path: Path) -> None:
    document = advisory(details="é" * 1000, database_specific={"severity": "HIGH", "score": 7.5, "list": [None, True]})
    take(database, written(tmp_path / "all.zip", archive(document)))
    with database.open() as snapshot:
        [one] = snapshot.advisories("PyPI", "jinja2")
    assert one.details == "é" * 1000
    assert msgspec.to_builtins(one.database_specific) == document["database_specific"]
