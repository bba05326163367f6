"""Qualys' scanner end to end: the deployment guide's own command and files, real images, and a client like Harbor."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import ScanFailedError
from harbor_scanner.harbor.models import VULNERABILITY, ScanRequest
from standins.qualys.behaviour import Behaviour
from support import images, mounts
from support.oci import Registry
from support.qualys import install_qscanner
from support.qualys_stage import QualysStage
from support.registry import docker_registry
from support.servers import missing
from support.service import Service, serving
from support.stage import ends, gone, harbor, push, request_for, run, submit


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[QualysStage]:
    """A stage whose paths are short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="hq-"))
    yield QualysStage(directory, install_qscanner(tmp_path / "qscanner"))
    shutil.rmtree(directory, ignore_errors=True)


async def scan(service: Service, request: ScanRequest) -> VulnerabilityReport:
    async with harbor(service) as client:
        return (await client.wait_for_report(await client.submit(request))).content


async def sbom(service: Service, request: ScanRequest, media_type: str) -> dict[str, Any]:
    async with harbor(service) as client:
        job_id = await client.submit(request.asking_for([media_type]))
        content: dict[str, Any] = json.loads((await client.wait_for_sbom(job_id, media_type)).document)["sbom"]
        return content


async def failure(service: Service, request: ScanRequest) -> str:
    with pytest.raises(ScanFailedError) as caught:
        await scan(service, request)
    return caught.value.message


def found(report: VulnerabilityReport) -> set[tuple[str | None, str | None]]:
    return {(item.id, item.package) for item in report.vulnerabilities}


def check_spdx(document: dict[str, Any]) -> None:
    parsed = JsonLikeDictParser().parse(document)  # type: ignore[no-untyped-call]
    assert validate_full_spdx_document(parsed, "SPDX-2.3") == []
    assert len(parsed.packages) > 5


def check_cyclonedx(document: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document)) is None
    assert len(document["components"]) > 5


needs_mounts = pytest.mark.skipif(bool(mounts.missing()), reason=mounts.missing() or "-")


@needs_mounts
def test_the_guides_own_command_scans_and_lists_a_real_image(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.debian(), "library/qualys-debian")
    with stage.seed_service() as service:
        report = run(scan(service, image))
        check_spdx(run(sbom(service, image, media.SPDX)))
        check_cyclonedx(run(sbom(service, image, media.CYCLONEDX)))
        lines = [json.loads(line) for line in (service.data / "log" / "harbor-scanner.log").read_text().splitlines()]
    assert ("CVE-2023-45853", "zlib1g") in found(report)
    assert report.severity == "Critical"
    vulnerabilities, spdx, cyclonedx = stage.qscanner.scans("library/qualys-debian")
    assert vulnerabilities.token == stage.qscanner.config.token
    assert vulnerabilities.pod == stage.qscanner.config.pod
    assert vulnerabilities.image == image.reference
    assert (vulnerabilities.mode, spdx.mode, cyclonedx.mode) == ("get-report", "inventory-only", "inventory-only")
    assert spdx.token == cyclonedx.token == ""
    assert {line["level"] for line in lines} >= {"debug", "info"}
    assert any(line["event"] == "scan finished" for line in lines)


def test_one_run_serves_both_capabilities_when_asked_at_once(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-both")

    async def both(service: Service, first: list[str], second: list[str]) -> None:
        async with harbor(service) as client:
            ids = [await client.submit(image.asking_for(kinds)) for kinds in (first, second)]
            for job_id, kinds in zip(ids, (first, second), strict=True):
                if VULNERABILITY in kinds:
                    report = await client.wait_for_report(job_id)
                    assert ("CVE-2019-14697", "musl") in found(report.content)
                else:
                    check_spdx(json.loads((await client.wait_for_sbom(job_id)).document)["sbom"])

    with stage.service() as service:
        run(both(service, [VULNERABILITY], [media.SPDX]))
        run(both(service, [media.SPDX], [VULNERABILITY]))
        metrics = service.metrics()
    assert [scan.mode for scan in stage.qscanner.scans("library/qualys-both")] == ["get-report", "get-report"]
    assert 'harbor_scanner_shared_runs_total{scanner="qualys"} 2.0' in metrics


def test_trouble_with_the_sbom_does_not_cost_the_vulnerabilities(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-half")
    stage.qscanner.force(Behaviour(sbom="truncated"))

    async def both(service: Service) -> None:
        async with harbor(service) as client:
            ids = [await client.submit(image.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX)]
            assert (await client.wait_for_report(ids[0])).content.vulnerabilities
            with pytest.raises(ScanFailedError) as caught:
                await client.wait_for_sbom(ids[1])
            assert caught.value.message.startswith("[bad-report]")

    with stage.service() as service:
        run(both(service))


def test_one_request_for_both_capabilities_is_one_run(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-one")

    async def one(service: Service) -> None:
        async with harbor(service) as client:
            job_id = await client.submit(image.asking_for([VULNERABILITY, *media.SBOM_FORMATS]))
            assert (await client.wait_for_report(job_id)).content.vulnerabilities
            check_spdx(json.loads((await client.wait_for_sbom(job_id, media.SPDX)).document)["sbom"])
            check_cyclonedx(json.loads((await client.wait_for_sbom(job_id, media.CYCLONEDX)).document)["sbom"])

    with stage.service() as service:
        run(one(service))
    assert len(stage.qscanner.scans("library/qualys-one")) == 1


def swap(stage: QualysStage, version: str, values: str, token: str) -> None:
    """Replace both files as Kubernetes does: through a directory to which a symbolic link is turned."""
    data = stage.mounted / version
    data.mkdir()
    (data / "values.yaml").write_text(values)
    (data / "token").write_text(token)
    link = stage.mounted / "..data"
    fresh = stage.mounted / "..data_tmp"
    fresh.symlink_to(version)
    fresh.replace(link)
    for file, name in ((stage.values_file, "values.yaml"), (stage.token_file, "token")):
        if not file.is_symlink():
            file.unlink()
            file.symlink_to(stage.mounted / "..data" / name)


def flag(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


@pytest.mark.parametrize("way", ["rename", "link"])
def test_pod_timeout_and_token_hold_from_the_next_scan_on(stage: QualysStage, registry: Registry, way: str) -> None:
    image = push(registry, images.alpine(), f"library/qualys-hot-{way}")
    if way == "link":
        swap(stage, "..one", stage.values(), stage.qscanner.config.token)

    def change(version: str, token: str, **values: Any) -> None:
        if way == "link":
            swap(stage, version, stage.values(**values), token)
        else:
            stage.write_values(**values)
            written = stage.token_file.with_name("new")
            written.write_text(token)
            written.replace(stage.token_file)

    with stage.service(LOG_LEVEL="debug") as service:
        run(scan(service, image))
        stage.qscanner.configure(token="t0ken-of-tomorrow", pod="EU1")
        change("..two", "t0ken-of-tomorrow", pod="EU1", scan_timeout="7m")
        run(scan(service, image))
        # What is wrong is told, and changes nothing.
        change("..three", "t0ken-of-tomorrow", pod="XX9", scan_timeout="9m")
        run(scan(service, image))
        change("..four", "t0ken-of-tomorrow", pod="EU1", scan_timeout="11m", service__workerThreads=7)
        run(scan(service, image))
        service.wait_for(lambda: "at the next start only" in service.log(), "told what needs a restart")
        log = service.log()
    scans = stage.qscanner.scans(f"library/qualys-hot-{way}")
    assert [scan.pod for scan in scans] == ["US2", "EU1", "EU1", "EU1"]
    assert [flag(scan.argv, "--scan-timeout") for scan in scans] == ["5m", "7m", "7m", "11m"]
    assert [scan.token for scan in scans[1:]] == ["t0ken-of-tomorrow"] * 3
    assert scans[0].token != "t0ken-of-tomorrow"
    assert "KSA1" in log, "a wrong pod is answered with the list of pods"
    assert "service.workerThreads" in log
    assert "t0ken-of-tomorrow" not in log


def test_a_report_that_was_not_ready_is_asked_for_again(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-late")
    stage.qscanner.force(Behaviour(exit=40), times=1)
    with stage.service() as service:
        assert run(scan(service, image)).vulnerabilities
        log = service.log()
    assert [scan.code for scan in stage.qscanner.scans("library/qualys-late")] == [40, 0]
    assert '"failure": "scanner-unreachable"' in log


@pytest.mark.parametrize(
    ("forced", "start", "words"),
    [
        (Behaviour(report="missing", findings=1), "[bad-report]", "no report"),
        (Behaviour(report="truncated", findings=50), "[bad-report]", "Report.json"),
        (Behaviour(report="empty", findings=1), "[bad-report]", "Report.json"),
        (Behaviour(vulnerabilities="absent", findings=1), "[bad-report]", ""),
        (Behaviour(exit=15), "[image]", "OS_NOT_FOUND"),
        (Behaviour(exit=8), "[scanner-configuration]", "scannerArgs.storage-driver"),
        (Behaviour(exit=1), "[scanner-failed]", "exit code 1"),
    ],
)
def test_what_yields_no_report_fails_and_says_why(
    stage: QualysStage, forced: Behaviour, start: str, words: str
) -> None:
    stage.qscanner.force(forced)
    with stage.service() as service:
        message = run(failure(service, request_for("library/fails")))
    assert message.startswith(start)
    assert words in message


def test_a_nested_report_is_found(stage: QualysStage) -> None:
    stage.qscanner.force(Behaviour(findings=3, depth=2))
    with stage.service() as service:
        assert len(run(scan(service, request_for("library/nested"))).vulnerabilities) == 3


def test_a_wrong_token_or_password_is_told_from_one_another(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-wrong")
    stage.token_file.write_text("wrong-t0ken")
    with stage.service(MAX_ATTEMPTS="1") as service:
        message = run(failure(service, image))
        assert message.startswith("[scanner-configuration]")
        assert "QUALYS_ACCESS_TOKEN" in message
        assert "wrong-t0ken" not in message
        stage.token_file.write_text(stage.qscanner.config.token)
        stranger = request_for("library/qualys-wrong", registry.url, "Basic cm9ib3Q6d3Jvbmc=")
        message = run(failure(service, stranger))
        assert message.startswith("[registry]")
        # An SBOM needs no account at Qualys.
        stage.token_file.write_text("wrong-t0ken")
        check_spdx(run(sbom(service, image, media.SPDX)))


def test_a_registry_with_its_own_certificate_authority(stage: QualysStage, tmp_path: Path) -> None:
    if reason := missing("docker-registry"):
        pytest.skip(reason)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key, ca_file = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca_file)
    with docker_registry(tmp_path, certificate=certificate, key=key, ca_file=ca_file) as registry:
        image = push(registry, images.alpine(), "library/tls")
        with stage.service() as service:
            assert run(failure(service, image)).startswith("[registry]")
        environment = {**stage.environment({"CONFIG": str(stage.values_file)}), "SSL_CERT_FILE": str(ca_file)}
        environment["QUALYS_ACCESS_TOKEN_FILE"] = str(stage.token_file)
        with serving(stage.directory / "trusting", environment) as service:
            assert run(scan(service, image)).vulnerabilities


@pytest.mark.parametrize("lasting", [True, False])
def test_each_running_scan_has_a_cache_of_its_own_and_later_ones_find_it_warm(
    stage: QualysStage, registry: Registry, lasting: bool
) -> None:
    image = push(registry, images.alpine(), f"library/qualys-cache-{lasting}".lower())
    stage.write_values(persistence__enable=lasting, service__workerThreads=4)
    repository = image.artifact.repository
    stage.qscanner.force(Behaviour(findings=1, sleep=0.5), repository="library/slow-*")
    with stage.service() as service:
        slow = [request_for(f"library/slow-{number}") for number in range(4)]
        assert ends(service, submit(service, slow)) == {"report": 4}
        run(scan(service, image))
        run(scan(service, image))
        cold, warm = stage.qscanner.scans(repository)
        used = [flag(scan.argv, "--cache-dir") for scan in stage.qscanner.scans() if scan.image != image.reference]
        assert len(set(used)) == 4
        assert warm.hits == cold.misses != []
        root = stage.directory / "cache" if lasting else service.data / "scratch"
        assert all(Path(directory).is_relative_to(root) for directory in used)
    assert Path(used[0]).exists() is lasting


def test_no_cache_no_cache_directory(stage: QualysStage) -> None:
    stage.write_values(cache="none")
    stage.qscanner.force(Behaviour(findings=1))
    with stage.service() as service:
        run(scan(service, request_for("library/uncached")))
    (only,) = stage.qscanner.scans()
    assert flag(only.argv, "--cache") == "none"
    assert "--cache-dir" not in only.argv


def test_the_cache_is_cleaned_of_what_nobody_uses(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-cleaned")
    stage.write_values(
        persistence__enable=True, cache_cleanup_frequency="1s", cache_cleanup_duration_threshold="1s"
    )  # fmt: skip
    with stage.service() as service:
        run(scan(service, image))
        service.wait_for(lambda: '"cache cleaned"' in service.log(), "cleaned")
        assert 'harbor_scanner_cache_cleaned_files_total{scanner="qualys"} 0.0' not in service.metrics()
        run(scan(service, image))
    first, second = stage.qscanner.scans("library/qualys-cleaned")
    assert first.misses == second.misses


def test_a_killed_service_loses_neither_of_two_that_share_a_run(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-killed")
    stage.qscanner.force(Behaviour(hang=True), times=1)

    async def ask(service: Service) -> list[str]:
        async with harbor(service) as client:
            return [await client.submit(image.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX)]

    async def reports(service: Service, ids: list[str]) -> None:
        async with harbor(service) as client:
            assert (await client.wait_for_report(ids[0])).content.vulnerabilities
            check_spdx(json.loads((await client.wait_for_sbom(ids[1])).document)["sbom"])

    with stage.service() as service:
        ids = run(ask(service))
        service.wait_for(lambda: stage.qscanner.scans("library/qualys-killed"), "scanning")
        (cut_off,) = stage.qscanner.scans("library/qualys-killed")
        service.kill()
        service.start()
        assert gone([cut_off.pid])
        run(reports(service, ids))
    assert [scan.code for scan in stage.qscanner.scans("library/qualys-killed")] == [None, 0]


def test_secrets_are_in_no_log_nor_command_line(stage: QualysStage, registry: Registry) -> None:
    image = push(registry, images.alpine(), "library/qualys-secret")
    stage.write_values(proxy="http://user:pr0xy-Marked@127.0.0.1:9", log_level="debug")
    stage.qscanner.force(Behaviour(print_arguments=True, exit=2))
    robot = image.registry.credentials
    assert robot is not None
    with stage.service(LOG_LEVEL="trace", LOG_FILE="true") as service:
        message = run(failure(service, image))
        texts = [message, service.log(), service.metrics(), (service.data / "log/harbor-scanner.log").read_text()]
        texts.append(asyncio.run(_metadata(service)))
    (only,) = stage.qscanner.scans()
    texts.append("\n".join(only.argv))
    assert only.environment["QUALYS_ACCESS_TOKEN"] == stage.qscanner.config.token
    assert "pr0xy-Marked" in only.environment["HTTPS_PROXY"]
    assert "[redacted]" in message
    for secret in (stage.qscanner.config.token, robot.password, "pr0xy-Marked"):
        assert [text for text in texts if secret in text] == []


async def _metadata(service: Service) -> str:
    async with harbor(service) as client:
        return str(await client.metadata())
