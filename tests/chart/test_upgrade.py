"""Upgrades change no field that Kubernetes keeps, or say what to do about it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from support import kube_api
from support.chart_cases import AQUA, CASES, QUALYS, QUALYS_GUIDE, REDIS, rendered
from support.chart_pods import workload
from support.helm import CHART, HelmError, Object, helm, of_kind, only, render

SAME_NAME = {"fullnameOverride": "scanner"}


def kept(objects: list[Object] | tuple[Object, ...]) -> dict[tuple[str, str], Any]:
    """Return what of each object an upgrade must leave as it is."""
    fields: dict[str, Any] = {
        "StatefulSet": lambda each: {
            name: each["spec"].get(name)
            for name in ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")
        },
        "Deployment": lambda each: each["spec"]["selector"],
        "Secret": lambda each: each["type"],
        "Service": lambda each: each["spec"].get("clusterIP"),
        "PersistentVolume": lambda each: each["spec"]["hostPath"],
    }
    return {
        (each["kind"], each["metadata"]["name"]): fields[each["kind"]](each)
        for each in objects
        if each["kind"] in fields
    }


def conflicts(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[Any]:
    return [key for key in before.keys() & after.keys() if before[key] != after[key]]


@pytest.mark.parametrize("extra", [{}, SAME_NAME], ids=["by default names", "under one name"])
def test_from_aquas_values_to_qualys_and_back(extra: Mapping[str, Any]) -> None:
    release = "harbor-scanner-aqua"
    aqua = kept(render({**AQUA, **extra}, release=release))
    qualys = kept(render({**QUALYS, **REDIS, "service": {"replicaCount": 2}, **extra}, release=release))
    both = kept(render({**AQUA, **QUALYS, **extra}, release=release))
    assert conflicts(aqua, qualys) == conflicts(aqua, both) == conflicts(both, qualys) == []
    names = {key[1] for key in aqua if key[0] == "StatefulSet"}, {key[1] for key in qualys if key[0] == "StatefulSet"}
    assert names == (({"scanner"}, {"scanner"}) if extra else ({"harbor-scanner-aqua"}, {"qualys-scanner"}))


def test_from_the_embedded_store_to_redis_and_several_replicas() -> None:
    before = kept(render({}))
    after = kept(render({**REDIS, "replicaCount": 3, "podLabels": {"a": "b"}, "tls": {"issuer": {"name": "i"}}}))
    assert conflicts(before, after) == []


def test_a_new_version_of_the_chart_keeps_what_cannot_change() -> None:
    for each in rendered("everything"):
        text = yaml.safe_dump(kept([each]))
        assert "0.1.0" not in text
        assert "helm.sh/chart" not in text


def template(values: Mapping[str, Any], *there: Object, release: str = "harbor-scanner-aqua") -> str:
    """Return what Helm renders for a cluster that has these objects already."""
    with kube_api.serving(there) as url:
        return helm(
            "template", release, str(CHART), "--dry-run=server", f"--kube-apiserver={url}", "--namespace=harbor",
            "--disable-openapi-validation", values=values,
        )  # fmt: skip


def as_served(item: Object) -> Object:
    """Return a workload as an API server has it, with its defaults filled in."""
    spec = item["spec"]
    claims = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"creationTimestamp": None, **each["metadata"]},
            "spec": {**each["spec"], "volumeMode": "Filesystem"},
            "status": {"phase": "Pending"},
        }
        for each in spec.get("volumeClaimTemplates", ())
    ]
    owned = {"meta.helm.sh/release-name": "harbor-scanner-aqua", "meta.helm.sh/release-namespace": "harbor"}
    meta = {**item["metadata"], "annotations": owned}
    return {**item, "metadata": meta, "spec": {**spec, "volumeClaimTemplates": claims, "revisionHistoryLimit": 10}}


def test_claims_that_would_change_are_told_with_what_to_do() -> None:
    before = as_served(workload(render({**AQUA, **SAME_NAME}, release="harbor-scanner-aqua")))
    assert template({**AQUA, **SAME_NAME}, before)
    with pytest.raises(HelmError) as refused:
        template({**QUALYS, **SAME_NAME, "persistence": {"enable": True}}, before)
    assert (
        "the claims of a StatefulSet cannot be changed. There are data (10Gi, ReadWriteOnce, class default); "
        "wanted are data (10Gi, ReadWriteOnce, class default); cache (3Gi, ReadWriteMany, class manual). "
        "Run `kubectl --namespace harbor delete statefulset scanner --cascade=orphan`, which leaves its pods and "
        "claims as they are, then upgrade again"
    ) in str(refused.value)


def test_a_deployment_of_the_old_chart_is_told_with_what_to_do() -> None:
    old = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "harbor-scanner-aqua", "namespace": "harbor"},
        "spec": {"selector": {"matchLabels": {"app.kubernetes.io/name": "harbor-scanner-aqua"}}},
    }
    # The chart's own StatefulSet takes the place of that Deployment.
    assert template(AQUA, old)
    with pytest.raises(HelmError) as refused:
        template({**AQUA, **REDIS, "workload": {"kind": "Deployment"}}, old)
    assert "there is a Deployment harbor-scanner-aqua of another chart" in str(refused.value)
    # Its pods go with it: no other workload ever takes over pods of other labels.
    assert "Run `kubectl --namespace harbor delete deployment harbor-scanner-aqua`, which ends" in str(refused.value)


def manual(**changes: Any) -> dict[str, Any]:
    """Return values with a volume of the chart's own, and what is different in its spec."""
    return {**QUALYS, "persistence": {"enable": True}, "scannerArgs": {**QUALYS["scannerArgs"], **changes}}


def test_a_volume_that_cannot_take_another_directory_is_told_with_what_to_do() -> None:
    there = only(render(manual()), "PersistentVolume")
    assert template(manual(), there)
    with pytest.raises(HelmError) as refused:
        template(manual(**{"cache-dir": "/cache"}), there)
    assert (
        "scannerArgs.cache-dir: the volume harbor-qualys-scanner-cache-0 has /root/.cache/qualys/qscanner, which "
        "cannot be changed. Keep that, or run `kubectl --namespace harbor delete statefulset/qualys-scanner "
        "persistentvolumeclaim/cache-qualys-scanner-0` and "
        "`kubectl delete persistentvolume/harbor-qualys-scanner-cache-0`"
    ) in str(refused.value)


def test_a_volume_of_an_installation_before_is_told_with_what_to_do() -> None:
    there = only(render(manual()), "PersistentVolume")
    assert template(manual(), {**there, "status": {"phase": "Bound"}})
    with pytest.raises(HelmError) as refused:
        template(manual(), {**there, "status": {"phase": "Released"}})
    assert "Run `kubectl delete persistentvolume/harbor-qualys-scanner-cache-0`, which leaves" in str(refused.value)


def pods(values: Mapping[str, Any]) -> Object:
    return dict(only(render(values), "StatefulSet")["spec"]["template"])


def test_flags_of_qscanner_and_secrets_of_scanners_change_without_a_restart() -> None:
    before = pods({**QUALYS, **AQUA, **REDIS})
    changed: dict[str, Any] = {
        **AQUA,
        **REDIS,
        "scannerArgs": {"pod": "EU1", "access-token": "another", "scan-timeout": "20m", "max-network-retries": 3},
    }
    changed["scanner"] = {"aqua": {**AQUA["scanner"]["aqua"], "password": "another"}}
    assert pods(changed) == before


@pytest.mark.parametrize(
    "change",
    [
        {"redis": {"url": "redis://other:6379"}},
        {"redis": {**REDIS["redis"], "maxIdleConnections": 9}},
        {"service": {"workerThreads": 7}},
        {"service": {"logLevel": "info"}},
        {"secretSettings": {"SCANNER_API_AUTH_BASIC": "harbor:new"}},
        {"settings": {"SCANNER_OSV_URL": "https://me:password@mirror/osv"}},
    ],
    ids=lambda change: "-".join(change[next(iter(change))]),
)
def test_what_is_read_at_the_start_only_restarts_the_pods(change: Mapping[str, Any]) -> None:
    assert pods({**QUALYS, **REDIS, "enabled": ["qualys", "osv"]}) != pods(
        {**QUALYS, **REDIS, "enabled": ["qualys", "osv"], **change}
    )


def test_what_restarts_pods_does_not_give_a_secret_away() -> None:
    annotations = pods({**REDIS})["metadata"]["annotations"]
    for text in (REDIS["redis"]["url"], f'{{"SCANNER_REDIS_URL":"{REDIS["redis"]["url"]}"}}'):
        assert hashlib.sha256(text.encode()).hexdigest()[:16] not in str(annotations)
        assert base64.b64encode(text.encode()).decode() not in str(annotations)


def test_rendering_twice_gives_the_same() -> None:
    case = CASES["everything"]
    assert render(case.values, *case.flags, release=case.release) == list(rendered("everything"))


def test_volumes_of_a_smaller_installation_are_those_of_the_larger() -> None:
    two = of_kind(rendered("qualys, all of its guide"), "PersistentVolume")
    smaller = {**QUALYS_GUIDE, "service": {**QUALYS_GUIDE["service"], "replicaCount": 1}}
    assert of_kind(render(smaller, release="qualys-harbor-demo"), "PersistentVolume") == two[:1]
