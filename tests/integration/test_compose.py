"""The Compose files beside Harbor's own, as both generations of Compose read them, and what the service does then."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from harbor_scanner import __version__
from harbor_scanner.config import Config, load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.groups import WorkerSettings
from harbor_scanner.jobs.address import parse_redis_url
from harbor_scanner.settings import settings_of
from support import compose, pages, wire
from support.compose import DEPLOY, FILES, PARSERS, SERVICES, Authority, ComposeError, Harbor, Parser, Service
from support.service import Service as RunningService
from support.standin import install_scannercli

PAGE = DEPLOY.parents[1] / "docs" / "docker.md"
HERE = "tests/integration/test_compose.py"
NO_OPENSSL = "there is no openssl on PATH"


@pytest.fixture(params=list(PARSERS), scope="module")
def parse(request: pytest.FixtureRequest) -> Parser:
    """Each generation of Compose in turn."""
    if reason := compose.missing(request.param):
        pytest.skip(reason)
    return PARSERS[request.param]


@pytest.fixture(scope="module")
def parse_once() -> Parser:
    """The first that can be used, where one is enough."""
    reasons = {name: compose.missing(name) for name in PARSERS}
    for name, reason in reasons.items():
        if not reason:
            return PARSERS[name]
    pytest.skip("; ".join(reasons.values()))


class Beside(NamedTuple):
    """A scanner that is installed beside a Harbor, all settings filled in, and what Compose makes of it."""

    scanner: str
    harbor: Harbor
    before: Mapping[str, Service]
    """Harbor's own services."""
    services: Mapping[str, Service]

    @property
    def service(self) -> Service:
        """That of the scanner."""
        return self.services[SERVICES[self.scanner]]


@pytest.fixture(params=list(SERVICES), scope="module")
def beside(request: pytest.FixtureRequest, parse: Parser, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """Each scanner in turn, for looking at it only."""
    # docker-compose is of the time when files named a version, `docker compose` of that when they do not.
    old = parse is PARSERS["docker-compose"]
    harbor = Harbor.installed(tmp_path_factory.mktemp(request.param), version=old)
    before = parse(harbor.home)
    harbor.filled(request.param)
    return Beside(request.param, harbor, before, parse(harbor.home))


@pytest.fixture
def harbor(tmp_path: Path) -> Harbor:
    """A Harbor with nothing beside it."""
    return Harbor.installed(tmp_path)


def mounts(service: Service) -> dict[str, str]:
    """Return where the mounts of a service are, and what of the host is there."""
    assert all(volume["type"] == "bind" for volume in service["volumes"])
    return {volume["target"]: volume["source"] for volume in service["volumes"]}


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Harbor:
    """A Harbor on which somebody followed the Aqua adapter's README to the letter."""
    if not shutil.which("openssl"):
        pytest.skip(NO_OPENSSL)
    # Its commands know no quotes.
    harbor = Harbor.installed(tmp_path_factory.mktemp("readme"), blank="")
    Authority.made().write(harbor.pki)
    done = harbor.run("/bin/sh", FILES / "aqua_readme.sh")
    assert done.returncode == 0, done.stderr
    return harbor


def loaded(scanner: str, service: Service) -> Config:
    """Return the settings as `harbor-scanner` has them in that container."""
    environment = compose.environment_on_host(service)
    if scanner != "qualys":
        return load_config(environment)
    assert service["command"] == ["harbor-registry-service"]
    directory = Path(compose.on_host(service, "/usr/share/qscanner"))
    values = directory.parent / "values-on-host.yaml"
    values.write_text((directory / "values.yaml").read_text().replace("/usr/share/qscanner", str(directory)))
    environment["QUALYS_ACCESS_TOKEN_FILE"] = str(directory / "accesstoken" / "token")
    return load_config(environment, overrides={"SCANNER_ENABLED": "qualys"}, path=values, chart_defaults=True)


# The files as they are


def test_a_scanner_stands_beside_harbor_as_its_own_services_do(beside: Beside) -> None:
    before, service = beside.before, beside.service
    assert {name: beside.services[name] for name in before} == before
    assert set(beside.services) - set(before) == {SERVICES[beside.scanner]}
    assert service["container_name"] == SERVICES[beside.scanner]
    assert service["restart"] == "always"
    assert service["networks"] == before["core"]["networks"] == ["harbor"]
    assert set(service["depends_on"]) <= set(before)
    assert service["logging"]["driver"] == "syslog"
    assert service["logging"]["options"]["syslog-address"] == "tcp://127.0.0.1:1514"
    assert before["log"]["ports"], "that is where Harbor listens for syslog"
    assert service["logging"]["options"]["tag"] == f"{beside.scanner}-scanner"


def test_a_scanner_has_no_privilege_and_writes_to_its_data_only(beside: Beside) -> None:
    service, data = beside.service, beside.harbor.data
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("cap_add")
    assert not service.get("privileged")
    assert "user" not in service, "the image's own user is meant"
    assert "ports" not in service, "nobody but Harbor has anything to ask"
    writable = [Path(volume["source"]) for volume in service["volumes"] if not volume.get("read_only")]
    assert writable
    assert all(path.is_relative_to(data / SERVICES[beside.scanner]) for path in writable)


def test_all_that_is_mounted_is_there_and_where_the_image_has_a_place_for_it(beside: Beside) -> None:
    targets = mounts(beside.service)
    assert [source for source in targets.values() if not Path(source).exists()] == []
    rows = re.findall(r"^\| (`/.+?) \|", PAGE.read_text(), re.MULTILINE)
    places = [Path(place) for row in rows for place in re.findall(r"`(.+?)`", row)]
    for target in map(Path, targets):
        assert any(target.is_relative_to(place) or place.is_relative_to(target) for place in places), target
    dockerfile = (DEPLOY.parent / "docker" / "Dockerfile").read_text()
    assert "\nUSER 1000:1000\n" in dockerfile
    assert re.search(r"^VOLUME .*\"/var/lib/scanner\"", dockerfile, re.MULTILINE)


def test_nothing_lies_where_harbor_deletes_all_files(beside: Beside) -> None:
    assert [path.name for path in (beside.harbor.home / "common").rglob("*")] == ["config", "core", "env"]


def test_running_scans_may_end_before_docker_kills_them(beside: Beside) -> None:
    seconds = int(beside.service["stop_grace_period"].removesuffix("s"))
    grace = settings_of(WorkerSettings)["shutdown_grace"].default
    assert seconds > int(grace.removesuffix("s"))


def test_the_image_is_that_of_this_version(beside: Beside) -> None:
    name = "harbor-scanner-qualys" if beside.scanner == "qualys" else "harbor-scanner"
    assert beside.service["image"] == f"{name}:{__version__}"


def test_it_does_not_matter_whether_harbors_file_names_a_version(parse: Parser, tmp_path: Path) -> None:
    harbor = Harbor.installed(tmp_path, version=parse is not PARSERS["docker-compose"])
    harbor.filled("osv")
    assert parse(harbor.home)["osv-adapter"]["image"]


def test_without_the_paths_of_harbor_compose_tells_where_to_set_them(parse: Parser, harbor: Harbor) -> None:
    harbor.filled("aqua")
    (harbor.home / ".env").unlink()
    with pytest.raises(ComposeError, match=r"HARBOR_(PKI_DIR|DATA).*set it in the file \.env"):
        parse(harbor.home)


# What the service makes of the settings


def test_settings_are_taken_without_a_warning(beside: Beside) -> None:
    config = loaded(beside.scanner, beside.service)
    assert (config.unknown, config.warnings) == ((), ())
    assert [enabled.name for enabled in config.scanners] == [beside.scanner]
    assert (config.redis.address is None) == (beside.scanner == "osv")
    assert (config.redis.address is None) == ("redis" not in beside.service["depends_on"])


def test_the_endpoint_is_that_of_the_documentation(beside: Beside) -> None:
    config = loaded(beside.scanner, beside.service)
    endpoint = f"{'https' if config.api.tls else 'http'}://{SERVICES[beside.scanner]}:{config.api.addr.port}"
    assert f"`{endpoint}`" in re.findall(r"^\| Endpoint .*", PAGE.read_text(), re.MULTILINE)[0]
    assert config.api.addr.host == "", "Harbor comes from another container"


def test_secrets_need_no_quoting(parse: Parser, harbor: Harbor) -> None:
    """Compose would replace `$ecret` in an env file."""
    harbor.filled("aqua")
    config = loaded("aqua", parse(harbor.home)["aqua-adapter"])
    assert "c0nsole$ecret" in config.secrets()
    assert "c0nsole" not in str(parse(harbor.home))


def test_settings_that_were_not_filled_in_keep_the_service_from_starting(parse_once: Parser, harbor: Harbor) -> None:
    harbor.prepare("aqua")
    service = parse_once(harbor.home)["aqua-adapter"]
    for kind in ("key", "crt"):
        (harbor.pki / f"aqua_adapter.{kind}").touch()
    with pytest.raises(SettingsError, match=r"SCANNER_AQUA_PASSWORD_FILE: '.*aqua-password' is empty"):
        loaded("aqua", service)
    (harbor.home / "aqua-adapter" / "secrets" / "aqua-password").write_text("c0nsole$ecret")
    with pytest.raises(SettingsError, match="SCANNER_AQUA_USERNAME: it is required"):
        loaded("aqua", service)


@pytest.mark.parametrize("scanner", list(SERVICES))
def test_what_stands_there_as_a_comment_works_too(scanner: str, parse_once: Parser, harbor: Harbor) -> None:
    directory = harbor.filled(scanner)
    for path in (harbor.override, directory / "env", directory / "values.yaml"):
        if path.exists():
            path.write_text(re.sub(r"^( *)#(?! )", r"\1", path.read_text(), flags=re.MULTILINE))
            path.write_text(re.sub(r"^( *)#(  \w+:)", r"\1\2", path.read_text(), flags=re.MULTILINE))
    for name in ("osv_adapter", "qualys_scanner"):
        for kind in ("key", "crt"):
            for folder in (directory, directory / "secrets"):
                if folder.exists():
                    (folder / f"{name}.{kind}").touch()
    service = parse_once(harbor.home)[SERVICES[scanner]]
    config = loaded(scanner, service)
    assert (config.unknown, config.warnings) == ((), ())
    assert config.api.tls
    assert "SSL_CERT_FILE" in service["environment"]
    assert compose.on_host(service, service["environment"]["SSL_CERT_FILE"]).startswith(str(directory))


def test_without_internal_tls_aqua_is_served_over_http(parse_once: Parser, harbor: Harbor) -> None:
    directory = harbor.filled("aqua")
    (harbor.home / ".env").write_text(f"HARBOR_DATA={harbor.data}\n")
    assert "if Harbor has no internal TLS" in harbor.prepare("aqua", HARBOR_PKI_DIR="")
    mount = r" +- type: bind\n +source: .+aqua_adapter\.\w+\n +target: /etc/pki/.+\n +read_only: true\n"
    for path, unwanted in ((harbor.override, mount), (directory / "env", r"SCANNER_API_TLS_.+\n")):
        text, count = re.subn(unwanted, "", path.read_text())
        path.write_text(text.replace("SCANNER_API_ADDR=:8443", "SCANNER_API_ADDR=:8080"))
        assert count == 2
    assert compose.complete(harbor.prepare("aqua", HARBOR_PKI_DIR=""))
    config = loaded("aqua", parse_once(harbor.home)["aqua-adapter"])
    assert (config.unknown, config.warnings) == ((), ())
    assert (config.api.tls, str(config.api.addr)) == (False, ":8080")


# Those who come from the Aqua adapter


def test_an_administrator_of_the_aqua_adapter_changes_the_image_only(parse: Parser, readme: Harbor) -> None:
    text = readme.override.read_text()
    before = parse(readme.home)["aqua-adapter"]
    (block,) = (block for block in pages.blocks() if block.page == "docs/docker.md" and block.what == HERE)
    assert readme.run("bash", "-euc", block.text).returncode == 0
    service = parse(readme.home)["aqua-adapter"]
    readme.override.write_text(text)
    assert service == {**before, "image": f"harbor-scanner:{__version__}"} != before
    config = loaded("aqua", service)
    assert (config.unknown, config.warnings) == ((), ())
    assert [enabled.name for enabled in config.scanners] == ["aqua"]
    assert (config.api.tls, str(config.api.addr)) == (True, ":8443")
    assert config.redis.address == parse_redis_url("redis://redis:6379")
    assert "c0nsole-secret" in config.secrets()


def test_our_file_for_aqua_has_all_that_the_readme_has(parse: Parser, readme: Harbor, harbor: Harbor) -> None:
    old = parse(readme.home)["aqua-adapter"]
    harbor.filled("aqua")
    new = parse(harbor.home)["aqua-adapter"]
    same = ["networks", "container_name", "restart", "cap_drop", "depends_on", "logging"]
    assert {key: new[key] for key in same} == {key: old[key] for key in same}
    assert set(mounts(old)) <= set(mounts(new))
    given = {name: text for name, text in old["environment"].items() if name != "SCANNER_AQUA_PASSWORD"}
    assert {name: new["environment"].get(name) for name in given} == given


def test_an_env_file_of_the_aqua_adapter_does_beside_our_file(
    parse_once: Parser, readme: Harbor, harbor: Harbor
) -> None:
    harbor.filled("aqua")
    (harbor.home / "aqua-adapter" / "secrets" / "aqua-password").write_text("")
    shutil.copy(readme.home / "common" / "config" / "aqua-adapter" / "env", harbor.home / "aqua-adapter")
    assert compose.complete(harbor.prepare("aqua"))
    config = loaded("aqua", parse_once(harbor.home)["aqua-adapter"])
    assert (config.unknown, config.warnings) == ((), ())
    assert "c0nsole-secret" in config.secrets()


# The service, with the certificate of the script


def asked(port: int, hostname: str, ca: Path) -> int:
    """Ask for the metadata as Harbor does, to which that host is known; return the status. Raises OSError."""
    context = ssl.create_default_context(cafile=str(ca))
    context.hostname_checks_common_name = False
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=hostname) as connection,
    ):
        connection.sendall(wire.request("GET", "/api/v1/metadata"))
        head = connection.recv(4096)
    return int(head.split()[1])


def test_harbor_trusts_the_service_under_its_name(parse_once: Parser, harbor: Harbor, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip(NO_OPENSSL)
    ca = Authority.made().write(harbor.pki)
    done = harbor.run("/bin/sh", DEPLOY / "make-certs.sh")
    assert done.returncode == 0, done.stderr
    harbor.filled("aqua")
    settings = compose.environment_on_host(parse_once(harbor.home)["aqua-adapter"])
    # The names and ports of Harbor's network are not there.
    del settings["SCANNER_API_ADDR"], settings["SCANNER_REDIS_URL"]
    programs = install_scannercli(tmp_path / "bin").directory
    (tmp_path / "other").mkdir()
    stranger = Authority.made().write(tmp_path / "other")
    with tempfile.TemporaryDirectory(prefix="hs-") as short:
        service = RunningService(Path(short), {**settings, "PATH": f"{programs}:/usr/bin:/bin"})

        def answers() -> bool:
            try:
                return asked(service.port, "aqua-adapter", ca) == 200
            except ConnectionRefusedError:
                return False

        try:
            service.start(ready=False)
            service.wait_for(answers, "trusted as aqua-adapter")
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                asked(service.port, "core", ca)
            with pytest.raises(ssl.SSLCertVerificationError):
                asked(service.port, "aqua-adapter", stranger)
        finally:
            service.end()
