"""The commands of both vendors' documents and of our own pages install what they promise."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import kubernetes, pages
from support.chart_cases import CERTIFICATE, KEY, QUALYS_GUIDE
from support.chart_pods import environment, main, pod, workload
from support.helm import CHART, ROOT, Object, documents, helm_program, of_kind, only
from support.pages import Block

HERE = "tests/chart/test_commands.py"
BLOCKS = [block for block in pages.blocks() if block.what == HERE]
FAKE = ROOT / "tests" / "support" / "fake_helm.sh"

AQUA = """\
export AQUA_VERSION="6.5"
export AQUA_CONSOLE_HOST="http://aqua-console-svc.aqua:8080"
export AQUA_CONSOLE_USERNAME=harbor_scanner
export AQUA_CONSOLE_PASSWORD=s3cret

export AQUA_REGISTRY_USERNAME=me@example.com
export AQUA_REGISTRY_PASSWORD=s3cret-too

helm repo add aqua https://aquasecurity.github.io/helm-charts/
helm repo update

helm install harbor-scanner-aqua aqua/harbor-scanner-aqua \\
  --namespace harbor \\
  --set aqua.version=$AQUA_VERSION \\
  --set aqua.registry.server=registry.aquasec.com \\
  --set aqua.registry.username=$AQUA_REGISTRY_USERNAME \\
  --set aqua.registry.password=$AQUA_REGISTRY_PASSWORD \\
  --set scanner.aqua.host=$AQUA_CONSOLE_HOST \\
  --set scanner.aqua.username=$AQUA_CONSOLE_USERNAME \\
  --set scanner.aqua.password=$AQUA_CONSOLE_PASSWORD
"""
"""The steps of the Aqua adapter's README."""

QUALYS = """\
helm repo add adapter-svc-helm-chart
helm repo update
helm install qualys-harbor-demo adapter-svc-helm-chart/qualys-harbor --values values.yaml
helm upgrade qualys-harbor-demo adapter-svc-helm-chart/qualys-harbor --values values.yaml
"""
"""The steps of Qualys' deployment guide, with the flag for the values.yaml that it has one write."""


def run(script: str, directory: Path, files: dict[str, str] | None = None) -> list[list[Object]]:
    """Run commands as a reader does, and return what each `helm install` and `helm upgrade` would install."""
    for name, content in (files or {}).items():
        (directory / name).write_text(content)
    programs, out = directory / "bin", directory / "out"
    programs.mkdir()
    out.mkdir()
    shutil.copy(FAKE, programs / "helm")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "HELM": str(helm_program()),
            "CHART": str(CHART),
            "OUT": str(out),
        },
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [documents((out / f"{number}.yaml").read_text()) for number in range(len(list(out.iterdir())))]


def endpoint(objects: list[Object]) -> str:
    """Return where Harbor reaches the service."""
    service = only(objects, "Service")
    scheme = "https" if environment(objects)["SCANNER_API_TLS_ENABLED"] == "true" else "http"
    meta = service["metadata"]
    return f"{scheme}://{meta['name']}.{meta['namespace']}:{service['spec']['ports'][0]['port']}"


def test_the_steps_of_the_aqua_adapters_readme(tmp_path: Path) -> None:
    [objects] = run(AQUA, tmp_path)
    # "The scanner service should be accessible at …"
    assert endpoint(objects) == "http://harbor-scanner-aqua.harbor:8080"
    assert environment(objects)["SCANNER_ENABLED"] == "aqua"
    assert environment(objects)["SCANNER_AQUA_HOST"] == "http://aqua-console-svc.aqua:8080"
    assert pod(objects)["initContainers"][0]["image"] == "registry.aquasec.com/scanner:6.5"
    # "… a dedicated service account (named after a Helm release)", and user and fsGroup 1000.
    assert only(objects, "ServiceAccount")["metadata"]["name"] == "harbor-scanner-aqua"
    assert pod(objects)["serviceAccountName"] == "harbor-scanner-aqua"
    assert (pod(objects)["securityContext"]["runAsUser"], pod(objects)["securityContext"]["fsGroup"]) == (1000, 1000)
    secret = only(objects, "Secret", "harbor-scanner-aqua")["data"]
    assert base64.b64decode(secret["SCANNER_AQUA_PASSWORD"]) == b"s3cret"


def test_the_steps_of_the_qualys_deployment_guide(tmp_path: Path) -> None:
    installed, upgraded = run(QUALYS, tmp_path, {"values.yaml": yaml.safe_dump(dict(QUALYS_GUIDE))})
    assert installed == upgraded
    assert workload(installed)["kind"] == "StatefulSet"
    assert endpoint(installed) == "http://qualys-scanner.default:5000"
    assert environment(installed)["SCANNER_ENABLED"] == "qualys"
    assert len(of_kind(installed, "PersistentVolume")) == workload(installed)["spec"]["replicas"] == 2


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_commands_of_our_pages_install_what_kubernetes_takes(block: Block, tmp_path: Path) -> None:
    files = {"accesstoken": "a-token\n", "tls.crt": CERTIFICATE, "tls.key": KEY, "values.yaml": "{}"}
    installations = run(block.text, tmp_path, files)
    assert len(installations) == len(re.findall(r"^helm (?:install|upgrade)", block.text, re.MULTILINE)) > 0
    for objects in installations:
        assert all(each["metadata"]["namespace"] == "harbor" for each in objects)
        found = [
            problem
            for each in objects
            if (each["apiVersion"], each["kind"]) not in kubernetes.NOT_OURS
            for problem in kubernetes.problems(each, kubernetes.NEWEST)
        ]
        assert found == []


def test_there_are_such_blocks() -> None:
    assert {block.page for block in BLOCKS} >= {"docs/kubernetes.md", "docs/openshift.md"}


def test_endpoints_are_those_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    table = page[page.index("| Installed as") : page.index("The notes after")]
    told = re.findall(r"`(http\S+?)`", table)
    [*seen] = [
        endpoint(objects)
        for number, block in enumerate([block for block in BLOCKS if block.page == "docs/kubernetes.md"][:3])
        for objects in run(block.text, _made(tmp_path / str(number)), {"accesstoken": "a"})
    ]
    assert told == seen


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_every_way_to_tls_of_the_page_ends_at_a_certificate(tmp_path: Path) -> None:
    [block] = [block for block in BLOCKS if "tls.issuer.name" in block.text]
    for objects in run(block.text, tmp_path, {"tls.crt": CERTIFICATE, "tls.key": KEY}):
        variables = environment(objects)
        assert endpoint(objects) == "https://harbor-scanner.harbor:8443"
        folder = str(Path(variables["SCANNER_API_TLS_CERTIFICATE"]).parent)
        assert folder == str(Path(variables["SCANNER_API_TLS_KEY"]).parent)
        assert folder in {mount["mountPath"] for mount in main(objects)["volumeMounts"]}


def test_the_openshift_page_grants_its_constraint_to_the_account_of_the_pods(tmp_path: Path) -> None:
    [objects] = run(AQUA, tmp_path)
    [account] = re.findall(r"oc adm policy .* (system:\S+)", (ROOT / "docs" / "openshift.md").read_text())
    assert account == f"system:serviceaccount:harbor:{pod(objects)['serviceAccountName']}"


def test_the_rule_of_the_metrics_adapter_makes_the_metric_of_the_autoscaler() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    [text] = re.findall(r"```yaml\n(externalRules:.*?)```", page, re.DOTALL)
    [rule] = yaml.safe_load(text)["externalRules"]
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    assert rule["name"]["as"] == values["autoscaling"]["metric"]
