"""The main job, on real images in a real registry, through a client that behaves as Harbor does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import httpx2
import pytest
import trustme

from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import ScanFailedError, UnexpectedStatusError, api_key, basic, bearer
from harbor_scanner.harbor.models import ScanRequest
from standins.aqua.behaviour import Behaviour
from support import images
from support.oci import Registry
from support.registry import docker_registry
from support.servers import missing
from support.service import Service
from support.stage import Stage, harbor, push, request_for, run
from support.standin import install_scannercli

OWN_CREDENTIALS = {"CLI_OVERRIDE_REGISTRY_CREDENTIALS": "true"}


async def scan(service: Service, request: ScanRequest, media_type: str = media.GENERIC_REPORT) -> VulnerabilityReport:
    async with harbor(service) as client:
        await client.metadata()
        return (await client.wait_for_report(await client.submit(request), media_type)).content


async def failure(service: Service, request: ScanRequest) -> str:
    with pytest.raises(ScanFailedError) as caught:
        await scan(service, request)
    assert caught.value.status == 500
    return caught.value.message


def by_id(report: VulnerabilityReport) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in report.vulnerabilities:
        found.setdefault(item.id or "", set()).add(item.package or "")
    return found


def test_images_are_pulled_with_the_robot_account_and_reported(connected: Stage, registry: Registry) -> None:
    debian = push(registry, images.debian(), "library/debian")
    alpine = push(registry, images.alpine(), "library/alpine")
    with connected.service(**OWN_CREDENTIALS) as service:
        found = by_id(run(scan(service, debian)))
        assert "zlib1g" in found["CVE-2023-45853"]
        report = run(scan(service, alpine))
    assert by_id(report)["CVE-2019-14697"] == {"musl", "musl-utils"}
    musl = next(item for item in report.vulnerabilities if item.key[:2] == ("CVE-2019-14697", "musl"))
    assert musl.fix_version == "1.1.20-r5"
    assert musl.status == "fixed"
    assert musl.preferred_cvss is not None
    assert musl.preferred_cvss.vector_v3
    assert musl.cwe_ids
    assert musl.links
    assert report.artifact is not None
    assert report.artifact.digest == alpine.artifact.digest
    assert report.scanner is not None
    assert report.scanner.version == connected.scannercli.config.version
    argv = connected.scannercli.scans("library/alpine")[0].argv
    assert argv[-1] == f"library/alpine@{alpine.artifact.digest}"
    assert list(connected.reports.iterdir()) == []


def test_an_image_of_unpacked_packages_is_reported(connected: Stage, registry: Registry) -> None:
    image = images.debian_from_packages()
    if image is None:
        pytest.skip("no Debian packages can be had here")
    request = push(registry, image, "library/packages")
    with connected.service() as service:
        assert "CVE-2023-45853" in by_id(run(scan(service, request)))


def test_either_report_type_is_served_for_one_job(connected: Stage, registry: Registry) -> None:
    request = push(registry, images.alpine(), "library/both")

    async def both(service: Service) -> None:
        async with harbor(service) as client:
            job_id = await client.submit(request)
            generic = await client.wait_for_report(job_id, media.GENERIC_REPORT)
            native = await client.wait_for_report(job_id, media.NATIVE_REPORT)
            assert by_id(generic.content) == by_id(native.content)
        async with httpx2.AsyncClient() as plain:
            url = f"{service.url}/api/v1/scan/{job_id}/report"
            without_accept = await plain.get(url, headers={"accept": ""})
            assert without_accept.headers["content-type"] == media.NATIVE_REPORT
            packed = await plain.send(plain.build_request("GET", url), stream=True)
            raw = b"".join([piece async for piece in packed.aiter_raw()])
            assert packed.headers["content-encoding"] == "gzip"
            unpacked = await plain.get(url, headers={"accept-encoding": "identity"})
            assert "content-encoding" not in unpacked.headers
            assert gzip.decompress(raw) == unpacked.content

    with connected.service() as service:
        run(both(service))


def test_an_image_without_packages_is_honestly_clean(connected: Stage, registry: Registry) -> None:
    request = push(registry, images.without_packages(), "library/empty")
    with connected.service() as service:
        assert run(scan(service, request)).vulnerabilities == []


@pytest.mark.parametrize(("artifact", "word"), [(images.helm_chart(), "helm"), (images.cosign_signature(), "cosign")])
def test_what_is_no_image_is_refused_and_never_scanned(
    connected: Stage, registry: Registry, artifact: images.Image, word: str
) -> None:
    request = push(registry, artifact, f"library/{word}")
    with connected.service(**OWN_CREDENTIALS) as service:
        message = run(failure(service, request))
    assert message.startswith("[image] The artifact is not an image")
    assert word in message
    assert connected.scannercli.scans() == []


def test_a_wrong_robot_password_is_a_registry_failure(connected: Stage, registry: Registry) -> None:
    good = push(registry, images.alpine(), "library/private")
    bad = ScanRequest(request_for("x", registry.url, "Basic cm9ib3Q6d3Jvbmc=").registry, good.artifact)
    with connected.service(**OWN_CREDENTIALS) as service:
        assert run(failure(service, bad)).startswith("[registry]")


def test_the_three_cases_of_the_troubleshooting_guide_get_its_advice(connected: Stage, registry: Registry) -> None:
    present = push(registry, images.alpine(), "library/present")
    absent = request_for("library/absent", registry.url)
    connected.scannercli.configure(robot_required=True)
    with connected.service() as service:
        message = run(failure(service, present))
        assert "412 Precondition Failed" in message
        assert "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS" in message
    with connected.service(**OWN_CREDENTIALS) as service:
        message = run(failure(service, absent))
        assert "image was not found in registry" in message
        assert "SCANNER_AQUA_USE_IMAGE_TAG" in message
    with connected.service(AQUA_REGISTRY="Habor") as service:
        message = run(failure(service, present))
        assert "no such registry" in message
        assert "SCANNER_AQUA_REGISTRY" in message


def test_tls_and_every_kind_of_authentication(connected: Stage, registry: Registry, tmp_path: Path) -> None:
    request = push(registry, images.alpine(), "library/auth")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    settings = {
        "API_TLS_CERTIFICATE": str(tmp_path / "server.pem"),
        "API_TLS_KEY": str(tmp_path / "server.pem"),
        "API_AUTH_BASIC": "harbor:s3cret",
        "API_AUTH_TOKENS": "old-token,new-token",
    }
    service = Service(connected.directory / "tls", connected.environment(**settings))
    try:
        service.start(ready=False)
        service.wait_for(lambda: "harbor-scanner listens" in service.log(), "listening")

        async def scan_with(auth: dict[str, str]) -> None:
            async with harbor(service, auth=auth, ca_file=tmp_path / "ca.pem") as client:
                await client.metadata()
                report = await client.wait_for_report(await client.submit(request))
                assert "CVE-2019-14697" in by_id(report.content)

        async def refused(auth: dict[str, str]) -> None:
            async with harbor(service, auth=auth, ca_file=tmp_path / "ca.pem") as client:
                with pytest.raises(UnexpectedStatusError) as caught:
                    await client.metadata()
                assert caught.value.status == 401

        for auth in (basic("harbor", "s3cret"), bearer("old-token"), bearer("new-token"), api_key("new-token")):
            run(scan_with(auth))
        for auth in ({}, basic("harbor", "wrong"), bearer("other"), api_key("s3cret")):
            run(refused(auth))
    finally:
        service.end()


def test_a_registry_with_tls_of_its_own_ca(stage: Stage, tmp_path: Path) -> None:
    if reason := missing("docker-registry"):
        pytest.skip(reason)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem", "ca_file": tmp_path / "ca.pem"}
    with docker_registry(tmp_path, **files) as registry:
        stage.scannercli.connect(registry)
        request = push(registry, images.debian(), "library/tls")
        with stage.service(**OWN_CREDENTIALS) as service:
            assert by_id(run(scan(service, request)))


def test_a_token_takes_the_place_of_user_and_password(stage: Stage, registry: Registry, tmp_path: Path) -> None:
    stage.scannercli = install_scannercli(stage.scannercli.directory, username="", password="", token="t0ken")
    stage.scannercli.connect(registry)
    request = push(registry, images.alpine(), "library/token")
    token_file = tmp_path / "token"
    token_file.write_text("t0ken\n")
    with stage.service(AQUA_TOKEN_FILE=str(token_file)) as service:
        assert by_id(run(scan(service, request)))


def test_partial_results_are_marked_and_never_clean(connected: Stage, registry: Registry) -> None:

    some = push(registry, images.alpine(), "library/some")
    none = push(registry, images.without_packages(), "library/none")
    connected.scannercli.force(Behaviour(partial_results=True))
    with connected.service() as service:
        report = run(scan(service, some))
        assert any(item.package == "scan-notice" for item in report.vulnerabilities)
        assert "CVE-2019-14697" in by_id(report)
        assert "only part of the image" in run(failure(service, none))


def test_readiness_and_metrics_tell_of_a_scan(connected: Stage, registry: Registry) -> None:
    request = push(registry, images.alpine(), "library/metrics")
    with connected.service() as service:
        run(scan(service, request))
        status, body = service.probe()
        assert (status, body["status"]) == (200, "ready")
        assert set(body["checks"]) == {"store", "aqua", "aqua disk"}
        metrics = service.metrics()
    assert 'harbor_scanner_scan_duration_seconds_count{result="finished",scanner="aqua"} 1.0' in metrics
    assert 'harbor_scanner_report_polls_total{scanner="aqua",status="200"} 1.0' in metrics
    assert "python_gc" not in metrics
    lines = [json.loads(line) for line in service.log().splitlines()]
    assert any(line["event"] == "scan finished" and line["repository"] == "library/metrics" for line in lines)
