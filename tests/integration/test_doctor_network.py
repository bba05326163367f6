"""Servers that do not answer as they should: what is wrong is told precisely, with what to do."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harbor_scanner.doctor import clock, network, registry
from harbor_scanner.doctor.check import TroubleError
from harbor_scanner.doctor.network import Answer, Network, Trust, Way
from harbor_scanner.scanning.reference import Reference
from support.doctor import answering, found, outcomes, told
from support.oci import Registry
from support.registry import ROBOT

authority = trustme.CA()
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without proxies, which trusts the authority as an operator has it."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def ask(url: str, environment: dict[str, str] | None = None, **options: Any) -> Answer:
    return uvloop.run(Network(environment or {}).ask("the console", url, **options))


def trouble(url: str, environment: dict[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(TroubleError) as caught:
        ask(url, environment, **options)
    assert caught.value.what.endswith(".")
    assert caught.value.advice
    return f"{caught.value.what} {caught.value.advice}"


def self_signed() -> trustme.LeafCert:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    made = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return trustme.LeafCert(pem, made, [])


def test_a_trusted_server_answers() -> None:
    with answering((200, {}, b"hello"), authority.issue_cert("127.0.0.1")) as server:
        assert ask(f"{server.url}/x")[0::2] == (200, b"hello")


def test_an_unknown_authority_is_named_with_the_way_to_trust_it() -> None:
    other = trustme.CA(organization_name="Harbor of the tests")
    with answering(certificate=other.issue_cert("127.0.0.1")) as server:
        said = trouble(server.url, trust=Trust(advice="Do this."))
        assert "Harbor of the tests" in said
        assert "not trusted here" in said
        assert said.endswith("Do this.")


def test_a_server_that_signed_its_own_certificate_is_told() -> None:
    with answering(certificate=self_signed()) as server:
        assert "signed by itself" in trouble(server.url)


def test_a_certificate_for_another_name_is_told_with_its_names() -> None:
    with answering(certificate=authority.issue_cert("harbor.corp", "core.harbor.corp")) as server:
        said = trouble(server.url)
        assert "is not for 127.0.0.1: it is for harbor.corp, core.harbor.corp" in said


def test_a_certificate_that_has_expired_is_told_with_its_date() -> None:
    ended = NOW - 3 * DAY
    old = authority.issue_cert("127.0.0.1", not_before=ended - DAY, not_after=ended)
    with answering(certificate=old) as server:
        assert f"has expired on {ended:%Y-%m-%d}" in trouble(server.url)


def test_a_certificate_that_is_not_valid_yet_makes_one_think_of_the_clock() -> None:
    begin = NOW + 3 * DAY
    with answering(certificate=authority.issue_cert("127.0.0.1", not_before=begin, not_after=begin + DAY)) as server:
        said = trouble(server.url)
        assert f"not valid before {begin:%Y-%m-%d}" in said
        assert "clock" in said


def test_a_file_of_its_own_makes_a_server_trusted_and_so_does_trusting_all(tmp_path: Path) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    with answering(certificate=other.issue_cert("127.0.0.1")) as server:
        assert ask(server.url, trust=Trust(authority=tmp_path / "other.pem")).status == 200
        assert ask(server.url, trust=Trust(any_certificate=True)).status == 200
        (tmp_path / "other.pem").write_text("no certificate")
        assert "cannot be used" in trouble(server.url, trust=Trust(authority=tmp_path / "other.pem"))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_list_of_authorities_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "broken.pem").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "broken.pem"))
    assert "SSL_CERT_FILE" in trouble("https://127.0.0.1:1")


def test_tls_and_plain_http_are_told_apart() -> None:
    with answering() as plain:
        assert "does not speak TLS" in trouble(plain.url.replace("http:", "https:"))
    with answering((400, {}, b"Client sent an HTTP request to an HTTPS server.\n")) as go:
        assert "speaks TLS" in trouble(go.url)
    with answering(certificate=authority.issue_cert("127.0.0.1")) as tls:
        assert "http or https" in trouble(tls.url.replace("https:", "http:"))


@pytest.mark.parametrize("url", ["console:8443", "ftp://console", "https://", "http://[::1", "https://x:y", ""])
def test_what_is_no_address_is_told(url: str) -> None:
    assert "begins with https://" in trouble(url)


def test_an_unknown_name_and_a_closed_port_are_told_apart() -> None:
    assert "name nowhere.invalid" in trouble("http://nowhere.invalid/x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "refuses connections" in trouble(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no whole answer within" in trouble(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_user_and_password_of_an_address_are_not_told() -> None:
    said = trouble("http://me:hunter2@nowhere.invalid/x?secret=hunter3")
    assert "hunter" not in said


class TestProxies:
    """Servers are asked by the way that scanners take."""

    def test_the_proxy_of_the_environment_is_asked(self) -> None:
        with answering((200, {}, b"by proxy")) as proxy:
            answer = ask("http://console.invalid/x", {"HTTP_PROXY": proxy.url})
            assert answer.body == b"by proxy"
            assert proxy.requests[0].path == "http://console.invalid/x"

    def test_exceptions_hold(self) -> None:
        with answering((200, {}, b"by proxy")) as proxy:
            assert "name console.invalid" in trouble(
                "http://console.invalid/x", {"HTTP_PROXY": proxy.url, "NO_PROXY": ".invalid"}
            )

    def test_a_proxy_that_refuses_is_told_without_its_password(self) -> None:
        with answering((407, {}, b"")) as proxy:
            said = trouble("https://console.invalid", proxy=proxy.url.replace("//", "//me:hunter2@"))
        assert "does not let through" in said
        assert "407" in said
        assert "NO_PROXY" not in said, "it heeds no exceptions"
        assert "hunter2" not in said

    def test_a_proxy_that_is_not_there_is_told(self) -> None:
        said = trouble("https://console.invalid", {"HTTPS_PROXY": "127.0.0.1:1"})
        assert "The proxy http://127.0.0.1:1" in said
        assert "add console.invalid to NO_PROXY" in said

    def test_what_cannot_be_asked_is_unknown(self) -> None:
        with pytest.raises(TroubleError) as caught:
            ask("https://console.invalid", proxy="socks5://127.0.0.1:1")
        assert caught.value.outcome == "unknown"

    def test_the_service_s_own_way_is_noted_beside_that_of_scanners(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering() as server:
            monkeypatch.setenv("ALL_PROXY", server.url)
            here = Network(os.environ)
            uvloop.run(here.ask("the registry", f"{server.url}/v2/", way=Way.BOTH))
            uvloop.run(here.ask("the source", "http://osv.invalid/x", way=Way.SERVICE))
            assert [(one.proxy, one.otherwise) for one in here.contacts] == [("", server.url), (server.url, server.url)]


class TestClock:
    """The time that servers have."""

    def asked(self, **headers: str) -> str:
        here = Network({})
        with answering((200, headers, b"")) as server:
            uvloop.run(here.ask("the console", server.url))
        [verdict] = found(clock.look(here.offsets))
        return str(verdict.outcome)

    def test_a_server_with_our_time_makes_it_right(self) -> None:
        assert self.asked() == "ok"

    def test_a_server_with_another_time_makes_it_wrong(self) -> None:
        assert self.asked(Date=email.utils.formatdate(time.time() + 7200, usegmt=True)) == "failure"
        assert self.asked(Date=email.utils.formatdate(time.time() - 120, usegmt=True)) == "warning"

    def test_what_a_cache_kept_and_what_is_no_date_tell_nothing(self) -> None:
        assert self.asked(Date=email.utils.formatdate(time.time() - 7200, usegmt=True), Age="7200") == "unknown"
        assert self.asked(Date="yesterday") == "unknown"


class TestRegistry:
    """The registry, by its address."""

    def look(self, url: str) -> dict[str, str]:
        self.verdicts = found(registry.reachable(Network({}), url))
        return outcomes(self.verdicts)

    def test_one_with_a_certificate_that_is_trusted_is_well(self) -> None:
        challenge = {"WWW-Authenticate": 'Basic realm="harbor"'}
        with answering((401, challenge, b""), authority.issue_cert("127.0.0.1")) as server:
            assert self.look(server.url) == {"connection": "ok"}

    def test_one_that_is_not_trusted_says_how_scanners_come_to_trust_it(self) -> None:
        with answering(certificate=trustme.CA().issue_cert("127.0.0.1")) as server:
            assert self.look(server.url) == {"connection": "failure"}
        assert "SSL_CERT_FILE" in told(self.verdicts, "connection")

    def test_a_real_one_without_tls_is_a_warning(self, registry: Registry) -> None:
        assert self.look(registry.url) == {"connection": "warning"}

    @pytest.mark.parametrize(
        "reply",
        [
            (404, {}, b""), (302, {"Location": "/"}, b""), (401, {}, b""), (200, {}, b""),
            (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"),
        ],
    )  # fmt: skip
    def test_only_what_answers_as_one_is_one(self, reply: Any) -> None:
        with answering(reply) as server:
            assert self.look(server.url) == {"connection": "warning" if reply[:2] == (200, {}) else "failure"}

    def test_the_place_of_tokens_must_be_reached_too(self) -> None:
        with answering((400, {}, b"")) as tokens:
            for realm, outcome in ((tokens.url, "ok"), ("http://127.0.0.1:1", "failure")):
                challenge = f'Bearer realm="{realm}/service/token",service="harbor-registry"'
                with answering((401, {"WWW-Authenticate": challenge}, b"")) as server:
                    assert self.look(server.url) == {"connection": "warning", "tokens": outcome}
        assert "external URL" in told(self.verdicts, "tokens")

    @pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (401, "ok"), (404, "failure"), (502, "failure")])
    def test_the_place_of_tokens_must_be_harbor_s(self, status: int, outcome: str) -> None:
        with answering((status, {}, b"")) as tokens:
            challenge = f'Bearer realm="{tokens.url}/service/token",service="harbor-registry"'
            with answering((401, {"WWW-Authenticate": challenge}, b"")) as server:
                assert self.look(server.url)["tokens"] == outcome


class TestImage:
    """An image, with the account that the environment gives."""

    @pytest.fixture
    def reference(self, registry: Registry) -> Reference:
        from support import images

        registry.push(images.alpine(), "doctor/image", "1")
        return Reference.parse(f"{registry.url}/doctor/image:1")

    def look(self, monkeypatch: pytest.MonkeyPatch, reference: Reference, password: str) -> tuple[dict[str, str], str]:
        monkeypatch.setenv("HARBOR_SCANNER_REGISTRY_USERNAME", ROBOT.username)
        monkeypatch.setenv("HARBOR_SCANNER_REGISTRY_PASSWORD", password)
        here = Network({})
        verdicts = found(registry.image(here, reference))
        assert password in here.secrets
        return outcomes(verdicts), told(verdicts, "image")

    def test_one_that_may_be_read_is_named_by_its_digest(
        self, monkeypatch: pytest.MonkeyPatch, reference: Reference
    ) -> None:
        found_here, said = self.look(monkeypatch, reference, ROBOT.password)
        assert found_here == {"image": "ok"}
        assert "sha256:" in said

    def test_a_wrong_password_is_a_failure(self, monkeypatch: pytest.MonkeyPatch, reference: Reference) -> None:
        found_here, said = self.look(monkeypatch, reference, "wr0ng-password")
        assert found_here == {"image": "failure"}
        assert "refused this account" in said
