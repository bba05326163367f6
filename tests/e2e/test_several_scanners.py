"""Two scanners in one service: each registered in Harbor on its own, and neither touched by the other's trouble."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harbor_scanner.harbor.client import HarborClient, ScanFailedError, UnexpectedStatusError
from harbor_scanner.harbor.models import ScanRequest
from standins.aqua.behaviour import Behaviour as AquaBehaviour
from standins.qualys.behaviour import Behaviour as QualysBehaviour
from support.oci import Registry
from support.qualys import install_qscanner
from support.qualys_stage import QualysStage
from support.service import Service, serving
from support.stage import NOWHERE, request_for, run
from support.standin import ScannerCli


class Both:
    """A service with both scanners, and what lies behind it."""

    def __init__(self, service: Service, aqua: ScannerCli, qualys: QualysStage) -> None:
        self.service = service
        self.aqua = aqua
        self.qualys = qualys

    async def scan(self, scanner: str, request: ScanRequest) -> int:
        """Return the number of findings, by the scanner registered under that path."""
        async with HarborClient(f"{self.service.url}{scanner}") as client:
            return len((await client.wait_for_report(await client.submit(request))).content.vulnerabilities)


def environment(stage: QualysStage, aqua: ScannerCli, reports: Path) -> dict[str, str]:
    return {
        "PATH": f"{aqua.directory}:{stage.qscanner.directory}:{os.environ['PATH']}",
        "SCANNER_CONFIG": str(stage.values_file),
        "QUALYS_ACCESS_TOKEN_FILE": str(stage.token_file),
        "SCANNER_AQUA_USERNAME": aqua.config.username,
        "SCANNER_AQUA_PASSWORD": aqua.config.password,
        "SCANNER_AQUA_REPORTS_DIR": str(reports),
        "SCANNER_WORKERS": "2",
        "SCANNER_LOG_LEVEL": "info",
    }


@pytest.fixture
def both(scannercli: ScannerCli, tmp_path: Path) -> Iterator[Both]:
    directory = Path(tempfile.mkdtemp(prefix="h2-"))
    scannercli.connect(Registry(NOWHERE, "", ""))
    stage = QualysStage(directory, install_qscanner(tmp_path / "qscanner"))
    reports = directory / "reports"
    reports.mkdir()
    with serving(directory / "s", environment(stage, scannercli, reports)) as service:
        yield Both(service, scannercli, stage)
    shutil.rmtree(directory, ignore_errors=True)


def test_each_scanner_has_its_own_address_and_the_first_also_answers_at_the_root(both: Both) -> None:
    both.aqua.force(AquaBehaviour(findings=2))
    both.qualys.qscanner.force(QualysBehaviour(findings=3))

    async def names() -> list[str]:
        found = []
        for path in ("", "/aqua", "/qualys"):
            async with HarborClient(both.service.url + path) as client:
                found.append((await client.metadata()).scanner.name)
        return found

    assert run(names()) == ["Aqua", "Aqua", "Qualys"]
    assert run(both.scan("", request_for("two/root"))) == 2
    assert run(both.scan("/aqua", request_for("two/aqua"))) == 2
    assert run(both.scan("/qualys", request_for("two/qualys"))) == 3
    assert {scan.repository for scan in both.qualys.qscanner.scans()} == {"two/qualys"}
    metrics = both.service.metrics()
    assert 'harbor_scanner_accepted_total{scanner="aqua"} 2.0' in metrics
    assert 'harbor_scanner_accepted_total{scanner="qualys"} 1.0' in metrics
    assert set(both.service.probe()[1]["checks"]) == {"store", "aqua", "aqua disk", "qualys", "qualys disk"}


def test_a_job_is_known_only_to_the_scanner_that_accepted_it(both: Both) -> None:
    both.aqua.force(AquaBehaviour(findings=1))

    async def ask_the_other() -> None:
        async with (
            HarborClient(f"{both.service.url}/aqua") as aqua,
            HarborClient(f"{both.service.url}/qualys") as qualys,
        ):
            job_id = await aqua.submit(request_for("two/known"))
            with pytest.raises(ScanFailedError) as caught:
                await qualys.report(job_id)
            assert caught.value.status == 404
            await aqua.wait_for_report(job_id)

    run(ask_the_other())


def test_aqua_has_no_sbom_and_qualys_has(both: Both) -> None:
    asked = request_for("two/sbom").asking_for(["application/spdx+json"])

    async def submit(path: str) -> str:
        async with HarborClient(both.service.url + path) as client:
            return await client.submit(asked)

    with pytest.raises(UnexpectedStatusError) as caught:
        run(submit("/aqua"))
    assert caught.value.status == 422
    assert run(submit("/qualys"))


def test_one_scanner_that_hangs_or_is_missing_does_not_hold_up_the_other(both: Both) -> None:
    both.aqua.force(AquaBehaviour(hang=True))
    both.qualys.qscanner.force(QualysBehaviour(findings=4))

    async def fill() -> None:
        async with HarborClient(f"{both.service.url}/aqua") as aqua:
            for number in range(6):
                await aqua.submit(request_for(f"two/hang-{number}"))

    run(fill())
    both.service.wait_for(lambda: len(both.aqua.scans()) == 2, "busy with Aqua")
    assert run(both.scan("/qualys", request_for("two/meanwhile"))) == 4
    # The limit of scans at once holds for each scanner.
    assert len(both.aqua.scans()) == 2
    assert 'harbor_scanner_jobs{scanner="aqua",state="queued"}' in both.service.metrics()
    both.aqua.path.unlink()
    assert run(both.scan("/qualys", request_for("two/still"))) == 4
    assert both.service.probe()[0] == 200
    # In order, it would wait for the scans that hang.
    both.service.kill()


def test_the_order_of_scanner_enabled_decides_who_answers_at_the_root(scannercli: ScannerCli, tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="h2-"))
    stage = QualysStage(directory, install_qscanner(tmp_path / "qscanner"))
    settings = {**environment(stage, scannercli, directory), "SCANNER_ENABLED": "qualys,aqua"}

    async def name(service: Service) -> str:
        async with HarborClient(service.url) as client:
            return (await client.metadata()).scanner.name

    with serving(directory / "s", settings) as service:
        assert run(name(service)) == "Qualys"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize(
    ("enabled", "words"),
    [("aqua,nonesuch", "nonesuch"), ("aqua,aqua", "SCANNER_ENABLED"), ("qualys", "")],
)
def test_what_cannot_be_enabled_is_told(tmp_path: Path, enabled: str, words: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "harbor_scanner", "config", "--json"],
        env={"SCANNER_ENABLED": enabled, "SCANNER_AQUA_TOKEN": "t", "SCANNER_DATA_DIR": str(tmp_path), "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    if words:
        assert shown.returncode == 2
        assert words in shown.stderr
    else:
        rows = {row["name"]: row for row in json.loads(shown.stdout)}
        assert rows["SCANNER_ENABLED"]["value"] == "qualys"
        assert "SCANNER_QUALYS_POD" in rows
