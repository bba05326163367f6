"""The notes after `helm install` tell the endpoints, the next steps, and what is to be seen to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from harbor_scanner.cli import app
from support import kube_api
from support.chart_cases import AQUA, CERTIFICATE, QUALYS, REDIS, SECRET
from support.helm import CHART, helm


def notes(values: Mapping[str, Any], release: str = "harbor-scanner", image: str = "registry.example/t/scan") -> str:
    """Return what Helm prints at the end of an installation, of an image that has a registry unless told otherwise."""
    with kube_api.serving() as url:
        printed = helm(
            "install", release, str(CHART), "--dry-run=server", f"--kube-apiserver={url}", "--namespace=harbor",
            f"--set=scanner.image.repository={image}", "--disable-openapi-validation", values=values,
        )  # fmt: skip
    return printed.partition("NOTES:\n")[2]


def test_one_scanner_and_nothing_to_see_to() -> None:
    told = notes({**AQUA}, "harbor-scanner-aqua")
    assert "aqua: http://harbor-scanner-aqua.harbor:8080\n" in told
    assert "harbor-scanner register --harbor https://HARBOR --url http://harbor-scanner-aqua.harbor:8080\n" in told
    assert "helm test harbor-scanner-aqua --namespace harbor" in told
    assert "To be seen to" not in told


def test_an_image_of_no_registry_is_told() -> None:
    told = notes({}, image="harbor-scanner")
    assert "scanner.image.registry: there is none; the image harbor-scanner must be on the nodes already" in told


def test_several_scanners_have_a_path_each() -> None:
    told = notes({**AQUA, **QUALYS, "tls": {"existingSecret": "tls"}})
    assert "  aqua: https://harbor-scanner.harbor:8080/aqua\n" in told
    assert "  qualys: https://harbor-scanner.harbor:8080/qualys\n" in told


def test_commands_of_the_notes_are_those_of_the_program() -> None:
    told = notes({})
    names = set(re.findall(r"harbor-scanner (register|doctor)\b", told))
    assert names == {"register", "doctor"}
    for name in names:
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        used = re.search(rf"harbor-scanner {name}(.*)", told)
        assert used is not None
        assert [option for option in re.findall(r"--[a-z-]+", used[1]) if option not in shown.output] == []


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        (
            {"enabled": ["qualys"], "scannerArgs": {"acess-token": SECRET}, "service": {"tlsCertData": CERTIFICATE}},
            [
                "scannerArgs.pod: neither it nor scannerArgs.gateway-url is given",
                "scannerArgs.access-token: there is none",
                "scannerArgs.acess-token: the service knows no such key, and it is not passed on",
                "service.tlsEnabled: it is not true; the certificate that is given is not used",
            ],
        ),
        (
            {
                **QUALYS, **REDIS, "persistence": {"enable": True, "enabled": False},
                "settingsFromSecrets": {"SCANNER_API_AUTH_BASIC": {"name": "a", "key": "b"}},
            },
            [
                "persistence.enable and persistence.enabled disagree: persistence.enable (true) holds",
                "persistence.storageClass: manual; on each node that may get a pod, run: install -d -o 1000 -g 1000 /r",
                "secretSettings.SCANNER_STORE_KEY: there is none",
                "settingsFromSecrets.SCANNER_API_AUTH_BASIC: when that Secret changes, restart the pods: kubectl",
            ],
        ),
        (
            {
                **QUALYS, "qualys": {"certificates": {"configMap": "ca"}},
                "service": {
                    "disable-qualys-tls": "TRUE", "tlsEnabled": True, "tlsCertData": "/root/a.crt",
                    "tlsKeyData": "/root/a.key",
                },
                "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/roo"}],
            },
            [
                "qualys.certificates: they are not mounted, for service.disable-qualys-tls is true",
                "service.tlsCertData: /root/a.crt is a path in the pod, and no extraVolumeMounts puts a file there",
            ],
        ),
        (
            {"persistence": {"enabled": True}},
            ["persistence.enabled: it is for the cache of qscanner, which does not run"],
        ),
        ({"data": {"persistent": False}}, ["data.persistent: it is false and there is no Redis"]),
    ],
)  # fmt: skip
def test_what_may_not_be_meant_so_is_told(values: Mapping[str, Any], messages: list[str]) -> None:
    told = notes(values)
    assert [message for message in messages if message not in told] == []
    assert told.count("\n  - ") == len(messages)
    assert SECRET not in told
