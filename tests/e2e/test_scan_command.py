"""`harbor-scanner scan` as it is typed: images in registries and in files, exit codes, and nothing left behind."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harbor_scanner import warden
from harbor_scanner.harbor.checks import check_report
from standins.aqua.behaviour import Behaviour
from support import advisories, images, syft
from support.layouts import docker_save, entry, write_layout
from support.oci import Registry
from support.registry import ROBOT
from support.service import serving
from support.standin import ScannerCli

INDEX = "application/vnd.oci.image.index.v1+json"


class Desk:
    """Where somebody types commands: a home, settings, and the stand-in for Aqua's program."""

    def __init__(self, directory: Path, program: ScannerCli) -> None:
        self.directory = directory
        self.program = program
        self.data = directory / "data"
        reports = directory / "reports"
        reports.mkdir()
        self.settings = {
            "PATH": f"{program.directory}:{os.environ['PATH']}",
            "HOME": str(directory),
            "SCANNER_DATA_DIR": str(self.data),
            "SCANNER_AQUA_USERNAME": program.config.username,
            "SCANNER_AQUA_PASSWORD": program.config.password,
            "SCANNER_AQUA_REPORTS_DIR": str(reports),
            "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS": "true",
        }

    def start(self, arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "harbor_scanner", "scan", *arguments],
            env={**self.settings, **environment}, cwd=self.directory, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def scan(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        with self.start(arguments, **environment) as process:
            out, err = process.communicate(stdin, timeout=90)
        assert "Traceback" not in err
        assert self.left() == []
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def left(self) -> list[Path]:
        """Return what scans have left on the disk, and fail if any program still runs."""
        marker = os.fsencode(f"HARBOR_SCANNER_WORKSPACE={self.data}")
        assert list(warden.marked_processes(marker)) == []
        return [*(self.data / "scratch").glob("*"), *(self.directory / "reports").glob("*")]


@pytest.fixture
def desk(scannercli: ScannerCli) -> Iterator[Desk]:
    directory = Path(tempfile.mkdtemp(prefix="hd-"))
    yield Desk(directory, scannercli)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def pushed(desk: Desk, registry: Registry) -> str:
    """The name of an image that ROBOT may pull, under a tag."""
    registry.push(images.debian(), "library/scan-command", "12")
    registry.push(images.without_packages(), "library/scan-command", "empty")
    desk.program.connect(registry)
    return f"{registry.url.removeprefix('http://')}/library/scan-command:12"


ACCOUNT = {"HARBOR_SCANNER_REGISTRY_USERNAME": ROBOT.username, "HARBOR_SCANNER_REGISTRY_PASSWORD": ROBOT.password}


def test_a_tag_is_scanned_with_the_account_of_the_environment(desk: Desk, pushed: str) -> None:
    done = desk.scan(pushed, **ACCOUNT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith(f"{pushed}  {images.debian().digest[:19]}  by Aqua")
    assert "CVE-2023-38545" in done.stdout


def test_the_account_may_come_from_options_and_from_docker(desk: Desk, pushed: str) -> None:
    typed = desk.scan(pushed, "--username", ROBOT.username, "--password-stdin", stdin=f"{ROBOT.password}\n")
    assert typed.returncode == 0, typed.stderr
    docker = desk.directory / ".docker"
    docker.mkdir()
    auth = base64.b64encode(f"{ROBOT.username}:{ROBOT.password}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {pushed.partition("/")[0]: {"auth": auth}}}))
    assert desk.scan(pushed).returncode == 0


def test_a_wrong_password_is_told_and_shown_nowhere(desk: Desk, pushed: str) -> None:
    done = desk.scan(pushed, "--username", ROBOT.username, "--password-stdin", stdin="wr0ng-Marked-secret")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("The scan failed: ")
    assert "refused this account" in done.stderr
    assert "wr0ng" not in done.stderr
    nobody = desk.scan(pushed)
    assert nobody.returncode == 3
    assert "docker login" in nobody.stderr


def test_exit_codes(desk: Desk, pushed: str) -> None:
    assert desk.scan(pushed, "--fail-on", "critical", **ACCOUNT).returncode == 1
    # What is shown does not change what fails.
    assert desk.scan(pushed, "--fail-on", "medium", "--severity", "critical", **ACCOUNT).returncode == 1
    assert desk.scan(pushed.replace(":12", ":empty"), "--fail-on", "unknown", **ACCOUNT).returncode == 0
    desk.program.force(Behaviour(exit=1))
    failed = desk.scan(pushed, "--fail-on", "low", **ACCOUNT)
    assert (failed.returncode, failed.stdout) == (3, "")
    assert failed.stderr.startswith("The scan failed: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a//b",), "is no name of an image"),
        (("debian", "--scanner", "nope"), "there is no scanner 'nope'"),
        (("debian", "--platform", "linux"), "is no platform"),
        (("debian", "--output", "/no/such/directory/x"), "cannot be written"),
        (("debian", "--format", "spdx", "--fail-on", "high"), "need another format"),
        (("debian", "--format", "harbor", "--ignore-unfixed"), "need another format"),
        (("debian", "--username", "me"), "one needs the other"),
        (("debian", "--via", "nowhere"), "is no address of an adapter"),
        (("./image.tar", "--via", "http://localhost:1"), "pulls from a registry"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    desk: Desk, arguments: tuple[str, ...], told: str
) -> None:
    done = desk.scan(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in " ".join(done.stderr.split())


def test_the_report_of_harbor_is_what_harbor_takes_in(desk: Desk, pushed: str) -> None:
    file = desk.directory / "report.json"
    done = desk.scan(pushed, "--format", "harbor", "--output", str(file), "--fail-on", "critical", **ACCOUNT)
    assert (done.returncode, done.stdout) == (1, "")
    report = check_report(file.read_bytes())
    assert report.artifact is not None
    assert (report.artifact.digest, report.artifact.tag) == (images.debian().digest, "12")


def test_documents_go_to_stdout_and_are_the_same_findings(desk: Desk, pushed: str) -> None:
    found = json.loads(desk.scan(pushed, "--format", "json", **ACCOUNT).stdout)
    log = json.loads(desk.scan(pushed, "--format", "sarif", **ACCOUNT).stdout)
    assert found["summary"]["total"] == len(found["findings"]) == len(log["runs"][0]["results"]) > 10
    fixable = json.loads(desk.scan(pushed, "--format", "json", "--ignore-unfixed", **ACCOUNT).stdout)
    assert fixable["summary"]["total"] == found["summary"]["fixable"]


def test_a_scanner_without_sboms_says_what_to_do(desk: Desk, pushed: str) -> None:
    done = desk.scan(pushed, "--format", "spdx", **ACCOUNT)
    assert done.returncode == 3
    assert "SCANNER_SBOM=true" in done.stderr


def test_of_an_index_a_platform_is_chosen_and_told(desk: Desk, pushed: str, registry: Registry) -> None:
    host = pushed.partition("/")[0]
    both = {"amd64": images.debian(), "arm64": images.alpine()}
    for image in both.values():
        registry.push(image, "library/scan-index")
    entries = [entry(image, platform={"os": "linux", "architecture": name}) for name, image in both.items()]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    with registry._client() as client:
        url = "/v2/library/scan-index/manifests/multi"
        client.put(url, content=body, headers={"Content-Type": INDEX}).raise_for_status()
    for name, image in both.items():
        done = desk.scan(f"{host}/library/scan-index:multi", "--platform", f"linux/{name}", **ACCOUNT)
        assert done.returncode == 0, done.stderr
        assert f"linux/{name}  {image.digest[:19]}" in done.stdout
    other = desk.scan(f"{host}/library/scan-index:multi", "--platform", "linux/s390x", **ACCOUNT)
    assert other.returncode == 3
    assert "it has linux/amd64, linux/arm64" in other.stderr


@pytest.mark.skipif(bool(syft.missing()), reason=syft.missing() or "-")
@pytest.mark.parametrize("kind", ["layout", "archive", "packed"])
def test_images_in_files_are_pulled_from_a_registry_of_their_own(desk: Desk, kind: str) -> None:
    advisories.install(desk.data)
    path = desk.directory / "image"
    if kind == "layout":
        write_layout(path, {"": images.debian()})
    else:
        docker_save(path, {"debian:12": images.debian()}, "w:gz" if kind == "packed" else "w")
    done = desk.scan("./image", "--scanner", "osv", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["image"]["repository"] == "local/image"
    assert "CVE-2023-38545" in {finding["id"] for finding in document["findings"]}
    if kind == "layout":
        assert document["image"]["digest"] == images.debian().digest
    sbom = desk.scan("./image", "--scanner", "osv", "--format", "cyclonedx")
    assert sbom.returncode == 0, sbom.stderr
    assert "curl" in {component["name"] for component in json.loads(sbom.stdout)["components"]}


@pytest.mark.skipif(bool(syft.missing()), reason=syft.missing() or "-")
def test_without_a_database_nothing_is_called_clean(desk: Desk) -> None:
    write_layout(desk.directory / "image", {"": images.debian()})
    done = desk.scan("./image", "--scanner", "osv", "--fail-on", "critical")
    assert (done.returncode, done.stdout) == (3, "")
    assert "db update" in done.stderr


def test_a_file_that_is_no_image_fails_the_scan(desk: Desk) -> None:
    (desk.directory / "x.tar").write_text("no archive")
    done = desk.scan("x.tar")
    assert done.returncode == 3
    assert "is no archive of an image" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_scanner_and_leaves_nothing(desk: Desk, pushed: str, number: signal.Signals) -> None:
    desk.program.force(Behaviour(hang=True))
    with desk.start([pushed], **ACCOUNT) as process:
        deadline = time.monotonic() + 30
        while not desk.program.scans() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert desk.program.scans()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, "")
    assert err == "The scan was stopped.\n"
    assert desk.left() == []


def test_a_running_adapter_scans_the_same(desk: Desk, pushed: str) -> None:
    here = json.loads(desk.scan(pushed, "--format", "json", **ACCOUNT).stdout)
    settings = {**desk.settings, "SCANNER_API_AUTH_TOKENS": "t0ken-of-the-adapter"}
    with serving(desk.directory / "service", {**settings, "SCANNER_DATA_DIR": str(desk.directory / "d2")}) as service:
        there = desk.scan(pushed, "--format", "json", "--via", service.url, **ACCOUNT,
                          HARBOR_SCANNER_VIA_TOKEN="t0ken-of-the-adapter")  # fmt: skip
        assert there.returncode == 0, there.stderr
        assert json.loads(there.stdout)["findings"] == here["findings"]
    gone = desk.scan(pushed, "--via", service.url, **ACCOUNT)
    assert gone.returncode == 3
    assert gone.stderr.startswith("The scan failed: ")


def test_a_terminal_shows_colours_and_what_goes_on(desk: Desk, pushed: str) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "harbor_scanner", "scan", pushed],
        env={**desk.settings, **ACCOUNT, "TERM": "xterm-256color", "COLUMNS": "100"}, cwd=desk.directory,
        stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
    ) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        assert process.wait(60) == 0
    os.close(leader)
    assert b"\x1b[1;31mCritical" in shown
    assert b"Scanning" in shown


def test_no_store_is_made(desk: Desk, pushed: str) -> None:
    assert desk.scan(pushed, **ACCOUNT).returncode == 0
    assert sorted(path.name for path in desk.data.iterdir()) == ["scratch", "scratch.lock"]
