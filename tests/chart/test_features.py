"""What the values ask for is what the chart makes: programs, certificates, storage, scaling, network."""

from __future__ import annotations

import base64
import json

import pytest

from harbor_scanner.groups import VALUES_PATH
from harbor_scanner.scanners.qualys.settings import TOKEN_FILE
from support.chart_cases import CERTIFICATE, KEY, QUALYS, REDIS, SECRET, rendered
from support.chart_pods import main, pod, workload
from support.helm import Object, of_kind, only, render


def claims(spec: Object) -> set[str]:
    return {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())}


def test_the_programs_of_both_vendors_come_from_their_images() -> None:
    objects = rendered("everything")
    aqua, qualys = pod(objects)["initContainers"]
    assert aqua["image"] == "registry.aquasec.com/scanner:6.5"
    assert [*aqua["command"], *aqua["args"]] == ["cp", "-f", "/opt/aquasec/scannercli", "/programs/scannercli"]
    assert qualys["image"] == "docker.io/qualys/qscanner:latest"
    assert qualys["args"][-1] == "/programs/qscanner"
    mounted = {mount["mountPath"]: mount.get("subPath") for mount in main(objects)["volumeMounts"]}
    assert mounted["/usr/local/bin/scannercli"] == "scannercli"
    assert mounted["/usr/local/bin/qscanner"] == "qscanner"
    assert "/opt/aquascans" in mounted
    assert "initContainers" not in pod(rendered("aqua, its own image"))


def test_programs_of_vendors_may_write_to_tmp() -> None:
    for name in ("aqua", "qualys", "everything"):
        assert {"name": "tmp", "mountPath": "/tmp"} in main(rendered(name))["volumeMounts"]
        assert {"name": "tmp", "emptyDir": {}} in pod(rendered(name))["volumes"]
    assert "tmp" not in {volume["name"] for volume in pod(rendered("osv")).get("volumes", ())}


def test_probes_need_no_certificate_where_clients_must_show_one() -> None:
    container = main(render({"tls": {"existingSecret": "t"}, "settings": {"SCANNER_API_CLIENT_CAS": "/x/ca.crt"}}))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["exec"] == {"command": ["harbor-scanner", "healthy"]}
        assert "httpGet" not in container[probe]


def test_the_account_of_the_vendors_registry_is_a_pull_secret() -> None:
    objects = rendered("aqua")
    secret = only(objects, "Secret", "harbor-scanner-aqua-registry")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    login = f"puller:{SECRET}-registry"
    assert json.loads(base64.b64decode(secret["data"][".dockerconfigjson"])) == {
        "auths": {
            "registry.aquasec.com": {
                "username": "puller",
                "password": f"{SECRET}-registry",
                "auth": base64.b64encode(login.encode()).decode(),
            }
        }
    }
    assert pod(objects)["imagePullSecrets"] == [{"name": "harbor-scanner-aqua-registry"}]


def test_values_yaml_and_token_lie_where_the_deployment_guide_has_them_and_change_with_their_sources() -> None:
    objects = rendered("qualys")
    [mount] = [mount for mount in main(objects)["volumeMounts"] if mount["name"] == "qscanner"]
    # A file mounted by `subPath` never changes.
    assert "subPath" not in mount
    [volume] = [volume for volume in pod(objects)["volumes"] if volume["name"] == "qscanner"]
    paths = {
        f"{mount['mountPath']}/{item['path']}"
        for source in volume["projected"]["sources"]
        for item in (source.get("configMap") or source["secret"])["items"]
    }
    assert paths == {str(VALUES_PATH), str(TOKEN_FILE)}


def test_a_certificate_in_the_values_becomes_a_secret_of_tls() -> None:
    for name, secret in (
        ("tls by text", "harbor-scanner-tls"),
        ("tls as in the aqua chart", "harbor-scanner-aqua-tls"),
    ):
        made = only(rendered(name), "Secret", secret)
        assert made["type"] == "kubernetes.io/tls"
        assert {key: base64.b64decode(text).decode() for key, text in made["data"].items()} == {
            "tls.crt": CERTIFICATE,
            "tls.key": KEY,
        }


def test_cert_manager_makes_a_certificate_for_every_name_of_the_service() -> None:
    objects = rendered("everything")
    spec = only(objects, "Certificate")["spec"]
    name = only(objects, "Service")["metadata"]["name"]
    assert spec["dnsNames"] == [
        name, f"{name}.harbor", f"{name}.harbor.svc", f"{name}.harbor.svc.cluster.local",
    ]  # fmt: skip
    assert spec["issuerRef"] == {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "internal"}
    [volume] = [volume for volume in pod(objects)["volumes"] if volume["name"] == "tls"]
    assert volume["secret"]["secretName"] == spec["secretName"]


def test_the_platforms_certificates_are_mounted_where_the_scanner_looks() -> None:
    objects = rendered("qualys with certificates")
    [volume] = [volume for volume in pod(objects)["volumes"] if volume["name"] == "platform-certificates"]
    assert volume["secret"] == {"secretName": "qualys-ca", "items": [{"key": "ca.crt", "path": "platform.pem"}]}
    [mount] = [mount for mount in main(objects)["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount["mountPath"] == "/etc/qualys"
    assert 'cert-path: "/etc/qualys/platform.pem"' in only(objects, "ConfigMap")["data"]["values.yaml"]


def test_the_platforms_certificates_are_not_mounted_where_that_is_disabled() -> None:
    objects = render({**QUALYS, "qualys": {"certificates": {"secret": "ca"}}, "service": {"disable-qualys-tls": True}})
    assert "platform-certificates" not in {volume["name"] for volume in pod(objects)["volumes"]}
    assert "cert-path" not in only(objects, "ConfigMap")["data"]["values.yaml"]


@pytest.mark.parametrize("runtime", ["containerd", "docker"])
def test_both_runtimes_need_no_access_to_the_node_unless_it_is_asked_for(runtime: str) -> None:
    plain = render(QUALYS, f"--set=qualys.runtime={runtime}", release="qualys-harbor-demo")
    assert plain == list(rendered("qualys"))
    reading = render(QUALYS, f"--set=qualys.runtime={runtime}", "--set=qualys.nodeStorage=true")
    [volume] = [volume for volume in pod(reading)["volumes"] if "hostPath" in volume]
    driver = {"containerd": "containerd-overlayfs", "docker": "docker-overlay2"}[runtime]
    assert volume["hostPath"] == {"path": f"/var/lib/{runtime}", "type": "Directory"}
    [mount] = [mount for mount in main(reading)["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount == {"name": volume["name"], "mountPath": f"/var/lib/{runtime}", "readOnly": True}
    assert f'storage-driver: "{driver}"' in only(reading, "ConfigMap")["data"]["values.yaml"]


def test_each_replica_has_a_disk_and_a_cache_as_the_values_say() -> None:
    spec = workload(rendered("everything"))["spec"]
    data, cache = spec["volumeClaimTemplates"]
    assert data["spec"] == {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "20Gi"}},
    }  # fmt: skip
    assert cache["spec"] == {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}},
    }  # fmt: skip
    assert "storageClassName" not in workload(rendered("osv"))["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claims(workload(rendered("no disk"))["spec"]) == set()


def test_manual_storage_has_a_volume_for_each_replica() -> None:
    objects = rendered("qualys, all of its guide")
    name = workload(objects)["metadata"]["name"]
    volumes = of_kind(objects, "PersistentVolume")
    assert len(volumes) == workload(objects)["spec"]["replicas"] == 2
    [claim] = [
        each for each in workload(objects)["spec"]["volumeClaimTemplates"] if each["metadata"]["name"] == "cache"
    ]
    for index, volume in enumerate(volumes):
        spec = volume["spec"]
        assert spec["claimRef"] == {"namespace": "harbor", "name": f"cache-{name}-{index}"}
        assert spec["storageClassName"] == claim["spec"]["storageClassName"] == "manual"
        assert spec["accessModes"] == claim["spec"]["accessModes"]
        assert spec["capacity"]["storage"] == claim["spec"]["resources"]["requests"]["storage"]
        assert spec["hostPath"]["path"] == "/root/.cache/qualys/qscanner"
        # Uninstalling takes no cache away, and no claim is left without its volume.
        assert volume["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert {mount["name"]: mount["mountPath"] for mount in main(objects)["volumeMounts"]}["cache"] == (
        "/root/.cache/qualys/qscanner"
    )
    assert of_kind(rendered("qualys, dynamic cache"), "PersistentVolume") == []


def test_replicas_scale_with_the_queue() -> None:
    objects = rendered("everything")
    spec = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in workload(objects)["spec"]
    assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) == (
        workload(objects)["kind"], workload(objects)["metadata"]["name"],
    )  # fmt: skip
    [metric] = spec["metrics"]
    assert metric["external"]["metric"] == {
        "name": "harbor_scanner_jobs_queued",
        "selector": {"matchLabels": {"service": only(objects, "Service")["metadata"]["name"]}},
    }
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "4"}


def test_only_harbor_and_who_is_named_gets_through_the_network_policy() -> None:
    objects = rendered("everything")
    spec = only(objects, "NetworkPolicy")["spec"]
    [rule] = spec["ingress"]
    harbor, test, monitoring = rule["from"]
    assert harbor["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "registry"}
    assert harbor["podSelector"]["matchExpressions"] == [
        {"key": "component", "operator": "In", "values": ["core", "jobservice"]}
    ]
    assert test["podSelector"]["matchLabels"].items() <= only(objects, "Pod")["metadata"]["labels"].items()
    assert monitoring["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert rule["ports"] == [{"protocol": "TCP", "port": main(objects)["ports"][0]["name"]}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    closed = render({"networkPolicy": {"enabled": True}})
    assert only(closed, "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]


def test_replicas_of_a_deployment_are_replaced_one_by_one() -> None:
    spec = workload(rendered("deployment"))["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}["data"]["emptyDir"] == {}


def test_replicas_are_spread_over_nodes() -> None:
    [spread] = pod(rendered("deployment"))["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    labels = workload(rendered("deployment"))["spec"]["template"]["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


def test_the_longest_name_of_a_release_leaves_room_for_the_names_of_pods() -> None:
    objects = render({"workload": {"kind": "StatefulSet"}}, release="r" * 53)
    # Kubernetes puts `-<hash>` of eleven characters behind it, in a label.
    assert len(workload(objects)["metadata"]["name"]) <= 52


def test_an_image_is_named_by_registry_and_digest() -> None:
    digest = "sha256:" + "0" * 64
    image = {"registry": "registry.example.com/tools", "tag": "ignored", "digest": digest}
    objects = render({"scanner": {"image": image}, **REDIS})
    assert main(objects)["image"] == f"registry.example.com/tools/harbor-scanner@{digest}"
