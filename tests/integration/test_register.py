"""`harbor-scanner register` at a Harbor that tests real adapters over HTTP: what it does, says, and leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from harbor_scanner import cli
from harbor_scanner.commands.register import TITLES
from harbor_scanner.harbor.api import PAGE_SIZE, HarborApi
from harbor_scanner.harbor.api_errors import HarborApiError
from harbor_scanner.harbor.plan import Wanted
from harbor_scanner.harbor.registration import register
from harbor_scanner.http.tls import ServerTls, TlsFiles
from harbor_scanner.plugins import OWN, find_plugins
from harbor_scanner.scanners.base import Premises
from standins.harbor.model import Registration
from standins.harbor.server import Behaviour, Harbor
from support.harbor import adapter_running, answering, harbor_running
from support.service import free_port
from support.wire import SOON

PASSWORD = "Harbor12345"
BASIC = "harbor:t0p-secret"
SETTINGS = ("SCANNER_API_AUTH_BASIC", "SCANNER_API_AUTH_TOKENS", "SCANNER_ENABLED", "SCANNER_CONFIG")


class Ended(NamedTuple):
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def registrations(self) -> list[dict[str, Any]]:
        """What `--json` tells of them."""
        found: list[dict[str, Any]] = json.loads(self.out)["registrations"]
        return found


class Operator:
    """Somebody at a command line, with the password of Harbor in the environment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in (*SETTINGS, "HARBOR_URL", "HARBOR_USERNAME", "HARBOR_PASSWORD_FILE"):
            monkeypatch.delenv(name, raising=False)
        self.set("HARBOR_PASSWORD", PASSWORD)

    def set(self, name: str, value: str) -> None:
        """Set a variable of the environment."""
        self._monkeypatch.setenv(name, value)

    def registers(self, harbor: str, adapter: str, *options: str) -> Ended:
        """Run the command."""
        arguments = ["harbor-scanner", "register", "--harbor", harbor, "--url", adapter, *options]
        self._monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *self._capsys.readouterr())


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(monkeypatch, capsys)


@pytest.fixture
def harbor() -> Harbor:
    """A Harbor as it is installed, with Trivy as its default scanner."""
    found = Harbor()
    found.table.insert(Registration("Trivy", "http://127.0.0.1:9", immutable=True))
    return found


class Door:
    """One address, behind which each test has a Harbor of its own."""

    behind: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        await self.behind(scope, receive, send)


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Door, str]]:
    opened = Door()
    with answering(opened) as url:
        yield opened, url


@pytest.fixture
def address(harbor: Harbor, door: tuple[Door, str]) -> str:
    door[0].behind = harbor.app()
    return door[1]


@pytest.fixture(scope="module")
def adapter() -> Iterator[str]:
    """An adapter that lets everybody in."""
    with adapter_running() as url:
        yield url


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """An adapter that wants a password or a token."""
    with adapter_running(BASIC, ("new-token", "old-token")) as url:
        yield url


authority = trustme.CA()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """What a server on this machine shows, signed by the tests' own authority."""
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(tmp_path_factory.mktemp("tls") / "crt", tmp_path_factory.mktemp("tls") / "key")
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    return ServerTls(files)


def metadata_of(name: str) -> dict[str, Any]:
    return {
        "scanner": {"name": name, "vendor": "Y", "version": "1"},
        "capabilities": [{
            "consumes_mime_types": ["application/vnd.docker.distribution.manifest.v2+json"],
            "produces_mime_types": ["application/vnd.security.vulnerability.report; version=1.1"],
        }],
    }  # fmt: skip


@contextlib.contextmanager
def scanners_at(**names: str) -> Iterator[str]:
    """Serve the metadata of scanners by path, `root` for none; yield the address."""

    def route(path: str, name: str) -> Route:
        async def answer(_request: Request) -> Response:
            return JSONResponse(metadata_of(name))

        return Route(f"{'' if path == 'root' else f'/{path}'}/api/v1/metadata", answer)

    with answering(Starlette(routes=[route(path, name) for path, name in names.items()])) as url:
        yield url


def test_a_scanner_is_created_tested_and_made_the_default_in_one_go(
    operator: Operator, harbor: Harbor, address: str
) -> None:
    with scanners_at(root="Aqua") as adapter:
        ended = operator.registers(address, adapter, "--scanner", "aqua", "--default")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"Aqua Enterprise  {adapter}", "  created", "  made the default scanner", "  Harbor sees Aqua 1 of Y",
    ]  # fmt: skip
    row = harbor.table.named("Aqua Enterprise")
    assert (row.url, row.auth, row.is_default, row.disabled) == (adapter, "", True, False)
    assert harbor.table.named("Trivy").is_default is False


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(old=True)], ids=["2", "1.10"])
def test_a_second_run_changes_nothing(operator: Operator, adapter: str, behaviour: Behaviour) -> None:
    harbor = Harbor(behaviour=behaviour)
    with harbor_running(harbor) as address:
        assert operator.registers(address, adapter, "--default").code == 0
        before = harbor.table.listed()
        harbor.requests.clear()
        ended = operator.registers(address, adapter, "--default")
    assert (ended.code, "already so" in ended.out) == (0, True)
    assert harbor.changes() == []
    assert {method for method, _ in harbor.requests} == {"GET"}
    assert harbor.table.listed() == before


def test_the_first_scanner_of_a_harbor_is_told_to_be_the_default(operator: Operator, adapter: str) -> None:
    with harbor_running(harbor := Harbor()) as address:
        ended = operator.registers(address, adapter, "--json")
    (told,) = ended.registrations
    assert (told["default"], told["made_default"], told["action"]) == (True, False, "create")
    assert harbor.changes() == ["POST"]


def test_a_dry_run_tests_and_tells_each_field_and_changes_nothing(
    operator: Operator, harbor: Harbor, address: str, guarded: str
) -> None:
    operator.set("SCANNER_API_AUTH_BASIC", BASIC)
    harbor.table.insert(Registration("Mine", "http://127.0.0.1:1"))
    before = harbor.table.listed()
    new = operator.registers(address, guarded, "--dry-run", "--default", "--use-internal-address")
    assert new.out.splitlines() == [
        f"OSV  {guarded}", "  would be created", "    name: OSV", f"    url: {guarded}", "    auth: Basic",
        "    use_internal_addr: yes", "    access_credential: ***", "  would be made the default scanner",
    ]  # fmt: skip
    moved = operator.registers(address, guarded, "--dry-run", "--name", "Mine")
    assert moved.out.splitlines()[1:] == [
        "  would be updated", f"    url: http://127.0.0.1:1 → {guarded}", "    auth: - → Basic",
        "    access_credential: - → ***",
    ]  # fmt: skip
    assert (harbor.changes(), harbor.table.listed()) == ([], before)
    assert ("POST", "/scanners/ping") in harbor.requests


def test_a_dry_run_fails_where_the_run_would(operator: Operator, harbor: Harbor, address: str) -> None:
    ended = operator.registers(address, f"http://127.0.0.1:{free_port()}", "--dry-run")
    assert ended.code == 1
    assert "Harbor cannot use the adapter" in ended.err


def test_what_nobody_asks_for_stays_and_other_scanners_are_not_touched(
    operator: Operator, harbor: Harbor, address: str, adapter: str
) -> None:
    harbor.table.insert(
        Registration("My Aqua", adapter, description="since 2024", use_internal_addr=True, skip_certVerify=True)
    )
    trivy = harbor.table.named("Trivy")
    assert operator.registers(address, adapter, "--no-skip-certificate-check", "--scanner", "aqua").code == 0
    row = harbor.table.named("My Aqua")
    assert (row.description, row.use_internal_addr, row.skip_certVerify) == ("since 2024", True, False)
    assert harbor.table.named("Trivy") == trivy
    assert len(harbor.table) == 2


@pytest.mark.parametrize(
    ("options", "kind", "credential"),
    [
        ([], "Basic", BASIC),
        (["--auth", "bearer"], "Bearer", "new-token"),
        (["--auth", "apikey"], "X-ScannerAdapter-API-Key", "new-token"),
    ],
)
def test_the_credential_is_that_of_the_service_and_shown_nowhere(
    operator: Operator, harbor: Harbor, address: str, guarded: str, tmp_path: Path, options: list[str], kind: str,
    credential: str,
) -> None:  # fmt: skip
    (tmp_path / "basic").write_text(f"{BASIC}\n")
    operator.set("SCANNER_API_AUTH_BASIC_FILE", str(tmp_path / "basic"))
    operator.set("SCANNER_API_AUTH_TOKENS", "new-token, old-token")
    ended = operator.registers(address, guarded, *options)
    row = harbor.table.named("OSV")
    assert (ended.code, row.auth, row.access_credential) == (0, kind, credential)
    told = operator.registers(address, guarded, "--json", "--name", "Other", *options)
    for secret in (BASIC, BASIC.partition(":")[2], "new-token", PASSWORD):
        assert secret not in ended.out + ended.err + told.out + told.err


def test_a_token_is_rotated(operator: Operator, harbor: Harbor, address: str, guarded: str) -> None:
    operator.set("SCANNER_API_AUTH_TOKENS", "old-token")
    operator.registers(address, guarded)
    operator.set("SCANNER_API_AUTH_TOKENS", "new-token,old-token")
    assert operator.registers(address, guarded).code == 0
    assert harbor.table.named("OSV").access_credential == "new-token"


def test_a_harbor_that_shows_no_credential_gets_it_again_and_is_told_so(operator: Operator, guarded: str) -> None:
    operator.set("SCANNER_API_AUTH_TOKENS", "old-token")
    with harbor_running(harbor := Harbor(behaviour=Behaviour(hides_credentials=True))) as address:
        operator.registers(address, guarded)
        operator.set("SCANNER_API_AUTH_TOKENS", "new-token")
        ended = operator.registers(address, guarded)
        assert (ended.code, "sent again: this Harbor does not show it" in ended.out) == (0, True)
        assert harbor.table.named("OSV").access_credential == "new-token"


def test_a_credential_that_is_hidden_and_not_given_stays(
    operator: Operator, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.set("SCANNER_API_AUTH_BASIC", BASIC)
    with harbor_running(harbor := Harbor(behaviour=Behaviour(hides_credentials=True))) as address:
        operator.registers(address, guarded)
        monkeypatch.delenv("SCANNER_API_AUTH_BASIC")
        harbor.requests.clear()
        assert "already so" in operator.registers(address, guarded).out
        assert harbor.changes() == []
        assert operator.registers(address, guarded, "--name", "New", "--use-internal-address").code == 0
        assert harbor.table.named("New").access_credential == BASIC
        # Another adapter would be shown it without anybody having tested whether it is the right one.
        elsewhere = operator.registers(address, guarded.replace("127.0.0.1", "localhost"), "--name", "New")
        assert elsewhere.code == 1
        assert "401" in elsewhere.err
        assert "SCANNER_API_AUTH_BASIC" in elsewhere.err
        assert harbor.table.named("New").url == guarded


def test_a_credential_is_taken_away_on_demand_only(
    operator: Operator, harbor: Harbor, address: str, adapter: str
) -> None:
    harbor.table.insert(Registration("OSV", adapter, auth="Basic", access_credential=BASIC))
    assert "already so" in operator.registers(address, adapter).out
    assert operator.registers(address, adapter, "--auth", "none").code == 0
    assert (harbor.table.named("OSV").auth, harbor.table.named("OSV").access_credential) == ("", "")


def test_each_scanner_of_a_service_is_registered_under_its_path(
    operator: Operator, harbor: Harbor, address: str
) -> None:
    with scanners_at(root="Aqua", aqua="Aqua", qualys="Qualys") as service:
        operator.set("SCANNER_ENABLED", "aqua,qualys")
        ended = operator.registers(address, f"{service}/", "--default", "--json")
        assert [(one["name"], one["url"], one["default"]) for one in ended.registrations] == [
            ("Aqua Enterprise", f"{service}/aqua", True),
            ("Qualys QScanner", f"{service}/qualys", False),
        ]
        # One of several has its path as well.
        assert operator.registers(address, service, "--scanner", "qualys").out.splitlines()[1] == "  already so"
    assert len(harbor.table) == 3


def test_another_scanner_than_the_one_that_is_registered_is_told_of(
    operator: Operator, harbor: Harbor, address: str
) -> None:
    with scanners_at(root="Aqua") as service:
        refused = operator.registers(address, service, "--scanner", "qualys", "--default")
        assert refused.code == 1
        assert "Qualys QScanner is not made the default scanner: Harbor meets Aqua at" in refused.err
        assert not harbor.table.named("Qualys QScanner").is_default
        for _ in range(2):
            [found] = operator.registers(address, service, "--scanner", "qualys", "--json").registrations
            assert found["sees"]["name"] == "Aqua"
            assert "not Qualys" in found["notes"][0]
            assert "/qualys" in found["notes"][0]
        [found] = operator.registers(address, service, "--scanner", "aqua", "--json").registrations
        assert found["notes"] == []


def test_scanners_have_the_names_by_which_they_are_known_again() -> None:
    own = {name: plugin.make for name, plugin in find_plugins().found.items() if name in OWN}
    made = {name: make(Premises(lambda: None, Path("/nowhere"), Path("/nowhere"))) for name, make in own.items()}
    assert {name: scanner.title for name, scanner in made.items()} == TITLES


def test_pages_of_registrations_are_all_read(operator: Operator, harbor: Harbor, address: str, adapter: str) -> None:
    harbor.table.insert(Registration("OSV", adapter))
    for number in range(PAGE_SIZE):
        harbor.table.insert(Registration(f"other {number}", f"http://127.0.0.1:9/{number}"))
    assert "already so" in operator.registers(address, adapter).out
    assert len([path for _, path in harbor.requests if path == "/scanners"]) == 2


def test_two_runs_at_once_make_one_registration(adapter: str) -> None:
    harbor = Harbor(behaviour=Behaviour(together=2))
    context = ssl.create_default_context()
    actions: list[str] = []

    def run(address: str) -> None:
        async def work() -> None:
            async with HarborApi(address, "admin", PASSWORD, tls=context) as api:
                actions.append((await register(api, Wanted("OSV", adapter), tls=context)).action)

        asyncio.run(work())

    with harbor_running(harbor) as address:
        threads = [threading.Thread(target=run, args=(address,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    assert sorted(actions) == ["create", "none"]
    assert len(harbor.table) == 1


def test_a_run_that_broke_off_is_finished_by_the_next(operator: Operator, harbor: Harbor, address: str) -> None:
    with scanners_at(root="OSV") as adapter:
        registration = Registration("OSV", adapter)
        harbor.table.insert(registration)
        path = ("PATCH", f"/scanners/{registration.uuid}")
        harbor.behaviour.answers[path] = JSONResponse({"errors": [{"message": "internal server error"}]}, 500)
        broken = operator.registers(address, adapter, "--default")
        assert broken.code == 1
        assert "OSV is registered, but is not the default scanner" in broken.err
        del harbor.behaviour.answers[path]
        assert "made the default scanner" in operator.registers(address, adapter, "--default").out
    assert harbor.table.named("OSV").is_default


def test_a_deactivated_scanner_stays_so_and_is_told_of(
    operator: Operator, harbor: Harbor, address: str, adapter: str
) -> None:
    harbor.table.insert(Registration("OSV", adapter, disabled=True))
    ended = operator.registers(address, adapter)
    assert (ended.code, "deactivated in Harbor" in ended.out) == (0, True)
    refused = operator.registers(address, adapter, "--default")
    assert refused.code == 1
    assert "Activate it there" in refused.err
    assert harbor.table.named("OSV").disabled
    assert harbor.changes() == []


# What can be wrong with the adapter. Harbor answers 500 and no more, so that a look from here must tell.


def test_an_adapter_that_is_down_is_told_so_and_not_registered(
    operator: Operator, harbor: Harbor, address: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    ended = operator.registers(address, nobody)
    assert ended.code == 1
    assert f"Harbor cannot use the adapter at {nobody}" in ended.err
    assert "internal server error" in ended.err
    assert "From here it cannot be reached either: Connection refused. Is it up" in ended.err
    assert harbor.changes() == []


def test_a_wrong_credential_is_told_from_other_trouble(
    operator: Operator, harbor: Harbor, address: str, guarded: str
) -> None:
    for settings in ({}, {"SCANNER_API_AUTH_BASIC": "harbor:wrong"}):
        for name, value in settings.items():
            operator.set(name, value)
        ended = operator.registers(address, guarded)
        assert ended.code == 1
        assert "The adapter refuses the credential: SCANNER_API_AUTH_BASIC" in ended.err
        assert "harbor:wrong" not in ended.err
    assert len(harbor.table) == 1


def test_a_wrong_path_is_told_from_other_trouble(operator: Operator, address: str, adapter: str) -> None:
    ended = operator.registers(address, f"{adapter}/nothing")
    assert (ended.code, "There is no adapter under this path" in ended.err) == (1, True)


def test_what_is_no_adapter_is_told_so(operator: Operator, harbor: Harbor, address: str) -> None:
    async def page(_request: Request) -> Response:
        return HTMLResponse("<p>Welcome</p>")

    with answering(Starlette(routes=[Route("/{path:path}", page)])) as site:
        ended = operator.registers(address, site)
    assert (ended.code, "it does not answer as an adapter does" in ended.err) == (1, True)
    assert harbor.changes() == []


def test_an_adapter_that_only_harbor_cannot_use_is_told_so(
    operator: Operator, harbor: Harbor, address: str, tls: ServerTls, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    with adapter_running(tls=tls) as adapter:
        ended = operator.registers(address, adapter, "--ca", str(tmp_path / "ca.crt"))
        assert ended.code == 1
        assert "The adapter answers from here" in ended.err
        assert "NO_PROXY of Harbor's core" in ended.err
        assert "--skip-certificate-check" in ended.err
        # Harbor's test never leaves the certificate out, but its creation does.
        skipping = operator.registers(address, adapter, "--skip-certificate-check", "--dry-run")
        assert (skipping.code, "Harbor tests again when it creates it" in skipping.out) == (0, True)
        assert operator.registers(address, adapter, "--skip-certificate-check").code == 0
        assert harbor.table.named("OSV").skip_certVerify
        assert "already so" in operator.registers(address, adapter, "--skip-certificate-check").out
        untested = operator.registers(address, adapter, "--use-internal-address")
        assert (untested.code, "look at its health in Harbor" in untested.out) == (0, True)
    harbor.adapters.forget()
    gone = operator.registers(address, adapter)
    assert (gone.code, "Connection refused" in gone.err) == (1, True)


def test_an_old_failure_that_harbor_remembers_is_not_believed(
    operator: Operator, harbor: Harbor, address: str, tls: ServerTls
) -> None:
    port = free_port()
    harbor.table.insert(Registration("OSV", f"http://127.0.0.1:{port}"))
    assert operator.registers(address, f"http://127.0.0.1:{port}").code == 1
    with adapter_running() as adapter:
        # As if the adapter had come up at its address half a minute ago.
        row = harbor.table.named("OSV")
        harbor.table.update(Registration(**{**row.__dict__, "url": adapter}))
        ended = operator.registers(address, adapter)
    assert (ended.code, "already so" in ended.out) == (0, True)


# What can be wrong with Harbor, and with who asks.


def test_a_wrong_password_is_not_repeated(operator: Operator, address: str, adapter: str) -> None:
    operator.set("HARBOR_PASSWORD", "wrong-pass")
    ended = operator.registers(address, adapter)
    assert ended.code == 1
    assert "does not accept the user name 'admin'" in ended.err
    assert "wrong-pass" not in ended.err


def test_who_may_not_register_is_told_who_may(operator: Operator, harbor: Harbor, address: str, adapter: str) -> None:
    operator.set("HARBOR_PASSWORD", "dev")
    ended = operator.registers(address, adapter, "--username", "dev")
    assert (ended.code, "needs a system administrator, or a robot account" in ended.err) == (1, True)
    operator.set("HARBOR_PASSWORD", "r0bot")
    operator.set("HARBOR_USERNAME", "robot$scanners")
    assert operator.registers(address, adapter).code == 0


def test_scanners_that_harbor_looks_after_are_left_to_it(
    operator: Operator, harbor: Harbor, address: str, adapter: str
) -> None:
    ended = operator.registers(address, adapter, "--name", "Trivy")
    assert (ended.code, "choose another --name" in ended.err) == (1, True)
    assert harbor.table.named("Trivy").url == "http://127.0.0.1:9"


def test_harbor_answers_by_tls_and_behind_a_path(
    operator: Operator, adapter: str, tls: ServerTls, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    with harbor_running(harbor := Harbor(), tls, "/registry") as address:
        untrusted = operator.registers(address, adapter)
        assert untrusted.code == 1
        assert "certificate with --ca" in untrusted.err
        assert harbor.requests == []
        assert operator.registers(f"{address}/", adapter, "--ca", str(tmp_path / "ca.crt")).code == 0
        wrong = operator.registers(address.replace("https:", "http:"), adapter)
        assert wrong.code == 1
    assert len(harbor.table) == 1


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (HTMLResponse("<h1>Log in</h1>"), "does not answer as Harbor does: status 200, with text/html"),
        (HTMLResponse("Bad Gateway", 502), "Harbor's core is not up"),
        (Response(status_code=401), "does not answer as Harbor does: status 401"),
        (Response(status_code=404), "Is --harbor the address of Harbor 1.10 or newer?"),
        (RedirectResponse("https://harbor.example/"), "only sends elsewhere, to https://harbor.example/"),
    ],
    ids=lambda value: value.status_code if isinstance(value, Response) else "",
)
def test_what_is_no_harbor_never_sees_the_password(
    operator: Operator, adapter: str, response: Response, message: str
) -> None:
    seen: list[str] = []

    async def answer(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return response

    with answering(Starlette(routes=[Route("/{path:path}", answer)])) as site:
        ended = operator.registers(site, adapter)
    assert ended.code == 1
    assert message in ended.err
    assert set(seen) == {""}


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (HTMLResponse("<h1>Bad Gateway</h1>", 502), "Harbor's core is not up"),
        (JSONResponse({"errors": [{"message": "internal server error"}]}, 500), "The log of Harbor's core tells why"),
        (JSONResponse([{"id": 7}]), "does not answer as Harbor does: status 200, with application/json"),
        (JSONResponse({"errors": [{"message": f"\x1b[2J{PASSWORD}: no"}]}, 400), "refuses:  [2J[redacted]: no (status"),
    ],
)  # fmt: skip
def test_whatever_harbor_answers_is_told_in_few_clean_words(
    operator: Operator, harbor: Harbor, address: str, adapter: str, response: Response, message: str
) -> None:
    harbor.behaviour.answers["GET", "/scanners"] = response
    ended = operator.registers(address, adapter)
    assert (ended.code, ended.out) == (1, "")
    assert message in ended.err
    assert "\x1b" not in ended.err
    assert "Traceback" not in ended.err


def test_a_harbor_that_is_not_there_is_told_so(operator: Operator, adapter: str) -> None:
    ended = operator.registers(f"http://127.0.0.1:{free_port()}", adapter)
    assert (ended.code, "cannot be reached: Connection refused." in ended.err) == (1, True)


def test_a_harbor_that_never_answers_is_given_up() -> None:
    async def work() -> None:
        never = asyncio.Event()

        async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await never.wait()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(HarborApiError, match=r"did not answer in 0\.2 seconds"):
                async with HarborApi(f"http://127.0.0.1:{port}", "a", "b", tls=ssl.create_default_context(),
                                     call_limit=0.2):  # fmt: skip
                    pass
            never.set()
            await asyncio.sleep(0)

    asyncio.run(work())


def test_what_was_done_before_a_failure_is_told_to_programs(
    operator: Operator, harbor: Harbor, address: str, adapter: str
) -> None:
    with answering(Starlette(routes=[Mount("/aqua", _proxy_of(adapter))])) as service:
        ended = operator.registers(address, service, "--scanner", "aqua", "--scanner", "qualys", "--json")
    told = json.loads(ended.out)
    assert (ended.code, [one["name"] for one in told["registrations"]]) == (1, ["Aqua Enterprise"])
    assert f"{service}/qualys" in told["error"]["message"]
    assert "it does not answer as an adapter does" in told["error"]["advice"]
    assert harbor.table.named("Aqua Enterprise").uuid == told["registrations"][0]["id"]


def _proxy_of(adapter: str) -> Starlette:
    async def elsewhere(_request: Request) -> Response:
        import httpx2

        async with httpx2.AsyncClient() as client:
            found = await client.get(f"{adapter}/api/v1/metadata")
        return Response(found.content, media_type="application/json")

    return Starlette(routes=[Route("/api/v1/metadata", elsewhere)])


# What is typed wrongly ends the command before anybody is asked.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--harbor", "harbor.example"], "--harbor"),
        (["--harbor", "https://admin:hunter2@harbor"], "no user"),
        (["--url", "http://adapter/api/v1"], "leave it out"),
        (["--url", "adapter:8080"], "it is no address"),
        (["--scanner", "trivy"], "there is no scanner 'trivy'; there are aqua, qualys, osv"),
        (["--scanner", "aqua", "--scanner", "osv", "--name", "x"], "it is for one scanner"),
        (["--name", " "], "1 to 128 characters"),
        (["--name", "x" * 129], "1 to 128 characters"),
        (["--auth", "basic"], "set SCANNER_API_AUTH_BASIC, or SCANNER_API_AUTH_BASIC_FILE"),
        (["--auth", "apikey"], "set SCANNER_API_AUTH_TOKENS"),
        (["--ca", "/no/such/file"], "No such file or directory"),
        (["--ca", __file__], "it holds no certificate in PEM"),
        (["--password-file", "/no/such/file"], "HARBOR_PASSWORD is set as well"),
        (["--config", "/no/such/file"], "cannot be read"),
    ],
)
def test_what_is_typed_wrongly_ends_with_2(operator: Operator, options: list[str], message: str) -> None:
    operator.set("COLUMNS", "400")
    ended = operator.registers("http://127.0.0.1:9", "http://127.0.0.1:9", *options)
    assert ended.code == 2
    assert message in ended.err
    assert "hunter2" not in ended.err


def test_a_credential_longer_than_harbor_takes_is_refused(operator: Operator) -> None:
    operator.set("SCANNER_API_AUTH_TOKENS", "x" * 513)
    ended = operator.registers("http://127.0.0.1:9", "http://127.0.0.1:9")
    assert (ended.code, "longer than Harbor's limit" in ended.err) == (2, True)


def test_a_password_that_is_no_text_is_refused(operator: Operator) -> None:
    operator.set("HARBOR_PASSWORD", os.fsdecode(b"\xff\xfe"))
    ended = operator.registers("http://harbor.example", "http://adapter:8080")
    assert (ended.code, "UTF-8" in ended.err) == (2, True)


def test_the_password_comes_from_a_file(
    operator: Operator, harbor: Harbor, address: str, adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARBOR_PASSWORD")
    file = tmp_path / "password"
    assert operator.registers(address, adapter, "--password-file", str(file)).code == 2
    file.write_bytes(b"\xff")
    assert operator.registers(address, adapter, "--password-file", str(file)).code == 2
    file.write_text("\n")
    assert operator.registers(address, adapter, "--password-file", str(file)).code == 2
    file.write_text(f"{PASSWORD}\n")
    assert operator.registers(address, adapter, "--password-file", str(file)).code == 0
    operator.set("HARBOR_PASSWORD_FILE", str(file))
    assert operator.registers(address, adapter).code == 0
