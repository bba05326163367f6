"""The caches of qscanner: one for each scan at a time, cleaned of what nobody uses, never under a running scan."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.scanners.qualys.cache import Caches, Cleaned

DAY = 86400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "qscanner"


def put(path: Path, size: int = 1, *, read: float = 0.0, written: float = 0.0) -> Path:
    """Make a file that was last read and written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    now = time.time()
    os.utime(path, (now - read * DAY, now - written * DAY))
    return path


def cleaned_ago(root: Path, days: float) -> None:
    """Have all caches been cleaned so many days ago."""
    for lock in root.glob("*.lock"):
        os.utime(lock, (time.time() - days * DAY,) * 2)


def clean(root: Path, *, threshold: float = 10, frequency: float = 5) -> Cleaned:
    return Caches(root).clean(threshold=threshold * DAY, frequency=frequency * DAY)


@given(st.lists(st.booleans(), max_size=30))
def test_no_two_scans_ever_share_a_cache_and_no_more_are_made_than_needed(steps: list[bool]) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root, leases, most = Path(name), [], 0
        for opens in steps:
            if opens:
                leases.append(stack.enter_context(closing(Caches(root).lease())))
                most = max(most, len(leases))
            elif leases:
                leases.pop(0).close()
            used = [lease.directory for lease in leases]
            assert len(set(used)) == len(used)
        assert sum(path.is_dir() for path in root.iterdir()) == most


def test_the_warmest_cache_comes_first(root: Path) -> None:
    with closing(Caches(root).lease()) as first, closing(Caches(root).lease()) as second:
        assert (first.directory.name, second.directory.name) == ("1", "2")
        assert first.directory.stat().st_mode & 0o777 == 0o700
    with closing(Caches(root).lease()) as again:
        assert again.directory == first.directory


def test_another_process_does_not_get_a_cache_in_use(root: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from harbor_scanner.scanners.qualys.cache import Caches\n"
        "print(Caches(pathlib.Path(sys.argv[1])).lease().directory.name)"
    )

    def elsewhere() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(root)], check=True, capture_output=True, text=True
        ).stdout.strip()

    with closing(Caches(root).lease()):
        assert elsewhere() == "2"
    # A process that ended without a word holds nothing.
    assert elsewhere() == "1"


def test_a_program_that_a_scan_starts_does_not_keep_the_cache(root: Path) -> None:
    lease = Caches(root).lease()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lease.close()
    with closing(Caches(root).lease()) as again:
        assert again.directory.name == "1"
    child.communicate(b"\n")


def test_a_root_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file"):
        Caches(tmp_path / "file" / "cache").lease()


@pytest.fixture
def filled(root: Path) -> Path:
    """A cache that was cleaned a month ago, and holds old, fresh and reread files."""
    Caches(root).lease().close()
    put(root / "1/layers/old/layer.json", 100, read=30, written=40)
    put(root / "1/layers/old/packages.db", 50, read=11, written=11)
    put(root / "1/layers/reread/layer.json", read=2, written=300)
    put(root / "1/layers/rewritten/layer.json", read=300, written=2)
    put(root / "1/fanal.db", read=9.9, written=400)
    cleaned_ago(root, 30)
    return root


def test_what_nobody_used_for_the_threshold_goes_and_nothing_else(filled: Path) -> None:
    assert clean(filled) == Cleaned(files=2, size=150)
    left = sorted(str(path.relative_to(filled)) for path in (filled / "1").rglob("*"))
    assert left == [
        "1/fanal.db", "1/layers", "1/layers/reread", "1/layers/reread/layer.json",
        "1/layers/rewritten", "1/layers/rewritten/layer.json",
    ]  # fmt: skip


def test_what_belongs_together_goes_or_stays_together(filled: Path) -> None:
    put(filled / "1/layers/half/old.json", read=50, written=50)
    put(filled / "1/layers/half/used.db", read=1, written=50)
    clean(filled)
    assert sorted(path.name for path in (filled / "1/layers/half").iterdir()) == ["old.json", "used.db"]


def test_what_is_in_the_way_of_one_cache_does_not_keep_the_others_from_being_cleaned(filled: Path) -> None:
    (filled / "0.lock").mkdir()
    assert clean(filled).files == 2


def test_a_cache_is_cleaned_only_so_often_also_over_restarts(filled: Path) -> None:
    cleaned_ago(filled, 4.9)
    assert clean(filled) == Cleaned()
    cleaned_ago(filled, 5.1)
    assert clean(filled).files == 2
    put(filled / "1/another", read=20, written=20)
    assert clean(filled) == Cleaned()


def test_a_cache_is_never_cleaned_under_a_running_scan_but_afterwards(filled: Path) -> None:
    with closing(Caches(filled).lease()):
        assert clean(filled) == Cleaned()
        assert (filled / "1/layers/old/layer.json").exists()
    assert clean(filled).files == 2


def test_one_busy_cache_does_not_keep_the_others_from_being_cleaned(filled: Path) -> None:
    with closing(Caches(filled).lease()):
        Caches(filled).lease().close()
        put(filled / "2/old", 7, read=20, written=20)
        cleaned_ago(filled, 30)
        assert clean(filled) == Cleaned(files=1, size=7)


def test_what_is_not_ours_stays(filled: Path, tmp_path: Path) -> None:
    theirs = put(tmp_path / "elsewhere/precious", read=900, written=900)
    (filled / "1/link").symlink_to(theirs.parent, target_is_directory=True)
    beside = put(filled / "qscanner.db", read=900, written=900)
    clean(filled)
    assert theirs.exists()
    assert beside.exists()


def test_cleaning_where_there_is_nothing_is_harmless(root: Path) -> None:
    assert clean(root) == Cleaned()
