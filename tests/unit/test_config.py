"""The settings of the service: the names and defaults of the Aqua adapter's README, and our additions."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner.config import Config, Role, load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.groups import GROUPS_AFTER, GROUPS_BEFORE, LogLevel
from harbor_scanner.http.settings import ListenAddress
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.plugins import find_plugins
from harbor_scanner.scanners.aqua import AquaSettings
from harbor_scanner.scanners.aqua.settings import RegisterImages
from harbor_scanner.settings import settings_of

GROUPS: tuple[type[msgspec.Struct], ...] = (*GROUPS_BEFORE, AquaSettings, *GROUPS_AFTER)
"""With Aqua as the only scanner."""

RELAXED = settings(deadline=None)
"""Time never decides."""

REQUIRED = {"SCANNER_AQUA_USERNAME": "harbor_scanner", "SCANNER_AQUA_PASSWORD": "hunter2-aqua"}

# The configuration table of the Aqua adapter's README, as it stands there: name, default, the value it stands for.
# The two that it calls required have no default. One default is deliberately not its own: without SCANNER_REDIS_URL
# the embedded store starts, instead of a connection to redis://harbor-harbor-redis:6379.
README_TABLE: list[tuple[str, str, str, Any]] = [
    ("SCANNER_LOG_LEVEL", "info", "log.level", LogLevel.INFO),
    ("SCANNER_API_ADDR", ":8080", "api.addr", ListenAddress("", 8080)),
    ("SCANNER_API_TLS_CERTIFICATE", "", "api.tls_certificate", None),
    ("SCANNER_API_TLS_KEY", "", "api.tls_key", None),
    ("SCANNER_API_READ_TIMEOUT", "15s", "api.read_timeout", 15),
    ("SCANNER_API_WRITE_TIMEOUT", "15s", "api.write_timeout", 15),
    ("SCANNER_API_IDLE_TIMEOUT", "60s", "api.idle_timeout", 60),
    ("SCANNER_AQUA_USERNAME", "", "aqua.username", ""),
    ("SCANNER_AQUA_PASSWORD", "", "aqua.password", ""),
    ("SCANNER_AQUA_HOST", "http://csp-console-svc.aqua:8080", "aqua.host", "http://csp-console-svc.aqua:8080"),
    ("SCANNER_AQUA_REGISTRY", "Harbor", "aqua.registry", "Harbor"),
    ("SCANNER_AQUA_REPORTS_DIR", "/var/lib/scanner/reports", "aqua.reports_dir", Path("/var/lib/scanner/reports")),
    ("SCANNER_AQUA_USE_IMAGE_TAG", "false", "aqua.use_image_tag", False),
    ("SCANNER_CLI_NO_VERIFY", "false", "aqua.no_verify", False),
    ("SCANNER_CLI_SHOW_NEGLIGIBLE", "true", "aqua.show_negligible", True),
    ("SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS", "false", "aqua.override_registry_credentials", False),
    ("SCANNER_CLI_DIRECT_CC", "false", "aqua.direct_cc", False),
    ("SCANNER_CLI_REGISTER_IMAGES", "Never", "aqua.register_images", RegisterImages.NEVER),
    ("SCANNER_STORE_REDIS_NAMESPACE", "harbor.scanner.aqua:store", "store.namespace", "harbor.scanner.aqua:store"),
    ("SCANNER_STORE_REDIS_SCAN_JOB_TTL", "1h", "store.scan_job_ttl", 3600),
    ("SCANNER_REDIS_URL", "", "redis.address", None),
    ("SCANNER_REDIS_POOL_MAX_ACTIVE", "5", "redis.pool_max_active", 5),
    ("SCANNER_REDIS_POOL_MAX_IDLE", "5", "redis.pool_max_idle", 5),
    ("SCANNER_REDIS_POOL_IDLE_TIMEOUT", "5m", "redis.pool_idle_timeout", 300),
    ("SCANNER_REDIS_POOL_CONNECTION_TIMEOUT", "1s", "redis.connection_timeout", 1),
    ("SCANNER_REDIS_POOL_READ_TIMEOUT", "1s", "redis.read_timeout", 1),
    ("SCANNER_REDIS_POOL_WRITE_TIMEOUT", "1s", "redis.write_timeout", 1),
]

ADDITIONS: list[tuple[str, str, str, Any]] = [
    ("SCANNER_LOG_FILE", "false", "log.file", False),
    ("SCANNER_API_TLS_ENABLED", "", "api.tls_enabled", None),
    ("SCANNER_API_CLIENT_CAS", "", "api.client_cas", None),
    ("SCANNER_API_POLL_HOLD", "3s", "api.poll_hold", 3),
    ("SCANNER_API_LEGACY_REPORT", "false", "api.legacy_report", False),
    ("SCANNER_API_AUTH_BASIC", "", "api.auth_basic", ""),
    ("SCANNER_API_AUTH_TOKENS", "", "api.auth_tokens", ()),
    ("SCANNER_AQUA_TOKEN", "", "aqua.token", ""),
    ("SCANNER_AQUA_REPORT_DELETE", "true", "aqua.report_delete", True),
    ("SCANNER_AQUA_SCAN_TIMEOUT", "30m", "aqua.scan_timeout", 1800),
    ("SCANNER_SBOM", "false", "sbom.by_syft", False),
    ("SCANNER_SBOM_TIMEOUT", "10m", "sbom.timeout", 600),
    ("SCANNER_WORKERS", "2", "worker.workers", 2),
    ("SCANNER_MAX_ATTEMPTS", "3", "worker.max_attempts", 3),
    ("SCANNER_DATA_DIR", "$XDG_DATA_HOME/harbor-scanner", "worker.data_dir", Path("/xdg/harbor-scanner")),
    ("SCANNER_DISK_FLOOR", "200Mi", "worker.disk_floor", 200 * 2**20),
    ("SCANNER_SHUTDOWN_GRACE", "30s", "worker.shutdown_grace", 30),
    ("SCANNER_STORE_KEY", "", "store.key", ""),
    ("SCANNER_REDIS_SENTINEL_USERNAME", "", "redis.sentinel_username", ""),
    ("SCANNER_REDIS_SENTINEL_PASSWORD", "", "redis.sentinel_password", ""),
    ("SCANNER_REDIS_TLS_CA", "", "redis.ca_file", None),
]

SECRETS = [
    "SCANNER_AQUA_PASSWORD",
    "SCANNER_AQUA_TOKEN",
    "SCANNER_API_AUTH_BASIC",
    "SCANNER_API_AUTH_TOKENS",
    "SCANNER_STORE_KEY",
    "SCANNER_REDIS_URL",
    "SCANNER_REDIS_SENTINEL_PASSWORD",
]


@pytest.fixture(autouse=True)
def data_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")


def known() -> list[str]:
    """The names of all settings, with Aqua as the only scanner."""
    return [setting.name for group in GROUPS for setting in settings_of(group).values()]


def load(role: Role = Role.ALL, /, **environment: str) -> Config:
    return load_config({**REQUIRED, **environment}, role)


def problems(role: Role = Role.ALL, /, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(role, **environment)
    return caught.value.problems


def value_at(config: Config, place: str) -> Any:
    group, field = place.split(".")
    return getattr(aqua(config) if group == "aqua" else getattr(config, group), field)


def aqua(config: Config) -> AquaSettings:
    [enabled] = config.scanners
    current = enabled.settings.current()
    assert isinstance(current, AquaSettings)
    return current


@pytest.mark.parametrize(("name", "default", "place", "value"), [*README_TABLE, *ADDITIONS])
def test_each_setting_has_its_documented_name_and_default(name: str, default: str, place: str, value: Any) -> None:
    # Something must be set for the console: what the test is not about.
    config = load_config(REQUIRED if name == "SCANNER_AQUA_TOKEN" else {"SCANNER_AQUA_TOKEN": "token"})
    [entry] = [entry for entry in config.effective if entry.setting.name == name]
    assert entry.setting.default == default
    assert entry.origin == "default"
    assert value_at(config, place) == value


def test_there_is_no_setting_that_this_page_does_not_know() -> None:
    beside = {"SCANNER_CONFIG", "SCANNER_ENABLED"}
    assert {*known()} - beside == {name for name, *_ in [*README_TABLE, *ADDITIONS]}


def test_the_effective_settings_are_listed_in_the_order_of_the_documentation() -> None:
    names = [entry.setting.name for entry in load().effective]
    names.remove("SCANNER_AQUA_WORKERS")
    assert names == known()


def test_the_variables_of_the_readme_s_docker_installation_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("aqua_adapter.key", "aqua_adapter.crt"):
        (tmp_path / name).touch()
    config = load(
        SCANNER_LOG_LEVEL="info",
        SCANNER_API_ADDR=":8443",
        SCANNER_API_TLS_KEY=str(tmp_path / "aqua_adapter.key"),
        SCANNER_API_TLS_CERTIFICATE=str(tmp_path / "aqua_adapter.crt"),
        SCANNER_AQUA_HOST="https://aqua-console:8443",
        SCANNER_AQUA_REGISTRY="Harbor",
        SCANNER_AQUA_USE_IMAGE_TAG="false",
        SCANNER_AQUA_REPORTS_DIR="/var/lib/scanner/reports",
        SCANNER_REDIS_URL="redis://redis:6379",
    )
    assert config.api.tls
    assert config.api.addr.port == 8443
    assert config.redis.address == RedisAddress((("redis", 6379),))
    assert config.unknown == ()


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"])
def test_every_log_level_of_the_readme_is_taken(level: str) -> None:
    assert load(SCANNER_LOG_LEVEL=level).log.level == level
    assert load(SCANNER_LOG_LEVEL=level.upper()).log.level == level


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "", 8080),
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::]:8443", "::", 8443),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("localhost:8080", "localhost", 8080),
        (":http", "", 80),
        ("localhost:https", "localhost", 443),
        (":0", "", 0),
    ],
)
def test_listen_addresses_are_read_as_go_reads_them(text: str, host: str, port: int) -> None:
    assert load(SCANNER_API_ADDR=text).api.addr == ListenAddress(host, port)


@pytest.mark.parametrize(
    "text",
    ["8080", ":", "localhost", ":65536", ":99999999999999999999", ":-1", "::1:8080", "[::1]", "[::1", "1:2:3", ":٣",
     ":no-such-service-name", "http://:8080", "[[::1]]:80"],
)  # fmt: skip
def test_other_listen_addresses_are_refused(text: str) -> None:
    [problem] = problems(SCANNER_API_ADDR=text)
    assert problem.startswith(f"SCANNER_API_ADDR: {text!r} is not allowed")
    assert ":8080, 127.0.0.1:8080 or [::1]:8080" in problem


@pytest.mark.parametrize(("host", "text"), [("", ":80"), ("::1", "[::1]:80"), ("localhost", "localhost:80")])
def test_a_listen_address_is_written_as_it_is_read(host: str, text: str) -> None:
    assert str(ListenAddress(host, 80)) == text


def test_all_problems_of_an_environment_are_listed_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_config(
            {
                "SCANNER_LOG_LEVEL": "loud",
                "SCANNER_API_ADDR": "8080",
                "SCANNER_API_READ_TIMEOUT": "15",
                "SCANNER_API_AUTH_BASIC": "hunter2",
                "SCANNER_AQUA_USE_IMAGE_TAG": "yes",
                "SCANNER_CLI_REGISTER_IMAGES": "Sometimes",
                "SCANNER_WORKERS": "0",
                "SCANNER_DISK_FLOOR": "much",
                "SCANNER_REDIS_URL": "http://:hunter2@redis",
                "SCANNER_STORE_KEY_FILE": "/no/such/file",
                "SCANNER_REDIS_TLS_CA": "/no/such/ca.pem",
            }
        )
    found = caught.value.problems
    assert [problem.split(":")[0] for problem in found] == [
        "SCANNER_LOG_LEVEL",
        "SCANNER_API_ADDR",
        "SCANNER_API_READ_TIMEOUT",
        "SCANNER_API_AUTH_BASIC",
        "SCANNER_AQUA_USE_IMAGE_TAG",
        "SCANNER_CLI_REGISTER_IMAGES",
        "SCANNER_WORKERS",
        "SCANNER_DISK_FLOOR",
        "SCANNER_STORE_KEY_FILE",
        "SCANNER_REDIS_URL",
    ]
    assert "'loud' is not allowed; it must be one of trace, debug, info, warn, warning, error, fatal, panic" in found[0]
    assert "it must be user:password" in found[3]
    assert "'yes' is not allowed; it must be true or false" in found[4]
    assert "one of Never, Compliant, Always" in found[5]
    assert "a whole number from 1 to 1000" in found[6]
    assert "redis+sentinel://" in found[9]
    assert "hunter2" not in str(caught.value)


def test_problems_between_settings_are_listed_together_with_those_of_single_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load_config(
            {
                "SCANNER_ENABLED": "aqua",
                "SCANNER_LOG_LEVEL": "loud",
                "SCANNER_API_TLS_KEY": "/no/such/key",
                "SCANNER_REDIS_TLS_CA": "/no",
            }
        )
    text = str(caught.value)
    for name in ("LOG_LEVEL", "API_TLS_CERTIFICATE", "API_TLS_KEY", "AQUA_USERNAME", "AQUA_PASSWORD", "REDIS_TLS_CA"):
        assert f"SCANNER_{name}" in text


def test_the_console_s_user_and_password_are_required_for_scanning() -> None:
    with pytest.raises(SettingsError) as caught:
        load_config({"SCANNER_ENABLED": "aqua"})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "SCANNER_AQUA_USERNAME",
        "SCANNER_AQUA_PASSWORD",
    ]
    assert all("SCANNER_AQUA_TOKEN" in problem for problem in caught.value.problems)


def test_a_token_takes_the_place_of_user_and_password() -> None:
    assert aqua(load_config({"SCANNER_AQUA_TOKEN": "hunter2-token"})).token == "hunter2-token"


def test_a_role_that_only_serves_needs_no_credentials_of_the_console() -> None:
    config = load_config({"SCANNER_REDIS_URL": "redis://redis", "SCANNER_ENABLED": "aqua"}, Role.API)
    assert config.role is Role.API
    assert config.role.serves
    assert not config.role.scans


def test_a_role_that_only_scans_does_not_look_at_the_api_s_certificates() -> None:
    config = load(Role.WORKER, SCANNER_REDIS_URL="redis://redis", SCANNER_API_TLS_KEY="/no/such/key")
    assert config.role.scans
    assert not config.role.serves


@pytest.mark.parametrize("role", [Role.API, Role.WORKER])
def test_roles_that_run_apart_need_a_redis_to_meet_in(role: Role) -> None:
    [problem] = problems(role)
    assert problem.startswith("SCANNER_REDIS_URL: ")
    assert f"--role {role}" in problem


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.touch()
    for name in ("SCANNER_API_TLS_CERTIFICATE", "SCANNER_API_TLS_KEY"):
        [problem] = problems(**{name: str(file)})
        assert "SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY" in problem


def test_client_certificates_need_tls(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.touch()
    [problem] = problems(SCANNER_API_CLIENT_CAS=str(file))
    assert problem.startswith("SCANNER_API_CLIENT_CAS: ")


def test_files_of_tls_that_cannot_be_read_are_problems_with_path_and_reason(tmp_path: Path) -> None:
    found = problems(
        SCANNER_API_TLS_CERTIFICATE="/no/such/cert.pem",
        SCANNER_API_TLS_KEY=str(tmp_path),
        SCANNER_REDIS_TLS_CA="/no/such/ca.pem",
    )
    assert found == [
        "SCANNER_API_TLS_CERTIFICATE: '/no/such/cert.pem' cannot be read: No such file or directory",
        f"SCANNER_API_TLS_KEY: '{tmp_path}' cannot be read: Is a directory",
        "SCANNER_REDIS_TLS_CA: '/no/such/ca.pem' cannot be read: No such file or directory",
    ]


def test_polls_are_not_held_longer_than_harbor_waits() -> None:
    [problem] = problems(SCANNER_API_POLL_HOLD="5s")
    assert "SCANNER_API_POLL_HOLD: '5s' is not allowed; it must be a duration from 0s to 4s" in problem


def test_polls_are_not_held_longer_than_a_response_may_take() -> None:
    assert load(SCANNER_API_WRITE_TIMEOUT="2s").api.poll_hold == 1
    [problem] = problems(SCANNER_API_WRITE_TIMEOUT="2s", SCANNER_API_POLL_HOLD="3s")
    assert "SCANNER_API_POLL_HOLD: 3s is not allowed; it must be shorter than SCANNER_API_WRITE_TIMEOUT (2s)" in problem
    assert load(SCANNER_API_WRITE_TIMEOUT="0").api.write_timeout == 0
    assert load(SCANNER_API_WRITE_TIMEOUT="2s", SCANNER_API_POLL_HOLD="0").api.poll_hold == 0


@pytest.mark.parametrize("text", ["user", "user:", ":password", ":"])
def test_basic_credentials_need_user_and_password(text: str) -> None:
    [problem] = problems(SCANNER_API_AUTH_BASIC=text)
    assert "SCANNER_API_AUTH_BASIC: its value (not shown) is not allowed; it must be user:password" in problem


def test_tokens_are_a_comma_list() -> None:
    assert load(SCANNER_API_AUTH_TOKENS=" new-token ,old-token,, ").api.auth_tokens == ("new-token", "old-token")


@pytest.mark.parametrize("text", [",", " ", " , "])
def test_a_list_without_any_token_is_a_problem_and_does_not_let_everybody_in(text: str) -> None:
    [problem] = problems(SCANNER_API_AUTH_TOKENS=text)
    assert problem.startswith("SCANNER_API_AUTH_TOKENS: ")


@pytest.mark.parametrize("name", ["SCANNER_API_AUTH_BASIC", "SCANNER_API_AUTH_TOKENS"])
def test_an_empty_file_of_credentials_is_a_problem_and_does_not_let_everybody_in(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.touch()
    [problem] = problems(**{f"{name}_FILE": str(file)})
    assert problem.startswith(f"{name}_FILE: ")


@pytest.mark.parametrize("name", [*SECRETS, "SCANNER_AQUA_USERNAME"])
def test_every_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    value = "redis://:hunter2@redis" if name == "SCANNER_REDIS_URL" else "hunter2:hunter2"
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    environment = {key: text for key, text in REQUIRED.items() if key != name}
    config = load_config({**environment, f"{name}_FILE": str(file)})
    [entry] = [entry for entry in config.effective if entry.setting.name == name]
    assert entry.text == value
    assert entry.origin == f"file {file}"
    assert "hunter2" not in entry.setting.shown(entry.text)
    assert config.unknown == ()


def test_exactly_these_settings_are_secret() -> None:
    listed = (setting for group in GROUPS for setting in settings_of(group).values())
    secret = {setting.name for setting in listed if setting.secret}
    assert secret - {"SCANNER_AQUA_USERNAME"} == set(SECRETS)


def test_every_secret_value_is_known_to_redaction() -> None:
    config = load(
        SCANNER_AQUA_TOKEN="hunter2-token",
        SCANNER_API_AUTH_BASIC="harbor:hunter2-basic",
        SCANNER_API_AUTH_TOKENS="hunter2-new, hunter2-old",
        SCANNER_STORE_KEY="hunter2-key",
        SCANNER_REDIS_URL="redis://:hunter2%40redis@redis",
        SCANNER_REDIS_SENTINEL_PASSWORD="hunter2-sentinel",
    )
    assert set(config.secrets()) >= {
        "hunter2-aqua",
        "hunter2-token",
        "hunter2-basic",
        "harbor:hunter2-basic",
        "hunter2-new",
        "hunter2-old",
        "hunter2-key",
        "hunter2@redis",
        "hunter2-sentinel",
    }
    assert all(config.secrets())


def test_a_user_s_name_is_not_taken_out_of_logs_for_it_may_be_a_common_word() -> None:
    config = load(SCANNER_AQUA_USERNAME="scanner", SCANNER_API_AUTH_BASIC="harbor:hunter2-basic")
    assert not {"scanner", "harbor"} & set(config.secrets())


def test_where_each_value_came_from_is_known(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hunter2")
    config = load(SCANNER_WORKERS="4", SCANNER_STORE_KEY_FILE=str(file))
    origins = {entry.setting.name: entry.origin for entry in config.effective}
    assert origins["SCANNER_WORKERS"] == "environment"
    assert origins["SCANNER_STORE_KEY"] == f"file {file}"
    assert origins["SCANNER_LOG_LEVEL"] == "default"


def test_a_misspelt_variable_is_told_with_the_nearest_name() -> None:
    assert load(SCANNER_AQUA_HOSTS="x").unknown == (
        "SCANNER_AQUA_HOSTS is not a setting; did you mean SCANNER_AQUA_HOST?",
    )


def test_service_links_of_kubernetes_are_neither_settings_nor_told() -> None:
    config = load(
        SCANNER_API_SERVICE_HOST="10.0.0.1",
        SCANNER_API_SERVICE_PORT="8080",
        SCANNER_API_PORT="tcp://10.0.0.1:8080",
        SCANNER_API_PORT_8080_TCP_ADDR="10.0.0.1",
    )
    assert config.unknown == ()


@pytest.mark.parametrize("xdg", ["", "relative/path"])
def test_without_a_usable_xdg_directory_the_data_lies_under_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, xdg: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = load()
    assert config.worker.data_dir == Path("/home/somebody/.local/share/harbor-scanner")
    [entry] = [entry for entry in config.effective if entry.setting.name == "SCANNER_DATA_DIR"]
    assert entry.text == "/home/somebody/.local/share/harbor-scanner"
    assert entry.origin == "default"


def test_a_user_without_a_home_is_asked_for_a_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> Any:
        raise KeyError

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    [problem] = problems()
    assert problem.startswith("SCANNER_DATA_DIR (default): ")
    assert load(SCANNER_DATA_DIR="/data").worker.data_dir == Path("/data")


def test_directories_are_absolute_for_scanners_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(SCANNER_DATA_DIR="data", SCANNER_AQUA_REPORTS_DIR="reports")
    assert config.worker.data_dir == tmp_path / "data"
    assert aqua(config).reports_dir == tmp_path / "reports"


def names(config: Config) -> list[str]:
    return [enabled.name for enabled in config.scanners]


def test_the_scanners_of_which_anything_is_set_are_enabled_in_the_order_of_this_package() -> None:
    assert names(load()) == ["aqua"]
    assert names(load_config({"QUALYS_ACCESS_TOKEN": "t0ken"})) == ["qualys"]
    assert names(load(SCANNER_QUALYS_POD="US1")) == ["aqua", "qualys"]
    assert names(load(SCANNER_ENABLED="qualys, aqua")) == ["qualys", "aqua"]
    [entry] = [entry for entry in load().effective if entry.setting.name == "SCANNER_ENABLED"]
    assert (entry.text, entry.origin) == ("aqua", "default")


def test_the_scanner_that_needs_no_account_is_enabled_if_nothing_is_configured() -> None:
    for role in (Role.ALL, Role.WORKER):
        config = load_config({"SCANNER_REDIS_URL": "redis://redis"}, role)
        assert names(config) == ["osv"]
        [entry] = [entry for entry in config.effective if entry.setting.name == "SCANNER_ENABLED"]
        assert (entry.text, entry.origin) == ("osv", "default")
    assert names(load_config({"SCANNER_OSV_MISSING": "notice"})) == ["osv"]
    assert names(load()) == ["aqua"]
    assert names(load(SCANNER_OSV_MISSING="notice")) == ["aqua", "osv"]


def test_without_any_scanner_all_that_one_could_be_set_by_is_told() -> None:
    installed = find_plugins()
    others = {name: plugin for name, plugin in installed.found.items() if name != "osv"}
    for role in (Role.ALL, Role.WORKER):
        with pytest.raises(SettingsError) as caught:
            load_config(
                {"SCANNER_REDIS_URL": "redis://redis"}, role, plugins=msgspec.structs.replace(installed, found=others)
            )
        [problem] = caught.value.problems
        for name in ("SCANNER_ENABLED", "SCANNER_AQUA_USERNAME", "SCANNER_AQUA_PASSWORD", "SCANNER_QUALYS_POD",
                     "QUALYS_ACCESS_TOKEN"):  # fmt: skip
            assert name in problem


def test_an_api_apart_from_its_workers_must_be_told_the_scanners() -> None:
    with pytest.raises(SettingsError) as caught:
        load_config({"SCANNER_REDIS_URL": "redis://redis"}, Role.API)
    assert caught.value.problems == [
        "SCANNER_ENABLED: it is needed with --role api: a comma list of aqua, qualys, osv",
    ]


@pytest.mark.parametrize("text", ["aqua,aqua", "aqua,,qualys", ",", " "])
def test_a_list_of_scanners_names_each_once(text: str) -> None:
    [problem] = problems(SCANNER_ENABLED=text)
    assert "SCANNER_ENABLED" in problem
    assert "each once" in problem


def test_an_unknown_scanner_is_told_with_the_known_ones() -> None:
    [problem] = problems(SCANNER_ENABLED="aqua,acqua")
    assert problem == "SCANNER_ENABLED: there is no scanner 'acqua'; there are aqua, qualys, osv"


def test_only_enabled_scanners_are_checked_but_the_settings_of_all_are_known() -> None:
    config = load(SCANNER_ENABLED="aqua", SCANNER_QUALYS_POD="nonsense", SCANNER_QUALYS_WORKERS="many")
    assert names(config) == ["aqua"]
    assert config.unknown == config.warnings == ()
    assert len(problems(SCANNER_ENABLED="qualys,aqua", SCANNER_QUALYS_POD="nonsense")) == 1


def test_each_scanner_may_have_a_number_of_workers_of_its_own() -> None:
    config = load(SCANNER_ENABLED="aqua,qualys", SCANNER_WORKERS="3", SCANNER_QUALYS_WORKERS="5")
    assert [(enabled.name, enabled.workers) for enabled in config.scanners] == [("aqua", 3), ("qualys", 5)]
    [problem] = problems(SCANNER_AQUA_WORKERS="0")
    assert problem.startswith("SCANNER_AQUA_WORKERS: '0' is not allowed")


def test_what_only_fails_some_scans_is_a_warning_and_only_for_who_scans() -> None:
    environment = {"SCANNER_ENABLED": "qualys", "SCANNER_REDIS_URL": "redis://redis"}
    told = [line.partition(":")[0] for line in load_config(environment).warnings]
    assert told == ["SCANNER_QUALYS_POD", "QUALYS_ACCESS_TOKEN"]
    assert load_config(environment, Role.API).warnings == ()


def test_secrets_of_every_scanner_are_known_to_redaction() -> None:
    config = load(QUALYS_ACCESS_TOKEN="hunter2-qualys", SCANNER_AQUA_HOST="http://me:hunter2-host@console")
    assert {"hunter2-aqua", "hunter2-qualys", "hunter2-host"} <= set(config.secrets())


def test_the_log_file_lies_in_the_data_directory() -> None:
    assert load().log_file is None
    config = load(SCANNER_LOG_FILE="true", SCANNER_DATA_DIR="/data")
    assert config.log_file == Path("/data/log/harbor-scanner.log")


MARK = "hunter2MARK"
PLACES = [name for name, *_ in [*README_TABLE, *ADDITIONS]] + [f"{name}_FILE" for name in SECRETS]
PLAUSIBLE = ["0", "1", "5", "15s", "-1s", "true", "/no/such/file", ":8080", "debug", "1Gi", "Always", "."]
WITH_SECRET = [
    MARK,
    f":{MARK}",
    f"user:{MARK}",
    f"{MARK}:",
    f",{MARK}, ",
    f"redis://:{MARK}@redis",
    f"redis://user:x@{MARK}@redis",
    f"redis://:{MARK}@redis:99999999",
    f"redis//:{MARK}@redis",
    f"redis:/user:{MARK}@redis",
    f"redis://:{MARK}@redis/{MARK}",
    f"redis://redis?password={MARK}",
    f"redis+sentinel://:{MARK}@one,two",
    f"unix://:{MARK}@/run/redis.sock",
    f"unix:///run/redis.sock?password={MARK}",
    f"{MARK}\udcff",
    f"{MARK}\0",
]
TEXTS = st.one_of(
    st.sampled_from(PLAUSIBLE), st.binary(max_size=20).map(lambda raw: os.fsdecode(raw.replace(b"\0", b""))), st.text()
)


@RELAXED
@given(
    st.dictionaries(st.sampled_from(PLACES), TEXTS, max_size=8),
    st.dictionaries(st.sampled_from(SECRETS), st.sampled_from(WITH_SECRET)),
    st.sampled_from(Role),
)
def test_any_environment_loads_or_has_problems_that_name_variables_and_show_no_secret(
    plain: dict[str, str], secret: dict[str, str], role: Role
) -> None:
    found: list[str] = []
    try:
        config = load_config({**REQUIRED, **plain, **secret}, role)
    except SettingsError as error:
        found = error.problems or ["no problem was told"]
    else:
        assert config.warnings == ()
        assert all(MARK not in entry.setting.shown(entry.text) for entry in config.effective)
        assert MARK not in str(config.redis.address)
        assert any(MARK in known for known in config.secrets()) or not secret
    for problem in found:
        assert problem.startswith("SCANNER_")
        assert MARK not in problem
        problem.encode()
