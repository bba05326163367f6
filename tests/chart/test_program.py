"""The program takes what the chart gives it, and means by it what the operator meant."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trustme

from support import mounts
from support.chart_cases import CASES, rendered
from support.chart_pods import environment, files, pod
from support.chart_program import known, loaded
from support.helm import CHART
from support.reader import read
from support.service import Service
from support.standin import install_scannercli


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A directory whose path is short enough for a Unix socket below it."""
    directory = Path(tempfile.mkdtemp(prefix="hc-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


PROXY = {"HTTPS_PROXY", "NO_PROXY"}


@pytest.mark.parametrize("name", CASES)
def test_the_program_accepts_its_settings_and_knows_them_all(name: str, tmp_path: Path) -> None:
    config = loaded(rendered(name), tmp_path)
    assert config.unknown == ()
    enabled = environment(rendered(name))["SCANNER_ENABLED"].split(",")
    assert [scanner.name for scanner in config.scanners] == enabled
    assert all("disagree" not in line for line in config.warnings)


@pytest.mark.parametrize("name", CASES)
def test_every_variable_is_a_setting(name: str) -> None:
    names = set(environment(rendered(name))) - PROXY
    secret = {f"{name}_FILE" for name, setting in known().items() if setting.secret}
    assert names <= {*known(), *secret}
    # A secret is never given as a variable, which anybody sees who may look at pods.
    assert {name for name, setting in known().items() if setting.secret}.isdisjoint(names)


def test_the_charts_list_of_secret_settings_is_that_of_the_program() -> None:
    text = (CHART / "templates" / "_settings.tpl").read_text()
    table = text[text.index("secretTable") : text.index('scannerArgs" -')]
    named = set(re.findall(r"^([A-Z_]+):", table, re.MULTILINE))
    assert named == {name for name, setting in known().items() if setting.secret}


def test_the_charts_list_of_scanner_args_is_that_of_the_program() -> None:
    text = (CHART / "templates" / "_settings.tpl").read_text()
    [listed] = re.findall(r'define "harbor-scanner.scannerArgs" -}}\n(.+)\n', text)
    keys = {key: setting for setting in known().values() for key in setting.keys if key.startswith("scannerArgs.")}
    assert set(listed.split()) == {key.partition(".")[2] for key, setting in keys.items() if not setting.secret}


@pytest.mark.parametrize("name", ["aqua", "qualys, dynamic cache", "tls by text"])
def test_the_service_starts_with_the_environment_and_the_files_of_its_pod(name: str, tmp_path: Path) -> None:
    if reason := mounts.missing():
        pytest.skip(reason)
    objects = rendered(name)
    install_scannercli(tmp_path / "bin")
    variables = environment(objects)
    variables["SCANNER_DATA_DIR"] = "/var/lib/scanner/data"
    laid = {**files(objects, pod(objects)), "/var/lib/scanner/reports/README": ""}
    url = f"http://127.0.0.1:{variables['SCANNER_API_ADDR'].removeprefix(':')}"
    command = "harbor-scanner serve"
    if variables["SCANNER_API_TLS_ENABLED"] == "true":
        # No client knows its authority here: what it holds must do.
        url, command = "", "harbor-scanner config --json"
    answer = read(
        command, url=url, files=laid, programs=tmp_path / "bin", home=tmp_path, variables=variables
    )  # fmt: skip
    if url:
        assert answer["status"] in {"ready", "degraded"}, answer
        assert answer["checks"]["store"]["state"] == "ok", answer


@pytest.fixture
def asking() -> ModuleType:
    """The program of `helm test`."""
    spec = importlib.util.spec_from_file_location("metadata_test", CHART / "files" / "metadata_test.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_helm_test_asks_a_service_with_tls_and_authentication(
    asking: ModuleType, short_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = short_home / "tls.crt", short_home / "tls.key"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    (short_home / "SCANNER_API_AUTH_TOKENS").write_text("first, second\n")
    monkeypatch.setattr(asking, "SECRETS", short_home)
    monkeypatch.setattr(asking, "CERTIFICATE", certificate)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    service = Service(
        short_home / "service",
        {
            "SCANNER_API_TLS_CERTIFICATE": str(certificate),
            "SCANNER_API_TLS_KEY": str(key),
            "SCANNER_API_AUTH_TOKENS": "first,second",
            "SCANNER_OSV_UPDATE_EVERY": "0",
        },
    )
    url = f"https://{service.address}"

    def answered() -> bool:
        with pytest.raises(SystemExit) as ended:
            asking.main(url, "osv")
        return ended.value.code == 0

    service.start(ready=False)
    try:
        service.wait_for(answered, "answering")
        told = capsys.readouterr().out.splitlines()[-1]
        assert told.startswith(f"{url}/osv: OSV")
        with pytest.raises(SystemExit) as ended:
            asking.main(url, "osv", "nobody")
        assert ended.value.code == 1
        assert "404" in capsys.readouterr().out.splitlines()[-1]
        (short_home / "SCANNER_API_AUTH_TOKENS").write_text("wrong")
        assert not answered()
        assert "401" in capsys.readouterr().out
    finally:
        service.end()
