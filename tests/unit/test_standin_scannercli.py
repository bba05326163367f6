"""The stand-in for scannercli is as strict, as honest and as nasty as the tests of the service rely on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standins.aqua.behaviour import Behaviour
from support import images
from support.oci import Registry
from support.registry import ROBOT, docker_registry
from support.servers import missing
from support.standin import ScannerCli, install_scannercli

NO_REGISTRY = Registry("http://127.0.0.1:9", "", "")
ROBOT_FLAGS = [f"--robot-username={ROBOT.username}", f"--robot-password={ROBOT.password}"]
MADE_UP = Behaviour(findings=3)

NO_DOCKER_REGISTRY = missing("docker-registry")


@pytest.fixture
def offline(scannercli: ScannerCli) -> ScannerCli:
    """One that reports made-up findings, and so needs no registry."""
    scannercli.connect(NO_REGISTRY)
    scannercli.force(MADE_UP)
    return scannercli


@pytest.fixture(scope="module")
def pushed(registry: Registry) -> Registry:
    registry.push(images.debian(), "library/web", "1.0")
    registry.push(images.alpine().as_docker(), "library/alpine", "3.9")
    return registry


@pytest.fixture
def online(scannercli: ScannerCli, pushed: Registry) -> ScannerCli:
    scannercli.connect(pushed)
    return scannercli


def command(cli: ScannerCli, *flags: str, image: str = "library/web:1.0") -> list[str]:
    return [
        str(cli.path), "scan", "--host=http://console.aqua:8080", "--registry=Harbor", "--dockerless",
        f"--user={cli.config.username}", f"--password={cli.config.password}", *flags, image,
    ]  # fmt: skip


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env={"PATH": os.environ["PATH"]}, capture_output=True, encoding="utf-8", errors="replace", check=False
    )


def scan(cli: ScannerCli, *flags: str, image: str = "library/web:1.0") -> subprocess.CompletedProcess[str]:
    return run(command(cli, *flags, image=image))


def report(cli: ScannerCli, image: str, *flags: str) -> dict[str, Any]:
    done = scan(cli, *flags, image=image)
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def names(body: dict[str, Any]) -> set[str]:
    return {element["resource"]["name"] for element in body["resources"] if "name" in element["resource"]}


def findings(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        finding["name"]: finding
        for element in body["resources"]
        if element["resource"].get("name") == name
        for finding in element.get("vulnerabilities", [])
    }


class TestCommandLine:
    def test_version(self, scannercli: ScannerCli) -> None:
        done = run([str(scannercli.path), "version"])
        assert (done.returncode, done.stdout, done.stderr) == (0, "6.5.22034\n", "")

    def test_flags_as_the_documentation_has_them(self, offline: ScannerCli, tmp_path: Path) -> None:
        output = tmp_path / "report.json"
        done = scan(
            offline, "--checkonly", "--no-verify=false", "--direct-cc=true", "--show-negligible=true",
            "--jsonfile", str(output), *ROBOT_FLAGS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert json.loads(output.read_text())["vulnerability_summary"]["total"] == 3

    def test_short_flags(self, offline: ScannerCli) -> None:
        account = offline.config
        argv = ["-H", "http://console", "-U", account.username, f"-P={account.password}", "-n", "--registry=Harbor"]
        assert run([str(offline.path), "scan", *argv, "a/b:c"]).returncode == 0

    @pytest.mark.parametrize(
        ("flags", "complaint"),
        [
            (["--show-will-not-fix"], "unknown flag: --show-will-not-fix"),
            (["-x"], "unknown flag: -x"),
            (["--no-verify=yes"], 'invalid argument "yes" for "--no-verify" flag'),
            (["other/image:1"], "accepts 1 arg(s), received 2"),
        ],
    )
    def test_what_it_does_not_know_it_refuses(self, offline: ScannerCli, flags: list[str], complaint: str) -> None:
        done = scan(offline, *flags)
        assert done.returncode == 1
        assert complaint in done.stderr
        assert offline.scans() == []

    def test_a_flag_without_its_value(self, offline: ScannerCli) -> None:
        done = run([str(offline.path), "scan", "library/web:1.0", "--jsonfile"])
        assert (done.returncode, "flag needs an argument: --jsonfile" in done.stderr) == (1, True)

    def test_unknown_command(self, scannercli: ScannerCli) -> None:
        assert "unknown command" in run([str(scannercli.path), "daemon"]).stderr

    @pytest.mark.parametrize("how", ["copy", "link"])
    def test_the_script_itself_serves_as_well(self, tmp_path: Path, how: str) -> None:
        """Its config lies beside the link, not beside what the link leads to."""
        installed = install_scannercli(tmp_path / "bin", version="5.3.1")
        script = Path(__file__).parents[1] / "standins" / "scannercli"
        installed.path.unlink()
        if how == "link":
            installed.path.symlink_to(script)
        else:
            # A copy needs the modules beside it.
            shutil.copytree(script.parent, tmp_path / "tests" / "standins")
            shutil.copy(installed.directory / "scannercli.json", tmp_path / "tests" / "standins")
            installed.path = tmp_path / "tests" / "standins" / "scannercli"
        assert run([str(installed.path), "version"]).stdout == "5.3.1\n"


class TestConsole:
    @pytest.mark.parametrize("account", [["--user=harbor_scanner", "--password=wrong"], ["--token=wrong"], []])
    def test_only_its_account_may_scan(self, tmp_path: Path, account: list[str]) -> None:
        cli = install_scannercli(tmp_path, token="5ca11-70ce1")
        done = run([str(cli.path), "scan", "--host=http://console", "--registry=Harbor", *account, "a/b:c"])
        assert done.returncode == 1
        assert "Failed logging in to server: 401 Unauthorized" in done.stderr

    def test_a_token_serves_as_well(self, tmp_path: Path) -> None:
        cli = install_scannercli(tmp_path, token="5ca11-70ce1")
        cli.connect(NO_REGISTRY)
        cli.force(MADE_UP)
        argv = ["--host=http://console", "--registry=Harbor", "--token=5ca11-70ce1", "a/b:c"]
        assert run([str(cli.path), "scan", *argv]).returncode == 0

    def test_the_registry_goes_by_its_name_in_the_console(self, scannercli: ScannerCli) -> None:
        scannercli.connect(NO_REGISTRY, name="Another")
        done = scan(scannercli)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "Failed scanning image: no such registry")

    def test_a_host_that_is_not_there(self, offline: ScannerCli) -> None:
        offline.configure(check_host=True)
        done = scan(offline, "--host=http://127.0.0.1:9")
        assert done.returncode == 1
        assert "connection refused" in done.stderr

    def test_a_registry_that_holds_images_back(self, offline: ScannerCli) -> None:
        offline.configure(robot_required=True)
        done = scan(offline)
        assert done.stderr.splitlines()[-1] == "Failed getting image manifest: 412 Precondition Failed"
        assert scan(offline, *ROBOT_FLAGS).returncode == 0

    def test_the_log_looks_like_the_real_one(self, offline: ScannerCli) -> None:
        first = scan(offline).stderr.splitlines()[0].split("\t")
        assert first[1:3] == ["\x1b[34mINFO\x1b[0m", "Registering with server"]
        assert json.loads(first[3])["os"] == "linux"


@pytest.mark.registry
@pytest.mark.skipif(NO_DOCKER_REGISTRY != "", reason=NO_DOCKER_REGISTRY)
class TestPull:
    @pytest.mark.parametrize("flags", [[], ROBOT_FLAGS], ids=["console's account", "robot's account"])
    @pytest.mark.parametrize("reference", [":1.0", f"@{images.debian().digest}"], ids=["tag", "digest"])
    def test_by_tag_or_digest_with_either_account(self, online: ScannerCli, reference: str, flags: list[str]) -> None:
        body = report(online, f"library/web{reference}", *flags)
        assert (body["os"], body["version"], body["digest"]) == ("debian", "12.1", images.debian().digest)
        assert body["image"] == f"library/web{reference}"

    def test_a_wrong_password_of_the_robot(self, online: ScannerCli) -> None:
        done = scan(online, f"--robot-username={ROBOT.username}", "--robot-password=wrong")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "Failed getting image manifest: 401 Unauthorized"

    @pytest.mark.parametrize("image", ["library/none:1.0", "library/web:2.0", f"library/web@sha256:{'0' * 64}"])
    def test_no_such_image(self, online: ScannerCli, image: str) -> None:
        done = scan(online, image=image)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, last) == (1, "Failed scanning image: image was not found in registry")

    def test_no_registry(self, scannercli: ScannerCli) -> None:
        scannercli.connect(NO_REGISTRY)
        done = scan(scannercli)
        assert done.returncode == 1
        assert "Connection refused" in done.stderr

    def test_a_blob_that_is_not_what_its_digest_says(self, scannercli: ScannerCli, tmp_path: Path) -> None:
        with docker_registry(tmp_path) as registry:
            scannercli.connect(registry)
            registry.push(images.debian(), "library/web", "1.0")
            digest = images.digest(images.debian().layers[0]).removeprefix("sha256:")
            (stored,) = (tmp_path / "storage").rglob(f"{digest}/data")
            stored.write_bytes(images.debian().layers[1])
            done = scan(scannercli)
        assert done.returncode == 1
        assert "has digest" in done.stderr

    @pytest.mark.parametrize(
        ("artifact", "complaint"),
        [
            (images.helm_chart, "unsupported media type application/vnd.cncf.helm.config.v1+json"),
            (images.cosign_signature, "is no archive"),
        ],
    )
    def test_an_artifact_that_is_no_image(
        self, online: ScannerCli, registry: Registry, artifact: Callable[[], images.Image], complaint: str
    ) -> None:
        registry.push(artifact(), "library/no-image", "1.0")
        done = scan(online, image="library/no-image:1.0")
        assert done.returncode == 1
        assert complaint in done.stderr

    def test_over_tls(self, scannercli: ScannerCli, tmp_path: Path) -> None:
        import trustme

        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        server.private_key_pem.write_to_path(tmp_path / "key.pem")
        server.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        with docker_registry(
            tmp_path, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem", ca_file=tmp_path / "ca.pem"
        ) as registry:
            registry.push(images.alpine(), "library/alpine", "3.9")
            scannercli.connect(registry)
            assert report(scannercli, "library/alpine:3.9")["os"] == "alpine"

    def test_packages_of_merged_layers(self, online: ScannerCli) -> None:
        body = report(online, "library/web:1.0")
        assert {"libc6", "curl", "ecstatic"} <= names(body)
        assert not {"lodash", "minimist"} & names(body), "removed by whiteouts"
        assert "openssh-server" not in names(body), "removed by dpkg"
        layers = {
            element["resource"]["name"]: element["resource"]["layer_digest"]
            for element in body["resources"]
            if "name" in element["resource"]
        }
        base, libraries, application = (images.digest(layer) for layer in images.debian().layers[:3])
        assert (layers["libc6"], layers["curl"], layers["ecstatic"]) == (base, libraries, application)

    def test_facts_of_debian(self, online: ScannerCli) -> None:
        body = report(online, "library/web:1.0", "--show-negligible")
        zlib = findings(body, "zlib1g")["CVE-2023-45853"]
        assert (zlib["aqua_severity"], zlib["aqua_score"]) == ("critical", 9.8)
        assert "fix_version" not in zlib
        advisory = findings(body, "libcurl4")["DSA-5523-1"]
        assert [one["name"] for one in advisory["ref_vulns"]] == ["CVE-2023-38545", "CVE-2023-38546"]
        assert advisory["fix_version"] == "7.88.1-10+deb12u4"
        assert findings(body, "tar")["CVE-2005-2541"]["aqua_severity"] == "negligible"

    def test_facts_of_alpine(self, online: ScannerCli) -> None:
        body = report(online, "library/alpine:3.9")
        assert (body["os"], body["version"]) == ("alpine", "3.9.4")
        assert findings(body, "musl")["CVE-2019-14697"]["fix_version"] == "1.1.20-r5"
        assert findings(body, "libbz2")["CVE-2019-12900"]["nvd_score"] == 7.5

    def test_negligible_findings_are_counted_but_shown_only_on_demand(self, online: ScannerCli) -> None:
        shown, hidden = report(online, "library/web:1.0", "--show-negligible"), report(online, "library/web:1.0")
        assert shown["vulnerability_summary"] == hidden["vulnerability_summary"]
        assert shown["vulnerability_summary"]["negligible"] > 0
        assert "CVE-2005-2541" not in findings(hidden, "tar")

    def test_files_and_secrets(self, online: ScannerCli) -> None:
        elements = report(online, "library/web:1.0")["resources"]
        (jar,) = [element for element in elements if element["resource"].get("path", "").endswith(".jar")]
        assert "name" not in jar["resource"]
        assert jar["vulnerabilities"][0]["name"] == "WS-2009-0001"
        assert "aqua_score" not in jar["vulnerabilities"][0]
        (key,) = [element for element in elements if "sensitive_data_items" in element]
        assert key["sensitive_data_items"] == [{"type": "RSA PRIVATE KEY"}]

    def test_an_image_without_packages(self, online: ScannerCli, registry: Registry) -> None:
        registry.push(images.without_packages(), "library/hello", "1")
        body = report(online, "library/hello:1")
        assert (body["os"], body["resources"]) == ("", [])

    def test_an_image_of_real_packages(self, online: ScannerCli, registry: Registry) -> None:
        image = images.debian_from_packages()
        if image is None:
            pytest.skip("fetch_servers.py could not get the packages")
        registry.push(image, "library/real", "1")
        assert {"base-files", "busybox-static", "zlib1g"} <= names(report(online, "library/real:1"))


class TestExitCodes:
    @pytest.mark.parametrize(("flags", "code"), [([], 4), (["--checkonly"], 0)])
    def test_not_compliant(self, offline: ScannerCli, flags: list[str], code: int) -> None:
        offline.configure(compliant=False)
        done = scan(offline, *flags)
        assert done.returncode == code
        assert json.loads(done.stdout)["image_assurance_results"]["disallowed"] is True

    @pytest.mark.parametrize(
        ("flag", "compliant", "registered"),
        [("--register", False, True), ("--register-compliant", False, False), ("--register-compliant", True, True)],
    )
    def test_registers_as_told(self, offline: ScannerCli, flag: str, compliant: bool, registered: bool) -> None:
        offline.configure(compliant=compliant)
        scan(offline, "--checkonly", flag)
        assert [one.registered for one in offline.scans()] == [registered]

    def test_a_report_that_cannot_be_written(self, offline: ScannerCli) -> None:
        done = scan(offline, "--jsonfile=/nowhere/report.json")
        assert (done.returncode, "Failed writing report" in done.stderr) == (1, True)

    def test_any_other(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(exit=5, message="Failed validating license: license has expired"))
        done = scan(offline)
        assert done.returncode == 5
        assert done.stderr.endswith("Failed validating license: license has expired\n")


class TestBehaviours:
    def test_spoilt_reports(self, offline: ScannerCli, tmp_path: Path) -> None:
        written = {}
        for how in ("missing", "empty", "truncated", "not-json", "not-utf8"):
            output = tmp_path / how
            offline.force(Behaviour(findings=3, report=how))
            assert scan(offline, f"--jsonfile={output}").returncode == 0
            written[how] = output.read_bytes() if output.exists() else None
        assert written["missing"] is None
        assert written["empty"] == b""
        assert written["not-json"] is not None
        assert written["not-json"].startswith(b"<html>")
        for how in ("truncated", "not-utf8"):
            content = written[how]
            assert content is not None
            assert content.startswith(b'{"image"')
            with pytest.raises(UnicodeDecodeError if how == "not-utf8" else json.JSONDecodeError):
                json.loads(content)

    def test_large_reports(self, offline: ScannerCli, tmp_path: Path) -> None:
        output = tmp_path / "report.json"
        offline.force(Behaviour(findings=10, report_megabytes=20))
        scan(offline, f"--jsonfile={output}")
        assert output.stat().st_size > 20 * 1024 * 1024
        assert output.stat().st_blocks * 512 >= output.stat().st_size
        assert len(json.loads(output.read_bytes())["resources"]) > 100

    def test_partial_results(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(findings=1, partial_results=True))
        assert report(offline, "library/web:1.0")["partial_results"] is True

    def test_a_console_out_of_reach_for_a_while(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(unreachable=True), times=2)
        done = [scan(offline) for _ in range(3)]
        assert [one.returncode for one in done] == [1, 1, 0]
        assert "connection refused" in done[0].stderr
        assert [one.code for one in offline.scans()] == [1, 1, 0]

    def test_only_for_some_repositories(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(exit=1), repository="library/bad*")
        assert [scan(offline, image=image).returncode for image in ("library/bad-1:1", "library/good:1")] == [1, 0]
        assert len(offline.scans("library/good")) == 1
        offline.reset()
        offline.force(MADE_UP)
        assert scan(offline, image="library/bad-1:1").returncode == 0

    def test_dies_of_a_signal(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(signal=signal.SIGSEGV))
        assert scan(offline).returncode == -signal.SIGSEGV
        assert offline.scans()[0].ended is None

    def test_prints_a_lot(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(findings=1, stdout_megabytes=1, stderr_megabytes=2, print_arguments=True))
        done = scan(offline)
        assert len(done.stdout) > 1024 * 1024
        assert len(done.stderr) > 2 * 1024 * 1024
        assert offline.config.password in done.stderr

    @pytest.mark.parametrize("ignore_sigterm", [False, True])
    def test_hangs(self, offline: ScannerCli, ignore_sigterm: bool) -> None:
        offline.force(Behaviour(hang=True, ignore_sigterm=ignore_sigterm))
        process = subprocess.Popen(command(offline), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_scans(offline, 1)
            time.sleep(0.2)
            process.terminate()
            if ignore_sigterm:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)
            else:
                assert process.wait(5) == -signal.SIGTERM
        finally:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("orphan", ["group", "session"])
    def test_leaves_a_process_behind(self, offline: ScannerCli, orphan: str) -> None:
        offline.force(Behaviour(findings=1, orphan=orphan))
        process = subprocess.Popen(
            command(offline), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert process.wait(10) == 0
        (left,) = offline.scans()[0].orphans
        try:
            assert (os.getpgid(left) == process.pid) == (orphan == "group")
        finally:
            os.kill(left, signal.SIGKILL)

    def test_made_up_findings_differ(self, offline: ScannerCli) -> None:
        offline.force(Behaviour(findings=1234))
        body = report(offline, "library/web:1.0")
        keys = [
            (finding["name"], element["resource"]["name"])
            for element in body["resources"]
            for finding in element["vulnerabilities"]
        ]
        assert len(keys) == len(set(keys)) == body["vulnerability_summary"]["total"] == 1234

    def test_what_it_was_given_is_recorded(self, offline: ScannerCli) -> None:
        scan(offline, *ROBOT_FLAGS, image="library/web:1.0")
        (one,) = offline.scans("library/web")
        assert set(ROBOT_FLAGS) <= set(one.argv)
        assert one.environment.keys() - {"LC_CTYPE"} == {"PATH"}
        assert one.code == 0
        assert one.ended is not None
        assert one.started <= one.ended


def wait_for_scans(cli: ScannerCli, count: int) -> None:
    end = time.monotonic() + 10
    while len(cli.scans()) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
