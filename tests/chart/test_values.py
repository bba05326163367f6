"""Every value of both vendors arrives at the program, under the meaning that it has there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.chart_cases import QUALYS, SECRET, rendered
from support.chart_program import loaded, told
from support.helm import CHART, only, render


def test_aquas_values_arrive(tmp_path: Path) -> None:
    settings = told(loaded(rendered("aqua, all of its chart"), tmp_path))
    assert settings["SCANNER_AQUA_PASSWORD"] == f"{SECRET}-password"
    assert settings["SCANNER_AQUA_HOST"] == "http://csp-console-svc.aqua:8080"
    assert settings["SCANNER_REDIS_URL"] == "redis://harbor-harbor-redis:6379"
    assert settings["SCANNER_REDIS_POOL_IDLE_TIMEOUT"] == "5m"
    assert settings["SCANNER_STORE_REDIS_SCAN_JOB_TTL"] == "1h"
    assert settings["SCANNER_API_IDLE_TIMEOUT"] == "60s"


def test_values_of_the_qualys_guide_arrive(tmp_path: Path) -> None:
    config = loaded(rendered("qualys, all of its guide"), tmp_path)
    settings = told(config)
    assert settings["QUALYS_ACCESS_TOKEN"] == f"{SECRET}-token"
    assert settings["SCANNER_QUALYS_PROXY"] == f"http://proxy:{SECRET}-proxy@proxy:3128"
    assert settings["SCANNER_QUALYS_POD"] == "US1"
    assert settings["SCANNER_QUALYS_PERSISTENCE"] == "true"
    assert settings["SCANNER_QUALYS_MAX_NETWORK_RETRIES"] == "10"
    assert settings["SCANNER_QUALYS_CACHE_CLEANUP_DURATION_THRESHOLD"] == "4320h0m0s"
    assert settings["SCANNER_STORE_REDIS_SCAN_JOB_TTL"] == "1h"
    assert settings["SCANNER_REDIS_POOL_READ_TIMEOUT"] == settings["SCANNER_API_READ_TIMEOUT"] == "1m"
    # What the guide calls changeable without a restart comes from the file that is read again.
    live = {entry.setting.name for entry in config.effective if "values.yaml" in entry.origin}
    assert {"SCANNER_QUALYS_POD", "SCANNER_QUALYS_SCAN_TIMEOUT", "SCANNER_QUALYS_LOG_LEVEL"} <= live


MEANT = {
    "service.workerThreads": ("SCANNER_WORKERS", 7),
    "service.scanJobTTLHour": ("SCANNER_STORE_REDIS_SCAN_JOB_TTL", 3),
    "service.maxTimeout": ("SCANNER_REDIS_POOL_WRITE_TIMEOUT", "31s"),
    "service.logLevel": ("SCANNER_LOG_LEVEL", "warn"),
    "service.tlsEnabled": ("SCANNER_API_TLS_ENABLED", "true"),
    "service.tlsCertData": ("SCANNER_API_TLS_CERTIFICATE", "/certs/a.crt"),
    "service.tlsKeyData": ("SCANNER_API_TLS_KEY", "/certs/a.key"),
    "redis.url": ("SCANNER_REDIS_URL", "redis://elsewhere:6379/3"),
    "redis.maxActiveConnections": ("SCANNER_REDIS_POOL_MAX_ACTIVE", 11),
    "redis.maxIdleConnections": ("SCANNER_REDIS_POOL_MAX_IDLE", 12),
    "scanner.logLevel": ("SCANNER_LOG_LEVEL", "error"),
    "scanner.api.tlsEnabled": ("SCANNER_API_TLS_ENABLED", "true"),
    "scanner.api.tlsCertificate": ("SCANNER_API_TLS_CERTIFICATE", "/certs/a.crt"),
    "scanner.api.tlsKey": ("SCANNER_API_TLS_KEY", "/certs/a.key"),
    "scanner.api.readTimeout": ("SCANNER_API_READ_TIMEOUT", "21s"),
    "scanner.api.writeTimeout": ("SCANNER_API_WRITE_TIMEOUT", "22s"),
    "scanner.api.idleTimeout": ("SCANNER_API_IDLE_TIMEOUT", "23s"),
    "scanner.aqua.username": ("SCANNER_AQUA_USERNAME", "somebody"),
    "scanner.aqua.password": ("SCANNER_AQUA_PASSWORD", "p4ss w0rd$"),
    "scanner.aqua.token": ("SCANNER_AQUA_TOKEN", "t0ken"),
    "scanner.aqua.host": ("SCANNER_AQUA_HOST", "https://console:8443"),
    "scanner.aqua.registry": ("SCANNER_AQUA_REGISTRY", "Another"),
    "scanner.aqua.reportsDir": ("SCANNER_AQUA_REPORTS_DIR", "/reports"),
    "scanner.aqua.useImageTag": ("SCANNER_AQUA_USE_IMAGE_TAG", "true"),
    "scanner.aqua.scannerCLINoVerify": ("SCANNER_CLI_NO_VERIFY", "true"),
    "scanner.aqua.scannerCLIShowNegligible": ("SCANNER_CLI_SHOW_NEGLIGIBLE", "false"),
    "scanner.aqua.scannerCLIOverrideRegistryCredentials": ("SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS", "true"),
    "scanner.aqua.scannerCLIDirectCC": ("SCANNER_CLI_DIRECT_CC", "true"),
    "scanner.aqua.scannerCLIRegisterImages": ("SCANNER_CLI_REGISTER_IMAGES", "Compliant"),
    "scanner.store.redisNamespace": ("SCANNER_STORE_REDIS_NAMESPACE", "mine"),
    "scanner.store.redisScanJobTTL": ("SCANNER_STORE_REDIS_SCAN_JOB_TTL", "2h"),
    "scanner.store.redisURL": ("SCANNER_REDIS_URL", "redis://elsewhere:6379/4"),
    "scanner.store.redisPoolMaxActive": ("SCANNER_REDIS_POOL_MAX_ACTIVE", 13),
    "scanner.store.redisPoolMaxIdle": ("SCANNER_REDIS_POOL_MAX_IDLE", 14),
    "scanner.redis.poolURL": ("SCANNER_REDIS_URL", "redis://elsewhere:6379/4"),
    "scanner.redis.poolMaxActive": ("SCANNER_REDIS_POOL_MAX_ACTIVE", 13),
    "scanner.redis.poolMaxIdle": ("SCANNER_REDIS_POOL_MAX_IDLE", 14),
    "scanner.redis.poolIdleTimeout": ("SCANNER_REDIS_POOL_IDLE_TIMEOUT", "24s"),
    "scanner.redis.poolConnectionTimeout": ("SCANNER_REDIS_POOL_CONNECTION_TIMEOUT", "25s"),
    "scanner.redis.poolReadTimeout": ("SCANNER_REDIS_POOL_READ_TIMEOUT", "26s"),
    "scanner.redis.poolWriteTimeout": ("SCANNER_REDIS_POOL_WRITE_TIMEOUT", "27s"),
    "scannerArgs.pod": ("SCANNER_QUALYS_POD", "EU2"),
    "scannerArgs.gateway-url": ("SCANNER_QUALYS_GATEWAY_URL", "https://gateway"),
    "scannerArgs.access-token": ("QUALYS_ACCESS_TOKEN", "t0ken"),
    "scannerArgs.log-level": ("SCANNER_QUALYS_LOG_LEVEL", "warn"),
    "scannerArgs.cache": ("SCANNER_QUALYS_CACHE", "none"),
    "scannerArgs.cache-dir": ("SCANNER_QUALYS_CACHE_DIR", "/cache"),
    "scannerArgs.skip-verify-tls": ("SCANNER_QUALYS_SKIP_VERIFY_TLS", "true"),
    "scannerArgs.cert-path": ("SCANNER_QUALYS_CERT_PATH", "/certs/a.crt"),
    "scannerArgs.proxy": ("SCANNER_QUALYS_PROXY", "http://proxy:3128"),
    "scannerArgs.offline-scan": ("SCANNER_QUALYS_OFFLINE_SCAN", "true"),
    "scannerArgs.scan-timeout": ("SCANNER_QUALYS_SCAN_TIMEOUT", "28m"),
    "scannerArgs.max-network-retries": ("SCANNER_QUALYS_MAX_NETWORK_RETRIES", 15),
    "scannerArgs.network-retry-wait-min": ("SCANNER_QUALYS_NETWORK_RETRY_WAIT_MIN", "29s"),
    "scannerArgs.cache-cleanup-duration-threshold": ("SCANNER_QUALYS_CACHE_CLEANUP_DURATION_THRESHOLD", "30h"),
    "scannerArgs.cache-cleanup-frequency": ("SCANNER_QUALYS_CACHE_CLEANUP_FREQUENCY", "31h"),
    "scannerArgs.enable-cache-cleanup": ("SCANNER_QUALYS_ENABLE_CACHE_CLEANUP", "false"),
    "scannerArgs.storage-driver": ("SCANNER_QUALYS_STORAGE_DRIVER", "containerd-overlayfs"),
    "scannerArgs.narrow-report": ("SCANNER_QUALYS_NARROW_REPORT", "true"),
}
"""By vendors' names: the setting that each is, and a text for it that is not its default."""
AQUA_LOGIN = {"settingsFromSecrets": {"SCANNER_AQUA_TOKEN": {"name": "aqua", "key": "token"}}}
CHART_ONLY = {
    "service.type", "service.port", "service.annotations", "service.replicaCount", "service.disable-qualys-tls",
    *(f"scanner.image.{name}" for name in ("registry", "repository", "tag", "digest", "pullPolicy")),
}  # fmt: skip


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, node in tree.items():
        if isinstance(node, Mapping) and node:
            yield from leaves(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_value_of_the_vendors_has_a_setting() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    trees = {name: values[name] for name in ("service", "redis", "scanner", "scannerArgs")}
    assert set(leaves(trees)) == {*MEANT, *CHART_ONLY}


@pytest.mark.parametrize("vendor", [("service.", "redis.", "scannerArgs."), ("scanner.",)], ids=["qualys", "aqua"])
def test_every_value_of_the_vendors_arrives(vendor: tuple[str, ...], tmp_path: Path) -> None:
    meant = {path: entry for path, entry in MEANT.items() if path.startswith(vendor)}
    values: dict[str, Any] = {"enabled": ["aqua", "qualys"], "aqua": {"copyProgram": False}}
    values |= {"qualys": {"nodeStorage": True}, "settings": {"SCANNER_API_POLL_HOLD": "1s"}}
    if vendor != ("scanner.",):
        values["scanner"] = {"aqua": {"token": "t0ken"}}
    for path, (_, text) in meant.items():
        *sections, name = path.split(".")
        node = values
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = text
    settings = told(loaded(render(values), tmp_path))
    found = {path: settings[name].removeprefix(str(tmp_path)) for path, (name, _) in meant.items()}
    assert found == {path: f"{text}h" if path.endswith("Hour") else str(text) for path, (_, text) in meant.items()}


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"enable": False, "enabled": True}, "false"),
        ({"enabled": True}, "true"),
        ({"enabled": "true"}, "true"),
        ({"enable": "---", "enabled": "TRUE"}, "true"),
        ({"enable": ""}, "false"),
    ],
)
def test_either_name_of_the_persistent_cache_counts_as_for_the_program(
    values: Mapping[str, Any], meant: str, tmp_path: Path
) -> None:
    objects = render({"scannerArgs": {"pod": "US1"}, "persistence": values})
    assert told(loaded(objects, tmp_path))["SCANNER_QUALYS_PERSISTENCE"] == meant
    names = {claim["metadata"]["name"] for claim in only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert ("cache" in names) == (meant == "true")


@pytest.mark.parametrize(
    ("values", "scanners"),
    [
        ({"scannerArgs": {"scan-timeout": "20m"}}, "qualys"),
        ({"scannerArgs": {"pod": "---", "cache": ""}, "persistence": {"enabled": True}}, "osv"),
        ({"helmInstallationPath": "/home/me"}, "qualys"),
        ({"scanner": {"aqua": {"useImageTag": False}}, **AQUA_LOGIN}, "aqua"),
        ({"scannerArgs": {"cache": "none"}, "scanner": {"logLevel": "info"}, **AQUA_LOGIN}, "aqua,qualys"),
        ({"settings": {"SCANNER_OSV_URL": "https://mirror"}, "redis": {"url": "redis://r"}}, "osv"),
        ({"scanner": {"store": {"redisScanJobTTL": "2h"}}}, "osv"),
    ],
)  # fmt: skip
def test_scanners_answer_of_which_anything_is_given(values: Mapping[str, Any], scanners: str, tmp_path: Path) -> None:
    objects = render({"aqua": {"copyProgram": False}, **values})
    assert told(loaded(objects, tmp_path))["SCANNER_ENABLED"] == scanners


def test_three_dashes_are_no_storage_class() -> None:
    objects = render({**QUALYS, "persistence": {"enable": True, "storageClass": "---"}})
    claims = only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert all("storageClassName" not in claim["spec"] for claim in claims)


def test_numbers_and_words_arrive_as_they_were_written(tmp_path: Path) -> None:
    objects = render(
        {
            "scannerArgs": {"pod": "us2", "max-network-retries": 1000, "scan-timeout": "1h2m3s", "cache": "---"},
            "service": {"workerThreads": 1000, "scanJobTTLHour": 0.5, "port": 15000},
            "secretSettings": {"SCANNER_API_AUTH_TOKENS": 12345678901},
            "settings": {"SCANNER_SBOM": True, "SCANNER_MAX_ATTEMPTS": 100},
        }
    )
    settings = told(loaded(objects, tmp_path))
    assert settings["SCANNER_QUALYS_MAX_NETWORK_RETRIES"] == "1000"
    assert settings["SCANNER_QUALYS_SCAN_TIMEOUT"] == "1h2m3s"
    assert settings["SCANNER_QUALYS_CACHE"] == "local"
    assert settings["SCANNER_WORKERS"] == "1000"
    assert settings["SCANNER_STORE_REDIS_SCAN_JOB_TTL"] == "0.5h"
    assert settings["SCANNER_API_ADDR"] == ":15000"
    assert settings["SCANNER_API_AUTH_TOKENS"] == "12345678901"
    assert settings["SCANNER_MAX_ATTEMPTS"] == "100"
