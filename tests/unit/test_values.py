"""values.yaml: read as text, every wrong shape named, nothing of it quoted where it could be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner import chart
from harbor_scanner.chart import CHART_KEYS
from harbor_scanner.config import Config, Role, load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.groups import LogLevel
from harbor_scanner.http.settings import ListenAddress
from harbor_scanner.plugins import find_plugins
from harbor_scanner.scanners.qualys.settings import QualysSettings
from harbor_scanner.values import UnreadableValuesError, Values

RELAXED = settings(deadline=None)
PATH = Path("/conf/values.yaml")
KNOWN = ["scannerArgs.pod", "scannerArgs.access-token", "service.port", "persistence.enable", "fullnameOverride"]
PLUGINS = find_plugins()

# Every parameter of the deployment guide's table with its default, as it stands there.
GUIDE = """
fullnameOverride: qualys-scanner
helmInstallationPath:
persistence:
  enabled: TRUE
  enable: false
  storageClass: manual
  accessMode: ReadWriteMany
  size: 3Gi
redis:
  url:
  maxActiveConnections: 5
  maxIdleConnections: 5
service:
  workerThreads: 2
  scanJobTTLHour: 1
  maxTimeout: 1m
  replicaCount: 1
  logLevel: debug
  port: 5000
  tlsEnabled: false
  tlsCertData:
  tlsKeyData:
  disable-qualys-tls: TRUE
scannerArgs:
  log-level: info
  cache: local
  cache-dir: /root/.cache/qualys/qscanner
  pod:
  gateway-url:
  access-token:
  skip-verify-tls: FALSE
  cert-path:
  proxy:
  offline-scan: FALSE
  scan-timeout: 5m 0s
  max-network-retries: 10
  network-retry-wait-min: 5s
  cache-cleanup-duration-threshold: 4320h0m0s
  cache-cleanup-frequency: 720h0m0s
  enable-cache-cleanup: TRUE
"""


def parse(text: str) -> Values:
    return Values.parse(PATH, text.encode())


def lines(text: str, *, fatal: bool) -> list[str]:
    return [misfit.line for misfit in parse(text).misfits(KNOWN) if misfit.fatal is fatal]


def load(tmp_path: Path, text: str, role: Role = Role.ALL, /, **environment: str) -> Config:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    return load_config({"SCANNER_ENABLED": "qualys", **environment}, role, path=path, plugins=PLUGINS)


def problems(tmp_path: Path, text: str, /, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, **environment)
    return caught.value.problems


def qualys(config: Config) -> QualysSettings:
    current = config.scanners[0].settings.current()
    assert isinstance(current, QualysSettings)
    return current


@pytest.mark.parametrize("text", ["TRUE", "5m0s", "4320h0m0s", "3Gi", "0", "1e3", "0x10", "010", "1_000", "2026-01-01",
                                  "yes", "0.5", "'~'", '"null"', "a b", "1:30"])  # fmt: skip
def test_every_value_is_the_text_that_is_written_there(text: str) -> None:
    assert parse(f"scannerArgs:\n  pod: {text}\n").get("scannerArgs.pod") == text.strip("'\"")


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL", "''"])
def test_nothing_is_not_given(text: str) -> None:
    assert parse(f"scannerArgs:\n  pod: {text}\n").get("scannerArgs.pod") == ""
    assert lines(f"scannerArgs:\n  pod: {text}\n", fatal=True) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~", "{}"])
def test_a_file_may_hold_nothing(text: str) -> None:
    assert lines(text, fatal=True) == lines(text, fatal=False) == []


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        ("scannerArgs: [US1]", "scannerArgs", "it must hold keys with their values, not a list"),
        ("scannerArgs: US1", "scannerArgs", "it must hold keys with their values, not a single value"),
        ("scannerArgs: {pod: [US1]}", "scannerArgs.pod", "it must be a single value, not a list"),
        ("scannerArgs: {pod: {US1: 1}}", "scannerArgs.pod", "it must be a single value, not a map"),
        ("fullnameOverride: {a: 1}", "fullnameOverride", "it must be a single value, not a map"),
    ],
)
def test_wrong_shapes_are_named(text: str, key: str, told: str) -> None:
    assert lines(text, fatal=True) == [f"{key} (in /conf/values.yaml): {told}"]


def test_an_empty_section_is_named_and_means_its_defaults() -> None:
    told = ["service (in /conf/values.yaml) is empty: the defaults of its keys hold"]
    assert lines("service:\nscannerArgs: {pod: US1}", fatal=False) == told


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("scannerArgs: {podd: US1}", "scannerArgs.podd", "; did you mean scannerArgs.pod?"),
        ("scannerArgs: {accessToken: x}", "scannerArgs.accessToken", "; did you mean scannerArgs.access-token?"),
        ("scannerargs: {pod: US1}", "scannerargs", "; did you mean scannerArgs?"),
        ("pod: US1", "pod", "; did you mean scannerArgs.pod?"),
        ("service: {pod: US1}", "service.pod", "; did you mean service.port?"),
        ("scannerArgs.pod: US1", "scannerArgs.pod", "; write pod under scannerArgs"),
        ("zzz: [1, {a: 2}]", "zzz", ""),
    ],
)
def test_unknown_keys_are_told_once_with_the_nearest_known_one(text: str, key: str, hint: str) -> None:
    assert lines(text, fatal=False) == [f"{key} (in /conf/values.yaml) is not a setting{hint}"]
    assert lines(text, fatal=True) == []


def test_a_key_given_twice_is_told_and_the_last_one_holds() -> None:
    text = "scannerArgs:\n  pod: US1\n  pod: US2\nservice: {port: 1}\nservice: {}\n"
    assert lines(text, fatal=False) == [
        "/conf/values.yaml: line 3: pod is given twice; the last one holds",
        "/conf/values.yaml: line 5: service is given twice; the last one holds",
    ]
    assert parse(text).get("scannerArgs.pod") == "US2"
    assert parse(text).get("service.port") == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: !!python/object/apply:os.system [id]", "line 1: tags"),
        ("scannerArgs: {pod: !secret hunter2}", "line 1: tags"),
        ("scannerArgs:\n  <<: {pod: US1}", "line 2: merging"),
        ("? [a]\n: b", "line 1: a key must be a plain word"),
        ("[a, b]", "it must hold keys"),
        ("just text", "it must hold keys"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: {", "line 1"),
        ("a:\n\tb: 1", "line 2, column 1"),
        ("a: *hunter2", "undefined alias"),
        ("a: \x00", "characters"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason_and_without_its_text(text: str, reason: str) -> None:
    with pytest.raises(UnreadableValuesError) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_text_in_another_encoding_is_refused() -> None:
    with pytest.raises(UnreadableValuesError, match="not UTF-8"):
        Values.parse(PATH, b"a: \xff")
    assert Values.parse(PATH, "a: ü".encode("utf-8-sig")).get("a") == "ü"


def test_aliases_are_followed_but_cannot_blow_up_or_run_in_circles() -> None:
    values = parse("scannerArgs: &args {pod: &pod US1}\nservice: {port: *pod}\nfullnameOverride: *args\n")
    assert values.get("service.port") == "US1"
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    assert "20 more keys" in list(parse(bomb).misfits(KNOWN))[-1].line
    circle = parse("scannerArgs: &me {scannerArgs: *me, pod: *me}\n")
    assert [misfit.fatal for misfit in circle.misfits(KNOWN)] == [True, False]


@pytest.mark.parametrize("nothing", ["", "~", "null", "---"])
def test_what_stands_for_no_value_gives_none(nothing: str) -> None:
    assert parse(f"scannerArgs:\n  access-token: {nothing}\n  pod: US1\n").get("scannerArgs.access-token") == ""


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(["scannerArgs", "pod", "service"]), st.text(max_size=5)), inner),
    ),
    max_leaves=10,
)  # fmt: skip


@RELAXED
@given(st.one_of(TREES.map(yaml.safe_dump), st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = parse(text)
    except UnreadableValuesError:
        return
    for misfit in values.misfits(KNOWN):
        assert "/conf/values.yaml" in misfit.line
    assert all(isinstance(values.get(key), str) for key in KNOWN)


def test_the_guide_s_own_file_is_taken_with_its_own_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, GUIDE)
    assert config.unknown == ()
    assert config.log.level is LogLevel.DEBUG
    assert config.api.addr == ListenAddress("", 5000)
    assert not config.api.tls
    assert (config.api.read_timeout, config.api.write_timeout) == (60, 60)
    assert (config.redis.connection_timeout, config.redis.read_timeout, config.redis.write_timeout) == (60, 60, 60)
    assert (config.redis.pool_max_active, config.redis.pool_max_idle) == (5, 5)
    assert config.store.scan_job_ttl == 3600
    assert config.scanners[0].workers == 2
    assert qualys(config) == QualysSettings()


def test_the_defaults_of_the_guide_are_those_of_an_empty_file(tmp_path: Path) -> None:
    full, empty = load(tmp_path, GUIDE), load(tmp_path, "")
    assert (full.log, full.api.addr, full.redis, full.store) == (empty.log, empty.api.addr, empty.redis, empty.store)
    assert (full.api.read_timeout, full.api.write_timeout) == (empty.api.read_timeout, empty.api.write_timeout)
    assert (full.worker, qualys(full)) == (empty.worker, qualys(empty))


def test_every_key_of_the_guide_has_a_variable_or_is_the_chart_s(tmp_path: Path) -> None:
    config = load(tmp_path, GUIDE)
    keys = {key for entry in config.effective for key in entry.setting.keys} | {key.path for key in CHART_KEYS}
    guide = yaml.safe_load(GUIDE)
    named = {
        f"{section}.{key}" if isinstance(guide[section], dict) else section
        for section in guide
        for key in (guide[section] if isinstance(guide[section], dict) else [""])
    }
    assert keys - named == {"scannerArgs.storage-driver", "scannerArgs.narrow-report"}
    assert named <= keys


def test_values_of_the_file_are_used_and_known_by_their_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "service: {port: 5001, scanJobTTLHour: 0.5, workerThreads: 7, maxTimeout: 2m}\n"
        "redis: {url: 'redis://harbor-redis:6379/', maxIdleConnections: 9}\n"
        "scannerArgs: {pod: eu2, skip-verify-tls: yes, offline-scan: ON}\n"
        "SCANNER_MAX_ATTEMPTS: 4\n",
    )
    assert config.api.addr.port == 5001
    assert config.store.scan_job_ttl == 1800
    assert config.scanners[0].workers == 7
    assert config.redis.read_timeout == config.api.write_timeout == 120
    assert str(config.redis.address) == "redis://harbor-redis:6379/0"
    assert config.worker.max_attempts == 4
    assert (qualys(config).pod, qualys(config).skip_verify_tls, qualys(config).offline_scan) == ("EU2", True, True)
    origins = {entry.setting.name: entry.origin for entry in config.effective}
    path = tmp_path / "values.yaml"
    assert origins["SCANNER_API_ADDR"] == f"values.yaml {path}: service.port"
    assert origins["SCANNER_MAX_ATTEMPTS"] == f"values.yaml {path}: SCANNER_MAX_ATTEMPTS"
    assert origins["SCANNER_CONFIG"] == "command line"
    assert origins["SCANNER_SHUTDOWN_GRACE"] == "default"


def test_the_environment_goes_before_the_file_and_the_command_line_before_both(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("service: {logLevel: warn, port: 1}\nscannerArgs: {pod: US1, cache: none}\n")
    environment = {"SCANNER_LOG_LEVEL": "error", "SCANNER_QUALYS_POD": "US2", "SCANNER_CONFIG": str(path)}
    config = load_config(environment, overrides={"SCANNER_LOG_LEVEL": "panic"})
    assert config.log.level is LogLevel.PANIC
    assert config.api.addr.port == 1
    assert (qualys(config).pod, qualys(config).cache) == ("US2", "none")
    origins = {entry.setting.name: entry.origin for entry in config.effective}
    assert [origins[name] for name in ("SCANNER_LOG_LEVEL", "SCANNER_QUALYS_POD", "SCANNER_CONFIG")] == [
        "command line", "environment", "environment",
    ]  # fmt: skip


def test_all_problems_are_listed_at_once_under_the_names_that_the_operator_wrote(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "service: {port: http, workerThreads: [1], scanJobTTLHour: soon}\n"
        "scannerArgs: {pod: US9, scan-timeout: 5, proxy: 'x:hunter2@y', cert-path: /no/such/cert}\n"
        "SCANNER_MAX_ATTEMPTS: 0\n",
        SCANNER_DISK_FLOOR="much",
    )
    where = f"(in {tmp_path / 'values.yaml'})"
    assert [problem.partition(":")[0] for problem in found] == [
        f"service.port {where}",
        f"scannerArgs.pod {where}",
        f"scannerArgs.proxy {where}",
        f"scannerArgs.scan-timeout {where}",
        f"SCANNER_MAX_ATTEMPTS {where}",
        "SCANNER_DISK_FLOOR",
        f"service.scanJobTTLHour {where}",
        f"service.workerThreads {where}",
    ]
    assert "'http' is not allowed; it must be a port such as 5000" in found[0]
    assert "US1, US2, US3, US4, EU1, EU2, EU3, IN1, CA1, AE1, UK1, AU1, KSA1, GOV1" in found[1]
    assert "scannerArgs.gateway-url" in found[1]
    assert "a number of hours" in found[6]
    assert not [problem for problem in found if "hunter2" in problem]
    assert problems(tmp_path, "scannerArgs: {cert-path: /no/such/cert}") == [
        f"scannerArgs.cert-path {where}: '/no/such/cert' cannot be read: No such file or directory"
    ]


def test_unknown_keys_come_with_the_problems_that_they_may_explain(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "scannerArgs: {podd: US1, cache: off-and-on}\n")
    assert any("did you mean scannerArgs.pod?" in note for note in caught.value.__notes__)


def test_a_file_that_is_named_must_exist_and_be_one(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        for environment, named in (({}, path), ({"SCANNER_CONFIG": str(path)}, None)):
            with pytest.raises(SettingsError) as caught:
                load_config(environment, path=named)
            [problem] = caught.value.problems
            assert problem.startswith("SCANNER_CONFIG")
            assert str(path) in problem
            assert reason in problem


def test_the_standing_file_is_read_if_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harbor_scanner.groups.VALUES_PATH", tmp_path / "values.yaml")
    environment = {"SCANNER_ENABLED": "qualys"}
    assert load_config(environment).api.addr.port == 8080
    (tmp_path / "values.yaml").write_text("scannerArgs: {pod: US1}")
    config = load_config(environment)
    assert config.api.addr.port == 5000
    assert qualys(config).pod == "US1"
    (tmp_path / "values.yaml").write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_config(environment)


def test_the_file_cannot_name_another_one(tmp_path: Path) -> None:
    config = load(tmp_path, "SCANNER_CONFIG: /other\n")
    assert [line.partition(" ")[0] for line in config.unknown] == ["SCANNER_CONFIG"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("service: {workerThreads: 1}", "service.workerThreads"),
        ("redis: {maxActiveConnections: 4}", "redis.maxActiveConnections"),
        ("redis: {maxIdleConnections: 0}", "redis.maxIdleConnections"),
        ("service: {replicaCount: 0}", "service.replicaCount"),
        ("persistence: {size: 2Gi}", "persistence.size"),
    ],
)
def test_less_than_the_guide_allows_is_taken_with_a_warning(tmp_path: Path, text: str, key: str) -> None:
    [line] = [line for line in load(tmp_path, text).warnings if line.startswith(key)]
    assert "is less than Qualys' deployment guide allows" in line
    assert list(chart.warnings(parse(GUIDE))) == []


def test_values_that_the_chart_would_not_take_are_told_and_used_by_nobody(tmp_path: Path) -> None:
    config = load(tmp_path, "service: {replicaCount: many, disable-qualys-tls: no}\npersistence: {size: big}\n")
    told = [line.partition(" ")[0] for line in config.warnings if "no value for the chart" in line]
    assert told == ["persistence.size", "service.replicaCount"]


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ("persistence: {enable: true}", True, False),
        ("persistence: {enabled: TRUE}", True, False),
        ("persistence: {enable: true, enabled: yes}", True, False),
        ("persistence: {enable: false, enabled: true}", False, True),
        ("persistence: {enable: true, enabled: false}", True, True),
    ],
)
def test_either_spelling_of_persistence_counts(tmp_path: Path, text: str, value: bool, told: bool) -> None:
    config = load(tmp_path, text)
    assert qualys(config).persistence is value
    line = (
        f"persistence.enable and persistence.enabled (in {tmp_path / 'values.yaml'}) disagree: persistence.enable holds"
    )
    assert (line in config.warnings) is told


def test_the_name_of_a_variable_is_more_exact_than_a_key(tmp_path: Path) -> None:
    config = load(tmp_path, "service: {maxTimeout: 2m}\nSCANNER_REDIS_POOL_READ_TIMEOUT: 3s\n")
    assert (config.redis.read_timeout, config.redis.write_timeout) == (3, 120)


def test_secrets_of_the_file_are_secrets(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "scannerArgs: {access-token: ' hunter2-token ', proxy: 'http://me:hunter2%40proxy@proxy:3128'}\n"
        "redis: {url: 'redis://:hunter2-redis@redis'}\nSCANNER_API_AUTH_TOKENS: hunter2-api\n",
    )
    assert {"hunter2-token", "hunter2@proxy", "hunter2-redis", "hunter2-api"} <= set(config.secrets())
    assert not [entry for entry in config.effective if "hunter2" in entry.setting.shown(entry.text)]


def test_a_secret_may_come_from_a_file_that_values_yaml_names(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    config = load(tmp_path, f"QUALYS_ACCESS_TOKEN_FILE: {tmp_path / 'token'}\n")
    assert qualys(config).access_token == "hunter2"
    [entry] = [entry for entry in config.effective if entry.setting.name == "QUALYS_ACCESS_TOKEN"]
    assert entry.origin == f"file {tmp_path / 'token'}"


def test_certificates_are_used_only_if_tls_is_enabled(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    files = f"tlsCertData: {tmp_path / 'cert'}, tlsKeyData: {tmp_path / 'key'}"
    assert load(tmp_path, f"service: {{tlsEnabled: true, {files}}}").api.tls
    for text in (f"service: {{tlsEnabled: false, {files}}}", f"service: {{{files}}}", "service: {tlsCertData: /none}"):
        config = load(tmp_path, text)
        assert not config.api.tls
        assert any("service.tlsEnabled is not true" in line for line in config.warnings)
    [problem] = problems(tmp_path, "service: {tlsEnabled: true}")
    assert problem.startswith("service.tlsCertData and service.tlsKeyData: service.tlsEnabled")
    found = problems(tmp_path, f"service: {{tlsEnabled: true, tlsCertData: {tmp_path / 'cert'}}}")
    assert len(found) == 1


def test_certificates_of_the_environment_are_used_without_asking_the_file(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    environment = {
        "SCANNER_API_TLS_CERTIFICATE": str(tmp_path / "cert"), "SCANNER_API_TLS_KEY": str(tmp_path / "key"),
    }  # fmt: skip
    assert load(tmp_path, "", **environment).api.tls
    assert not load(tmp_path, "service: {tlsEnabled: false}", **environment).api.tls
