"""The command for qscanner, its environment, and the time that it is given."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.errors import RegistryError, ScannerConfigurationError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, Registry, ScanRequest
from harbor_scanner.scanners.qualys.command import scan_command, scan_environment, scan_secrets, time_limit
from harbor_scanner.scanners.qualys.settings import PODS, Cache, QualysSettings, ScanLogLevel, StorageDriver

TOKEN = "qualys-t0ken"
DIGEST = "sha256:" + "6c" * 32
OUTPUT = Path("/work/output")
CACHE = Path("/cache/1")


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def request(
    url: str = "https://core.harbor.domain", authorization: str | None = basic("robot$scan:sword:fish"), *kinds: str
) -> ScanRequest:
    asked = ScanRequest(Registry(url, authorization), Artifact("library/mongo", DIGEST, "latest"))
    return asked.asking_for(kinds or [VULNERABILITY])


def settings(**changes: Any) -> QualysSettings:
    return QualysSettings(**{"pod": "US2", "access_token": TOKEN, **changes})


def command(asked: ScanRequest | None = None, cache: Path | None = CACHE, **changes: Any) -> list[str]:
    return scan_command(settings(**changes), asked or request(), OUTPUT, cache)


def flags(argv: list[str]) -> dict[str, str]:
    """Return the flags before `image`, by name."""
    words = iter(argv[1 : argv.index("image")])
    found = {}
    for word in words:
        name, given, value = word.partition("=")
        found[name] = value if given else next(words)
    return found


SBOM_ONLY = request("https://core.harbor.domain", None, media.SPDX)


def test_the_command_has_all_that_the_guides_defaults_say() -> None:
    assert command() == [
        "qscanner",
        "--mode", "get-report",
        "--scan-types", "pkg",
        "--format", "json",
        "--report-format", "json",
        "--output-dir", "/work/output",
        "--cache", "local",
        "--cache-dir", "/cache/1",
        "--scan-timeout", "5m",
        "--log-level", "info",
        "--offline-scan=false",
        "--pod", "US2",
        "--skip-verify-tls=false",
        "--max-network-retries", "10",
        "--network-retry-wait-min", "5s",
        "image", f"core.harbor.domain/library/mongo@{DIGEST}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "flag", "value"),
    [
        ({"pod": "", "gateway_url": "https://gw.example"}, "--gateway-url", "https://gw.example"),
        ({"log_level": ScanLogLevel.DEBUG}, "--log-level", "debug"),
        ({"scan_timeout": 754.0}, "--scan-timeout", "12m34s"),
        ({"max_network_retries": 0}, "--max-network-retries", "0"),
        ({"network_retry_wait_min": 1.5}, "--network-retry-wait-min", "1s500ms"),
        ({"offline_scan": True}, "--offline-scan", "true"),
        ({"skip_verify_tls": True}, "--skip-verify-tls", "true"),
        ({"cert_path": Path("/ca.pem")}, "--cert-path", "/ca.pem"),
        ({"proxy": "http://proxy:3128"}, "--proxy", "http://proxy:3128"),
        ({"storage_driver": StorageDriver("containerd-overlayfs")}, "--storage-driver", "containerd-overlayfs"),
    ],
)
def test_each_setting_reaches_qscanner(change: dict[str, Any], flag: str, value: str) -> None:
    assert flags(command(**change))[flag] == value
    if flag not in {"--gateway-url", "--cert-path", "--proxy", "--storage-driver"}:
        assert flags(command())[flag] != value
    else:
        assert flag not in flags(command())


def test_a_gateway_is_named_instead_of_a_pod() -> None:
    assert "--pod" not in command(gateway_url="https://gw.example")


def test_a_certificate_is_of_no_use_where_none_is_checked() -> None:
    assert "--cert-path" not in command(cert_path=Path("/ca.pem"), skip_verify_tls=True)


def test_no_cache_means_none() -> None:
    found = flags(scan_command(settings(cache=Cache.NONE), request(), OUTPUT, None))
    assert found["--cache"] == "none"
    assert "--cache-dir" not in found


def test_an_sbom_alone_needs_neither_platform_nor_token() -> None:
    bare = QualysSettings()
    found = flags(scan_command(bare, SBOM_ONLY, OUTPUT, None))
    assert found["--mode"] == "inventory-only"
    assert found["--format"] == "json,spdx"
    assert not {"--pod", "--gateway-url", "--report-format"} & found.keys()
    assert scan_environment(bare, SBOM_ONLY) == {}
    assert scan_environment(settings(), SBOM_ONLY) == {}, "nor is it given one"


def test_both_capabilities_make_one_command() -> None:
    asked = request("https://core.harbor.domain", None, VULNERABILITY, media.CYCLONEDX, media.SPDX)
    found = flags(command(asked))
    assert (found["--mode"], found["--format"], found["--report-format"]) == (
        "get-report", "json,spdx,cyclonedx", "json",
    )  # fmt: skip


def test_what_is_missing_is_named_with_what_to_set() -> None:
    with pytest.raises(ScannerConfigurationError) as caught:
        command(pod="")
    assert all(pod in caught.value.advice for pod in PODS)
    assert "scannerArgs.gateway-url" in caught.value.advice
    with pytest.raises(ScannerConfigurationError) as caught:
        scan_environment(settings(access_token=""), request())
    assert "/usr/share/qscanner/accesstoken/token" in caught.value.advice


def test_secrets_go_by_the_environment() -> None:
    assert scan_environment(settings(), request()) == {
        "QSCANNER_REGISTRY_USERNAME": "robot$scan",
        "QSCANNER_REGISTRY_PASSWORD": "sword:fish",
        "QUALYS_ACCESS_TOKEN": TOKEN,
    }
    bearer = request("https://core.harbor.domain", "Bearer abc.def")
    assert scan_environment(settings(), bearer)["QSCANNER_REGISTRY_TOKEN"] == "abc.def"
    for wrong in ("Basic nonsense", "Digest x", "Bearer "):
        with pytest.raises(RegistryError):
            scan_environment(settings(), request("https://core.harbor.domain", wrong))


def test_a_proxy_with_a_password_goes_by_the_environment() -> None:
    proxy = "http://user:p%40ss@proxy:3128"
    assert "--proxy" not in command(proxy=proxy)
    environment = scan_environment(settings(proxy=proxy), request())
    assert (environment["HTTP_PROXY"], environment["HTTPS_PROXY"]) == (proxy, proxy)
    assert {"p%40ss", "p@ss"} <= set(scan_secrets(settings(proxy=proxy), request()))
    token = "http://t0ken-as-user@proxy:3128"
    assert "--proxy" not in command(proxy=token)
    assert "t0ken-as-user" in scan_secrets(settings(proxy=token), request())


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"))), st.booleans())
def test_no_secret_is_ever_on_the_command_line_and_all_are_known_for_redaction(text: str, sbom: bool) -> None:
    secret = f"s3cr3t{text}"
    kinds = [VULNERABILITY, media.SPDX] if sbom else [VULNERABILITY]
    asked = request("https://core.harbor.domain", basic(f"robot:{secret}"), *kinds)
    argv = command(asked, access_token=secret)
    assert not [argument for argument in argv if secret in argument]
    assert secret in scan_secrets(settings(access_token=secret), asked)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://core.harbor.domain", "core.harbor.domain"),
        ("https://core.harbor.domain/", "core.harbor.domain"),
        ("https://harbor.example:8443", "harbor.example:8443"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("http://localhost", "localhost"),
        # Else Docker Hub would be asked for the repository `core/library/mongo`.
        ("http://core", "core:80"),
        ("https://harbor-core", "harbor-core:443"),
        ("http://core:8080", "core:8080"),
        ("https://user:secret@core.harbor.domain", "core.harbor.domain"),
        ("https://[::1]:5000", "[::1]:5000"),
    ],
)
def test_the_image_is_named_by_the_registry_of_the_request(url: str, name: str) -> None:
    assert command(request(url))[-1] == f"{name}/library/mongo@{DIGEST}"


def test_the_time_limit_is_that_of_the_scan_and_of_all_polls() -> None:
    # 5 m, 15 s before the first poll, waits of 5, 10, 20 and seven times 30 s, and a minute for the rest.
    assert time_limit(settings(), request()) == 300 + 15 + (5 + 10 + 20 + 7 * 30) + 60
    assert time_limit(settings(max_network_retries=0), request()) == 300 + 15 + 60
    assert time_limit(settings(), SBOM_ONLY) == 300 + 60


@given(st.floats(1, 7200), st.integers(0, 500), st.floats(0, 600), st.floats(0, 600))
def test_the_time_limit_covers_the_shortest_polls_and_grows_with_all(
    timeout: float, retries: int, wait: float, more: float
) -> None:
    def limit(**changes: Any) -> float:
        values = {"scan_timeout": timeout, "max_network_retries": retries, "network_retry_wait_min": wait, **changes}
        return time_limit(settings(**values), request())

    assert limit() >= timeout + 15 + retries * wait
    assert limit(network_retry_wait_min=wait + more) >= limit()
    assert limit(max_network_retries=retries + 1) >= limit()


def test_a_huge_number_of_retries_can_be_computed() -> None:
    assert time_limit(settings(max_network_retries=100_000), request()) > 100_000


def test_the_command_in_the_documentation_is_the_one_that_is_run() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "qualys.md").read_text()
    block = page[page.index("qscanner --mode") :].partition("```")[0].replace("\\\n", " ")
    shown = block.replace("DIR", str(OUTPUT)).replace("CACHE", str(CACHE)).replace("sha256:…", DIGEST).split()
    assert shown == command()
