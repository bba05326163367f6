"""How a run of scannercli becomes a result or an error, and what becomes of its report file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import (
    BadReportError,
    DiskError,
    ImageError,
    MemoryLimitError,
    RegistryError,
    RegistryUnreachableError,
    ScanError,
    ScannerConfigurationError,
    ScannerFailedError,
    ScannerUnreachableError,
    TimeLimitError,
)
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.aqua import AquaSettings, scanner
from harbor_scanner.scanners.aqua.failures import CAUSES, failure
from harbor_scanner.scanners.base import ScanResult, Workspace
from support.aqua import LOG4J, LOG4SHELL, FakeWorkspace, element, outcome, report, scan_request, scanner_with

REPORT = report(element(LOG4J, LOG4SHELL))


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    directory = tmp_path / "reports"
    directory.mkdir()
    return directory


def settings(reports: Path, **changes: Any) -> AquaSettings:
    return AquaSettings(username="harbor_scanner", password="c0nsole$ecret", reports_dir=reports, **changes)


def scan(reports: Path, workspace: Workspace, **changes: Any) -> ScanResult:
    return asyncio.run(scanner_with(settings(reports, **changes)).scan(scan_request(), workspace))


def error_of(reports: Path, workspace: Workspace, **changes: Any) -> ScanError:
    with pytest.raises(ScanError) as caught:
        scan(reports, workspace, **changes)
    return caught.value


# ---- the run


def test_a_scan_gives_the_findings_of_the_report(reports: Path, tmp_path: Path) -> None:
    result = scan(reports, FakeWorkspace(tmp_path, REPORT))
    assert [(finding.id, finding.package) for finding in result.findings] == [("CVE-2021-44228", "log4j-core")]


def test_the_program_gets_its_limit_and_secrets_but_no_environment(reports: Path, tmp_path: Path) -> None:
    workspace = FakeWorkspace(tmp_path, REPORT)
    scan(reports, workspace, scan_timeout=77.0)
    (run,) = workspace.runs
    assert run.environment == {}
    assert run.time_limit == 77.0
    assert {"c0nsole$ecret", "sword:fish"} <= set(run.secrets)


def test_a_broken_policy_of_the_console_is_no_failure(reports: Path, tmp_path: Path) -> None:
    assert len(scan(reports, FakeWorkspace(tmp_path, REPORT, outcome(4))).findings) == 1


@pytest.mark.parametrize("exit_code", [0, 4])
@pytest.mark.parametrize("content", [None, b"", b" \n", b'{"resources": [', b"{}", b"[]"])
def test_an_end_without_a_report_is_a_failure_with_the_last_words(
    reports: Path, tmp_path: Path, exit_code: int, content: bytes | None
) -> None:
    ended = outcome(exit_code, stderr="\x1b[31mERROR\x1b[0m\tnobody listens\n")
    error = error_of(reports, FakeWorkspace(tmp_path, content, ended))
    assert type(error) is BadReportError
    assert "ERROR\tnobody listens" in error.message
    assert error.advice


@pytest.mark.parametrize(
    ("ended", "kind"),
    [(outcome(143, timed_out=True), TimeLimitError), (outcome(137), MemoryLimitError)],
)
def test_a_program_that_was_ended_has_no_result_whatever_it_wrote(
    reports: Path, tmp_path: Path, ended: Outcome, kind: type[ScanError]
) -> None:
    assert type(error_of(reports, FakeWorkspace(tmp_path, REPORT, ended))) is kind


@pytest.mark.parametrize("exit_code", [1, 2, 3, 5, 6, 139, 255])
def test_any_other_exit_code_is_a_failure_whatever_was_written(reports: Path, tmp_path: Path, exit_code: int) -> None:
    error = error_of(reports, FakeWorkspace(tmp_path, REPORT, outcome(exit_code)))
    assert f"exit code {exit_code}" in error.message


def test_reading_the_report_leaves_the_event_loop_alone(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def read(path: Path) -> ScanResult:
        threads.append(threading.current_thread())
        return ScanResult([])

    monkeypatch.setattr(scanner, "_read", read)
    scan(reports, FakeWorkspace(tmp_path, REPORT))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


# ---- the report file


@pytest.mark.parametrize("delete", [True, False])
def test_the_report_file_is_private_and_random(reports: Path, tmp_path: Path, delete: bool) -> None:
    seen = []

    def look(path: Path) -> None:
        seen.append((path, stat.S_IMODE(path.stat().st_mode)))

    for _ in range(2):
        scan(reports, FakeWorkspace(tmp_path, REPORT, act=look), report_delete=delete)
    (first, mode), (second, _) = seen
    assert first.parent == second.parent == reports
    assert first != second
    assert first.match("aqua_scan_report_*.json")
    assert mode == 0o600


@pytest.mark.parametrize("ended", [outcome(0), outcome(1), outcome(4), outcome(137), outcome(143, timed_out=True)])
@pytest.mark.parametrize("content", [REPORT, b"no json"])
@pytest.mark.parametrize("delete", [True, False])
def test_the_report_file_goes_with_the_workspace_unless_it_is_to_be_kept(
    reports: Path, tmp_path: Path, ended: Outcome, content: Any, delete: bool
) -> None:
    workspace = FakeWorkspace(tmp_path, content, ended)
    with contextlib.suppress(ScanError):
        scan(reports, workspace, report_delete=delete)
    (written,) = reports.iterdir()
    assert written.stat().st_size > 0
    assert workspace.temporary == ([written] if delete else [])


def test_a_report_file_that_vanished_is_a_failure(reports: Path, tmp_path: Path) -> None:
    error = error_of(reports, FakeWorkspace(tmp_path, REPORT, act=Path.unlink))
    assert type(error) is BadReportError
    assert "no report" in error.message


def test_a_report_file_that_cannot_be_read_is_a_failure(reports: Path, tmp_path: Path) -> None:
    def replace(path: Path) -> None:
        path.unlink()
        path.mkdir()

    error = error_of(reports, FakeWorkspace(tmp_path, REPORT, act=replace))
    assert type(error) is DiskError
    assert "SCANNER_AQUA_REPORTS_DIR" in error.advice


@pytest.mark.parametrize("place", ["missing", "file"])
def test_a_bad_reports_directory_is_named_before_anything_runs(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    workspace = FakeWorkspace(tmp_path, REPORT)
    error = error_of(tmp_path / place, workspace)
    assert type(error) is ScannerConfigurationError
    assert str(tmp_path / place) in error.message
    assert "SCANNER_AQUA_REPORTS_DIR" in error.advice
    assert not workspace.runs


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("delete", [True, False])
def test_a_full_disk_may_be_tried_again(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, delete: bool
) -> None:
    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    error = error_of(reports, FakeWorkspace(tmp_path, REPORT), report_delete=delete)
    assert type(error) is DiskError
    assert error.retriable
    assert os.strerror(number) in error.message


# ---- the causes

KNOWN = [
    ("Failed getting image manifest: 412 Precondition Failed", RegistryError, "OVERRIDE_REGISTRY_CREDENTIALS=true"),
    ("Failed getting image manifest: 412 Precondition Failed", RegistryError, "4.6.20181"),
    ("Failed getting image manifest: 412 Precondition Failed", RegistryError, "disable deployment security"),
    ("Failed scanning image: image was not found in registry", RegistryError, "SCANNER_AQUA_USE_IMAGE_TAG=false"),
    ("Failed scanning image: no such registry", ScannerConfigurationError, "SCANNER_AQUA_REGISTRY"),
    ("Post http://aqua:8080/api/v1/login: dial tcp 10.0.0.9:8080: connect: connection refused", None, "AQUA_HOST"),
    ("Post http://aqua:8080/api/v2/x: dial tcp: lookup aqua on 10.0.0.2:53: no such host", None, "AQUA_HOST"),
    ("Get http://aqua:8080/api: dial tcp 10.0.0.9:8080: i/o timeout", None, "SCANNER_AQUA_HOST"),
    ("Get https://aqua:8443/api: net/http: TLS handshake timeout", None, "SCANNER_AQUA_HOST"),
    ("Failed registering with server: 502 Bad Gateway", None, "SCANNER_AQUA_HOST"),
    ("Failed registering with server: unexpected status code: 503", None, "SCANNER_AQUA_HOST"),
    ("Failed registering with server: HTTP 504", None, "SCANNER_AQUA_HOST"),
    ("Failed registering with server: context deadline exceeded", None, "SCANNER_AQUA_HOST"),
    ("Failed connecting to server: 401 Unauthorized", ScannerConfigurationError, "SCANNER_AQUA_USERNAME"),
    ("Failed to login: invalid credentials", ScannerConfigurationError, "SCANNER_AQUA_TOKEN"),
    ("Failed registering scanner: 403 Forbidden", ScannerConfigurationError, "Scanner role"),
    ("Failed connecting to server: missing or malformed --host", ScannerConfigurationError, "SCANNER_AQUA_HOST"),
    ('Post "aqua:8080/api": unsupported protocol scheme "aqua"', ScannerConfigurationError, "SCANNER_AQUA_HOST"),
    ("http: server gave HTTP response to HTTPS client", ScannerConfigurationError, "SCANNER_AQUA_HOST"),
    ("Get https://aqua:8443: x509: certificate signed by unknown authority", ScannerConfigurationError, "NO_VERIFY"),
    ("License has expired", ScannerConfigurationError, "licence"),
    ("Error: unknown flag: --robot-username", ScannerConfigurationError, "4.6.20181"),
    ("flag provided but not defined: -direct-cc", ScannerConfigurationError, "scannercli of your Aqua"),
    ("Failed pulling image: 401 Unauthorized", RegistryError, "entered in the Aqua console"),
    ("Get https://core.harbor.domain/v2/library/mongo: 403 Forbidden", RegistryError, "robot account"),
    ("denied: requested access to pull the resource is denied", RegistryError, "robot account"),
    (
        "Get https://core.harbor.domain/v2/: dial tcp: connect: connection refused",
        RegistryUnreachableError,
        "reaches the registry",
    ),
    ("Get https://h/v2/: http: server gave HTTP response to HTTPS client", RegistryError, "whichever it speaks"),
    ("Failed connecting to registry: i/o timeout", RegistryUnreachableError, "reaches the registry"),
    ("Failed getting image manifest: manifest unknown", RegistryError, "deleted"),
    ("write /opt/aquascans/layer.tar: no space left on device", DiskError, "/opt/aquascans"),
    ("fatal error: runtime: out of memory", MemoryLimitError, "SCANNER_WORKERS"),
    ("Failed scanning image: unsupported image type", ImageError, "kinds of images"),
]


@pytest.mark.parametrize(("line", "kind", "advice"), KNOWN)
def test_a_known_cause_has_its_class_and_advice(line: str, kind: type[ScanError] | None, advice: str) -> None:
    error = failure(outcome(1, stderr=f"INFO\tWill scan image without using Docker\nERROR\t{line}\n"))
    assert type(error) is (kind or ScannerUnreachableError)
    assert advice in error.advice
    assert line in error.message


def test_the_unreachable_console_may_be_tried_again_but_wrong_settings_may_not() -> None:
    retriable = {line: failure(outcome(1, stderr=line)).retriable for line, _, _ in KNOWN}
    assert retriable["Get http://aqua:8080/api: dial tcp 10.0.0.9:8080: i/o timeout"]
    assert not retriable["Failed to login: invalid credentials"]
    assert not retriable["Failed getting image manifest: 412 Precondition Failed"]


def test_every_cause_of_the_table_is_tried_by_a_test() -> None:
    seen = {failure(outcome(1, stderr=line)).message.partition(" (exit code")[0] for line, _, _ in KNOWN}
    assert seen == {cause.message for cause in CAUSES}


def test_exit_code_five_means_the_licence() -> None:
    error = failure(outcome(5, stderr="ERROR\tdial tcp: connection refused"))
    assert type(error) is ScannerConfigurationError
    assert "licence" in error.message
    assert "connection refused" in error.message


@pytest.mark.parametrize(
    "line",
    [
        '2020-01-02 11:34:03.651\tWARN\tFailed checking host\t{"error": "dial unix: connection refused"}',
        "2020-01-02T11:34:03.651Z\tINFO\tretrying after 401 Unauthorized",
        "\x1b[33mWARN\x1b[0m\tx509: certificate signed by unknown authority",
        "DEBUG\tno such registry",
    ],
)
def test_a_line_that_is_no_error_is_no_cause(line: str) -> None:
    error = failure(outcome(1, stderr=f"{line}\nERROR\tFailed scanning image\n"))
    assert type(error) is ScannerFailedError
    assert "did not make clear" in error.message


def test_the_telling_cause_wins_over_what_follows_from_it() -> None:
    lines = "ERROR\tno space left on device\nERROR\tFailed uploading results: connection reset by peer"
    assert type(failure(outcome(1, stderr=lines))) is DiskError


def test_a_cause_on_standard_output_is_shown_too() -> None:
    error = failure(outcome(1, stdout="Failed scanning image: no such registry\n", stderr="INFO\tConnecting\n"))
    assert type(error) is ScannerConfigurationError
    assert error.message.endswith("Failed scanning image: no such registry\nINFO\tConnecting")


def test_an_unknown_failure_shows_its_last_words_and_is_not_tried_again() -> None:
    lines = [f"line {number}" for number in range(40)]
    error = failure(outcome(3, stderr="\n".join([*lines, "\x1b[1;31mpanic\x1b[0m: kaboom"])))
    assert type(error) is ScannerFailedError
    assert not error.retriable
    assert "exit code 3" in error.message
    assert error.message.endswith("line 39\npanic: kaboom")
    assert "line 10" not in error.message


def test_a_silent_failure_has_a_message_all_the_same() -> None:
    assert failure(outcome(1)).message.endswith("(exit code 1).")


# ---- the version


def version(tmp_path: Path, ended: Outcome) -> str:
    workspace = FakeWorkspace(tmp_path, outcome=ended)
    found = asyncio.run(scanner_with(AquaSettings()).version(workspace))
    (run,) = workspace.runs
    assert run.argv == ["scannercli", "version"]
    assert run.time_limit == 30
    return found


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        ("scannercli version 4.5.19304, compiled Oct 31 2019 10:49:47\n", "", "4.5.19304"),
        ("Aqua Security scanner v2022.4.595 (linux/amd64)\n", "", "2022.4.595"),
        ("6.5.22026-rc.1\n", "", "6.5.22026-rc.1"),
        ("server 4.5.fb6d6d73\n", "", "4.5.fb6d6d73"),
        ("", "2020-01-02 11:34:03.651\tINFO\tversion 6.2.0.\n", "6.2.0"),
        ("\x1b[32m6.5\x1b[0m\n", "", "6.5"),
        ("\n  development build \n", "", "development build"),
        ("x" * 300, "", "x" * 100),
    ],
)
def test_the_version_is_found_in_whatever_is_printed(tmp_path: Path, stdout: str, stderr: str, expected: str) -> None:
    assert version(tmp_path, outcome(stdout=stdout, stderr=stderr)) == expected


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (outcome(0), ScannerConfigurationError),
        (outcome(1, stdout="6.5.0"), ScannerConfigurationError),
        (outcome(143, stdout="6.5.0", timed_out=True), TimeLimitError),
    ],
)
def test_a_version_that_is_not_told_is_an_error(tmp_path: Path, ended: Outcome, kind: type[ScanError]) -> None:
    with pytest.raises(kind):
        version(tmp_path, ended)


def test_endless_lines_do_not_hold_up_the_service() -> None:
    for word in ("license ", "invalid ", "malformed x "):
        began = time.process_time()
        failure(outcome(1, stderr=word * (64 * 1024 // len(word))))
        assert time.process_time() - began < 1
