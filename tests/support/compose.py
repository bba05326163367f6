"""A Harbor as its installer leaves it, our files beside it, and what Compose makes of both."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.fetch_compose import PROGRAM as COMPOSE_CONFIG
from support.fetch_servers import ROOT as UNPACKED
from support.fetch_servers import find

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "compose"
FILES = Path(__file__).with_name("compose_files")

SERVICES = {"aqua": "aqua-adapter", "qualys": "qualys-scanner", "osv": "osv-adapter"}
"""What the service of each scanner is called."""

Service = dict[str, Any]
"""A service as Compose understood it."""


class ComposeError(Exception):
    """Compose refused the files; the message is what it printed."""


class Harbor(msgspec.Struct, frozen=True):
    """The directories of a Harbor, under paths that have a blank unless told otherwise."""

    home: Path
    data: Path
    pki: Path

    @classmethod
    def installed(cls, directory: Path, *, version: bool = True, blank: str = " ") -> Harbor:
        """Make one. Without `version` its docker-compose.yml is like that of newer ones, which name none."""
        harbor = cls(*(directory / f"{name}{blank}x" for name in ("home", "data", "pki")))
        for path in (harbor.home, harbor.data, harbor.pki):
            path.mkdir()
        text = (FILES / "harbor.yml").read_text()
        (harbor.home / "docker-compose.yml").write_text(text if version else text.replace("version: '2.3'\n", ""))
        settings = harbor.home / "common" / "config" / "core" / "env"
        settings.parent.mkdir(parents=True)
        settings.write_text("CORE_URL=http://core:8080\n")
        return harbor

    @property
    def environment(self) -> dict[str, str]:
        """What an administrator exports before running a script."""
        return {
            "PATH": os.environ["PATH"],
            "HARBOR_HOME": str(self.home),
            "HARBOR_DATA": str(self.data),
            "HARBOR_PKI_DIR": str(self.pki),
        }

    @property
    def override(self) -> Path:
        """Where Compose looks for what is beside Harbor's own services."""
        return self.home / "docker-compose.override.yml"

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script as the administrator does. An empty variable takes one away."""
        environment = {name: text for name, text in {**self.environment, **variables}.items() if text}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )

    def prepare(self, scanner: str, **variables: str) -> str:
        """Run prepare.sh, which must succeed, and return what it tells."""
        done = self.run("/bin/sh", DEPLOY / "prepare.sh", scanner, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def filled(self, scanner: str) -> Path:
        """Prepare a scanner and do what the script says is left to do; return the directory of its settings."""
        self.prepare(scanner)
        settings = self.home / SERVICES[scanner]
        if scanner == "aqua":
            env = settings / "env"
            env.write_text(env.read_text().replace("USERNAME=\n", "USERNAME=harbor_scanner\n"))
            (settings / "secrets" / "aqua-password").write_text("c0nsole$ecret\n")
            (settings / "scannercli").write_text("#!/bin/sh\n")
            for kind in ("key", "crt"):
                (self.pki / f"aqua_adapter.{kind}").touch()
        elif scanner == "qualys":
            values = settings / "values.yaml"
            values.write_text(values.read_text().replace("pod:\n", "pod: US2\n"))
            (settings / "accesstoken" / "token").write_text("a-token\n")
        assert complete(self.prepare(scanner))
        return settings


def complete(told: str) -> bool:
    """Tell whether prepare.sh found nothing left to do, but perhaps what root alone can do."""
    left = re.findall(r"^- (.*)", told, re.MULTILINE)
    return "All is there" in told or (os.geteuid() != 0 and len(left) == 1 and left[0].startswith("as root"))


Parser = Callable[[Path], Mapping[str, Service]]
"""From the directory in which Compose is started to the services by name. Raises ComposeError."""


def docker_compose(home: Path) -> dict[str, Service]:
    """Read the files by the program `docker-compose`, mostly of version 1."""
    program = find("docker-compose")
    assert program is not None
    packages = UNPACKED / "usr" / "lib" / "python3" / "dist-packages"
    path = {"PYTHONPATH": str(packages)} if program.is_relative_to(UNPACKED) else {}
    services = yaml.safe_load(_run([program, "config"], home, **path))["services"]
    for service in services.values():
        # It writes what can be read as a Compose file again.
        escaped = service.get("environment", {})
        service["environment"] = {name: str(text).replace("$$", "$") for name, text in escaped.items()}
    return _alike(services)


def compose_go(home: Path) -> dict[str, Service]:
    """Read the files by the library of `docker compose`, version 2."""
    return _alike(json.loads(_run([COMPOSE_CONFIG], home))["services"])


def _alike(services: dict[str, Service]) -> dict[str, Service]:
    """Return the services with what has several notations in one of them, and in an order that means nothing."""
    for service in services.values():
        for key in ("depends_on", "networks"):
            service[key] = sorted(service.get(key, []))
        volumes = [_volume(volume) for volume in service.get("volumes", [])]
        service["volumes"] = sorted(volumes, key=lambda volume: volume["target"])
    return services


def _volume(volume: str | dict[str, Any]) -> dict[str, Any]:
    if not isinstance(volume, str):
        return volume
    source, target, mode = volume.split(":")
    return {"type": "bind", "source": source, "target": target, "mode": mode}


PARSERS: dict[str, Parser] = {"compose-go": compose_go, "docker-compose": docker_compose}


def missing(parser: str) -> str:
    """Return why a parser cannot be used here; empty if it can."""
    found = find("docker-compose") if parser == "docker-compose" else shutil.which(COMPOSE_CONFIG)
    return "" if found else f"{parser} could be neither found nor fetched (`make servers` tells why)"


def _run(command: list[str | Path], home: Path, **variables: str) -> str:
    # Nothing that this machine's administrator exported fills in the variables: .env alone does.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ComposeError(done.stderr)
    return done.stdout


class Authority(msgspec.Struct, frozen=True):
    """Harbor's internal CA."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, *, days: float = 3650, is_ca: bool = True) -> Authority:
        """Make one, which ends in so many days, or ended so many days ago."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "VMware")])
        end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - dt.timedelta(days=4000))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    def write(self, pki: Path) -> Path:
        """Put it where Harbor has it; return the file of the certificate."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (pki / "harbor_internal_ca.key").write_bytes(key)
        path = pki / "harbor_internal_ca.crt"
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def on_host(service: Service, path: str) -> str:
    """Return what the host calls a path inside the container, or the text as it is if it lies on no mount."""
    for volume in sorted(service["volumes"], key=lambda volume: -len(volume["target"])):
        if path == volume["target"] or path.startswith(f"{volume['target']}/"):
            return str(volume["source"]) + path.removeprefix(volume["target"])
    return path


def environment_on_host(service: Service) -> dict[str, str]:
    """Return the settings of a container with paths as the host has them."""
    return {name: on_host(service, text) for name, text in service.get("environment", {}).items()}


def content(directory: Path) -> dict[str, bytes]:
    """Return all that is there, hidden files too."""
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in found.items()}


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def stub(directory: Path, name: str, script: str) -> str:
    """Put a script before a program, which is run afterwards with the script's arguments; return the PATH."""
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f'#!/bin/sh\n{script}\nexec {shutil.which(name)} "$@"\n')
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"
