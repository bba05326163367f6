"""What scanners look at themselves: their programs, consoles, credentials and advisories."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harbor_scanner.doctor.check import Verdict
from harbor_scanner.doctor.network import Answer, Network
from harbor_scanner.doctor.programs import Program
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.doctor.workshop import workshop
from harbor_scanner.osv.database import Database
from harbor_scanner.scanners.aqua import PLUGIN as AQUA
from harbor_scanner.scanners.aqua import AquaSettings
from harbor_scanner.scanners.aqua.checks import _refused
from harbor_scanner.scanners.osv import PLUGIN as OSV
from harbor_scanner.scanners.osv import OsvSettings
from harbor_scanner.scanners.qualys import PLUGIN as QUALYS
from harbor_scanner.scanners.qualys import QualysSettings
from harbor_scanner.scanners.qualys.checks import GATEWAYS
from support import advisories
from support.doctor import Reply, Request, answering, look_at, outcomes, settings, told
from support.scanners import leaks

PASSWORD = 'c0nsole"Marked$ecret/1'
DAY = 86400


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def surroundings(directory: Path, version: str = "", registry: str = "") -> Surroundings:
    async def tell() -> str:
        return version

    return Surroundings(Network({}), tell, directory, registry)


class Console:
    """As much of an Aqua console as the doctor asks: its login, and its registries."""

    def __init__(self, *, login: int = 0, registries: int = 0) -> None:
        self._login, self._registries = login, registries

    def __call__(self, request: Request) -> Reply:
        if (request.method, request.path) == ("POST", "/api/v1/login"):
            known = json.loads(request.body) == {"id": "scanner", "password": PASSWORD}
            status = self._login or (200 if known else 401)
            return (
                status,
                {"Location": "https://elsewhere/x?y"},
                b'{"token": "t0ken-Marked"}' if status == 200 else b"{}",
            )
        if request.path == "/api/v1/registries/Harbor":
            known = request.headers.get("authorization") == "Bearer t0ken-Marked"
            return self._registries or (200 if known else 401), {}, b"{}"
        return 404, {}, b""


class TestAqua:
    """The console, its account, and the version."""

    def look(self, directory: Path, version: str = "", **changes: Any) -> dict[str, str]:
        given = {"username": "scanner", "password": PASSWORD, "reports_dir": directory, **changes}
        self.surroundings = surroundings(directory, version)
        self.verdicts = look_at(AQUA.checks(AquaSettings(**given), self.surroundings))
        assert leaks(f"{self.verdicts}", [PASSWORD]) == set()
        return outcomes(self.verdicts)

    def test_credentials_and_registry_that_the_console_knows(self, tmp_path: Path) -> None:
        with answering(Console()) as console:
            assert self.look(tmp_path, host=f"{console.url}/") == dict.fromkeys(
                ["console", "credentials", "registry"], "ok"
            )
            assert [request.path for request in console.requests] == ["/api/v1/login", "/api/v1/registries/Harbor"]
            assert "t0ken-Marked" in self.surroundings.network.secrets
            assert "t0ken-Marked" not in f"{self.verdicts}"

    def test_a_wrong_password_is_a_failure_that_names_the_settings(self, tmp_path: Path) -> None:
        with answering(Console()) as console:
            assert self.look(tmp_path, host=console.url, username="other") == {
                "console": "ok",
                "credentials": "failure",
            }
        assert "SCANNER_AQUA_PASSWORD" in told(self.verdicts, "credentials")

    @pytest.mark.parametrize(
        ("status", "outcome"),
        [(403, "unknown"), (404, "unknown"), (204, "unknown"), (301, "warning"), (500, "failure"), (503, "failure")],
    )
    def test_what_does_not_tell_is_not_taken_for_good(self, tmp_path: Path, status: int, outcome: str) -> None:
        with answering(Console(login=status)) as console:
            assert self.look(tmp_path, host=console.url)["credentials"] == outcome

    def test_a_user_who_may_only_scan_and_aqua_s_cloud_decide_nothing(self) -> None:
        for status, host in ((403, "https://console:8443"), (401, "https://tenant.cloud.aquasec.com")):
            verdict = _refused(Answer(status, {}, b""), host)
            assert (verdict.outcome, "Scanner role" in verdict.advice) == ("unknown", True)

    def test_an_answer_that_is_no_login_is_unknown(self, tmp_path: Path) -> None:
        with answering((200, {}, b"<html>a portal</html>")) as portal:
            assert self.look(tmp_path, host=portal.url)["credentials"] == "unknown"

    @pytest.mark.parametrize(("status", "outcome"), [(404, "warning"), (403, "unknown"), (500, "unknown")])
    def test_a_registry_that_is_not_shown_is_told(self, tmp_path: Path, status: int, outcome: str) -> None:
        with answering(Console(registries=status)) as console:
            assert self.look(tmp_path, host=console.url)["registry"] == outcome
        assert "SCANNER_AQUA_REGISTRY" in told(self.verdicts, "registry")

    def test_whether_a_token_is_accepted_is_unknown(self, tmp_path: Path) -> None:
        with answering(Console()) as console:
            found = self.look(tmp_path, host=console.url, token="t0ken", username="", password="")
            assert found == {"console": "ok", "credentials": "unknown"}
            assert all("t0ken" not in f"{request}" for request in console.requests)

    def test_a_console_that_is_away_or_no_address_is_a_failure(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, host="http://127.0.0.1:1") == {"console": "failure"}
        assert self.look(tmp_path, host=f"http://me:{PASSWORD.replace('/', '%2F')}@nowhere.invalid") == {
            "console": "failure"
        }
        assert self.look(tmp_path, host="aqua-console:8443") == {"console": "failure"}

    @pytest.mark.parametrize(
        ("version", "override", "outcome"),
        [
            ("4.2.1", False, "failure"),
            ("4.5.0", False, "warning"),
            ("4.5.0", True, "failure"),
            ("4.6.20180", True, "failure"),
            ("4.6.20181", True, "ok"),
            ("6.5.21321", True, "ok"),
            ("2022.4.460", True, "ok"),
            ("v5.0-beta", False, "ok"),
            ("latest", True, "unknown"),
        ],
    )
    def test_versions_are_judged_by_what_the_settings_need(
        self, tmp_path: Path, version: str, override: bool, outcome: str
    ) -> None:
        found = self.look(tmp_path, version, host="http://127.0.0.1:1", override_registry_credentials=override)
        assert found["version"] == outcome

    def test_without_a_version_nothing_is_said_twice(self, tmp_path: Path) -> None:
        assert "version" not in self.look(tmp_path, "", host="http://127.0.0.1:1")


def jwt(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.Marked-signature"


class TestQualys:
    """The platform and the token."""

    def look(self, directory: Path, registry: str = "", **changes: Any) -> dict[str, str]:
        given = {"access_token": jwt(exp=time.time() + 90 * DAY), **changes}
        self.verdicts = look_at(QUALYS.checks(QualysSettings(**given), surroundings(directory, registry=registry)))
        assert leaks(f"{self.verdicts}", filter(None, [given["access_token"]])) == set()
        return outcomes(self.verdicts)

    @pytest.fixture
    def platform(self) -> Iterator[Any]:
        def answer(request: Request) -> Reply:
            if not request.path.startswith("/csapi/v1.3/images?"):
                return 404, {}, b""
            return (200 if request.headers.get("authorization") == f"Bearer {self.known}" else 401), {}, b'{"data": []}'

        with answering(answer) as server:
            yield server

    @property
    def known(self) -> str:
        return jwt(exp=4102444800)

    def test_a_token_that_the_platform_accepts(self, tmp_path: Path, platform: Any) -> None:
        found = self.look(tmp_path, gateway_url=platform.url, access_token=self.known)
        assert found == {"token": "ok", "platform": "ok", "credentials": "ok"}

    def test_one_that_it_refuses(self, tmp_path: Path, platform: Any) -> None:
        assert self.look(tmp_path, gateway_url=platform.url)["credentials"] == "failure"
        assert "scannerArgs.access-token" in told(self.verdicts, "credentials")

    def test_one_that_it_knows_and_does_not_let_look_is_unknown(self, tmp_path: Path) -> None:
        message = json.dumps({"message": "joe does not have the CS.IMAGE.VIEW permission"}).encode()
        with answering((403, {}, message)) as server:
            assert self.look(tmp_path, gateway_url=server.url)["credentials"] == "unknown"
        assert "CS.IMAGE.VIEW" in told(self.verdicts, "credentials")

    @pytest.mark.parametrize(("status", "outcome"), [(404, "unknown"), (302, "unknown"), (502, "failure")])
    def test_other_answers(self, tmp_path: Path, status: int, outcome: str) -> None:
        with answering((status, {}, b"{")) as server:
            assert self.look(tmp_path, gateway_url=server.url)["credentials"] == outcome

    def test_a_page_to_log_in_is_not_taken_for_the_platform(self, tmp_path: Path) -> None:
        with answering((200, {}, b"<html>Please log in</html>")) as server:
            assert self.look(tmp_path, gateway_url=server.url)["credentials"] == "unknown"

    def test_a_token_of_any_letters_is_shown_to_the_platform(self, tmp_path: Path, platform: Any) -> None:
        found = self.look(tmp_path, gateway_url=platform.url, access_token="t\u00f6k\u2603n")
        assert (found["platform"], found["credentials"]) == ("ok", "failure")

    @pytest.mark.parametrize(
        ("token", "outcome"),
        [
            (jwt(exp=time.time() - 60), "failure"),
            (jwt(exp=time.time() + 4 * 3600), "warning"),
            (jwt(exp=time.time() + 90 * DAY), "ok"),
            (jwt(sub="x"), "unknown"),
            (jwt(exp="soon"), "unknown"),
            (jwt(exp=1e300), "unknown"),
            ("no-jwt-at-all", "unknown"),
            ("a.b.c", "unknown"),
            ("a.é.c", "unknown"),
            (f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c", "unknown"),
        ],
        ids=[
            "a minute ago", "in four hours", "in ninety days", "none", "a word", "beyond time",
            "no parts", "no JSON", "no ASCII", "a list",
        ],
    )  # fmt: skip
    def test_its_end_is_read_without_a_network(self, tmp_path: Path, token: str, outcome: str) -> None:
        assert self.look(tmp_path, gateway_url="http://127.0.0.1:1", access_token=token)["token"] == outcome

    def test_what_is_missing_is_told(self, tmp_path: Path, platform: Any) -> None:
        assert self.look(tmp_path)["platform"] == "failure"
        assert self.look(tmp_path, pod="GOV1")["platform"] == "unknown"
        found = self.look(tmp_path, gateway_url=platform.url, access_token="")
        assert found == {"platform": "ok", "credentials": "failure"}
        assert "authorization" not in platform.requests[-1].headers

    def test_pods_lead_to_their_gateways(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: Any) -> None:
        monkeypatch.setitem(GATEWAYS, "EU2", platform.url)
        assert self.look(tmp_path, pod="EU2", access_token=self.known)["credentials"] == "ok"

    def test_its_own_proxy_is_asked(self, tmp_path: Path, platform: Any) -> None:
        found = self.look(tmp_path, gateway_url="http://gateway.invalid", proxy=platform.url, access_token=self.known)
        assert found["platform"] == "ok"
        assert platform.requests[0].path.startswith("http://gateway.invalid/")

    def test_any_certificate_is_a_warning(self, tmp_path: Path, platform: Any) -> None:
        assert self.look(tmp_path, gateway_url=platform.url, skip_verify_tls=True)["platform"] == "warning"

    def test_a_registry_without_tls_is_a_failure(self, tmp_path: Path, platform: Any) -> None:
        found = self.look(tmp_path, registry="http://harbor.corp", gateway_url=platform.url)
        assert found["registry"] == "failure"
        assert "registry" not in self.look(tmp_path, registry="https://harbor.corp", gateway_url=platform.url)


class TestOsv:
    """The advisories and where they come from."""

    def look(self, directory: Path, **changes: Any) -> dict[str, str]:
        given = {"url": "http://127.0.0.1:1", "ecosystems": ("Debian", "npm", "Alpine"), **changes}
        self.verdicts = look_at(OSV.checks(OsvSettings(**given), surroundings(directory)))
        return outcomes(self.verdicts)

    def test_advisories_and_a_source_that_are_there(self, tmp_path: Path) -> None:
        advisories.install(tmp_path)
        with answering() as mirror:
            assert self.look(tmp_path, url=f"{mirror.url}/osv") == {"database": "ok", "source": "ok"}
            assert [(request.method, request.path) for request in mirror.requests] == [("HEAD", "/osv/Debian/all.zip")]

    def test_none_at_all_is_a_failure(self, tmp_path: Path) -> None:
        assert self.look(tmp_path)["database"] == "failure"
        assert "db update" in told(self.verdicts, "database")

    def test_some_that_are_missing_are_named(self, tmp_path: Path) -> None:
        advisories.install(tmp_path)
        assert self.look(tmp_path, ecosystems=("npm", "PyPI"))["database"] == "warning+ok"
        assert "PyPI" in told(self.verdicts, "database")

    def test_broken_ones_are_a_failure(self, tmp_path: Path) -> None:
        advisories.install(tmp_path)
        Database(tmp_path / "osv").file("npm").write_bytes(b"no database")
        assert self.look(tmp_path)["database"] == "failure+ok"
        assert "--force npm" in told(self.verdicts, "database")

    def test_old_ones_are_told(self, tmp_path: Path) -> None:
        advisories.install(tmp_path)
        checked = dict.fromkeys(("Debian", "npm", "Alpine"), "2020-01-01T00:00:00Z")
        (tmp_path / "osv" / "checked.json").write_text(json.dumps(checked))
        assert self.look(tmp_path)["database"] == "warning"
        assert "7 days" in told(self.verdicts, "database")

    def test_a_source_that_is_away_is_a_warning_unless_nobody_wants_it(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, url="http://me:hunter2@127.0.0.1:1")["source"] == "warning"
        assert "hunter2" not in told(self.verdicts, "source")
        assert self.look(tmp_path, update_every=0.0)["source"] == "skipped"
        with answering((404, {}, b"")) as mirror:
            assert self.look(tmp_path, url=mirror.url)["source"] == "warning"


class TestPrograms:
    """Programs of scanners that run here, or do not."""

    def look(self, directory: Path, **environment: str) -> tuple[dict[str, str], str]:
        config = settings(
            directory, SCANNER_ENABLED="aqua", SCANNER_AQUA_USERNAME="a", SCANNER_AQUA_PASSWORD=PASSWORD, **environment
        )

        async def work() -> list[Verdict]:
            async with workshop() as place:
                program = Program(config, config.scanners[0], place)
                verdicts = [verdict async for verdict in program.look()]
                self.version = await asyncio.wait_for(program.version(), 10)
                return verdicts

        verdicts = uvloop.run(work())
        return outcomes(verdicts), told(verdicts, "program")

    @pytest.fixture
    def program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        place = tmp_path / "programs"
        place.mkdir()
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
        return place / "scannercli"

    def test_one_that_runs_tells_its_version(self, tmp_path: Path, program: Path) -> None:
        program.write_text("#!/bin/sh\necho 6.5.0\n")
        program.chmod(0o755)
        assert self.look(tmp_path)[0] == {"program": "ok"}
        assert self.version == "6.5.0"

    def test_one_that_is_not_there(self, tmp_path: Path, program: Path) -> None:
        found, said = self.look(tmp_path)
        assert found == {"program": "failure"}
        assert "Install scannercli" in said
        assert self.version == ""

    def test_one_that_may_not_be_executed(self, tmp_path: Path, program: Path) -> None:
        program.write_text("#!/bin/sh\necho 6.5.0\n")
        program.chmod(0o644)
        found, said = self.look(tmp_path)
        assert found == {"program": "failure"}
        assert "chmod" in said

    def test_one_for_another_processor(self, tmp_path: Path, program: Path) -> None:
        # The head of a program for a processor that nobody has here.
        program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf9\xff" + bytes(44))
        program.chmod(0o755)
        found, said = self.look(tmp_path)
        assert found == {"program": "failure"}
        assert "another processor" in said

    def test_one_whose_loader_is_missing(self, tmp_path: Path, program: Path) -> None:
        program.write_text("#!/lib/ld-of-another-system.so\n")
        program.chmod(0o755)
        found, said = self.look(tmp_path)
        assert found == {"program": "failure"}
        assert "what it starts with" in said

    def test_one_that_fails_tells_its_words(self, tmp_path: Path, program: Path) -> None:
        program.write_text("#!/bin/sh\necho GLIBC_2.99 not found >&2\nexit 1\n")
        program.chmod(0o755)
        assert "GLIBC_2.99" in self.look(tmp_path)[1]

    def test_syft_is_asked_too_where_it_makes_the_sboms(self, tmp_path: Path, program: Path) -> None:
        program.write_text("#!/bin/sh\necho 6.5.0\n")
        program.chmod(0o755)
        (program.parent / "syft").write_text("#!/bin/sh\nexit 1\n")
        (program.parent / "syft").chmod(0o755)
        assert self.look(tmp_path, SCANNER_SBOM="true")[0] == {"program": "ok", "sbom": "failure"}
        (program.parent / "syft").write_text("#!/bin/sh\necho syft 1.18.1\n")
        assert self.look(tmp_path, SCANNER_SBOM="true")[0] == {"program": "ok", "sbom": "ok"}
