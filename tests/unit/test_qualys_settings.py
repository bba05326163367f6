"""The settings of Qualys: the deployment guide's defaults, what is refused, and what is only warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from harbor_scanner.layers import Loader
from harbor_scanner.scanners.qualys.settings import (
    PODS,
    Cache,
    QualysSettings,
    ScanLogLevel,
    StorageDriver,
    problems,
    secrets,
    warnings,
)
from harbor_scanner.settings import settings_of


def load(**environment: str) -> QualysSettings:
    loader = Loader(environment)
    found = loader.load(QualysSettings)
    loader.finish()
    assert found is not None
    return found


def problem(**environment: str) -> str:
    loader = Loader(environment)
    assert loader.load(QualysSettings) is None
    [line] = loader.problems
    return line


def test_defaults_are_the_same_with_and_without_an_environment() -> None:
    assert load() == QualysSettings()


def test_defaults_are_those_of_the_deployment_guide() -> None:
    settings = QualysSettings()
    assert (settings.pod, settings.gateway_url, settings.access_token, settings.proxy) == ("", "", "", "")
    assert (settings.log_level, settings.cache, settings.storage_driver) == ("info", "local", "none")
    assert settings.cache_dir == Path("/root/.cache/qualys/qscanner")
    assert settings.cert_path is None
    assert (settings.scan_timeout, settings.network_retry_wait_min) == (300, 5)
    assert settings.max_network_retries == 10
    assert (settings.cache_cleanup_threshold, settings.cache_cleanup_frequency) == (4320 * 3600, 720 * 3600)
    assert settings.enable_cache_cleanup
    off = (settings.persistence, settings.skip_verify_tls, settings.offline_scan, settings.narrow_report)
    assert off == (False,) * 4


def test_settings_come_from_their_variables() -> None:
    assert load(
        SCANNER_QUALYS_POD="ksa1",
        SCANNER_QUALYS_GATEWAY_URL="https://gateway.example.com",
        QUALYS_ACCESS_TOKEN="t0ken",
        SCANNER_QUALYS_LOG_LEVEL="DEBUG",
        SCANNER_QUALYS_CACHE="none",
        SCANNER_QUALYS_CACHE_DIR="/cache",
        SCANNER_QUALYS_PERSISTENCE="true",
        SCANNER_QUALYS_SKIP_VERIFY_TLS="true",
        SCANNER_QUALYS_CERT_PATH="/cert.pem",
        SCANNER_QUALYS_PROXY="http://proxy:3128",
        SCANNER_QUALYS_OFFLINE_SCAN="true",
        SCANNER_QUALYS_SCAN_TIMEOUT="10m",
        SCANNER_QUALYS_MAX_NETWORK_RETRIES="0",
        SCANNER_QUALYS_NETWORK_RETRY_WAIT_MIN="1s",
        SCANNER_QUALYS_CACHE_CLEANUP_DURATION_THRESHOLD="1h",
        SCANNER_QUALYS_CACHE_CLEANUP_FREQUENCY="2h",
        SCANNER_QUALYS_ENABLE_CACHE_CLEANUP="false",
        SCANNER_QUALYS_STORAGE_DRIVER="containerd-overlayfs",
        SCANNER_QUALYS_NARROW_REPORT="true",
    ) == QualysSettings(
        pod="KSA1",
        gateway_url="https://gateway.example.com",
        access_token="t0ken",
        log_level=ScanLogLevel.DEBUG,
        cache=Cache.NONE,
        cache_dir=Path("/cache"),
        persistence=True,
        skip_verify_tls=True,
        cert_path=Path("/cert.pem"),
        proxy="http://proxy:3128",
        offline_scan=True,
        scan_timeout=600,
        max_network_retries=0,
        network_retry_wait_min=1,
        cache_cleanup_threshold=3600,
        cache_cleanup_frequency=7200,
        enable_cache_cleanup=False,
        storage_driver=StorageDriver.CONTAINERD,
        narrow_report=True,
    )


@pytest.mark.parametrize("pod", PODS)
def test_pods_are_taken_in_any_case(pod: str) -> None:
    assert load(SCANNER_QUALYS_POD=pod.lower()).pod == load(SCANNER_QUALYS_POD=pod).pod == pod


@pytest.mark.parametrize("pod", ["US9", "US", "US1 ", "https://gateway.example.com"])
def test_a_wrong_pod_is_answered_with_the_pods_and_the_other_way(pod: str) -> None:
    line = problem(SCANNER_QUALYS_POD=pod)
    assert ", ".join(PODS) in line
    assert "scannerArgs.gateway-url" in line


@pytest.mark.parametrize("url", ["gateway.example.com", "http://gateway.example.com", "https://", "https://a b", "https://u@h",
                                 "https://h?x=1"])  # fmt: skip
def test_a_gateway_is_a_url_with_tls(url: str) -> None:
    assert "https://gateway.qg1.apps.qualys.com" in problem(SCANNER_QUALYS_GATEWAY_URL=url)


@pytest.mark.parametrize(
    "url", ["http://proxy:3128", "https://user:p@ss@proxy/", "socks5://proxy:1080", "http://u:a%2Fb@h:1"]
)
def test_proxies_are_urls(url: str) -> None:
    assert load(SCANNER_QUALYS_PROXY=url).proxy == url


@pytest.mark.parametrize(
    "url", ["proxy:3128", "u:hunter2@proxy:3128", "ftp://u:hunter2@proxy", "http://", "http://u:hunter2@"]
)
def test_what_is_no_proxy_is_refused_without_showing_it(url: str) -> None:
    line = problem(SCANNER_QUALYS_PROXY=url)
    assert "http://user:password@proxy:3128" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(("text", "token"), [("t0ken", "t0ken"), (" t0ken\t", "t0ken"), ("a.b-c_d=", "a.b-c_d=")])
def test_a_token_is_one_word(text: str, token: str) -> None:
    assert load(QUALYS_ACCESS_TOKEN=text).access_token == token


@pytest.mark.parametrize("text", ["hunter2 hunter2", "hunter2\nhunter2", "hunter2\x01x"])
def test_what_is_no_token_is_refused_without_showing_it(text: str) -> None:
    assert "hunter2" not in problem(QUALYS_ACCESS_TOKEN=text)


@pytest.mark.parametrize("name", ["QUALYS_ACCESS_TOKEN", "SCANNER_QUALYS_PROXY"])
def test_secrets_may_come_from_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("http://u:hunter2@proxy\n")
    found = load(**{f"{name}_FILE": str(tmp_path / "secret")})
    assert "http://u:hunter2@proxy" in (found.proxy, found.access_token)


def test_secrets_are_known_and_shown_nowhere() -> None:
    settings = QualysSettings(pod="US1", access_token="hunter2", proxy="http://me:hunter2%21@proxy")
    assert set(secrets(settings)) == {"hunter2", "hunter2%21", "hunter2!"}
    assert "hunter2" not in repr(settings)
    assert "SCANNER_QUALYS_POD='US1'" in repr(settings)
    shown = settings_of(QualysSettings)["proxy"].shown(settings.proxy)
    assert "hunter2" not in shown
    assert shown.endswith("@proxy")


def test_what_is_shown_reads_as_what_is_meant() -> None:
    shown = QualysSettings().shown()
    assert shown["SCANNER_QUALYS_SCAN_TIMEOUT"] == "5m"
    assert shown["SCANNER_QUALYS_PERSISTENCE"] == "false"
    assert shown["SCANNER_QUALYS_CERT_PATH"] == ""
    assert Loader(shown).load(QualysSettings) == QualysSettings()


def names(lines: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in lines]


def test_without_platform_or_token_the_service_starts_with_a_warning() -> None:
    assert list(problems(QualysSettings())) == []
    assert names(list(warnings(QualysSettings()))) == ["SCANNER_QUALYS_POD", "QUALYS_ACCESS_TOKEN"]
    assert names(list(warnings(QualysSettings(pod="US1")))) == ["QUALYS_ACCESS_TOKEN"]
    assert list(warnings(QualysSettings(pod="US1", access_token="x"))) == []
    assert list(warnings(QualysSettings(gateway_url="https://x", access_token="x"))) == []


def test_pod_and_gateway_together_are_told() -> None:
    both = QualysSettings(pod="US1", gateway_url="https://x", access_token="x")
    assert list(warnings(both)) == [
        "SCANNER_QUALYS_POD and SCANNER_QUALYS_GATEWAY_URL: both are set; SCANNER_QUALYS_GATEWAY_URL holds"
    ]


def test_a_certificate_must_be_readable_if_it_is_used(tmp_path: Path) -> None:
    missing = QualysSettings(pod="US1", access_token="x", cert_path=tmp_path / "none.pem")
    assert names(list(problems(missing))) == ["SCANNER_QUALYS_CERT_PATH"]
    unused = QualysSettings(pod="US1", access_token="x", cert_path=tmp_path / "none.pem", skip_verify_tls=True)
    assert list(problems(unused)) == []
    assert names(list(warnings(unused))) == ["SCANNER_QUALYS_CERT_PATH"]
    (tmp_path / "cert.pem").touch()
    assert list(problems(QualysSettings(cert_path=tmp_path / "cert.pem"))) == []
