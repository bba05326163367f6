"""`harbor-scanner doctor` as it is typed: on machines that are well and on machines that are not."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner import __version__, warden
from support import advisories, images, mounts, pages, syft
from support.doctor import Request, answering
from support.oci import Registry
from support.registry import ROBOT
from support.service import free_port, serving
from support.standin import ScannerCli

HERE = "tests/e2e/test_doctor.py"
BLOCKS = [block for block in pages.blocks() if block.what == HERE]
OUTCOMES = {"ok", "warning", "failure", "unknown", "skipped"}
FULL = 'mount -t tmpfs -o size=64k none "$1"; head -c 1000000 /dev/zero > "$1/filler" 2>/dev/null; shift; exec "$@"'
READ_ONLY = 'mount -t tmpfs -o ro none "$1"; shift; exec "$@"'


class Machine:
    """Where the command is typed: a home, and settings for Aqua with its console."""

    def __init__(self, directory: Path, program: ScannerCli) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        reports = directory / "reports"
        reports.mkdir()
        self.settings = {
            "PATH": f"{program.directory}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TMPDIR": str(self.temporary),
            "SCANNER_API_ADDR": f"127.0.0.1:{free_port()}",
            "SCANNER_DATA_DIR": str(self.data),
            "SCANNER_AQUA_USERNAME": program.config.username,
            "SCANNER_AQUA_PASSWORD": program.config.password,
            "SCANNER_AQUA_REPORTS_DIR": str(reports),
            "SCANNER_AQUA_HOST": "http://127.0.0.1:1",
        }
        self.password = program.config.password

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "harbor_scanner", "doctor", *arguments]

    def doctor(
        self, *arguments: str, within: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*within, *self.command(*arguments)], env={**self.settings, **environment}, cwd=self.directory,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.check(done)
        return done

    def check(self, done: subprocess.CompletedProcess[str]) -> None:
        """Fail if anything was left behind, or told that must not be."""
        assert "Traceback" not in done.stderr
        assert list(self.temporary.iterdir()) == []
        assert list(warden.marked_processes(os.fsencode(f"HARBOR_SCANNER_WORKSPACE={self.temporary}"))) == []
        assert self.running() == []
        assert self.password not in done.stdout + done.stderr

    def running(self) -> list[str]:
        """Return the commands of processes that were started for a trial, and still run."""
        commands = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                commands.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return [command for command in commands if str(self.temporary) in command]

    def json(self, *arguments: str, within: Sequence[str] = (), **environment: str) -> dict[str, Any]:
        done = self.doctor("--json", *arguments, within=within, **environment)
        assert done.stderr == ""
        document: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if document["healthy"] else 1)
        return document


def of(document: dict[str, Any], area: str, name: str) -> list[str]:
    return [one["outcome"] for one in document["checks"] if (one["area"], one["name"]) == (area, name)]


def said(document: dict[str, Any], area: str) -> str:
    return "\n".join(f"{one['what']} {one['advice']}" for one in document["checks"] if one["area"] == area)


@pytest.fixture
def machine(scannercli: ScannerCli) -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="hd-"))
    yield Machine(directory, scannercli)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def console(machine: Machine) -> Iterator[str]:
    """The URL of a console that knows the account of the machine."""

    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/api/v1/login":
            known = json.loads(request.body)["password"] == machine.password
            return (200, {}, b'{"token": "t"}') if known else (401, {}, b"")
        return 200, {}, b"{}"

    with answering(answer) as server:
        yield server.url


def test_a_machine_that_is_well(machine: Machine, console: str, registry: Registry) -> None:
    registry.push(images.debian(), "doctor/well", "12")
    image = f"{registry.url}/doctor/well:12"
    account = {"HARBOR_SCANNER_REGISTRY_USERNAME": ROBOT.username, "HARBOR_SCANNER_REGISTRY_PASSWORD": ROBOT.password}
    done = machine.doctor("--image", image, SCANNER_AQUA_HOST=console, **account)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert ROBOT.password not in done.stdout
    lines = done.stdout.splitlines()
    areas = [line for line in lines if line and not line.startswith(" ")][:-1]
    assert areas == ["settings", "store", "disk", "limits", "api", "aqua", "registry", "proxies", "clock"]
    assert "  ✔ ok       credentials: The console accepts user and password." in lines
    assert lines[-1].startswith("Nothing was found that fails scans: ")
    assert not machine.data.exists()


def test_a_machine_that_is_not_says_what_to_do_and_ends_with_1(machine: Machine) -> None:
    redis = "redis://:hunter2-password@127.0.0.1:1"
    done = machine.doctor(SCANNER_REDIS_URL=redis, SCANNER_AQUA_REPORTS_DIR="/nowhere/reports")
    assert done.returncode == 1
    assert "hunter2" not in done.stdout
    assert "✘ failure  connection: redis://127.0.0.1:1/0 does not answer" in done.stdout
    assert "✘ failure  console: The Aqua console at http://127.0.0.1:1/api/v1/login refuses" in done.stdout
    assert "cannot write to /nowhere/reports" in done.stdout
    assert "             To do: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Scans will fail: 3 failures")


def test_the_document_for_programs_has_its_documented_shape(machine: Machine, console: str) -> None:
    document = machine.json(SCANNER_AQUA_HOST=console, SCANNER_AQUA_PASSWORD="wrong", SCANNER_TYPO="x")
    assert list(document) == ["schema", "version", "role", "healthy", "seconds", "totals", "checks"]
    assert (document["schema"], document["version"], document["role"]) == (
        "harbor-scanner/doctor/1",
        __version__,
        "all",
    )
    assert document["healthy"] is False
    assert list(document["checks"][0]) == ["area", "name", "outcome", "what", "advice"]
    assert set(document["totals"]) == OUTCOMES
    for outcome, count in document["totals"].items():
        assert [one["outcome"] for one in document["checks"]].count(outcome) == count
    assert of(document, "aqua", "credentials") == ["failure"]
    assert of(document, "settings", "unknown") == ["warning"]
    page = (pages.ROOT / "docs" / "doctor.md").read_text()
    assert all(f"| `{one['area']}` |" in page for one in document["checks"])
    assert all(f"`{word}`" in page for word in [*document, *document["checks"][0], *OUTCOMES, document["schema"]])


def test_settings_with_which_the_service_does_not_start_are_all_told(machine: Machine) -> None:
    document = machine.json(SCANNER_WORKERS="many", SCANNER_AQUA_PASSWORD="", SCANNER_REDIS_URL="x://:hunter2@y")
    assert of(document, "settings", "values") == ["failure"] * 3
    assert of(document, "settings", "rest") == ["skipped"]
    assert "hunter2" not in said(document, "settings")
    file = machine.directory / "values.yaml"
    file.write_text("service: {workerThreads: none}\n")
    assert "service.workerThreads" in said(machine.json("--config", str(file)), "settings")


@pytest.mark.parametrize(("role", "programs"), [("api", False), ("worker", True)])
def test_a_role_is_looked_at_as_what_it_does(machine: Machine, role: str, programs: bool) -> None:
    document = machine.json("--role", role, SCANNER_REDIS_URL="redis://127.0.0.1:1", SCANNER_ENABLED="aqua")
    assert document["role"] == role
    assert bool(of(document, "aqua", "program")) == programs


def test_a_service_that_runs_goes_on_as_before(machine: Machine, console: str) -> None:
    environment = {**machine.settings, "SCANNER_AQUA_HOST": console}
    del environment["SCANNER_API_ADDR"]
    del environment["SCANNER_DATA_DIR"]
    with serving(machine.directory / "service", environment) as service:
        service.wait_for(lambda: "scanner found" in service.log(), "scanner found")
        pid, log = service.pid, service.log()
        document = machine.json(
            SCANNER_AQUA_HOST=console, SCANNER_DATA_DIR=str(service.data), SCANNER_API_ADDR=service.address
        )
        assert document["healthy"], document
        assert of(document, "store", "embedded") == ["ok"]
        assert "The embedded store runs" in said(document, "store")
        assert of(document, "api", "service") == ["ok"]
        assert of(document, "api", "metadata") == ["ok"]
        assert service.probe()[1]["status"] == "ready"
        assert (service.pid, service.log()) == (pid, log)


def test_whatever_hangs_it_ends_and_says_so(machine: Machine, scannercli: ScannerCli) -> None:
    scannercli.path.write_text("#!/bin/sh\nexec sleep 3600\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        document = machine.json(
            "--registry", f"https://127.0.0.1:{port}", SCANNER_AQUA_HOST=f"https://127.0.0.1:{port}",
            SCANNER_REDIS_URL=f"redis://127.0.0.1:{port}", SCANNER_REDIS_POOL_READ_TIMEOUT="0",
        )  # fmt: skip
    assert of(document, "aqua", "console") == ["failure"]
    assert of(document, "registry", "connection") == ["failure"]
    assert of(document, "store", "connection") == ["failure"]
    assert "no answer within" in said(document, "store")
    assert of(document, "clock", "time") == ["unknown"]
    assert of(document, "aqua", "program") == ["failure"]
    assert of(document, "aqua", "version") == []


def test_a_signal_ends_it_and_leaves_nothing(machine: Machine, scannercli: ScannerCli) -> None:
    scannercli.path.write_text(f"#!/bin/sh\ntouch {machine.directory}/begun\nexec sleep 3600\n")
    with subprocess.Popen(
        machine.command(), env=machine.settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (machine.directory / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    machine.check(subprocess.CompletedProcess([], 143, out, err))


@pytest.mark.parametrize(("script", "words"), [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")])
def test_a_disk_without_room_or_writes_is_told(machine: Machine, script: str, words: str) -> None:
    if reason := mounts.missing():
        pytest.skip(reason)
    machine.data.mkdir()
    within = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh", str(machine.data)]
    document = machine.json(within=within)
    assert "failure" in of(document, "disk", "directory")
    assert words in said(document, "disk")


def test_on_a_terminal_it_shows_marks_and_colours_and_on_a_plain_one_letters(machine: Machine) -> None:
    assert "✘" in on_terminal(machine, TERM="xterm-256color", PYTHONIOENCODING="utf-8")
    plain = on_terminal(machine, TERM="dumb", PYTHONIOENCODING="ascii")
    assert "x failure" in plain
    assert "\x1b[1;31m" not in plain


def test_a_narrow_terminal_cuts_nothing_off(machine: Machine) -> None:
    missing = machine.directory / "a-directory-with-a-long-name-that-no-line-has-room-for" / "reports"
    shown = on_terminal(machine, TERM="dumb", COLUMNS="50", SCANNER_AQUA_REPORTS_DIR=str(missing))
    assert str(missing) in "".join(shown.split())


def on_terminal(machine: Machine, **environment: str) -> str:
    here, there = pty.openpty()
    with subprocess.Popen(
        machine.command(), env={**machine.settings, **environment}, stdin=there, stdout=there, stderr=there
    ):
        os.close(there)
        shown = b""
        while data := _read(here):
            shown += data
    os.close(here)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any more
        return b""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_documented_commands_run_as_they_stand(machine: Machine, block: pages.Block, registry: Registry) -> None:
    """On a machine with the scanner osv, and the test's registry in the place of harbor.example."""
    if reason := syft.missing():
        pytest.skip(reason)
    advisories.install(machine.data)
    registry.push(images.alpine(), "library/app", "1.4")
    text = block.text.replace("https://harbor.example", registry.url).replace("harbor.example", registry.url)
    (machine.directory / "bin").mkdir()
    program = machine.directory / "bin" / "harbor-scanner"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harbor_scanner "$@"\n')
    program.chmod(0o755)
    osv = {name: value for name, value in machine.settings.items() if "AQUA" not in name}
    account = {"HARBOR_SCANNER_REGISTRY_USERNAME": ROBOT.username, "HARBOR_SCANNER_REGISTRY_PASSWORD": ROBOT.password}
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", text], cwd=machine.directory, capture_output=True, text=True, timeout=170, check=False,
        env={**osv, **account, "PATH": f"{program.parent}:{osv['PATH']}", "SCANNER_OSV_UPDATE_EVERY": "0"},
    )  # fmt: skip
    machine.check(done)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pages_have_commands_for_this_test() -> None:
    assert {block.page for block in BLOCKS} >= {"docs/doctor.md"}
