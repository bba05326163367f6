"""The stand-in for qscanner is as strict, as honest and as nasty as the tests of the service rely on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from standins.qualys.behaviour import Behaviour
from standins.qualys.failure import MESSAGES
from standins.qualys.spelling import NAMES
from support import images
from support.oci import Registry
from support.programs import wait_until
from support.qualys import QScanner, install_qscanner
from support.registry import ROBOT, docker_registry
from support.servers import missing

NOWHERE = "127.0.0.1:9/library/web:1.0"
ROBOT_ENVIRONMENT = {
    "QSCANNER_REGISTRY_USERNAME": ROBOT.username,
    "QSCANNER_REGISTRY_PASSWORD": ROBOT.password,
}
MADE_UP = Behaviour(findings=3)
NO_DOCKER_REGISTRY = missing("docker-registry")
needs_registry = pytest.mark.skipif(NO_DOCKER_REGISTRY != "", reason=NO_DOCKER_REGISTRY)

Json = dict[str, Any]


@pytest.fixture
def qscanner(tmp_path: Path) -> QScanner:
    return install_qscanner(tmp_path / "bin")


@pytest.fixture
def offline(qscanner: QScanner) -> QScanner:
    """One that reports made-up findings, and so needs no registry."""
    qscanner.force(MADE_UP)
    return qscanner


@pytest.fixture(scope="module")
def pushed(registry: Registry) -> Registry:
    registry.push(images.debian(), "qualys/web", "1.0")
    registry.push(images.alpine().as_docker(), "qualys/alpine", "3.9")
    registry.push(images.without_packages(), "qualys/hello", "1")
    registry.push(images.helm_chart(), "qualys/chart", "1")
    return registry


class Scan:
    """A scan that has ended, and what it left in its output directory."""

    def __init__(self, done: subprocess.CompletedProcess[str], output: Path) -> None:
        self.code = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        self.log = done.stderr.splitlines()
        self.output = output
        self.files = sorted(path.relative_to(output) for path in output.rglob("*") if not path.is_dir())

    def path(self, suffix: str) -> Path:
        (found,) = (file for file in self.files if file.name.endswith(f"-{suffix}"))
        return self.output / found

    def document(self, suffix: str = "Report.json") -> Json:
        assert self.code == 0, self.stderr
        body: Json = json.loads(self.path(suffix).read_bytes())
        return body

    @property
    def details(self) -> list[Json]:
        found: list[Json] = self.document()["VulnerabilityReport"]["details"]
        return found


def environment(cli: QScanner, more: Mapping[str, str] | None = None) -> dict[str, str]:
    home = cli.directory.parent
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
    return own | {"QUALYS_ACCESS_TOKEN": cli.config.token} | (ROBOT_ENVIRONMENT if more is None else dict(more))


def command(cli: QScanner, *flags: str, image: str = NOWHERE) -> list[str]:
    # As the vendor's own tools: some flags before the subcommand, some after it.
    return [str(cli.path), "--pod", cli.config.pod, "--report-format=json", "image", image, *flags]


def run(argv: list[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=env, capture_output=True, encoding="utf-8", errors="replace", check=False)


def scan(cli: QScanner, *flags: str, image: str = NOWHERE, env: Mapping[str, str] | None = None) -> Scan:
    output = cli.directory.parent / f"output-{len(cli.scans())}"
    argv = command(cli, "--output-dir", str(output), *flags, image=image)
    return Scan(run(argv, environment(cli, env)), output)


def at(registry: Registry, image: str) -> str:
    return f"{registry.url.partition('://')[2]}/{image}"


def by_qid(details: list[Json]) -> dict[str, Json]:
    return {detail["title"].rpartition("(")[2].rstrip(")"): detail for detail in details}


class TestCommandLine:
    @pytest.mark.parametrize("argument", ["version", "--version"])
    def test_version(self, tmp_path: Path, argument: str) -> None:
        cli = install_qscanner(tmp_path, version="4.7.0-1")
        done = run([str(cli.path), argument], {})
        assert (done.returncode, done.stdout, done.stderr) == (0, "qscanner version 4.7.0-1\n", "")

    def test_both_forms_of_values_and_short_flags(self, offline: QScanner, tmp_path: Path) -> None:
        output = tmp_path / "out"
        argv = [
            str(offline.path), "-m=get-report", "--scan-timeout", "5m0s", "-l", "debug", "--skip-verify-tls=true",
            "image", "--offline-scan", NOWHERE, "-ospoilt", f"-o={output}", "-f", "json,spdx", "--pod=US2",
            "--report-format", "json", "--network-retry-wait-min=1.5h2us", "--max-network-retries=0",
        ]  # fmt: skip
        done = Scan(run(argv, environment(offline)), output)
        assert done.code == 0, done.stderr
        assert [file.name.rpartition("-")[2] for file in done.files] == ["Report.json", "ScanResult.json", "spdx.json"]

    @pytest.mark.parametrize(
        ("flags", "complaint"),
        [
            (["--output=json"], "unknown flag: --output"),
            (["-x"], "unknown flag: -x"),
            (["--mode=report"], 'invalid argument "report" for "--mode" flag'),
            (["-m", "report"], 'invalid argument "report" for "-m" flag'),
            (["--pod=us2"], 'invalid argument "us2" for "--pod" flag'),
            (["--format=json,xml"], 'invalid argument "json,xml" for "--format" flag'),
            (["--report-format="], 'invalid argument "" for "--report-format" flag'),
            (["--scan-types=os"], 'invalid argument "os" for "--scan-types" flag'),
            (["--cache=remote"], 'invalid argument "remote" for "--cache" flag'),
            (["--storage-driver=overlay"], 'invalid argument "overlay" for "--storage-driver" flag'),
            (["--scan-timeout=300"], 'time: invalid duration "300"'),
            (["--scan-timeout=5m 0s"], 'time: invalid duration "5m 0s"'),
            (["--max-network-retries=-1"], 'parsing "-1": invalid syntax'),
            (["--offline-scan=yes"], 'invalid argument "yes" for "--offline-scan" flag'),
            (["--offline-scan", "false"], "accepts 1 arg(s), received 2"),
            (["--cache-dir"], "flag needs an argument: --cache-dir"),
            (["--report-format=gitlab"], "the stand-in does not write"),
        ],
    )
    def test_what_it_does_not_know_it_refuses(self, offline: QScanner, flags: list[str], complaint: str) -> None:
        done = scan(offline, *flags)
        assert (done.code, done.files) == (2, [])
        assert done.log[0].startswith("Error: ")
        assert complaint in done.log[0]

    @pytest.mark.parametrize("words", [[], ["repo", "."], ["image"], ["image", "Not/An/Image"]])
    def test_other_commands_and_no_image(self, offline: QScanner, words: list[str]) -> None:
        done = run([str(offline.path), "--pod=US2", *words], environment(offline))
        assert (done.returncode, done.stderr.startswith("Error: ")) == (2, True)

    @pytest.mark.parametrize("how", ["copy", "link"])
    def test_the_script_itself_serves_as_well(self, tmp_path: Path, how: str) -> None:
        """Its config lies beside the link, not beside what the link leads to."""
        installed = install_qscanner(tmp_path / "bin", version="5.3.0")
        script = Path(__file__).parents[1] / "standins" / "qscanner"
        installed.path.unlink()
        if how == "link":
            installed.path.symlink_to(script)
        else:
            shutil.copytree(script.parent, tmp_path / "tests" / "standins")
            shutil.copy(installed.directory / "qscanner.json", tmp_path / "tests" / "standins")
            installed.path = tmp_path / "tests" / "standins" / "qscanner"
        done = run([str(installed.path), "version"], {"PATH": os.environ["PATH"]})
        assert done.stdout == "qscanner version 5.3.0\n"


class TestPlatform:
    def test_a_token_is_needed(self, offline: QScanner) -> None:
        done = scan(offline, env={"QUALYS_ACCESS_TOKEN": ""})
        assert (done.code, "access token is required" in done.log[0]) == (2, True)
        assert [(one.token, one.code) for one in offline.scans()] == [("", 2)]

    def test_a_flag_gives_it_as_well(self, offline: QScanner) -> None:
        flags = ["--access-token", offline.config.token]
        assert scan(offline, *flags, env={"QUALYS_ACCESS_TOKEN": ""}).code == 0

    def test_a_platform_is_needed(self, offline: QScanner) -> None:
        done = run([str(offline.path), "image", NOWHERE], environment(offline))
        assert (done.returncode, "--pod or --gateway-url is required" in done.stderr) == (2, True)

    @pytest.mark.parametrize(
        ("flags", "token"),
        [([], "wrong"), (["--pod=EU1"], ""), (["--gateway-url=https://gateway.qg1.apps.qualys.eu"], "")],
    )
    def test_the_token_of_another_platform(self, offline: QScanner, flags: list[str], token: str) -> None:
        done = scan(offline, *flags, env={"QUALYS_ACCESS_TOKEN": token or offline.config.token})
        assert done.code == 33
        assert done.log[-1].startswith("ERROR failed to upload changelist: POST https://gateway.qg")
        assert done.log[-1].endswith("401 Unauthorized")
        assert [file.name.rpartition("-")[2] for file in done.files] == ["ScanResult.json"]

    @pytest.mark.parametrize("gateway", ["", "https://gateway.private:8443"])
    def test_a_gateway_instead_of_a_pod(self, offline: QScanner, gateway: str) -> None:
        offline.configure(gateway_url=gateway)
        url = gateway or "https://gateway.qg2.apps.qualys.com"
        argv = [str(offline.path), "image", NOWHERE, f"--gateway-url={url}/", "--report-format=json"]
        done = run(argv, environment(offline))
        assert (done.returncode, f"Uploading changelist to {url}\n" in done.stderr) == (0, True)

    @pytest.mark.parametrize(("not_ready", "code"), [(2, 0), (3, 40)])
    def test_a_report_that_is_not_ready(self, qscanner: QScanner, not_ready: int, code: int) -> None:
        qscanner.force(Behaviour(findings=1, not_ready=not_ready))
        done = scan(qscanner, "--max-network-retries=2")
        assert done.code == code
        assert sum(line.startswith("WARN  Vulnerability report is not ready") for line in done.log) == 2
        assert any(file.name.endswith("-Report.json") for file in done.files) == (code == 0)

    @pytest.mark.parametrize(("mode", "reports"), [("get-report", 1), ("evaluate-policy", 1), ("scan-only", 0)])
    def test_modes(self, offline: QScanner, mode: str, reports: int) -> None:
        done = scan(offline, f"--mode={mode}")
        assert done.code == 0
        assert sum(file.name.endswith("-Report.json") for file in done.files) == reports

    def test_no_report_unless_a_format_is_given(self, offline: QScanner) -> None:
        output = offline.directory.parent / "out"
        done = Scan(
            run([str(offline.path), "--pod=US2", "-o", str(output), "image", NOWHERE], environment(offline)), output
        )
        assert [file.name.rpartition("-")[2] for file in done.files] == ["ScanResult.json"]

    def test_where_files_lie_by_default(self, offline: QScanner) -> None:
        home = offline.directory.parent
        done = run(command(offline), environment(offline))
        assert done.returncode == 0
        assert len(list(home.glob("qualys/qscanner/data/*/*-Report.json"))) == 1

    def test_an_inventory_needs_no_platform(self, offline: QScanner) -> None:
        output = offline.directory.parent / "out"
        flags = ["--mode=inventory-only", f"--output-dir={output}", "--report-format=json"]
        done = Scan(run([str(offline.path), "image", NOWHERE, *flags], {"HOME": str(output)}), output)
        assert done.code == 0, done.stderr
        assert not any("Report" in file.name or "Upload" in done.stderr for file in done.files)
        assert done.document("ScanResult.json")["OSResults"]

    @pytest.mark.parametrize(("verdict", "code"), [("deny", 42), ("audit", 43)])
    def test_verdicts_of_policies(self, qscanner: QScanner, verdict: str, code: int) -> None:
        qscanner.force(Behaviour(findings=1, policy=verdict))
        done = scan(qscanner, "--mode=evaluate-policy")
        assert done.code == code
        assert json.loads(done.path("Report.json").read_bytes())["VulnerabilityReport"]["details"]
        assert scan(qscanner).code == 0


@contextmanager
def token_registry(image: images.Image, token: str) -> Iterator[str]:
    """Serve an image to those who have a token, and yield host and port."""
    content = {images.digest(blob): blob for blob in (*image.blobs, image.manifest)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content.get(self.path.rpartition("/")[2], b"")
            known = self.headers.get("Authorization") == f"Bearer {token}"
            self.send_response((200 if body else 404) if known else 401)
            self.end_headers()
            self.wfile.write(body if known else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the library
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TestBearerToken:
    @pytest.mark.parametrize(("given", "code"), [("r3gistry", 0), ("wrong", 6), ("", 6)])
    def test_the_registry_may_want_one(self, qscanner: QScanner, given: str, code: int) -> None:
        image = images.alpine()
        with token_registry(image, "r3gistry") as host:
            done = scan(qscanner, image=f"{host}/a/b@{image.digest}", env={"QSCANNER_REGISTRY_TOKEN": given})
        assert done.code == code, done.stderr
        assert ("UNAUTHORIZED" in done.stderr) == (code == 6)


@pytest.mark.registry
@needs_registry
class TestPull:
    @pytest.mark.parametrize("reference", [":1.0", f"@{images.debian().digest}"], ids=["tag", "digest"])
    def test_by_tag_or_digest(self, qscanner: QScanner, pushed: Registry, reference: str) -> None:
        done = scan(qscanner, image=at(pushed, f"qualys/web{reference}"))
        target = done.document("ScanResult.json")["Metadata"]["Target"]
        assert target["RepoDigests"] == [at(pushed, f"qualys/web@{images.debian().digest}")]
        assert (target["OS"], target["Architecture"]) == ("debian 12.1", "amd64")
        assert done.path("Report.json").name == f"{target['ImageID'].removeprefix('sha256:')}-Report.json"
        (one,) = qscanner.scans("qualys/web")
        assert (one.code, one.pod, one.token, one.mode) == (0, "US2", qscanner.config.token, "get-report")

    @pytest.mark.parametrize(
        ("image", "password", "complaint"),
        [
            ("qualys/web:1.0", "wrong", "UNAUTHORIZED"),
            ("qualys/web:1.0", "", "UNAUTHORIZED"),
            ("qualys/web:2.0", ROBOT.password, "MANIFEST_UNKNOWN"),
            ("qualys/chart:1", ROBOT.password, "unsupported media type"),
        ],
    )
    def test_what_cannot_be_pulled(
        self, qscanner: QScanner, pushed: Registry, image: str, password: str, complaint: str
    ) -> None:
        account = {"QSCANNER_REGISTRY_USERNAME": ROBOT.username, "QSCANNER_REGISTRY_PASSWORD": password}
        done = scan(qscanner, image=at(pushed, image), env=account if password else {})
        assert (done.code, done.files) == (6, [])
        assert done.log[-1].startswith("ERROR failed to create scan target: failed to create Image artifact: ")
        assert complaint in done.log[-1]

    def test_no_registry(self, qscanner: QScanner) -> None:
        done = scan(qscanner)
        assert (done.code, "connection refused" in done.stderr) == (6, True)

    @pytest.mark.parametrize("image", ["busybox", "core/library/web:1.0"])
    def test_a_name_without_a_registry_is_of_docker_hub(self, qscanner: QScanner, image: str) -> None:
        done = scan(qscanner, image=image)
        assert (done.code, "GET https://index.docker.io/v2/" in done.log[-1]) == (6, True)

    def test_an_image_without_an_operating_system(self, qscanner: QScanner, pushed: Registry) -> None:
        done = scan(qscanner, image=at(pushed, "qualys/hello:1"))
        assert (done.code, done.log[-1], done.files) == (15, "ERROR OS not found", [])

    def test_a_runtime_that_is_not_on_the_node(self, qscanner: QScanner, pushed: Registry) -> None:
        image = at(pushed, "qualys/web:1.0")
        assert scan(qscanner, "--storage-driver=crio-overlay", image=image).code == 8
        qscanner.configure(storage_drivers=["crio-overlay"])
        done = scan(qscanner, "--storage-driver=crio-overlay", image=image)
        assert (done.code, done.log[0]) == (0, "INFO  Image source: crio-overlay filesystem")

    def test_over_tls(self, qscanner: QScanner, tmp_path: Path) -> None:
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        ca_file, certificate, key = (tmp_path / name for name in ("ca.pem", "tls.pem", "tls.key"))
        authority.cert_pem.write_to_path(ca_file)
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        with docker_registry(tmp_path, certificate=certificate, key=key, ca_file=ca_file) as registry:
            registry.push(images.alpine(), "qualys/alpine", "1")
            image = at(registry, "qualys/alpine:1")
            trusted = scan(qscanner, image=image, env={**ROBOT_ENVIRONMENT, "SSL_CERT_FILE": str(ca_file)})
            distrusted = scan(qscanner, image=image)
            qscanner.configure(schemes={image.partition("/")[0]: "http"})
            plain = scan(qscanner, image=image, env={**ROBOT_ENVIRONMENT, "SSL_CERT_FILE": str(ca_file)})
        assert (trusted.code, distrusted.code, plain.code) == (0, 6, 6)
        assert distrusted.log[-1].endswith("x509: certificate signed by unknown authority")


@pytest.mark.registry
@needs_registry
class TestReport:
    @pytest.fixture
    def debian(self, qscanner: QScanner, pushed: Registry) -> Scan:
        return scan(qscanner, "--report-format=json,sarif", "--format=json", image=at(pushed, "qualys/web:1.0"))

    def test_the_log_looks_like_the_real_one(self, debian: Scan) -> None:
        assert debian.log[:4] == [
            "INFO  Image source: remote registry",
            "INFO  OS detected: Debian 12.1",
            "INFO  OS package(s) detected: 31",
            "INFO  Language package(s) detected: 2",
        ]
        assert f"INFO  Scan Result JSON created at {debian.path('ScanResult.json')}" in debian.log

    def test_a_qid_with_several_cves_and_packages(self, debian: Scan) -> None:
        curl = by_qid(debian.details)["DSA-5523-1"]
        assert curl["cveids"] == ["CVE-2023-38545", "CVE-2023-38546"]
        assert [(one["name"], one["version"], one["fixVersion"]) for one in curl["software"]] == [
            ("curl", "7.88.1-10+deb12u1", "7.88.1-10+deb12u4"),
            ("libcurl4:amd64", "7.88.1-10+deb12u1", "7.88.1-10+deb12u4"),
        ]
        assert (curl["severity"], curl["cvssInfo"], curl["cvss3Info"]["baseScore"]) == (5, None, "9.8")
        assert curl["patchAvailable"] is True
        assert curl["result"].splitlines() == [
            '#table cols="3"',
            "Package Installed_Version Required_Version",
            "curl 7.88.1-10+deb12u1 7.88.1-10+deb12u4",
            "libcurl4 7.88.1-10+deb12u1 7.88.1-10+deb12u4",
        ]

    def test_several_qids_of_one_cve_and_package(self, debian: Scan) -> None:
        glibc = [one for one in debian.details if one["cveids"] == ["CVE-2023-4911"]]
        assert sorted(one["severity"] for one in glibc) == [4, 5]
        assert {one["software"][1]["name"] for one in glibc} == {"libc6:amd64"}
        assert all(one["threatIntel"]["activeAttacks"] is True for one in glibc)
        assert all(one["threatIntel"]["malware"] is None for one in glibc)

    def test_qids_without_a_cve_or_without_software(self, debian: Scan) -> None:
        found = by_qid(debian.details)
        assert found["WS-2009-0001"]["cveids"] is None
        assert found["WS-2009-0001"]["software"][0]["packagePath"] == "/app/lib/commons-codec-1.9.jar"
        assert found["CVE-2022-48303"]["software"] is None
        assert found["CVE-2022-48303"]["result"].endswith("\ntar 1.34+dfsg-1.2 1.34+dfsg-1.2+deb12u1")
        (release,) = (one for one in debian.details if "Point Release" in one["title"])
        assert (release["cveids"], release["software"], release["result"]) == (None, None, None)

    def test_severities_are_from_1_to_5_and_the_customer_may_differ(self, debian: Scan) -> None:
        openssl = by_qid(debian.details)["DSA-5532-1"]
        assert (openssl["severity"], openssl["customerSeverity"]) == (4, 2)
        assert {one["severity"] for one in debian.details} == {1, 2, 3, 4, 5}
        assert all(one["qdsScore"] is None or 1 <= one["qdsScore"] <= 100 for one in debian.details)

    def test_numbers_are_unique_and_the_same_every_time(self, qscanner: QScanner, pushed: Registry) -> None:
        image = at(pushed, "qualys/alpine:3.9")
        first, second = ([one["qid"] for one in scan(qscanner, image=image).details] for _ in range(2))
        assert first == second == sorted(set(first))

    def test_the_inventory(self, debian: Scan) -> None:
        inventory = debian.document("ScanResult.json")
        assert debian.document()["Inventory"]["Metadata"]["Target"] == inventory["Metadata"]["Target"]
        packages = {one["Name"]: one for one in inventory["OSResults"][0]["Packages"]}
        assert (packages["curl"]["Version"], packages["curl"]["Release"]) == ("7.88.1", "10+deb12u1")
        assert packages["libc6"]["SrcName"] == "glibc"
        purls = {one["PURL"] for one in inventory["SCAResults"][0]["Packages"]}
        assert purls == {"pkg:npm/ecstatic@3.3.2", "pkg:maven/commons-codec/commons-codec@1.9"}
        assert {one["Status"] for one in inventory["ScansPerformed"]} == {"SUCCESS"}

    def test_only_the_scans_asked_for(self, qscanner: QScanner, pushed: Registry) -> None:
        done = scan(qscanner, "--scan-types=secret", image=at(pushed, "qualys/web:1.0"))
        inventory = done.document("ScanResult.json")
        assert "OSResults" not in inventory
        assert inventory["SecretResults"][0]["Secrets"][0]["Title"] == "RSA PRIVATE KEY"

    def test_sarif(self, debian: Scan) -> None:
        (one,) = debian.document("Report.sarif.json")["runs"]
        rules = {rule["id"]: rule for rule in one["tool"]["driver"]["rules"]}
        for detail, result in zip(debian.details, one["results"], strict=True):
            rule = rules[result["ruleId"]]
            assert result["properties"]["QID"] == detail["qid"] == int(rule["id"])
            assert rule["properties"]["severity"] == detail["severity"]
            assert rule["properties"]["cve-ids"] == (detail["cveids"] or [])
            named = [software["name"] for software in result["properties"]["vulnerableSoftware"]]
            assert named == [software["name"] for software in detail["software"] or ()]

    def test_sarif_with_all_in_the_results(self, qscanner: QScanner, pushed: Registry) -> None:
        qscanner.configure(sarif="results")
        done = scan(qscanner, "--report-format=sarif", image=at(pushed, "qualys/alpine:3.9"))
        (one,) = done.document("Report.sarif.json")["runs"]
        musl = [result["properties"] for result in one["results"] if result["properties"]["cves"] == ["CVE-2019-14697"]]
        assert {(found["packageName"], found["fixedVersion"]) for found in musl} >= {("musl", "1.1.20-r5")}
        assert [file.name for file in done.files if file.name.endswith("-Report.json")] == []

    @pytest.mark.parametrize("spelling", NAMES)
    def test_spellings(self, qscanner: QScanner, pushed: Registry, spelling: str) -> None:
        image = at(pushed, "qualys/alpine:3.9")
        usual = next(one for one in scan(qscanner, image=image).details if one["cveids"] == ["CVE-2019-5436"])
        qscanner.configure(spelling=spelling)
        ((name, found),) = scan(qscanner, image=image).document()["VulnerabilityReport"].items()
        names = NAMES[spelling]
        assert name == names[""]
        qid = names.get("qid", "qid")
        (same,) = (one for one in found if one[qid] == usual["qid"])
        software = same[names.get("software", "software")][0]
        assert software[names.get("fixVersion", "fixVersion")] == usual["software"][0]["fixVersion"]
        assert same.get("Cves", [{"Id": "CVE-2019-5436"}]) == [{"Id": "CVE-2019-5436"}]

    def test_sboms_list_the_packages_of_the_image(self, qscanner: QScanner, pushed: Registry) -> None:
        """They were seen to be valid with spdx-tools and cyclonedx-python-lib."""
        done = scan(qscanner, "--format=spdx,cyclonedx", "-m=inventory-only", image=at(pushed, "qualys/web:1.0"))
        assert sorted(file.name.rpartition("-")[2] for file in done.files) == ["cyclonedx.json", "spdx.json"]
        spdx, cyclonedx = done.document("spdx.json"), done.document("cyclonedx.json")
        assert (spdx["spdxVersion"], cyclonedx["specVersion"]) == ("SPDX-2.3", "1.5")
        image, *listed = spdx["packages"]
        assert image["versionInfo"] == cyclonedx["metadata"]["component"]["version"] == images.debian().digest
        related = {(one["spdxElementId"], one["relationshipType"]): one for one in spdx["relationships"]}
        assert related["SPDXRef-DOCUMENT", "DESCRIBES"]["relatedSpdxElement"] == image["SPDXID"]
        purls = [one["externalRefs"][0]["referenceLocator"] for one in listed]
        assert purls == [one["purl"] for one in cyclonedx["components"] if one["type"] == "library"]
        assert "pkg:deb/debian/curl@7.88.1-10%2Bdeb12u1?arch=amd64&distro=debian-12.1" in purls
        assert len(purls) == 33


class TestCache:
    def test_layers_are_pulled_once(self, qscanner: QScanner, tmp_path: Path) -> None:
        image = images.debian()
        cache = tmp_path / "cache"
        with token_registry(image, "t") as host:
            reference, account = f"{host}/a/b@{image.digest}", {"QSCANNER_REGISTRY_TOKEN": "t"}
            assert scan(qscanner, f"--cache-dir={cache}", image=reference, env=account).code == 0
            for file in cache.rglob("sha256-*"):
                os.utime(file, (0, 0))
            assert scan(qscanner, f"--cache-dir={cache}", image=reference, env=account).code == 0
        layers = [images.digest(layer) for layer in image.layers]
        assert [(one.hits, one.misses) for one in qscanner.scans()] == [([], layers), (layers, [])]
        assert min(file.stat().st_mtime for file in cache.rglob("sha256-*")) > 0, "the use is noted"

    def test_a_spoilt_layer_is_pulled_again(self, qscanner: QScanner, tmp_path: Path) -> None:
        image = images.alpine()
        with token_registry(image, "t") as host:
            for _ in range(2):
                reference, account = f"{host}/a/b@{image.digest}", {"QSCANNER_REGISTRY_TOKEN": "t"}
                done = scan(qscanner, f"--cache-dir={tmp_path / 'cache'}", image=reference, env=account)
                for file in (tmp_path / "cache").rglob("sha256-*"):
                    file.write_bytes(b"spoilt")
        assert done.code == 0

    def test_runs_with_one_cache_wait_for_each_other(self, offline: QScanner, tmp_path: Path) -> None:
        offline.force(Behaviour(findings=1, hang=True), times=1)
        flags = [f"--cache-dir={tmp_path / 'cache'}"]
        processes = [_start(offline, *flags)]
        try:
            wait_until(lambda: list(tmp_path.glob("qscanner-*/layers.json")), "the first run at work")
            assert offline.scans()[0].locked is not None
            processes.append(_start(offline, *flags))
            wait_until(lambda: len(offline.scans()) == 2, "the start of the second run")
            other = scan(offline, f"--cache-dir={tmp_path / 'other'}")
            without = scan(offline, "--cache=none")
            assert (other.code, without.code) == (0, 0), "neither of them waits"
            assert offline.scans()[1].locked is None
            processes[0].kill()
            assert processes[1].wait(30) == 0
        finally:
            for process in processes:
                process.kill()
                process.wait()
        assert offline.scans()[1].locked is not None

    @pytest.mark.parametrize(
        ("environment", "directory"),
        [({}, ".cache/qualys/qscanner"), ({"XDG_CACHE_HOME": "{home}/xdg"}, "xdg/qualys/qscanner")],
    )
    def test_where_it_lies(self, offline: QScanner, environment: dict[str, str], directory: str) -> None:
        home = offline.directory.parent
        scan(offline, env={name: value.format(home=home) for name, value in environment.items()})
        assert (home / directory / "qscanner.lock").exists()

    def test_none_touches_nothing(self, offline: QScanner) -> None:
        assert scan(offline, "--cache=none").code == 0
        assert not (offline.directory.parent / ".cache").exists()
        assert offline.scans()[0].locked is None

    def test_a_directory_that_cannot_be_written(self, offline: QScanner, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = scan(offline, f"--cache-dir={tmp_path / 'file' / 'cache'}")
        assert (done.code, done.log[-1].startswith("ERROR failed to initialize cache: ")) == (1, True)


def _start(cli: QScanner, *flags: str) -> subprocess.Popen[bytes]:
    argv = command(cli, *flags)
    return subprocess.Popen(
        argv, env=environment(cli), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


class TestBehaviours:
    @pytest.mark.parametrize("code", MESSAGES)
    def test_every_exit_code(self, offline: QScanner, code: int) -> None:
        offline.force(Behaviour(exit=code))
        done = scan(offline)
        assert (done.code, done.log, done.files) == (code, [f"ERROR {MESSAGES[code]}"], [])
        assert offline.scans()[0].code == code

    def test_with_a_message_and_for_some_time(self, offline: QScanner) -> None:
        offline.force(Behaviour(exit=33, message="no space on the moon"), times=2)
        done = [scan(offline) for _ in range(3)]
        assert [one.code for one in done] == [33, 33, 0]
        assert done[0].log == ["ERROR no space on the moon"]

    def test_only_for_some_repositories(self, offline: QScanner) -> None:
        offline.force(Behaviour(exit=1), repository="library/bad*")
        codes = [scan(offline, image=f"harbor.local/library/{name}:1").code for name in ("bad-1", "good")]
        assert codes == [1, 0]
        assert len(offline.scans("library/good")) == 1
        offline.reset()
        offline.force(MADE_UP)
        assert scan(offline, image="harbor.local/library/bad-1:1").code == 0

    def test_spoilt_reports(self, offline: QScanner) -> None:
        written = {}
        for how in ("missing", "empty", "truncated", "not-json", "not-utf8"):
            offline.force(Behaviour(findings=3, report=how))
            done = scan(offline)
            assert done.code == 0
            written[how] = done.path("Report.json").read_bytes() if how != "missing" else b""
            assert len(done.files) == (1 if how == "missing" else 2)
        assert written["empty"] == b""
        assert written["not-json"].startswith(b"<html>")
        for how, problem in (("truncated", json.JSONDecodeError), ("not-utf8", UnicodeDecodeError)):
            assert written[how].startswith(b'{"Inventory"')
            with pytest.raises(problem):
                json.loads(written[how])

    def test_a_link_in_the_place_of_the_report(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=3, report="link"))
        path = scan(offline).path("Report.json")
        assert path.is_symlink()
        assert json.loads(path.read_bytes())["VulnerabilityReport"]["details"]

    def test_two_reports_of_which_one_is_clean(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=3, report="two"))
        done = scan(offline)
        reports = [json.loads((done.output / file).read_bytes()) for file in done.files if "Report" in file.name]
        assert sorted(len(report["VulnerabilityReport"]["details"]) for report in reports) == [0, 3]

    def test_only_sarif(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=3, report="sarif-only"))
        names = [file.name.partition("-")[2] for file in scan(offline).files]
        assert names == ["Report.sarif.json", "ScanResult.json"]

    @pytest.mark.parametrize("depth", [1, 2])
    def test_files_deeper_down(self, offline: QScanner, depth: int) -> None:
        offline.force(Behaviour(findings=3, depth=depth))
        assert {len(file.parts) for file in scan(offline).files} == {depth + 1}

    @pytest.mark.parametrize(
        ("how", "expected"), [("null", None), ("absent", "absent"), ("null-list", {"details": None})]
    )
    def test_no_vulnerability_report(self, offline: QScanner, how: str, expected: object) -> None:
        offline.force(Behaviour(findings=3, vulnerabilities=how))
        assert scan(offline).document().get("VulnerabilityReport", "absent") == expected

    def test_another_spelling_for_one_repository(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=1, spelling="QID"))
        (found,) = scan(offline).document()["VulnerabilityReport"]["Vulnerabilities"]
        assert found["Softwares"][0]["InstalledVersion"] == "1.2.3-4"

    def test_spoilt_sboms(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=3, sbom="truncated"))
        done = scan(offline, "--format=spdx,cyclonedx")
        for name in ("spdx.json", "cyclonedx.json"):
            with pytest.raises(json.JSONDecodeError):
                json.loads(done.path(name).read_bytes())
        offline.force(Behaviour(findings=3, sbom="missing"))
        assert len(scan(offline, "--format=spdx,cyclonedx").files) == 1

    @pytest.mark.parametrize(("status", "found"), [("FAILED", ("FAILED", False)), ("partial", ("SUCCESS", True))])
    def test_scans_that_did_not_go_well(self, offline: QScanner, status: str, found: tuple[str, bool]) -> None:
        offline.force(Behaviour(findings=3, status=status))
        (sca,) = (
            one for one in scan(offline).document("ScanResult.json")["ScansPerformed"] if one["ScanType"] == "SCA"
        )
        assert (sca["Status"], "PartialScanInfo" in sca) == found

    def test_dies_of_a_signal(self, offline: QScanner) -> None:
        offline.force(Behaviour(signal=signal.SIGSEGV))
        assert scan(offline).code == -signal.SIGSEGV
        assert offline.scans()[0].ended is None

    def test_prints_a_lot_and_secrets(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=1, stdout_megabytes=1, stderr_megabytes=2, print_arguments=True))
        done = scan(offline)
        assert len(done.stdout) > 1024 * 1024
        assert len(done.stderr) > 2 * 1024 * 1024
        assert offline.config.token in done.stderr
        assert ROBOT.password in done.stderr

    @pytest.mark.parametrize("ignore_sigterm", [False, True])
    def test_hangs(self, offline: QScanner, ignore_sigterm: bool) -> None:
        # The orphan is noted after SIGTERM is ignored.
        offline.force(Behaviour(hang=True, ignore_sigterm=ignore_sigterm, orphan="group"))
        process = _start(offline)
        try:
            wait_until(lambda: offline.scans() and offline.scans()[0].orphans, "the orphan")
            process.terminate()
            if ignore_sigterm:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)
            else:
                assert process.wait(30) == -signal.SIGTERM
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @pytest.mark.parametrize("orphan", ["group", "session"])
    def test_leaves_a_process_behind(self, offline: QScanner, orphan: str) -> None:
        offline.force(Behaviour(findings=1, orphan=orphan))
        process = _start(offline)
        assert process.wait(30) == 0
        (left,) = offline.scans()[0].orphans
        try:
            assert (os.getpgid(left) == process.pid) == (orphan == "group")
        finally:
            os.kill(left, signal.SIGKILL)

    def test_made_up_findings_differ(self, offline: QScanner) -> None:
        offline.force(Behaviour(findings=1234))
        found = scan(offline).details
        assert len({one["qid"] for one in found}) == len({one["cveids"][0] for one in found}) == 1234

    def test_temporary_files_go_but_for_those_of_a_run_that_was_killed(self, offline: QScanner, tmp_path: Path) -> None:
        offline.force(Behaviour(exit=12), times=1)
        assert [scan(offline).code for _ in range(2)] == [12, 0]
        assert list(tmp_path.glob("qscanner-*")) == []
        offline.force(Behaviour(signal=signal.SIGKILL))
        scan(offline)
        assert len(list(tmp_path.glob("qscanner-*/layers.json"))) == 1

    def test_temporary_files_need_a_place(self, offline: QScanner) -> None:
        done = scan(offline, env={"TMPDIR": "/nowhere"})
        assert (done.code, "failed to copy layers.json file" in done.stderr) == (6, True)

    def test_what_it_was_given_is_recorded(self, offline: QScanner) -> None:
        before = time.time()
        scan(offline, "--log-level=error")
        (one,) = offline.scans("library/web")
        assert (one.image, one.argv[1:3], one.argv[-1]) == (NOWHERE, ["--pod", "US2"], "--log-level=error")
        assert one.environment.keys() - {"LC_CTYPE"} == environment(offline).keys()
        assert one.ended is not None
        assert before <= one.started <= one.ended
