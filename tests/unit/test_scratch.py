"""Scratch space: private while a scan runs, gone afterwards, also when the service was killed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner import process
from harbor_scanner.errors import DiskError, ScannerConfigurationError, StartError
from harbor_scanner.log import current_redactor, redacting
from harbor_scanner.process import MARKER, Outcome, Processes
from harbor_scanner.redact import MASK
from harbor_scanner.scratch import ScanWorkspace, Scratch, free_bytes
from support.programs import alive, pid_in, wait_until

NEVER = 600.0
"""Seconds: a limit that no test reaches."""


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    process.sweep(tmp_path)


def within(data_dir: Path, use: Callable[[ScanWorkspace], Any]) -> Any:
    """Return what `use` makes of a workspace; it may be a coroutine function."""

    async def run() -> Any:
        with Scratch.open(data_dir) as scratch:
            processes = Processes(scratch.directory)
            async with processes.open(), scratch.area("some", processes).workspace() as workspace:
                used = use(workspace)
                return await used if asyncio.iscoroutine(used) else used

    return asyncio.run(run())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything_below(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.name.endswith(".lock")}


# ---- the workspace


def test_a_workspace_is_empty_and_for_this_user_alone(tmp_path: Path) -> None:
    def look(workspace: ScanWorkspace) -> Path:
        assert list(workspace.directory.iterdir()) == []
        assert mode(workspace.directory) == 0o700
        assert mode(workspace.directory.parent) == 0o700
        assert workspace.directory.is_relative_to(tmp_path)
        return workspace.directory

    within(tmp_path, look)


def test_a_workspace_is_gone_afterwards_with_all_that_was_written(tmp_path: Path) -> None:
    def write(workspace: ScanWorkspace) -> None:
        (workspace.directory / "a" / "b").mkdir(parents=True)
        (workspace.directory / "a" / "b" / "layer.tar").write_bytes(b"x" * 1000)
        (workspace.directory / "link").symlink_to("/")

    within(tmp_path, write)
    assert everything_below(tmp_path) == {tmp_path / "scratch"}


def test_a_workspace_is_gone_after_a_failure_too(tmp_path: Path) -> None:
    def fail(workspace: ScanWorkspace) -> None:
        (workspace.directory / "file").touch()
        raise ScannerConfigurationError("no")

    with pytest.raises(ScannerConfigurationError):
        within(tmp_path, fail)
    assert everything_below(tmp_path) == {tmp_path / "scratch"}


def test_workspaces_keep_apart(tmp_path: Path) -> None:
    async def two() -> None:
        with Scratch.open(tmp_path) as scratch:
            area = scratch.area("some", Processes(scratch.directory))
            async with area.workspace() as one:
                async with area.workspace() as other:
                    assert one.directory != other.directory
                    (other.directory / "file").touch()
                assert not other.directory.exists()
                assert one.directory.exists()
            assert not one.directory.exists()

    asyncio.run(two())


def test_no_room_for_a_workspace_is_a_failure_that_another_try_can_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full() -> None:
        with Scratch.open(tmp_path) as scratch:

            def refuse(**_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(tempfile, "mkdtemp", refuse)
                async with scratch.area("some", Processes(scratch.directory)).workspace():
                    raise AssertionError("there was room")

    with pytest.raises(DiskError, match="No space left on device") as caught:
        asyncio.run(full())
    assert caught.value.retriable
    assert "SCANNER_DATA_DIR" in caught.value.advice


# ---- programs in it

DOCUMENTED = {
    "PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_RUNTIME_DIR", "HTTP_PROXY", "HTTPS_PROXY",
    "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
}  # fmt: skip


def test_a_program_sees_only_the_documented_variables_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DOCUMENTED - {"PATH"}:
        monkeypatch.setenv(name, f"{name} of the service")
    for name in ("SCANNER_AQUA_PASSWORD", "SCANNER_STORE_KEY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "hunter2")

    async def look(workspace: ScanWorkspace) -> tuple[str, str]:
        outcome = await workspace.run(
            ["cat", "/proc/self/environ"], environment={"AQUA": "1", "TZ": "own"}, time_limit=NEVER
        )
        return outcome.stdout, str(workspace.directory)

    printed, directory = within(tmp_path, look)
    seen = dict(entry.split("=", 1) for entry in printed.split("\0") if entry)
    assert set(seen) == DOCUMENTED | {"HOME", "TMPDIR", "AQUA", MARKER}
    assert seen["HOME"] == seen["TMPDIR"] == seen[MARKER] == directory
    assert seen["LANG"] == "LANG of the service"
    assert (seen["AQUA"], seen["TZ"]) == ("1", "own")


def test_variables_that_the_service_has_not_are_not_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DOCUMENTED - {"PATH"}:
        monkeypatch.delenv(name, raising=False)

    async def look(workspace: ScanWorkspace) -> str:
        outcome = await workspace.run(["cat", "/proc/self/environ"], environment={}, time_limit=NEVER)
        return outcome.stdout

    names = {entry.partition("=")[0] for entry in within(tmp_path, look).split("\0") if entry}
    assert names == {"PATH", "HOME", "TMPDIR", MARKER}


def test_secrets_of_the_run_and_of_the_scan_are_taken_out_of_its_outcome(tmp_path: Path) -> None:
    async def speak(workspace: ScanWorkspace) -> Outcome:
        with redacting(["swordfish"]):
            outcome = await workspace.run(
                ["sh", "-c", "echo swordfish; echo tortoise >&2; exit 1"],
                environment={}, time_limit=NEVER, secrets=["tortoise", ""],
            )  # fmt: skip
            assert current_redactor()("tortoise") == "tortoise"
        return outcome

    outcome = within(tmp_path, speak)
    assert (outcome.stdout, outcome.stderr) == (f"{MASK}\n", f"{MASK}\n")


def test_a_program_that_left_its_group_is_ended_with_the_workspace(tmp_path: Path) -> None:
    async def leave() -> None:
        with Scratch.open(tmp_path / "data") as scratch:
            async with Processes(scratch.directory).open() as processes:
                async with scratch.area("some", processes).workspace() as workspace:
                    away = f"{tmp_path}/away"
                    script = f"setsid sh -c 'echo $$ >{away}; exec sleep 600' & while ! test -s {away}; do :; done"
                    outcome = await workspace.run(["sh", "-c", script], environment={}, time_limit=NEVER)
                    assert outcome.exit_code == 0
                    assert alive(pid_in(tmp_path / "away"))
                wait_until(lambda: not alive(pid_in(tmp_path / "away")), "the end of what left its group")

    asyncio.run(leave())


def test_the_programs_that_run_now_are_counted_for_each_scanner(tmp_path: Path) -> None:
    async def count() -> None:
        with Scratch.open(tmp_path / "data") as scratch:
            async with Processes(scratch.directory).open() as processes:
                area, other = scratch.area("some", processes), scratch.area("other", processes)
                async with area.workspace() as workspace, other.workspace() as idle:
                    script = f"echo $$ >{tmp_path}/pid; while ! test -e {tmp_path}/end; do sleep 0.01; done"
                    scans = [
                        asyncio.create_task(workspace.run(["sh", "-c", text], environment={}, time_limit=NEVER))
                        for text in (script, "exec sleep 600")
                    ]
                    await asyncio.to_thread(pid_in, tmp_path / "pid")
                    assert (area.running, other.running) == (2, 0)
                    (tmp_path / "end").touch()
                    assert (await scans[0]).exit_code == 0
                    assert area.running == 1
                    scans[1].cancel()
                    await asyncio.wait(scans)
                    assert area.running == 0
                    with pytest.raises(ScannerConfigurationError):
                        await idle.run(["/no/such/program"], environment={}, time_limit=NEVER)
                    assert other.running == 0

    asyncio.run(count())


# ---- what one scanner keeps


def test_what_a_scanner_keeps_is_its_own_and_goes_with_the_service(tmp_path: Path) -> None:
    with Scratch.open(tmp_path) as scratch:
        processes = Processes(scratch.directory)
        kept, others = (scratch.area(name, processes).directory for name in ("some", "other"))
        assert kept != others
        assert not kept.exists()
        assert scratch.directory in kept.parents
        kept.mkdir()
        (kept / "cache").touch()
        assert scratch.area("some", processes).directory == kept
    assert everything_below(tmp_path) == {tmp_path / "scratch"}


# ---- files elsewhere


def test_a_file_put_elsewhere_is_private_and_goes_with_the_workspace(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "somebody_else.json").touch()

    def put(workspace: ScanWorkspace) -> None:
        for _ in range(3):
            file = workspace.temporary_file(reports, "aqua_scan_report_", ".json")
            assert file.parent == reports
            assert file.name.startswith("aqua_scan_report_")
            assert file.name.endswith(".json")
            assert file.read_bytes() == b""
            assert mode(file) == 0o600
            file.write_text("{}")
        assert len(list(reports.iterdir())) == 4

    within(tmp_path / "data", put)
    assert list(reports.iterdir()) == [reports / "somebody_else.json"]


def test_what_became_of_one_file_elsewhere_does_not_keep_the_others(tmp_path: Path) -> None:
    reports = tmp_path / "line\nbreak \udcff reports"
    reports.mkdir()

    def put(workspace: ScanWorkspace) -> None:
        files = [workspace.temporary_file(reports, "r", "") for _ in range(4)]
        files[0].unlink()
        files[1].unlink()
        files[1].mkdir()
        (files[1] / "inside").touch()

    within(tmp_path / "data", put)
    assert len([path for path in reports.iterdir() if path.is_file()]) == 0


def test_a_directory_that_takes_no_file_is_an_os_error(tmp_path: Path) -> None:
    def put(workspace: ScanWorkspace) -> None:
        workspace.temporary_file(tmp_path / "missing", "r", "")

    with pytest.raises(FileNotFoundError):
        within(tmp_path / "data", put)


# ---- what an earlier service left

SERVICE = """
import asyncio, os, sys
from pathlib import Path
from harbor_scanner.process import Processes
from harbor_scanner.scratch import Scratch

SCRIPT = '''
setsid sh -c 'echo $$ >"$OUT/away"; exec sleep 600' &
echo $$ >"$OUT/scanner"
wait
'''

async def serve(data, out):
    with Scratch.open(data) as scratch:
        processes = Processes(scratch.directory)
        async with processes.open(), scratch.area("some", processes).workspace() as workspace:
            workspace.temporary_file(out, "report", ".json")
            (workspace.directory / "layer").touch()
            (out / "directory").write_text(f"{workspace.directory}")
            await workspace.run(["sh", "-c", SCRIPT], environment={"OUT": str(out)}, time_limit=600)

asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@contextlib.contextmanager
def service(data: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service in the middle of a scan."""
    out.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", SERVICE, str(data), str(out)]) as running:
        try:
            for name in ("scanner", "away"):
                pid_in(out / name)
            yield running
        finally:
            running.kill()


def test_a_killed_service_leaves_no_process_and_the_next_start_no_file(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with service(data, out):
        workspace = Path((out / "directory").read_text())
        pids = [pid_in(out / name) for name in ("scanner", "away")]
    for pid in pids:
        wait_until(lambda pid=pid: not alive(pid), "the end of a scanner")  # type: ignore[misc]
    assert workspace.exists()
    assert len(list(out.glob("report*.json"))) == 1
    with Scratch.open(data) as scratch:
        assert not workspace.exists()
        assert list(out.glob("report*.json")) == []
        assert list((data / "scratch").iterdir()) == [scratch.directory]


def test_the_next_start_leaves_a_living_service_alone(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    with service(data, out):
        workspace = Path((out / "directory").read_text())
        with Scratch.open(data) as scratch:
            assert not workspace.is_relative_to(scratch.directory)
        assert (workspace / "layer").exists()
        assert len(list(out.glob("report*.json"))) == 1
        assert alive(pid_in(out / "scanner"))
        assert alive(pid_in(out / "away"))


def test_the_next_start_ends_what_still_runs_for_a_dead_service_and_its_warden(tmp_path: Path) -> None:
    workspace = tmp_path / "scratch" / "run-dead" / "tmpscan" / "work"
    workspace.mkdir(parents=True)
    (workspace.parents[1] / "lock").touch()
    with subprocess.Popen(["sleep", "600"], env={MARKER: str(workspace), "PATH": os.environ["PATH"]}) as scanner:
        try:
            with Scratch.open(tmp_path):
                assert scanner.wait(10) == -9
        finally:
            scanner.kill()
    assert not workspace.exists()


def test_whatever_lies_in_the_scratch_does_not_keep_the_service_from_starting(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    (root / "run-empty").mkdir(parents=True)
    (root / "stray file").touch()
    (root / "run-odd" / "lock").mkdir(parents=True)
    (root / "run-cut" / "tmpscan").mkdir(parents=True)
    (root / "run-cut" / "tmpscan" / "elsewhere").write_bytes(b"\xff\xfe\0relative\0/no/such/file\0/\0/tmp\0cut off")
    (root / "run-cut" / "lock").touch()
    with Scratch.open(tmp_path) as scratch:
        assert scratch.directory.is_dir()
        assert not (root / "run-empty").exists()
        assert not (root / "run-cut").exists()


def test_what_the_service_did_not_make_stays(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "scratch", tmp_path / "elsewhere"
    for foreign in (root / "simulation", root / "run-of-mine", elsewhere):
        foreign.mkdir(parents=True)
        (foreign / "result").touch()
    (elsewhere / "lock").touch()
    (root / "run-link").symlink_to(elsewhere)
    with Scratch.open(tmp_path):
        pass
    assert (root / "simulation" / "result").exists()
    assert (root / "run-of-mine" / "result").exists()
    assert (elsewhere / "result").exists()


def test_two_services_on_one_directory_have_scratch_of_their_own(tmp_path: Path) -> None:
    with Scratch.open(tmp_path) as one, Scratch.open(tmp_path) as other:
        assert one.directory != other.directory
        assert one.directory.exists()
        assert other.directory.exists()
    assert everything_below(tmp_path) == {tmp_path / "scratch"}


def test_the_scratch_is_for_this_user_alone(tmp_path: Path) -> None:
    with Scratch.open(tmp_path / "new" / "data") as scratch:
        assert mode(scratch.directory) == 0o700
        assert mode(scratch.directory.parent) == 0o700


@pytest.mark.parametrize("place", ["file", "file/below", "scratch is a file"])
def test_a_data_directory_that_takes_nothing_stops_the_start_with_advice(tmp_path: Path, place: str) -> None:
    data = tmp_path / place
    if place == "scratch is a file":
        data.mkdir()
        (data / "scratch").touch()
    else:
        (tmp_path / "file").touch()
    with pytest.raises(StartError) as caught, Scratch.open(data):
        pass
    assert f"The data directory {data} cannot be written to: " in str(caught.value)
    assert "SCANNER_DATA_DIR" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be tried only by root")
def test_a_data_directory_of_somebody_else_stops_the_start_with_advice(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(StartError, match="Permission denied") as caught, Scratch.open(data):
            pass
    finally:
        os.seteuid(0)
    assert "SCANNER_DATA_DIR" in str(caught.value)


# ---- free space


def test_the_free_space_is_that_of_the_fullest_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {tmp_path / "a": 300, tmp_path / "b": 200}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 0, sizes[path]))
    assert free_bytes(*sizes) == 200


def test_directories_that_cannot_be_looked_at_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    others = [tmp_path / "missing", tmp_path / "file" / "below", tmp_path / ("x" * 300)]
    assert free_bytes(tmp_path, *others) > 0
    assert free_bytes(*others) == 0
