"""The command line: Qualys' own docker command is taken as it is, and screens say what there is to know."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from harbor_scanner import cli
from harbor_scanner import log as service_log
from harbor_scanner.config import Config
from harbor_scanner.redact import Redactor

VALUES = "service: {port: 5001}\nscannerArgs: {pod: US1, access-token: hunter2, podd: US2}\n"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    for handler in root.handlers:
        if isinstance(handler, service_log.LogFile):
            handler.close()
    root.handlers, root.level = before
    structlog.reset_defaults()
    service_log._Service.redactor = Redactor()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Config]:
    """The configurations with which the service was started, instead of starting it."""
    found: list[Config] = []
    monkeypatch.setattr(cli, "_run", found.append)
    monkeypatch.setenv("SCANNER_DATA_DIR", str(tmp_path / "data"))
    return found


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(VALUES)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harbor-scanner", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def entry(config: Config, name: str) -> tuple[str, str]:
    [found] = [entry for entry in config.effective if entry.setting.name == name]
    return found.text, found.origin


def test_the_deployment_guide_s_docker_command_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, served: list[Config], tmp_path: Path
) -> None:
    assert run(monkeypatch, "harbor-registry-service", "--file-logging=true", "--log-level=debug") == 0
    [config] = served
    assert [scanner.name for scanner in config.scanners] == ["qualys"]
    assert config.api.addr.port == 5000
    assert config.log_file == tmp_path / "data" / "log" / "harbor-scanner.log"
    assert entry(config, "SCANNER_LOG_LEVEL") == ("debug", "command line")


@pytest.mark.parametrize(
    ("arguments", "file", "level"),
    [
        ((), "false", "debug"),
        (("--file-logging",), "true", "debug"),
        (("--file-logging", "--log-level=warn"), "true", "warn"),
        (("--file-logging=false", "--log-level", "error"), "false", "error"),
    ],
)
def test_both_flags_are_optional(
    monkeypatch: pytest.MonkeyPatch, served: list[Config], arguments: tuple[str, ...], file: str, level: str
) -> None:
    assert run(monkeypatch, "harbor-registry-service", *arguments) == 0
    assert entry(served[0], "SCANNER_LOG_FILE")[0] == file
    assert entry(served[0], "SCANNER_LOG_LEVEL")[0] == level


def test_the_alias_enables_qualys_only_and_reads_the_file_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, served: list[Config], values: Path
) -> None:
    monkeypatch.setenv("SCANNER_ENABLED", "aqua")
    assert run(monkeypatch, "harbor-registry-service", "--config", str(values)) == 0
    [config] = served
    assert [scanner.name for scanner in config.scanners] == ["qualys"]
    assert config.api.addr.port == 5001


def test_serve_reads_the_file_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, served: list[Config], values: Path
) -> None:
    assert run(monkeypatch, "serve", f"--config={values}") == 0
    assert served[0].api.addr.port == 5001


def test_warnings_are_logged_at_the_start_also_to_the_file(
    monkeypatch: pytest.MonkeyPatch, served: list[Config], values: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "harbor-registry-service", "--file-logging", f"--config={values}") == 0
    lines = (tmp_path / "data" / "log" / "harbor-scanner.log").read_text().splitlines()
    assert any("did you mean scannerArgs.pod?" in json.loads(line)["event"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--log-level=loud",), "SCANNER_LOG_LEVEL (command line): 'loud' is not allowed"),
        (("--file-logging=maybe",), "SCANNER_LOG_FILE (command line): 'maybe' is not allowed"),
        (("--config=/no/such/file",), "'/no/such/file' cannot be read: No such file or directory"),
    ],
)
def test_wrong_flags_are_settings_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
    served: list[Config],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    assert run(monkeypatch, "harbor-registry-service", *arguments) == cli.EXIT_SETTINGS
    assert told in capsys.readouterr().err
    assert served == []


def test_config_shows_every_setting_with_its_origin_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: Path
) -> None:
    monkeypatch.setenv("SCANNER_QUALYS_PROXY", "http://me:hunter2@proxy:3128")
    assert run(monkeypatch, "config", "--json", "--config", str(values)) == 0
    captured = capsys.readouterr()
    rows: dict[str, Any] = {row["name"]: (row["value"], row["origin"]) for row in json.loads(captured.out)}
    assert rows["SCANNER_API_ADDR"] == (":5001", f"values.yaml {values}: service.port")
    assert rows["SCANNER_QUALYS_PROXY"] == ("http://[redacted]@proxy:3128", "environment")
    assert rows["QUALYS_ACCESS_TOKEN"] == ("********", f"values.yaml {values}: scannerArgs.access-token")
    assert run(monkeypatch, "config", "--config", str(values)) == 0
    captured = capsys.readouterr()
    assert "http://[redacted]@proxy:3128" in captured.out
    assert "warning: scannerArgs.podd" in captured.err
    assert "hunter2" not in captured.out + captured.err


def test_unknown_keys_are_shown_beside_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], values: Path
) -> None:
    values.write_text(VALUES.replace("US1", "US9"))
    assert run(monkeypatch, "config", "--config", str(values)) == cli.EXIT_SETTINGS
    error = capsys.readouterr().err
    assert f"  - scannerArgs.pod (in {values}): 'US9' is not allowed" in error
    assert f"warning: scannerArgs.podd (in {values}) is not a setting" in error


@pytest.mark.parametrize("command", ["doctor", "config"])
def test_no_room_for_the_output_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harbor_scanner", command],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SCANNER_DATA_DIR": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device. Make room" in done.stderr
