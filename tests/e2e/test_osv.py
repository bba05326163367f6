"""The scanner `osv` end to end: nothing is configured, Syft pulls real images, and a client like Harbor asks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import VulnerabilityReport, check_report
from harbor_scanner.harbor.client import ScanFailedError, UnexpectedStatusError
from harbor_scanner.harbor.models import SBOM, VULNERABILITY, Metadata, ScanRequest
from harbor_scanner.harbor.report import NOTICE_PACKAGE
from support import advisories, images, packages, syft
from support.advisories import advisory
from support.images import Image, layer
from support.oci import Registry, basic
from support.registry import ROBOT, docker_registry
from support.servers import missing
from support.service import Service, serving
from support.stage import NOWHERE, Stage, harbor, push, request_for, run

pytestmark = pytest.mark.skipif(bool(syft.missing()), reason=syft.missing() or "-")

UPDATED_AT = "harbor.scanner-adapter/vulnerability-database-updated-at"
FACTS = [
    *advisories.known(),
    advisory("CVE-2021-44228", "Maven", "org.apache.logging.log4j:log4j-core", "2.15.0"),
    advisory("CVE-2020-28493", "PyPI", "jinja2", "2.11.3"),
    advisory("CVE-2023-43804", "PyPI", "urllib3", "1.26.17"),
]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="ho-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def service(directory: Path) -> Iterator[Service]:
    """A service with a database, which is never brought up to date."""
    advisories.install(directory / "data", FACTS)
    with serving(directory, {"SCANNER_OSV_UPDATE_EVERY": "0"}) as running:
        yield running


async def scan(service: Service, request: ScanRequest) -> VulnerabilityReport:
    async with harbor(service) as client:
        return (await client.wait_for_report(await client.submit(request))).content


async def document(service: Service, request: ScanRequest) -> dict[str, Any]:
    async with harbor(service) as client:
        content: dict[str, Any] = json.loads((await client.wait_for_report(await client.submit(request))).document)
        return content


async def sbom(service: Service, request: ScanRequest, media_type: str) -> dict[str, Any]:
    async with harbor(service) as client:
        job_id = await client.submit(request.asking_for([media_type]))
        content: dict[str, Any] = json.loads((await client.wait_for_sbom(job_id, media_type)).document)["sbom"]
        return content


async def metadata(service: Service) -> Metadata:
    async with harbor(service) as client:
        return await client.metadata()


def failure(service: Service, request: ScanRequest) -> str:
    with pytest.raises(ScanFailedError) as caught:
        run(scan(service, request))
    return caught.value.message


def found(report: VulnerabilityReport) -> set[tuple[str, str, str]]:
    return {(item.id or "", item.package or "", item.fix_version or "") for item in report.vulnerabilities}


def layer_of(item: dict[str, Any]) -> str:
    return str(item["layer"]["digest"])


def notices(report: VulnerabilityReport) -> str:
    return "\n".join(item.description or "" for item in report.vulnerabilities if item.package == NOTICE_PACKAGE)


def check_spdx(document: dict[str, Any], least: int = 5) -> None:
    parsed = JsonLikeDictParser().parse(document)  # type: ignore[no-untyped-call]
    assert validate_full_spdx_document(parsed, "SPDX-2.3") == []
    assert len(parsed.packages) > least


def check_cyclonedx(document: dict[str, Any], least: int = 5) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document)) is None
    assert len(document["components"]) > least


def of(*layers: dict[str, Any]) -> Image:
    return images._image(*(layer(files) for files in layers))


def jar(properties: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
        archive.writestr("META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", properties)
    return content.getvalue()


LOG4J = jar("groupId=org.apache.logging.log4j\nartifactId=log4j-core\nversion=2.14.1\n")
JINJA = "Metadata-Version: 2.1\nName: Jinja2\nVersion: 2.4.1\n"
URLLIB = "Metadata-Version: 2.1\nName: urllib3\nVersion: 1.26.12\n"
OS_RELEASE = {"etc/os-release": packages.DEBIAN_OS_RELEASE}
STATUS = packages.dpkg_status(packages.DEBIAN_BASE)


def test_with_nothing_configured_it_is_the_scanner_and_says_how_old_its_database_is(directory: Path) -> None:
    advisories.install(directory / "data", FACTS)
    # Nobody shall be asked for newer advisories.
    with serving(directory, {"HTTPS_PROXY": NOWHERE}) as service:
        service.wait_for(lambda: run(metadata(service)).scanner.version == syft.VERSION, "told the version")
        told = run(metadata(service))
        status, probe = service.probe()
    assert (told.scanner.name, [one.type for one in told.capabilities]) == ("OSV", [VULNERABILITY, SBOM])
    assert told.properties[UPDATED_AT].startswith("20")
    assert status == 200
    assert probe["checks"]["osv"]["state"] == "ok"


def test_real_images_are_scanned_and_listed(service: Service, registry: Registry) -> None:
    debian = push(registry, images.debian(), "osv/debian")
    raw = run(document(service, debian))
    report = check_report(json.dumps(raw).encode())
    assert ("CVE-2023-45853", "zlib1g", "") in found(report)
    assert ("CVE-2023-4911", "libc6", "2.36-9+deb12u3") in found(report)
    assert ("CVE-2019-10775", "ecstatic", "4.1.3") in found(report)
    assert {item.package for item in report.vulnerabilities}.isdisjoint({"openssh-server", "minimist", "lodash"})
    assert report.severity == "Critical"
    digests = {images.digest(blob) for blob in images.debian().layers[:3]}
    assert {layer_of(item) for item in raw["vulnerabilities"] if item["package"] != NOTICE_PACKAGE} <= digests
    # The jar of this image is none.
    assert "/app/lib/commons-codec-1.9.jar" in notices(report)
    check_spdx(run(sbom(service, debian, media.SPDX)))
    check_cyclonedx(run(sbom(service, debian, media.CYCLONEDX)))
    alpine = run(scan(service, push(registry, images.alpine().as_docker(), "osv/alpine")))
    assert ("CVE-2019-14697", "musl-utils", "1.1.20-r5") in found(alpine)
    assert ROBOT.password not in service.log()


def test_one_run_serves_both_capabilities(service: Service, registry: Registry) -> None:
    image = push(registry, images.alpine(), "osv/both")

    async def both() -> None:
        async with harbor(service) as client:
            ids = [await client.submit(image.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX)]
            assert (await client.wait_for_report(ids[0])).content.vulnerabilities
            check_spdx(json.loads((await client.wait_for_sbom(ids[1])).document)["sbom"])

    run(both())
    assert 'harbor_scanner_shared_runs_total{scanner="osv"} 1.0' in service.metrics()


def test_jars_and_wheels_are_found_but_not_what_the_distribution_brought(service: Service, registry: Registry) -> None:
    python = "usr/lib/python3/dist-packages"
    image = of(
        {
            **OS_RELEASE,
            "var/lib/dpkg/status": STATUS,
            # The distribution mends it without another version.
            f"{python}/urllib3-1.26.12.egg-info/PKG-INFO": URLLIB,
            "var/lib/dpkg/info/tar.md5sums": f"{'0' * 32}  {python}/urllib3-1.26.12.egg-info/PKG-INFO\n",
        },
        {
            "app/app.jar": LOG4J,
            "app/site-packages/Jinja2-2.4.1.dist-info/METADATA": JINJA,
            "app/site-packages/Jinja2-2.4.1.dist-info/RECORD": "",
            "app/node_modules/nameless/package.json": '{"name": "nameless"}',
        },
    )
    report = run(scan(service, push(registry, image, "osv/languages")))
    keys = found(report)
    assert ("CVE-2021-44228", "org.apache.logging.log4j:log4j-core", "2.15.0") in keys
    assert {item[0] for item in keys} >= {"CVE-2020-28493", "CVE-2023-4911"}
    assert "CVE-2023-43804" not in {item[0] for item in keys}
    assert "nameless" in notices(report)


def test_an_image_for_another_platform_is_scanned(service: Service, registry: Registry) -> None:
    whole = images.alpine()
    image = Image(whole.config.replace(b'"amd64"', b'"s390x"'), whole.layers)
    assert run(scan(service, push(registry, image, "osv/platform"))).vulnerabilities


def test_a_layer_of_two_gigabytes_is_no_trouble(service: Service, registry: Registry) -> None:
    if shutil.disk_usage(service.directory).free < 8 * 2**30:
        pytest.skip("there is no room for a layer of two gigabytes here")
    image = images.with_zeros(images.alpine(), 2**31)
    report = run(scan(service, push(registry, image, "osv/large")))
    assert ("CVE-2019-14697", "musl", "1.1.20-r5") in found(report)
    assert list((service.data / "scratch").glob("run-*/tmp*")) == []


def test_an_index_is_refused_and_its_images_are_scanned(service: Service, registry: Registry) -> None:
    image = push(registry, images.alpine(), "osv/index")
    index = msgspec.structs.replace(
        image,
        artifact=msgspec.structs.replace(image.artifact, mime_type="application/vnd.oci.image.index.v1+json"),
    )
    with pytest.raises(UnexpectedStatusError) as caught:
        run(scan(service, index))
    assert caught.value.status == 422
    assert "scanned one by one" in caught.value.message
    assert run(scan(service, image)).vulnerabilities


def test_an_image_without_packages_is_clean(service: Service, registry: Registry) -> None:
    request = push(registry, images.without_packages(), "osv/scratch")
    assert run(scan(service, request)).vulnerabilities == []
    check_spdx(run(sbom(service, request, media.SPDX)), least=0)


BROKEN = {
    "garbage": {"var/lib/dpkg/status": "\x00\x01 garbage\n" * 50},
    "a line too many": {"var/lib/dpkg/status": STATUS.replace("\n\n", "\n\nwithout a colon\n and more\n\n", 1)},
    "none": {},
}


@pytest.mark.parametrize("files", BROKEN.values(), ids=BROKEN)
def test_a_package_database_that_cannot_be_read_is_no_clean_image(
    service: Service, registry: Registry, files: dict[str, str], request: pytest.FixtureRequest
) -> None:
    message = failure(service, push(registry, of({**OS_RELEASE, **files}), "osv/broken"))
    assert message.startswith("[image]")
    assert "SCANNER_OSV_MISSING=notice" in message


def test_what_is_missing_is_a_notice_if_the_operator_wants_it_so(directory: Path, registry: Registry) -> None:
    facts = [fact for fact in FACTS if fact["affected"][0]["package"]["ecosystem"] != "npm"]
    advisories.install(directory / "data", facts)
    settings = {"SCANNER_OSV_UPDATE_EVERY": "0", "SCANNER_OSV_MISSING": "notice"}
    image = push(registry, images.debian(), "osv/missing")
    with serving(directory, settings) as service:
        report = run(scan(service, image))
        broken = run(scan(service, push(registry, of({**OS_RELEASE, **BROKEN["garbage"]}), "osv/half")))
    assert ("CVE-2023-45853", "zlib1g", "") in found(report)
    assert "1 package of npm cannot be checked" in notices(report)
    assert {item.package for item in broken.vulnerabilities} == {NOTICE_PACKAGE}
    assert "/var/lib/dpkg/status" in notices(broken)


def test_without_a_database_scans_fail_with_advice_and_sboms_are_made(directory: Path, registry: Registry) -> None:
    image = push(registry, images.alpine(), "osv/empty")
    with serving(directory, {"SCANNER_OSV_UPDATE_EVERY": "0"}) as service:
        message = failure(service, image)
        check_spdx(run(sbom(service, image, media.SPDX)))
        status, probe = service.probe()
        service.wait_for(lambda: run(metadata(service)).scanner.version == syft.VERSION, "told the version")
    assert message.startswith("[scanner-configuration]")
    assert "harbor-scanner db update" in message
    assert (status, probe["status"]) == (200, "degraded")
    assert "harbor-scanner db update" in probe["checks"]["osv"]["message"]


def test_what_the_registry_refuses_is_told(service: Service, registry: Registry) -> None:
    image = push(registry, images.alpine(), "osv/refused")
    stranger = request_for("osv/refused", registry.url, basic(ROBOT.username, "wrong"))
    outcomes = {
        "refused": ScanRequest(stranger.registry, image.artifact),
        "does not have": request_for("osv/refused", registry.url),
        "image": push(registry, images.helm_chart(), "osv/chart"),
    }
    for words, request in outcomes.items():
        message = failure(service, request)
        assert message.startswith(("[registry]", "[image]"))
        assert words in message
    assert failure(service, push(registry, images.cosign_signature(), "osv/signature")).startswith("[image]")


def test_a_registry_that_does_not_answer_is_asked_again(directory: Path) -> None:
    advisories.install(directory / "data", FACTS)
    settings = {"SCANNER_OSV_UPDATE_EVERY": "0", "SCANNER_MAX_ATTEMPTS": "2", "SCANNER_LOG_LEVEL": "debug"}
    with serving(directory, settings) as service:
        message = failure(service, request_for("osv/nobody"))
        assert service.log().count('"scan started"') == 2
    assert message.startswith("[registry]")


def test_a_registry_with_its_own_certificate_authority(directory: Path, tmp_path: Path) -> None:
    if reason := missing("docker-registry"):
        pytest.skip(reason)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key, ca_file = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca_file)
    settings = {"SCANNER_OSV_UPDATE_EVERY": "0"}
    for name in ("one", "two"):
        advisories.install(directory / name / "data", FACTS)
    with docker_registry(tmp_path, certificate=certificate, key=key, ca_file=ca_file) as registry:
        image = push(registry, images.alpine(), "osv/tls")
        with serving(directory / "one", settings) as service:
            message = failure(service, image)
            assert message.startswith("[registry]")
            assert "SSL_CERT_FILE" in message
        with serving(directory / "two", {**settings, "SSL_CERT_FILE": str(ca_file)}) as service:
            assert run(scan(service, image)).vulnerabilities


def test_aqua_gets_sboms_by_syft_in_the_same_job_if_the_operator_wants_it(connected: Stage, registry: Registry) -> None:
    image = push(registry, images.debian(), "osv/aqua")

    async def all_of(service: Service) -> None:
        async with harbor(service) as client:
            job_id = await client.submit(image.asking_for([VULNERABILITY, *media.SBOM_FORMATS]))
            report = (await client.wait_for_report(job_id)).content
            assert ("CVE-2023-4911", "libc6", "2.36-9+deb12u3") in found(report)
            check_spdx(json.loads((await client.wait_for_sbom(job_id, media.SPDX)).document)["sbom"])
            check_cyclonedx(json.loads((await client.wait_for_sbom(job_id, media.CYCLONEDX)).document)["sbom"])

    async def joined(service: Service) -> None:
        async with harbor(service) as client:
            ids = await asyncio.gather(
                *(client.submit(image.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX))
            )
            assert (await client.wait_for_report(ids[0])).content.vulnerabilities
            check_spdx(json.loads((await client.wait_for_sbom(ids[1])).document)["sbom"])

    with connected.service(SBOM="true") as service:
        assert [one.type for one in run(metadata(service)).capabilities] == [VULNERABILITY, SBOM]
        run(all_of(service))
        assert len(connected.scannercli.scans("osv/aqua")) == 1
        run(joined(service))
        assert len(connected.scannercli.scans("osv/aqua")) == 2
        assert 'harbor_scanner_shared_runs_total{scanner="aqua"} 1.0' in service.metrics()
    with connected.service() as service:
        assert [one.type for one in run(metadata(service)).capabilities] == [VULNERABILITY]


def test_trouble_with_aqua_s_sbom_does_not_cost_its_vulnerabilities(
    connected: Stage, registry: Registry, tmp_path: Path
) -> None:
    image = push(registry, images.alpine(), "osv/aqua-half")
    program = tmp_path / "bin" / "syft"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '[0000] ERROR it is all wrong' >&2\nexit 1\n")
    program.chmod(0o755)

    async def both(service: Service) -> None:
        async with harbor(service) as client:
            ids = [await client.submit(image.asking_for([kind])) for kind in (VULNERABILITY, media.SPDX)]
            assert (await client.wait_for_report(ids[0])).content.vulnerabilities
            with pytest.raises(ScanFailedError) as caught:
                await client.wait_for_sbom(ids[1])
            assert "it is all wrong" in caught.value.message

    environment = connected.environment(SBOM="true")
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    with serving(connected.directory / "half", environment) as service:
        run(both(service))
