"""`harbor-scanner healthy` finds the service that runs, and tells when none does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from harbor_scanner.presence import Presence
from support.service import Service, free_port, serving
from support.stage import NOWHERE

SETTINGS = {"SCANNER_OSV_URL": NOWHERE}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hh-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def healthy(data: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """Return the exit code, and all that was printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(data), "SCANNER_DATA_DIR": str(data), **settings}
    argv = [sys.executable, "-m", "harbor_scanner", "healthy", *arguments]
    done = subprocess.run(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


def test_a_service_is_healthy_while_it_runs_and_not_after(directory: Path) -> None:
    assert healthy(directory / "data") == (
        1, f"not healthy: no harbor-scanner runs here on the data directory {directory / 'data'}.\n",
    )  # fmt: skip
    with serving(directory, SETTINGS) as service:
        assert healthy(service.data) == (0, f"healthy: {service.address}\n")
        service.kill()
        assert healthy(service.data) == (
            1, f"not healthy: {service.address} does not answer as it should: Connection refused.\n",
        )  # fmt: skip
        service.start()
        assert healthy(service.data)[0] == 0
        assert service.stop() == 0
        code, told = healthy(service.data)
        assert code == 1
        assert "no harbor-scanner runs here" in told


def test_it_does_not_matter_what_settings_say_by_now(directory: Path) -> None:
    values = directory / "values.yaml"
    port = free_port()
    values.write_text(f"service: {{port: {port}}}\n")
    environment = {**SETTINGS, "SCANNER_API_ADDR": "", "SCANNER_ENABLED": "osv"}
    service = Service(directory, environment, ("--config", str(values)))
    service.address = f"127.0.0.1:{port}"
    service.url = f"http://{service.address}"
    try:
        service.start()
        values.write_text("service: {port: 1}\n")
        assert healthy(service.data, "--config", str(values)) == (0, f"healthy: {service.address}\n")
        values.write_text("service: {port: [\n")
        assert healthy(service.data, "--config", str(values))[0] == 0
        assert healthy(service.data, SCANNER_WORKERS="many")[0] == 0
    finally:
        service.end()


@pytest.mark.parametrize("asks_certificate", [False, True], ids=["", "client certificates"])
def test_a_service_with_tls_is_asked_by_tls(directory: Path, asks_certificate: bool) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("scanner.example.com")
    key, certificate, ca_file = (directory / name for name in ("key", "certificate", "ca"))
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    authority.cert_pem.write_to_path(ca_file)
    files = {"SCANNER_API_TLS_KEY": str(key), "SCANNER_API_TLS_CERTIFICATE": str(certificate)}
    if asks_certificate:
        files["SCANNER_API_CLIENT_CAS"] = str(ca_file)
    service = Service(directory, {**SETTINGS, **files})
    try:
        service.start(ready=False)
        service.wait_for(lambda: healthy(service.data)[0] == 0, "healthy", 60)
        assert service.stop() == 0
        assert healthy(service.data)[0] == 1
    finally:
        service.end()


def test_what_does_not_answer_is_not_healthy(directory: Path) -> None:
    scratch = directory / "data" / "scratch" / "run-1"
    scratch.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        note = Presence(socket.gethostname(), address, tls=False, asks_certificate=False)
        (scratch / "listening.json").write_bytes(msgspec.json.encode(note))
        assert healthy(directory / "data") == (
            1, f"not healthy: {address} does not answer as it should: timed out.\n",
        )  # fmt: skip


def test_a_service_in_another_container_is_not_meant(directory: Path) -> None:
    scratch = directory / "data" / "scratch" / "run-1"
    scratch.mkdir(parents=True)
    note = Presence("elsewhere", "127.0.0.1:9", tls=False, asks_certificate=False)
    (scratch / "listening.json").write_bytes(msgspec.json.encode(note))
    assert "no harbor-scanner runs here" in healthy(directory / "data")[1]


def test_a_wrong_data_directory_is_told_of() -> None:
    code, told = healthy(Path("/proc/self/mem"))
    assert code == 1
    assert told.startswith("not healthy: ")
    assert "Traceback" not in told
