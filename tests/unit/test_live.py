"""Settings that change while the service runs: taken up if they are right, rejected as a whole if not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import structlog

from harbor_scanner import live
from harbor_scanner import log as service_log
from harbor_scanner.config import Config, load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.layers import Loader
from harbor_scanner.log import current_redactor
from harbor_scanner.plugins import find_plugins
from harbor_scanner.redact import Redactor
from harbor_scanner.scanners.qualys.settings import TOKEN_FILE, QualysSettings
from harbor_scanner.settings import TEXT, Setting, settings_of
from harbor_scanner.values import Values

PLUGINS = find_plugins()
REJECTED = "changed settings are rejected; the last good ones stay"
TAKEN = "changed settings take effect with the next scan"
RESTART = "changed settings take effect at the next start only"
GONE = "a file of settings is gone; what it held stays"


@pytest.fixture(autouse=True)
def redactor() -> Iterator[None]:
    yield
    service_log._Service.redactor = Redactor()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


class Mounted:
    """A directory in which Kubernetes mounts a ConfigMap: files are links to links that are turned."""

    def __init__(self, directory: Path, values: str, token: str) -> None:
        self.directory = directory
        self._count = 0
        self.swap(values, token)
        for name in ("values.yaml", "token"):
            (directory / name).symlink_to(f"..data/{name}")

    def swap(self, values: str, token: str) -> None:
        self._count += 1
        version = self.directory / f"..{self._count}"
        version.mkdir()
        (version / "values.yaml").write_text(values)
        (version / "token").write_text(token)
        (self.directory / "..tmp").symlink_to(version.name)
        (self.directory / "..tmp").rename(self.directory / "..data")


def load(tmp_path: Path, **environment: str) -> Config:
    return load_config({"SCANNER_ENABLED": "qualys", **environment}, path=tmp_path / "values.yaml", plugins=PLUGINS)


def current(config: Config) -> QualysSettings:
    settings = config.scanners[0].settings.current()
    assert isinstance(settings, QualysSettings)
    return settings


def replace(path: Path, text: str) -> None:
    (path.parent / "new").write_text(text)
    (path.parent / "new").rename(path)


def events(logged: list[Any], *names: str) -> list[Any]:
    return [entry for entry in logged if entry["event"] in names]


@pytest.mark.parametrize("how", ["write", "rename"])
def test_what_changed_in_the_file_holds_at_once(tmp_path: Path, logged: list[Any], how: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    before = current(config)
    text = "scannerArgs: {pod: US2, scan-timeout: 10m}\npersistence: {enable: true}\n"
    path.write_text(text) if how == "write" else replace(path, text)
    after = current(config)
    assert (before.pod, before.scan_timeout, before.persistence) == ("US1", 300, False)
    assert (after.pod, after.scan_timeout, after.persistence) == ("US2", 600, True)
    [told] = events(logged, TAKEN)
    assert told["settings"] == ["scannerArgs.pod", "persistence.enable", "scannerArgs.scan-timeout"]
    assert not events(logged, RESTART, REJECTED)


def test_a_mounted_configmap_and_secret_may_be_swapped_by_their_links(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path, "scannerArgs: {pod: US1}\n", "t0ken-old")
    config = load(tmp_path, QUALYS_ACCESS_TOKEN_FILE=str(tmp_path / "token"))
    assert (current(config).pod, current(config).access_token) == ("US1", "t0ken-old")
    mounted.swap("scannerArgs: {pod: EU1}\n", "t0ken-new\n")
    assert (current(config).pod, current(config).access_token) == ("EU1", "t0ken-new")


def test_a_change_is_seen_by_content_not_by_time_or_size(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    status = path.stat()
    config = load(tmp_path)
    path.write_text("scannerArgs: {pod: US2}\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert current(config).pod == "US2"


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    before = current(config)
    os.utime(path, (1, 1))
    replace(path, path.read_text())
    assert current(config) is before


def test_a_new_token_is_taken_out_of_logs_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {access-token: t0ken-old}\n")
    config = load(tmp_path)
    path.write_text("scannerArgs: {access-token: t0ken-new, proxy: 'http://me:pr0xy@host:1'}\n")
    current(config)
    redact = current_redactor()
    assert "t0ken-new" not in redact("token t0ken-new")
    assert "pr0xy" not in redact("proxy http://me:pr0xy@host:1")


@pytest.mark.parametrize(
    "text",
    ["scannerArgs: {pod: US9, scan-timeout: 9m}", "scannerArgs: {scan-timeout: 9m}\nservice: {port: x}", "[]",
     "a: \x00", "scannerArgs: {cert-path: /no/such/file, scan-timeout: 9m}", "scannerArgs: ["],
)  # fmt: skip
def test_an_invalid_file_is_rejected_as_a_whole_and_told_once(tmp_path: Path, logged: list[Any], text: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    good = current(config)
    path.write_text(text)
    assert [current(config) for _ in range(3)] == [good] * 3
    [told] = events(logged, REJECTED)
    assert told["problems"]
    path.write_text(text + " # again")
    current(config)
    assert len(events(logged, REJECTED)) == 2
    path.write_text("scannerArgs: {pod: US2}\n")
    assert current(config).pod == "US2"


def test_what_was_rejected_may_become_right_without_another_change_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCH_SECONDS", 0.0)
    path, certificate = tmp_path / "values.yaml", tmp_path / "cert.pem"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    path.write_text(f"scannerArgs: {{pod: US2, cert-path: {certificate}}}\n")
    assert current(config).pod == "US1"
    certificate.touch()
    assert current(config).pod == "US2"


def test_a_file_that_is_missing_or_empty_for_a_moment_changes_nothing(tmp_path: Path, logged: list[Any]) -> None:
    path, token = tmp_path / "values.yaml", tmp_path / "token"
    path.write_text("scannerArgs: {pod: US1}\n")
    token.write_text("t0ken")
    config = load(tmp_path, QUALYS_ACCESS_TOKEN_FILE=str(token))
    good = current(config)
    path.unlink()
    token.write_text("")
    assert [current(config) for _ in range(3)] == [good] * 3
    assert [(entry["path"], entry["reason"]) for entry in events(logged, GONE)] == [
        (str(path), "it is missing"), (str(token), "it is empty"),
    ]  # fmt: skip
    path.write_text("scannerArgs: {pod: US2}\n")
    assert (current(config).pod, current(config).access_token) == ("US2", "t0ken")


def test_changes_that_need_a_restart_are_told_once_with_their_keys(tmp_path: Path, logged: list[Any]) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("service: {port: 5000}\nscannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    path.write_text("service: {port: 5001, maxTimeout: 2m}\nredis: {maxIdleConnections: 9}\nscannerArgs: {pod: US2}\n")
    assert [current(config).pod for _ in range(3)] == ["US2"] * 3
    [told] = events(logged, RESTART)
    assert told["settings"] == ["service.port", "service.maxTimeout", "redis.maxIdleConnections"]
    path.write_text(path.read_text().replace("US2", "US3"))
    current(config)
    assert len(events(logged, RESTART)) == 1
    assert config.api.addr.port == 5000


def test_a_scanner_that_becomes_configured_needs_a_restart(tmp_path: Path, logged: list[Any]) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load_config({}, path=path, plugins=PLUGINS)
    path.write_text("scannerArgs: {pod: US1}\nSCANNER_AQUA_TOKEN: t0ken\n")
    current(config)
    [told] = events(logged, RESTART)
    assert told["settings"] == ["SCANNER_ENABLED"]


def test_new_unknown_keys_and_warnings_are_told_once(tmp_path: Path, logged: list[Any]) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\nzzz: 1\n")
    config = load(tmp_path)
    path.write_text("scannerArgs: {pod: US1, podd: US2}\nzzz: 1\n")
    for _ in range(3):
        current(config)
    assert [entry["event"] for entry in logged if "is not a setting" in entry["event"]] == [
        f"scannerArgs.podd (in {path}) is not a setting; did you mean scannerArgs.pod?"
    ]


def test_the_environment_goes_on_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path, SCANNER_QUALYS_POD="EU1")
    path.write_text("scannerArgs: {pod: US2}\n")
    assert current(config).pod == "EU1"


def test_a_file_that_appears_later_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values.yaml"
    monkeypatch.setattr("harbor_scanner.groups.VALUES_PATH", path)
    config = load_config({"SCANNER_ENABLED": "qualys"}, plugins=PLUGINS)
    path.write_text("scannerArgs: {pod: US2}\n")
    assert current(config).pod == "US2"


def test_the_watch_tells_of_changes_that_no_scan_asks_for(
    tmp_path: Path, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCH_SECONDS", 0.001)
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load(tmp_path)
    path.write_text("scannerArgs: {pod: US9}\n")

    async def watch() -> None:
        task = asyncio.create_task(config.live.watch())
        async with asyncio.timeout(30):
            while not events(logged, REJECTED):  # noqa: ASYNC110 - logs know no events
                await asyncio.sleep(0.001)
            path.write_text("scannerArgs: {pod: US2}\n")
            while not events(logged, TAKEN):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(watch())
    assert len(events(logged, REJECTED, TAKEN)) == 2


class Tokens(msgspec.Struct, frozen=True):
    token: Annotated[
        str,
        Setting("SCANNER_X_TOKEN", "", TEXT, "A token", secret=True, standing_file=Path("token"), keys=("x.token",)),
    ]


@pytest.mark.parametrize(
    ("content", "environment", "text", "origin"),
    [
        (None, {}, "", "default"),
        (b"", {}, "", "default"),
        (b" \n", {}, "", "default"),
        (b"t0ken\n", {}, "t0ken", "file token"),
        (b"t0ken", {"SCANNER_X_TOKEN": "other"}, "other", "environment"),
    ],
)
def test_a_standing_file_counts_if_it_exists_and_is_not_empty(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    environment: dict[str, str],
    text: str,
    origin: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("token").write_bytes(content)
    loader = Loader(environment)
    assert loader.load(Tokens) == Tokens(text)
    assert [entry.origin for entry in loader.effective] == [origin]


def test_a_standing_file_goes_before_values_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = Values.parse(Path("values.yaml"), b"x: {token: of-values}")
    assert Loader({}, values=values).load(Tokens) == Tokens("of-values")
    Path("token").write_text("t0ken")
    assert Loader({}, values=values).load(Tokens) == Tokens("t0ken")


def test_a_standing_file_that_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").mkdir()
    loader = Loader({})
    assert loader.load(Tokens) is None
    with pytest.raises(SettingsError, match=r"SCANNER_X_TOKEN \(file token\): it cannot be read: Is a directory"):
        loader.finish()


def test_the_token_of_qualys_stands_where_the_deployment_guide_mounts_it() -> None:
    assert settings_of(QualysSettings)["access_token"].standing_file == TOKEN_FILE
    assert Path("/usr/share/qscanner/accesstoken/token") == TOKEN_FILE


def test_trouble_in_values_yaml_keeps_no_new_token_from_being_used(tmp_path: Path, logged: list[Any]) -> None:
    path, token = tmp_path / "values.yaml", tmp_path / "token"
    path.write_text("scannerArgs: {pod: US1}\n")
    token.write_text("t0ken-1")
    config = load(tmp_path, QUALYS_ACCESS_TOKEN_FILE=str(token))
    path.write_text("scannerArgs: {pod: XX9, scan-timeout: 9m}\n")
    token.write_text("t0ken-2")
    settings = current(config)
    assert (settings.pod, settings.access_token, settings.scan_timeout) == ("US1", "t0ken-2", 300)
    assert "t0ken-2" not in current_redactor()("it is t0ken-2")
    assert len(events(logged, REJECTED)) == 1
    path.write_text("scannerArgs: {pod: US2}\n")
    assert (current(config).pod, current(config).access_token) == ("US2", "t0ken-2")


def test_a_file_that_is_just_being_written_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("scannerArgs: {pod: US1, scan-timeout: 8m}\n")
    config = load(tmp_path)
    path.write_text("scannerArgs: {pod: US2")

    def write_on(_: float) -> None:
        path.write_text("scannerArgs: {pod: US2, scan-timeout: 9m}\n")

    monkeypatch.setattr("harbor_scanner.live.time.sleep", write_on)
    assert current(config).scan_timeout == 480
    monkeypatch.setattr("harbor_scanner.live.time.sleep", lambda _: None)
    assert (current(config).pod, current(config).scan_timeout) == ("US2", 540)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else for a moment")
def test_a_directory_that_is_closed_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "mounted"
    directory.mkdir()
    tmp_path.chmod(0o755)
    path = directory / "values.yaml"
    path.write_text("scannerArgs: {pod: US1}\n")
    config = load_config({"SCANNER_ENABLED": "qualys"}, path=path, plugins=PLUGINS)
    directory.chmod(0o700)
    os.seteuid(65534)
    try:
        assert current(config).pod == "US1"
    finally:
        os.seteuid(0)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"t0ken",), daemon=True)
    writer.start()
    files = Files()
    assert files.read(pipe).data == b"t0ken"
    writer.join()
    assert files.again().read(pipe).data == b"t0ken"


def test_a_file_without_end_is_refused() -> None:
    assert Files().read(Path("/dev/zero")).problem == "it is larger than 128 KiB"
