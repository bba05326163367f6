"""What the chart makes is what Kubernetes takes, and its parts fit together."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support import helm, kubernetes
from support.chart_cases import AQUA, CASES, QUALYS, SECRET, rendered
from support.chart_pods import main, pod, workload
from support.helm import CHART, KUBERNETES, Object, of_kind, only

each_case = pytest.mark.parametrize("name", CASES)


def environment(objects: Sequence[Object]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in main(objects)["env"] if "value" in entry}


def pods(objects: tuple[Object, ...]) -> list[Object]:
    """Return the specs of all pods: of the workload, and of the test."""
    return [pod(objects), *(each["spec"] for each in of_kind(objects, "Pod"))]


def secrets_within(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from secrets_within(key)
            yield from secrets_within(value)
    elif isinstance(node, list):
        for value in node:
            yield from secrets_within(value)
    elif isinstance(node, str) and (SECRET in node or "PRIVATE KEY" in node):
        yield node


def claims(spec: Object) -> set[str]:
    return {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())}


@each_case
def test_the_oldest_and_the_newest_kubernetes_take_every_object(name: str) -> None:
    ours = [each for each in rendered(name) if (each["apiVersion"], each["kind"]) not in kubernetes.NOT_OURS]
    assert len(ours) >= 4
    found = [
        problem
        for version in (kubernetes.OLDEST, kubernetes.NEWEST)
        for each in ours
        for problem in kubernetes.problems(each, version)
    ]
    assert found == []


def test_the_chart_names_the_oldest_kubernetes_that_is_tested() -> None:
    assert f'kubeVersion: ">={kubernetes.OLDEST}.0-0"' in (CHART / "Chart.yaml").read_text()


def test_helm_finds_nothing_to_complain_of() -> None:
    printed = helm.helm("lint", "--strict", str(CHART), f"--kube-version={KUBERNETES}", values={**AQUA, **QUALYS})
    assert "[WARNING]" not in printed
    assert "[ERROR]" not in printed


@each_case
def test_names_and_namespaces_are_those_of_the_release(name: str) -> None:
    seen = set()
    for each in rendered(name):
        meta = each["metadata"]
        assert (each["kind"], meta["name"]) not in seen
        seen.add((each["kind"], meta["name"]))
        assert meta.get("namespace") == (None if each["kind"] == "PersistentVolume" else "harbor")
        assert meta["labels"]["app.kubernetes.io/instance"] == CASES[name].release
        assert len(meta["name"]) <= 63


@each_case
def test_selectors_find_the_pods_of_the_service_and_no_others(name: str) -> None:
    objects = rendered(name)
    labels = workload(objects)["spec"]["template"]["metadata"]["labels"].items()
    test = only(objects, "Pod")["metadata"]["labels"].items()
    selectors = [workload(objects)["spec"]["selector"]["matchLabels"], only(objects, "Service")["spec"]["selector"]]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(objects, "NetworkPolicy")]
    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= test


@each_case
def test_every_mount_has_its_volume_and_every_volume_its_mount(name: str) -> None:
    objects = rendered(name)
    for spec in pods(objects):
        volumes = [volume["name"] for volume in spec.get("volumes", ())]
        held = claims(workload(objects)["spec"]) if spec == pod(objects) else set()
        assert len(set(volumes)) == len(volumes)
        assert held.isdisjoint(volumes)
        containers = [*spec.get("initContainers", ()), *spec["containers"]]
        mounts = [mount for each in containers for mount in each.get("volumeMounts", ())]
        assert {mount["name"] for mount in mounts} == {*volumes, *held}
        for each in containers:
            paths = [mount["mountPath"] for mount in each.get("volumeMounts", ())]
            assert len(set(paths)) == len(paths)


@each_case
def test_what_a_volume_is_made_of_exists(name: str) -> None:
    objects = rendered(name)
    given = json.dumps(CASES[name].values) + " ".join(CASES[name].flags)
    made = {
        (each["kind"], each["metadata"]["name"]): {**each.get("data", {})} for each in objects
        if each["kind"] in {"Secret", "ConfigMap"}
    }  # fmt: skip
    for certificate in of_kind(objects, "Certificate"):
        made["Secret", certificate["spec"]["secretName"]] = {"tls.crt": "", "tls.key": ""}
    for spec in pods(objects):
        for volume in spec.get("volumes", ()):
            for source in volume.get("projected", {}).get("sources", [volume]):
                for kind, field in (("Secret", "secret"), ("ConfigMap", "configMap")):
                    if field not in source:
                        continue
                    of = source[field].get("secretName") or source[field]["name"]
                    keys = {item["key"] for item in source[field].get("items", ())}
                    assert keys <= set(made.get((kind, of), keys if f'"{of}"' in given or f"={of}" in given else ()))
        for pull in spec.get("imagePullSecrets", ()):
            assert ("Secret", pull["name"]) in made or f'"{pull["name"]}"' in given


@each_case
def test_pods_have_no_privileges(name: str) -> None:
    on_openshift = CASES[name].values.get("openshift")
    on_the_node = "--set=qualys.nodeStorage=true" in CASES[name].flags
    for spec in pods(rendered(name)):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        identity = {key: security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")}
        assert set(identity.values()) == ({None} if on_openshift else {1000})
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["privileged"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"]["drop"] == ["ALL"]
            assert ("add" in security["capabilities"]) == (on_the_node and container["name"] == "main")
        hosts = [volume["hostPath"] for volume in spec.get("volumes", ()) if "hostPath" in volume]
        assert bool(hosts) == (on_the_node and spec == pod(rendered(name)))


@each_case
def test_secrets_are_in_secrets_only(name: str) -> None:
    objects = rendered(name)
    assert list(secrets_within([each for each in objects if each["kind"] != "Secret"])) == []
    values = CASES[name].values
    given = set(secrets_within(json.loads(json.dumps(values)))) | {flag for flag in CASES[name].flags if SECRET in flag}
    kept = "\n".join(
        base64.b64decode(text).decode() for each in of_kind(objects, "Secret") for text in each["data"].values()
    )
    assert {text for text in given if text not in kept} == set()


@each_case
def test_the_service_leads_to_the_port_that_the_program_listens_on(name: str) -> None:
    objects = rendered(name)
    [port] = only(objects, "Service")["spec"]["ports"]
    container = main(objects)
    [listens] = container["ports"]
    assert port["targetPort"] == listens["name"]
    assert environment(objects)["SCANNER_API_ADDR"] == f":{listens['containerPort']}"
    assert listens["containerPort"] >= 1024
    scheme = "HTTPS" if environment(objects)["SCANNER_API_TLS_ENABLED"] == "true" else "HTTP"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == listens["name"]
        assert container[probe]["httpGet"]["scheme"] == scheme
    assert [arg for arg in only(objects, "Pod")["spec"]["containers"][0]["args"] if arg.startswith("http")] == [
        f"{scheme.lower()}://{only(objects, 'Service')['metadata']['name']}.harbor:{port['port']}"
    ]


@each_case
def test_a_pod_has_longer_to_end_than_its_scans(name: str) -> None:
    objects = rendered(name)
    grace = int(environment(objects)["SCANNER_SHUTDOWN_GRACE"].removesuffix("s"))
    waits = int(main(objects)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod(objects)["terminationGracePeriodSeconds"] >= grace + waits + 20
