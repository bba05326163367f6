"""Values that operators give to the chart, from one scanner with none to everything at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import trustme

from support.helm import Object, render

SECRET = "s3cret"
"""A part of every secret value, which must show up in Secrets only."""

_issued = trustme.CA().issue_cert("harbor-scanner.harbor", key_type=trustme.KeyType.ECDSA)
CERTIFICATE = "".join(pem.bytes().decode() for pem in _issued.cert_chain_pems)
KEY = _issued.private_key_pem.bytes().decode()


class Case(NamedTuple):
    """One installation."""

    release: str
    values: Mapping[str, Any] = {}
    flags: tuple[str, ...] = ()


AQUA: dict[str, Any] = {
    "aqua": {"version": "6.5", "registry": {"username": "puller", "password": f"{SECRET}-registry"}},
    "scanner": {
        "aqua": {
            "host": "http://aqua-console-svc.aqua:8080",
            "username": f"{SECRET}-user",
            "password": f"{SECRET}-password",
        }
    },
}
QUALYS: dict[str, Any] = {"scannerArgs": {"pod": "US2", "access-token": f"{SECRET}-token"}}
REDIS: dict[str, Any] = {"redis": {"url": f"redis://:{SECRET}-redis@harbor-redis:6379/7"}}

AQUA_CHART: dict[str, Any] = {
    "nameOverride": "", "fullnameOverride": "", "service": {"type": "ClusterIP", "port": 8080}, "replicaCount": 1,
    "initResources": {"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}},
    "mainResources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": 1, "memory": "512Mi"}},
    "aqua": {
        "version": "5.3",
        "registry": {"server": "registry.aquasec.com", "username": "puller", "password": f"{SECRET}-registry"},
        "image": {"pullPolicy": "IfNotPresent"},
    },
    "scanner": {
        "image": {"pullPolicy": "IfNotPresent"},
        "logLevel": "info",
        "api": {
            "tlsEnabled": False, "tlsCertificate": "", "tlsKey": "",
            "readTimeout": "15s", "writeTimeout": "15s", "idleTimeout": "60s",
        },
        "aqua": {
            "username": f"{SECRET}-user", "password": f"{SECRET}-password", "token": "",
            "host": "http://csp-console-svc.aqua:8080", "registry": "Harbor",
            "reportsDir": "/var/lib/scanner/reports", "useImageTag": False, "scannerCLINoVerify": False,
            "scannerCLIShowNegligible": True, "scannerCLIOverrideRegistryCredentials": False,
            "scannerCLIDirectCC": False, "scannerCLIRegisterImages": "Never",
        },
        "store": {"redisNamespace": "harbor.scanner.aqua:store", "redisScanJobTTL": "1h"},
        "redis": {
            "poolURL": "redis://harbor-harbor-redis:6379", "poolMaxActive": 5, "poolMaxIdle": 5,
            "poolIdleTimeout": "5m", "poolConnectionTimeout": "1s", "poolReadTimeout": "1s",
            "poolWriteTimeout": "1s",
        },
    },
}  # fmt: skip
"""All values of the Aqua adapter's chart, but for the image."""

QUALYS_GUIDE: dict[str, Any] = {
    "fullnameOverride": "qualys-scanner",
    "helmInstallationPath": "/home/ubuntu/qualys-scanner",
    "persistence": {
        "enabled": True, "enable": True, "storageClass": "manual", "accessMode": "ReadWriteMany", "size": "3Gi",
    },
    "redis": {"url": "redis://harbor-redis:6379/", "maxActiveConnections": 5, "maxIdleConnections": 5},
    "service": {
        "workerThreads": 2, "scanJobTTLHour": 1, "maxTimeout": "1m", "replicaCount": 2, "logLevel": "debug",
        "port": 5000, "tlsEnabled": False, "tlsCertData": "---", "tlsKeyData": "---", "disable-qualys-tls": True,
    },
    "scannerArgs": {
        "log-level": "info", "cache": "local", "cache-dir": "/root/.cache/qualys/qscanner", "pod": "US1",
        "gateway-url": "---", "access-token": f"{SECRET}-token", "skip-verify-tls": False, "cert-path": "---",
        "proxy": f"http://proxy:{SECRET}-proxy@proxy:3128", "offline-scan": False, "scan-timeout": "5m0s",
        "max-network-retries": 10, "network-retry-wait-min": "5s", "cache-cleanup-duration-threshold": "4320h0m0s",
        "cache-cleanup-frequency": "720h0m0s", "enable-cache-cleanup": True,
    },
}  # fmt: skip
"""All keys of Qualys' deployment guide."""

EVERYTHING: dict[str, Any] = {
    "enabled": ["aqua", "qualys", "osv"],
    **AQUA, **QUALYS, **REDIS,
    "persistence": {"enable": True, "storageClass": "fast", "accessMode": "ReadWriteOnce", "size": "5Gi"},
    "data": {"storageClass": "-", "size": "20Gi"},
    "service": {
        "type": "LoadBalancer", "port": 443, "annotations": {"example.com/internal": "true"},
        "workerThreads": "4", "disable-qualys-tls": False,
    },
    "tls": {"issuer": {"name": "internal", "kind": "ClusterIssuer"}},
    "qualys": {"certificates": {"configMap": "qualys-ca"}},
    "settings": {"SCANNER_OSV_ECOSYSTEMS": "Debian,PyPI", "SCANNER_SBOM": True, "SCANNER_MAX_ATTEMPTS": 5},
    "secretSettings": {
        "SCANNER_STORE_KEY": f"{SECRET}-key", "SCANNER_API_AUTH_BASIC": f"harbor:{SECRET}-basic",
    },
    "settingsFromSecrets": {"SCANNER_API_AUTH_TOKENS": {"name": "tokens", "key": "current"}},
    "serviceAccount": {"name": "scans", "annotations": {"example.com/role": "scans"}},
    "imagePullSecrets": ["harbor-pull"],
    "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 6},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {
        "enabled": True, "harborNamespace": "registry",
        "extraFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
    },
    "podAnnotations": {"example.com/team": "security"}, "podLabels": {"team": "security"},
    "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"key": "scans", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {}}},
    ]}},
    "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"team": "security"}},
    }],
    "priorityClassName": "important",
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "NO_PROXY", "value": ".svc"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities", "readOnly": True}],
    "metrics": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboard": {"enabled": True}},
}  # fmt: skip

CASES = {
    "osv": Case("harbor-scanner"),
    "osv by another release": Case("images", {"settings": {"SCANNER_OSV_URL": f"https://me:{SECRET}-osv@mirror/osv"}}),
    "aqua": Case("harbor-scanner-aqua", AQUA),
    "aqua, all of its chart": Case("harbor-scanner-aqua", AQUA_CHART),
    "aqua by secrets of others": Case(
        "aqua",
        {
            "aqua": {"version": "2022.4"},
            "imagePullSecrets": ["aqua-registry"],
            "settingsFromSecrets": {
                "SCANNER_AQUA_USERNAME": {"name": "aqua", "key": "user"},
                "SCANNER_AQUA_PASSWORD": {"name": "aqua", "key": "password"},
                "SCANNER_REDIS_URL": {"name": "redis", "key": "url"},
            },
            "scanner": {"aqua": {"reportsDir": "/reports"}},
        },
    ),
    "aqua, its own image": Case(
        "aqua", {"aqua": {"copyProgram": False}, "scanner": {"aqua": {"token": f"{SECRET}-token"}}}
    ),
    "qualys": Case("qualys-harbor-demo", QUALYS),
    "qualys, all of its guide": Case("qualys-harbor-demo", QUALYS_GUIDE),
    "qualys on docker": Case("qualys-harbor-demo", QUALYS, ("--set=qualys.runtime=docker",)),
    "qualys with the disk of the node": Case(
        "qualys-harbor-demo", QUALYS, ("--set=qualys.nodeStorage=true", "--set=qualys.runtime=docker")
    ),
    "qualys with certificates": Case(
        "qualys-harbor-demo",
        QUALYS,
        (
            "--set=service.disable-qualys-tls=false",
            "--set=qualys.certificates.secret=qualys-ca",
            "--set=scannerArgs.cert-path=/etc/qualys/platform.pem",
        ),
    ),
    "qualys, dynamic cache": Case(
        "qualys-harbor-demo", QUALYS, ("--set=persistence.enabled=true", "--set=persistence.storageClass=")
    ),
    "aqua and osv": Case("harbor-scanner", {**AQUA, "enabled": ["aqua", "osv"]}),
    "tls by text": Case(
        "harbor-scanner", {"service": {"tlsEnabled": True, "tlsCertData": CERTIFICATE, "tlsKeyData": KEY}}
    ),
    "tls as in the aqua chart": Case(
        "harbor-scanner-aqua",
        {
            **AQUA,
            "service": {"port": 8443},
            "scanner": {
                **AQUA["scanner"],
                "api": {"tlsEnabled": "true", "tlsCertificate": CERTIFICATE, "tlsKey": KEY},
            },
        },
    ),
    "tls by paths": Case(
        "qualys-harbor-demo",
        {
            **QUALYS,
            "service": {"tlsEnabled": True, "tlsCertData": "/certs/a.crt", "tlsKeyData": "/certs/a.key"},
            "extraVolumes": [{"name": "certs", "secret": {"secretName": "certs"}}],
            "extraVolumeMounts": [{"name": "certs", "mountPath": "/certs"}],
        },
    ),
    "tls by a secret": Case("harbor-scanner", {"tls": {"existingSecret": "scanner-tls"}}),
    "tls by cert-manager": Case("harbor-scanner", {"tls": {"issuer": {"name": "internal"}}}),
    "deployment": Case("harbor-scanner", {**REDIS, "workload": {"kind": "Deployment"}, "replicaCount": 3}),
    "no disk": Case("harbor-scanner", {"data": {"persistent": False}}),
    "openshift": Case("harbor-scanner-aqua", {**AQUA, "openshift": True}),
    "everything": Case("scans", EVERYTHING),
}


@functools.cache
def rendered(name: str) -> tuple[Object, ...]:
    """Return the objects of a case; they are shared, so change none."""
    case = CASES[name]
    return tuple(render(case.values, *case.flags, release=case.release))
