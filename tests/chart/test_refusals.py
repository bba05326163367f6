"""Values that cannot work are refused before anything is installed, by a message that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harbor_scanner.scanners.qualys.settings import PODS
from support.chart_cases import AQUA, CERTIFICATE, KEY, QUALYS, REDIS
from support.helm import HelmError, render


def refusal(values: Mapping[str, Any], *flags: str) -> str:
    """Return why Helm does not render these values."""
    with pytest.raises(HelmError) as refused:
        render(values, *flags)
    return str(refused.value)


SCHEMA = [
    ("--set=persistance.enable=true", "additional properties 'persistance' not allowed"),
    ("--set=scanner.aqua.hots=x", "at '/scanner/aqua': additional properties 'hots' not allowed"),
    ("--set=service.workers=3", "at '/service': additional properties 'workers' not allowed"),
    ("--set=redis.uri=x", "at '/redis': additional properties 'uri' not allowed"),
    ("--set=aqua.registry.user=x", "at '/aqua/registry': additional properties 'user' not allowed"),
    ("--set=workload.kind=DaemonSet", "at '/workload/kind': value must be one of 'StatefulSet', 'Deployment'"),
    ("--set=service.port=99999", "at '/service/port': maximum: got 99,999, want 65,535"),
    ("--set=service.type=Ingress", "at '/service/type': value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
    ("--set=service.workerThreads=many", "at '/service/workerThreads'"),
    ("--set=service.maxTimeout=soon", "at '/service/maxTimeout'"),
    ("--set=service.tlsEnabled=maybe", "at '/service/tlsEnabled'"),
    ("--set=scannerArgs.cache=disk", "at '/scannerArgs/cache': value must be one of '', '---', <nil>, 'local', 'none'"),
    ("--set=scannerArgs.cache-dir=cache", "at '/scannerArgs/cache-dir': 'cache' does not match pattern"),
    ("--set=scannerArgs.scan-timeout=5", "at '/scannerArgs/scan-timeout'"),
    ("--set=persistence.accessMode=RWX", "at '/persistence/accessMode': value must be one of 'ReadWriteOnce'"),
    ("--set=persistence.size=large", "at '/persistence/size': 'large' does not match pattern"),
    ("--set=data.size=null", "at '/data': missing property 'size'"),
    ("--set=service.scanJobTTLHour=0", "at '/service/scanJobTTLHour': exclusiveMinimum"),
    ("--set=scannerArgs.gateway-url=EU1", "at '/scannerArgs/gateway-url': 'EU1' does not match pattern"),
    ("--set=aqua.registry.server=https://registry.aquasec.com", "at '/aqua/registry/server': 'https://registry.aqua"),
    ("--set=scanner.image.registry=https://registry", "at '/scanner/image/registry': 'https://registry' does not"),
    ("--set=fullnameOverride=Qualys_Scanner", "at '/fullnameOverride': 'Qualys_Scanner' does not match pattern"),
    ("--set=qualys.runtime=cri-o", "at '/qualys/runtime': value must be one of 'containerd', 'docker'"),
    ("--set=settings.osv_url=x", "at '/settings': additional properties 'osv_url' not allowed"),
    ("--set=settingsFromSecrets.SCANNER_REDIS_URL.name=x", "missing property 'key'"),
    ("--set=scanner.image.digest=latest", "at '/scanner/image/digest': 'latest' does not match pattern"),
    ("--set=scanner.logLevel=verbose", "at '/scanner/logLevel': value must be one of"),
    ("--set=scanner.aqua.host=aqua-console", "at '/scanner/aqua/host': 'aqua-console' does not match pattern"),
    ("--set=scanner.aqua.scannerCLIRegisterImages=Sometimes", "at '/scanner/aqua/scannerCLIRegisterImages'"),
    ("--set=shutdownGraceSeconds=30s", "at '/shutdownGraceSeconds': got string, want integer"),
]


def test_the_schema_names_every_wrong_value_at_once() -> None:
    printed = refusal({}, *(flag for flag, _ in SCHEMA))
    assert [message for _, message in SCHEMA if message not in printed] == []


def test_a_section_that_is_taken_away_is_named() -> None:
    assert "missing property 'tls'" in refusal({"tls": None})


def test_sections_of_the_vendors_may_be_empty() -> None:
    assert render({"redis": None, "scannerArgs": None})


MISFITS: list[tuple[Mapping[str, Any], list[str]]] = [
    (
        {"replicaCount": 2, "workload": {"kind": "Deployment"}, "settings": {"SCANNER_API_ADDR": ":1"}},
        [
            "redis.url: several replicas need a Redis",
            "redis.url: a Deployment needs a Redis",
            "settings.SCANNER_API_ADDR: other values give it already (:8080)",
        ],
    ),
    (
        {"autoscaling": {"enabled": True, "minReplicas": 9}, "settings": {"SCANNER_AQUA_PASSWORD": "x"}},
        [
            "redis.url: several replicas need a Redis",
            "autoscaling.maxReplicas: it is less than autoscaling.minReplicas",
            "settings.SCANNER_AQUA_PASSWORD: it is secret and belongs in secretSettings or settingsFromSecrets",
            "scanner.aqua.username and scanner.aqua.password: Aqua needs both, or scanner.aqua.token",
            "aqua.version: the version of Aqua is needed",
        ],
    ),
    (
        {
            **AQUA,
            "aqua": {"version": 5.0, "registry": {"username": "only"}},
            "scanner": {**AQUA["scanner"], "image": {"repository": "aquasec/harbor-scanner-aqua"}},
            "secretSettings": {"SCANNER_AQUA_HOST": "x"},
            "settingsFromSecrets": {
                "SCANNER_AQUA_PASSWORD": {"name": "a", "key": "b"}, "SCANNER_OSV_URL": {"name": "a", "key": "b"},
            },
        },
        [
            "aqua.version: 5 may have lost its end, as in 5.0; write it in quotes",
            "aqua.registry.username and aqua.registry.password: give both",
            "scanner.image: aquasec/harbor-scanner-aqua is the image of the Aqua adapter, which this chart replaces",
            "secretSettings.SCANNER_AQUA_HOST: there is no such secret setting; there are QUALYS_ACCESS_TOKEN, SCANNER",
            "settingsFromSecrets.SCANNER_AQUA_PASSWORD: another value gives it too",
            "settingsFromSecrets.SCANNER_OSV_URL: there is no such secret setting",
        ],
    ),
    (
        {
            **QUALYS,
            "service": {"disable-qualys-tls": "false", "tlsEnabled": True, "tlsCertData": "/a.crt", "tlsKeyData": KEY},
            "workload": {"kind": "Deployment"},
            "persistence": {"enable": True},
            **REDIS,
        },
        [
            "service.disable-qualys-tls: it is false, so that certificates of the platform are mounted",
            "service.tlsCertData and service.tlsKeyData: give both as PEM text or both as a path",
            "persistence.enable: a persistent cache needs workload.kind StatefulSet",
        ],
    ),
    (
        {
            "scannerArgs": {"pod": "US1", "storage-driver": "docker-overlay2", "cert-path": "/ca.crt"},
            "qualys": {"certificates": {"secret": "a", "configMap": "b"}},
            "redis": {"url": "harbor-redis:6379"},
            "service": {"tlsCertData": CERTIFICATE},
            "tls": {"existingSecret": "a", "issuer": {"name": "b"}},
        },
        [
            "qualys.certificates: give a secret or a configMap, not both",
            "scannerArgs.cert-path: /ca.crt must lie in a directory of its own",
            "scannerArgs.storage-driver: docker-overlay2 needs the storage of the node",
            "redis.url: it must begin with redis://, rediss://",
            "tls: give existingSecret or issuer, not both",
            "service.tlsCertData: a certificate is given by tls.existingSecret or tls.issuer as well",
        ],
    ),
    (
        {
            "scannerArgs": {"pod": "US9", "cert-path": "/etc/ssl/certs/qualys.crt"},
            "qualys": {"certificates": {"secret": "a"}},
        },
        [
            f"scannerArgs.pod: US9 is none of {', '.join(PODS)}; for another platform leave it empty",
            # What the system trusts lies there.
            "scannerArgs.cert-path: /etc/ssl/certs/qualys.crt must lie in a directory of its own",
        ],
    ),
    (
        {"service": {"tlsEnabled": True}, "scanner": {"api": {"tlsCertificate": "tls.crt", "tlsKey": "tls.key"}}},
        ["they must be the PEM text itself (helm … --set-file service.tlsCertData=tls.crt), or an absolute path"],
    ),
    ({"service": {"tlsEnabled": True}}, ["TLS is on and needs both, or tls.existingSecret, or tls.issuer.name"]),
    (
        {**REDIS, "scanner": {"store": {"redisURL": "redis://other"}}},
        ["redis.url and scanner.store.redisURL are two names of one thing and disagree: keep one of them"],
    ),
    (
        {"service": {"scanJobTTLHour": 2}, "scanner": {"store": {"redisScanJobTTL": "1h"}}},
        ["service.scanJobTTLHour and scanner.store.redisScanJobTTL are two names of one thing and disagree"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("values", "messages"), MISFITS)
def test_values_that_do_not_fit_together_are_told_at_once(values: Mapping[str, Any], messages: list[str]) -> None:
    printed = refusal(values)
    assert [message for message in messages if message not in printed] == []
    # Nothing else is wrong with them.
    assert printed.count("\n  - ") in {len(messages), 0}


def test_no_secret_is_in_a_refusal() -> None:
    printed = refusal({**REDIS, "scanner": {"redis": {"poolURL": "redis://:t0psecret@other"}}}) + refusal(
        {"service": {"tlsEnabled": True, "tlsCertData": CERTIFICATE, "tlsKeyData": "t0psecret"}}
    )
    printed += refusal({"redis": {"url": "reds://:t0psecret@redis"}})
    printed += refusal({"scanner": {"store": {"redisURL": ":t0psecret@redis:6379"}}})
    printed += refusal({"secretSettings": {"SCANNER_REDIS_URL": "t0psecret@redis:6379"}})
    assert "t0psecret" not in printed
    assert "s3cret" not in printed
    assert "BEGIN" not in printed.replace("PEM", "")


@pytest.mark.parametrize(
    "flags",
    [
        ("--set=replicaCount=3", "--set=service.replicaCount=3", "--set=redis.url=redis://r"),
        ("--set=scanner.redis.poolURL=redis://r", "--set=redis.url=redis://r", "--set=replicaCount=2"),
        ("--set=aqua.version=2022.4", "--set=scanner.aqua.token=x"),
        ("--set=aqua.version=6", "--set=scanner.aqua.token=x"),
        ("--set=scannerArgs.pod=ksa1", "--set=scannerArgs.gateway-url=https://gateway.example.com"),
        ("--set=scanner.image.registry=localhost:5000/a/b_c", "--set=redis.url=rediss+sentinel://:p@s:1/m"),
        ('--set-json=enabled=["osv"]', "--set=scanner.aqua.username=alone"),
    ],
)  # fmt: skip
def test_values_that_fit_are_taken(flags: tuple[str, ...]) -> None:
    assert render({}, *flags)
