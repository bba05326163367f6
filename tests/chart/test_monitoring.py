"""What the chart gives to Prometheus and Grafana fits the service; so does what the documentation says of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from support import pages
from support.helm import CHART, KUBERNETES, HelmError, Object, helm, of_kind, only, render
from support.prometheus import (
    ALERTS_FILE,
    DASHBOARD_FILE,
    ROOT,
    alerts,
    promtool,
    selectors,
)
from support.prometheus_operator import PrometheusRule, ServiceMonitor

MONITOR = {"metrics": {"serviceMonitor": {"enabled": True}}}
RULES = {"metrics": {"rules": {"enabled": True}}}
DASHBOARD = {"metrics": {"dashboard": {"enabled": True}}}


def test_nothing_is_made_unless_it_is_asked_for() -> None:
    objects = render()
    assert not of_kind(objects, "ServiceMonitor")
    assert not of_kind(objects, "PrometheusRule")
    assert not [each for each in of_kind(objects, "ConfigMap") if "dashboard" in each["metadata"]["name"]]


def monitor_of(objects: list[Object]) -> ServiceMonitor:
    return msgspec.convert(only(objects, "ServiceMonitor"), ServiceMonitor)


@pytest.mark.parametrize(
    ("values", "release"),
    [({}, "harbor-scanner"), ({}, "other"), ({"scannerArgs": {"pod": "US1", "access-token": "t"}}, "qualys"),
     ({"fullnameOverride": "scanner"}, "harbor-scanner")],
)  # fmt: skip
def test_the_monitor_chooses_the_service_and_a_port_of_it(values: dict[str, Any], release: str) -> None:
    objects = render({**MONITOR, **values}, release=release, namespace="registry")
    monitor = monitor_of(objects)
    chosen = [
        service for service in of_kind(objects, "Service")
        if monitor.spec.selector.match_labels.items() <= service["metadata"]["labels"].items()
    ]  # fmt: skip
    [service] = chosen
    [endpoint] = monitor.spec.endpoints
    assert endpoint.port in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint.path, endpoint.scheme, endpoint.tls_config) == ("/metrics", "http", None)
    assert monitor.metadata.namespace == service["metadata"]["namespace"] == "registry"
    assert (endpoint.interval, endpoint.scrape_timeout) == (None, None)


def test_the_monitor_takes_what_the_operator_knows() -> None:
    relabeling = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    own = {
        "enabled": True, "labels": {"release": "prometheus"}, "interval": "1m", "scrapeTimeout": "20s",
        "relabelings": [relabeling], "metricRelabelings": [{"action": "drop", "regex": "x", "sourceLabels": ["y"]}],
    }  # fmt: skip
    monitor = monitor_of(render({"metrics": {"serviceMonitor": own}}))
    [endpoint] = monitor.spec.endpoints
    assert monitor.metadata.labels["release"] == "prometheus"
    assert (endpoint.interval, endpoint.scrape_timeout) == ("1m", "20s")
    assert endpoint.relabelings == [relabeling]
    assert endpoint.metric_relabelings == own["metricRelabelings"]


def tls(**config: Any) -> dict[str, Any]:
    return {"metrics": {"serviceMonitor": {"enabled": True, "tlsConfig": config}}}


def test_a_certificate_is_verified_by_the_name_that_harbor_uses() -> None:
    by_issuer = render({**MONITOR, "tls": {"issuer": {"name": "ca"}}})
    [endpoint] = monitor_of(by_issuer).spec.endpoints
    assert endpoint.scheme == "https"
    assert endpoint.tls_config is not None
    assert endpoint.tls_config.server_name == "harbor-scanner.harbor"
    assert endpoint.tls_config.server_name in only(by_issuer, "Certificate")["spec"]["dnsNames"]
    assert endpoint.tls_config.ca is not None
    assert endpoint.tls_config.ca.secret is not None
    assert endpoint.tls_config.ca.secret.name == only(by_issuer, "Certificate")["spec"]["secretName"]

    ca = {"configMap": {"name": "cas", "key": "ca.crt"}}
    [endpoint] = monitor_of(render({**tls(ca=ca, serverName="x"), "tls": {"existingSecret": "mine"}})).spec.endpoints
    assert endpoint.tls_config is not None
    assert endpoint.tls_config.server_name == "x"
    assert endpoint.tls_config.ca is not None
    assert endpoint.tls_config.ca.config_map is not None

    [endpoint] = monitor_of(render({**tls(insecureSkipVerify=True), "tls": {"existingSecret": "mine"}})).spec.endpoints
    assert endpoint.tls_config is not None
    assert endpoint.tls_config.insecure_skip_verify


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**MONITOR, "tls": {"existingSecret": "mine"}}, "tlsConfig: it must tell how Prometheus verifies"),
        ({**tls(insecureSkipVerify=True), "tls": {"existingSecret": "mine"},
          "settings": {"SCANNER_API_CLIENT_CAS": "/cas"}}, "tlsConfig: it must name the certificate that Prometheus"),
        ({"metrics": {"serviceMonitor": {"enable": True}}}, "'enable' not allowed"),
        ({"metrics": {"serviceMonitor": {"interval": "1 minute"}}}, "/metrics/serviceMonitor/interval"),
        ({"metrics": {"rules": {"labels": {"release": 1}}}}, "/metrics/rules/labels/release"),
        ({"metrics": {"dashboards": {"enabled": True}}}, "'dashboards' not allowed"),
    ],
)  # fmt: skip
def test_values_that_would_not_work_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(HelmError) as caught:
        render(values)
    assert told in str(caught.value)


def test_with_client_certificates_prometheus_shows_one() -> None:
    mine = {"secret": {"name": "prometheus", "key": "tls.crt"}}
    key = {"name": "prometheus", "key": "tls.key"}
    values = {"tls": {"existingSecret": "mine"}, "settings": {"SCANNER_API_CLIENT_CAS": "/cas"}}
    [endpoint] = monitor_of(render({**tls(ca=mine, cert=mine, keySecret=key), **values})).spec.endpoints
    assert endpoint.tls_config is not None
    assert endpoint.tls_config.key_secret is not None


def test_the_alerts_of_a_release_are_those_of_the_file_on_its_own_series(tmp_path: Path) -> None:
    objects = render(RULES, release="second", namespace="registry")
    rule = msgspec.convert(only(objects, "PrometheusRule"), PrometheusRule)
    [service] = of_kind(objects, "Service")
    own = f'namespace="registry", job="{service["metadata"]["name"]}"'
    [group] = rule.spec.groups
    expected = [
        (each["alert"], each["expr"].replace('job="harbor-scanner"', own), each.get("for"), each["labels"],
         each["annotations"]) for each in alerts()
    ]  # fmt: skip
    assert [(one.alert, one.expr, one.duration, one.labels, one.annotations) for one in group.rules] == expected
    assert all(
        {"namespace", "job"} <= matchers.keys() for one in group.rules for _, matchers in selectors(one.expr)
    )  # fmt: skip
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(only(objects, "PrometheusRule")["spec"]))
    promtool("check", "rules", file)


def test_alerts_link_to_where_the_documentation_is_and_are_chosen_by_labels() -> None:
    own = {"enabled": True, "runbookUrl": "https://wiki.example.com/scanner", "labels": {"role": "alert-rules"}}
    rule = msgspec.convert(only(render({"metrics": {"rules": own}}), "PrometheusRule"), PrometheusRule)
    assert rule.metadata.labels["role"] == "alert-rules"
    links = [one.annotations["runbook_url"] for one in rule.spec.groups[0].rules]
    assert links == [f"https://wiki.example.com/scanner#{one['alert'].lower()}" for one in alerts()]


def test_the_dashboard_is_that_of_the_file_where_the_sidecar_looks() -> None:
    found = only(render(DASHBOARD), "ConfigMap", "harbor-scanner-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["namespace"] == "harbor"
    [(name, text)] = found["data"].items()
    assert name.endswith(".json")
    assert json.loads(text) == json.loads(DASHBOARD_FILE.read_text())

    elsewhere = {"enabled": True, "namespace": "grafana", "annotations": {"grafana_folder": "Harbor"}}
    found = only(render({"metrics": {"dashboard": elsewhere}}), "ConfigMap", "harbor-scanner-dashboard")
    assert found["metadata"]["namespace"] == "grafana"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Harbor"}


def test_a_packaged_chart_has_them_too(tmp_path: Path) -> None:
    helm("package", str(CHART), f"--destination={tmp_path}")
    [package] = tmp_path.glob("*.tgz")
    values = {"metrics": {key: {"enabled": True} for key in ("rules", "dashboard")}}
    text = helm("template", "harbor-scanner", str(package), f"--kube-version={KUBERNETES}", values=values)
    objects = [each for each in yaml.safe_load_all(text) if each]
    assert len(only(objects, "PrometheusRule")["spec"]["groups"][0]["rules"]) == len(alerts())
    assert "harbor-scanner.json" in only(objects, "ConfigMap", "harbor-scanner-dashboard")["data"]


# The documentation


def test_the_command_of_the_documentation_asks_for_all_three() -> None:
    [block] = [each for each in pages.blocks() if each.page == "docs/monitoring.md"]
    command = shlex.split(block.text.replace("\\\n", " "))
    assert command[:5] == ["helm", "upgrade", "harbor-scanner", "deploy/helm/harbor-scanner", "--namespace"]
    objects = render({}, *command[command.index("--set") :])
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert only(objects, kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert only(objects, "ConfigMap", "harbor-scanner-dashboard")


def test_prometheus_takes_the_configuration_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    [text] = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shutil.copy(ALERTS_FILE, tmp_path)
    (tmp_path / "harbor_internal_ca.crt").touch()
    for name, content in (("plain", text), ("tls", re.sub("# (scheme|tls_config)", r"\1", text))):
        file = tmp_path / f"{name}.yml"
        file.write_text(content)
        assert f"{len(alerts())} rules found" in promtool("check", "config", file)
        [job] = yaml.safe_load(content)["scrape_configs"]
        assert ("tls_config" in job, job["job_name"]) == (name == "tls", "harbor-scanner")
