"""What Harbor connects to: certificates of every kind, and a service that is asked and not disturbed."""

from __future__ import annotations

import datetime as dt
import errno
import socket
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harbor_scanner.doctor import api
from harbor_scanner.http.settings import ListenAddress
from harbor_scanner.presence import announce
from support.doctor import answering, found, outcomes, settings, told
from support.service import Service, free_port, serving

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
FILES = {"CERTIFICATE": "tls.crt", "KEY": "tls.key"}
authority = trustme.CA()


def files(directory: Path, certificate: trustme.LeafCert, key: trustme.LeafCert | None = None) -> dict[str, str]:
    """Return the settings of a service with this certificate."""
    chain = directory / "tls.crt"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (key or certificate).private_key_pem.write_to_path(directory / "tls.key")
    return {"SCANNER_API_TLS_CERTIFICATE": str(chain), "SCANNER_API_TLS_KEY": str(directory / "tls.key")}


class TestCertificate:
    """The certificate that Harbor is shown."""

    def look(self, directory: Path, environment: dict[str, str]) -> dict[str, str]:
        self.verdicts = found(api.certificate(settings(directory, **environment)))
        return outcomes(self.verdicts)

    def test_one_that_is_well_is_shown_with_its_names(self, tmp_path: Path) -> None:
        certificate = authority.issue_cert("aqua-adapter", "10.0.0.7", not_after=NOW + 90 * DAY)
        assert self.look(tmp_path, files(tmp_path, certificate)) == {"certificate": "ok", "names": "ok"}
        assert "aqua-adapter, 10.0.0.7" in told(self.verdicts, "names")

    def test_none_is_no_matter(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, {}) == {"certificate": "skipped"}

    @pytest.mark.parametrize(
        ("begin", "end", "outcome"), [(-9, -1, "failure"), (1, 90, "failure"), (-9, 9, "warning"), (-9, 90, "ok")]
    )
    def test_its_dates_are_looked_at(self, tmp_path: Path, begin: int, end: int, outcome: str) -> None:
        certificate = authority.issue_cert("x", not_before=NOW + begin * DAY, not_after=NOW + end * DAY)
        assert self.look(tmp_path, files(tmp_path, certificate))["certificate"] == outcome

    def test_without_names_in_its_san_extension_it_is_a_failure(self, tmp_path: Path) -> None:
        assert (
            self.look(tmp_path, files(tmp_path, authority.issue_cert(common_name="aqua-adapter")))["names"] == "failure"
        )

    @pytest.mark.parametrize(
        ("usages", "outcome"),
        [
            ([ExtendedKeyUsageOID.CLIENT_AUTH], "failure"),
            ([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], None),
            ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], None),
        ],
    )
    def test_it_must_be_for_servers(
        self, tmp_path: Path, usages: list[x509.ObjectIdentifier], outcome: str | None
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + 90 * DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("x")]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(key, hashes.SHA256())
        )
        (tmp_path / "tls.crt").write_bytes(made.public_bytes(Encoding.PEM))
        (tmp_path / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        environment = {f"SCANNER_API_TLS_{name}": str(tmp_path / file) for name, file in FILES.items()}
        assert self.look(tmp_path, environment).get("usage") == outcome

    def test_a_key_of_another_one_is_a_failure(self, tmp_path: Path) -> None:
        wrong = files(tmp_path, authority.issue_cert("x"), key=authority.issue_cert("x"))
        assert self.look(tmp_path, wrong) == {"certificate": "failure"}
        assert "SCANNER_API_TLS_KEY" in told(self.verdicts, "certificate")

    def test_files_that_hold_something_else_are_a_failure(self, tmp_path: Path) -> None:
        environment = files(tmp_path, authority.issue_cert("x"))
        Path(environment["SCANNER_API_TLS_CERTIFICATE"]).write_text("no certificate")
        assert self.look(tmp_path, environment) == {"certificate": "failure"}


class TestService:
    """The service, if it runs."""

    def look(self, directory: Path, **environment: str) -> dict[str, str]:
        self.verdicts = found(api.service(settings(directory, **environment)))
        return outcomes(self.verdicts)

    def beside(self, service: Service, **environment: str) -> dict[str, str]:
        return self.look(service.directory, SCANNER_API_ADDR=service.address, **environment)

    def test_a_running_one_answers_as_it_does_to_harbor(self, short_dir: Path) -> None:
        environment = files(short_dir, authority.issue_cert("aqua-adapter"))
        environment |= {"SCANNER_API_AUTH_TOKENS": "t0ken-of-harbor", "SCANNER_ENABLED": "osv,qualys"}
        service = Service(short_dir, environment)
        try:
            service.start(ready=False)
            service.wait_for(lambda: "harbor-scanner listens" in service.log(), "listening")
            service.wait_for(lambda: self.beside(service, **environment)["metadata"] == "ok", "answering")
            assert "asks for the credentials" in told(self.verdicts, "metadata")
            # There are no advisories and there is no qscanner, which the service says of itself.
            assert outcomes(self.verdicts)["service"] == "failure"
            assert "There is no database of advisories" in told(self.verdicts, "service")
        finally:
            service.end()

    def test_one_that_was_started_with_other_scanners_or_without_tls_is_told(self, short_dir: Path) -> None:
        with serving(short_dir, {"SCANNER_ENABLED": "osv"}) as service:
            assert self.beside(service, SCANNER_ENABLED="osv")["metadata"] == "ok"
            assert self.beside(service, SCANNER_ENABLED="osv,qualys")["metadata"] == "ok+failure"
            tls = files(short_dir, authority.issue_cert("aqua-adapter"))
            assert self.beside(service, SCANNER_ENABLED="osv", **tls) == {"service": "failure"}
            moved = self.look(short_dir, SCANNER_ENABLED="osv", SCANNER_API_ADDR=f"127.0.0.1:{free_port()}")
            assert moved == {"service": "skipped"}
            assert service.address in told(self.verdicts, "service")

    @pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"hello": "world"}', b""])
    def test_a_program_that_is_something_else_is_told(self, tmp_path: Path, body: bytes) -> None:
        with answering((200, {}, body)) as other:
            assert self.look(tmp_path, SCANNER_API_ADDR=f"127.0.0.1:{other.port}") == {"service": "failure"}

    def test_nothing_there_is_no_failure_but_an_address_that_is_not_ours_is(self, tmp_path: Path) -> None:
        assert self.look(tmp_path, SCANNER_API_ADDR=f"127.0.0.1:{free_port()}") == {"service": "skipped"}
        assert self.look(tmp_path, SCANNER_API_ADDR="192.0.2.1:8080") == {"service": "failure"}
        assert "no address of this machine" in told(self.verdicts, "service")

    def test_one_that_was_killed_is_not_said_to_run(self, tmp_path: Path) -> None:
        run = tmp_path / "data" / "scratch" / "run"
        run.mkdir(parents=True)
        here = ListenAddress("127.0.0.1", free_port())
        announce(run, here, tls=False, asks_certificate=False)
        assert self.look(tmp_path, SCANNER_API_ADDR=str(here)) == {"service": "skipped"}
        assert "may run" not in told(self.verdicts, "service")
        assert self.look(tmp_path, SCANNER_API_ADDR=f"127.0.0.1:{free_port()}") == {"service": "skipped"}
        assert f"may run on {here}" in told(self.verdicts, "service")

    def test_a_port_that_is_bound_or_not_for_this_user_is_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            assert self.look(tmp_path, SCANNER_API_ADDR=f"127.0.0.1:{bound.getsockname()[1]}")["service"] == "failure"
            assert "the port is taken" in told(self.verdicts, "service")

        def refuse(_addr: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(api, "_bind", refuse)  # who runs the tests may be root
        assert self.look(tmp_path, SCANNER_API_ADDR=f"127.0.0.1:{free_port()}") == {"service": "failure"}
        assert "may not listen" in told(self.verdicts, "service")

    def test_where_clients_must_have_certificates_it_cannot_be_told(self, tmp_path: Path) -> None:
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        environment = files(tmp_path, authority.issue_cert("x")) | {"SCANNER_API_CLIENT_CAS": str(tmp_path / "ca.pem")}
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            assert self.look(tmp_path, SCANNER_API_ADDR=address, **environment) == {"service": "unknown"}
