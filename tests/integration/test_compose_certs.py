"""make-certs.sh, as an administrator of Harbor runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from support.compose import DEPLOY, FILES, Authority, Harbor, content, mode, stub

MAKE_CERTS = DEPLOY / "make-certs.sh"
CA_FILES = {"harbor_internal_ca.crt", "harbor_internal_ca.key"}
MADE = ("aqua_adapter.key", "aqua_adapter.crt", "aqua_adapter.csr", "aqua_adapter_v3.ext")
SUBJECT = "/C=CN/ST=Beijing/L=Beijing/O=example/OU=Personal"
is_root = os.geteuid() == 0
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl on PATH")


@pytest.fixture
def harbor(tmp_path: Path) -> Harbor:
    """A Harbor with its internal CA."""
    harbor = Harbor.installed(tmp_path)
    Authority.made().write(harbor.pki)
    return harbor


def make_certs(harbor: Harbor, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script, with keys that are made quicker than those of 4096 bits."""
    quick = stub(harbor.home.parent / "quick", "openssl", '[ "$1" != genrsa ] || set -- genrsa -out "$3" 2048')
    return harbor.run("/bin/sh", MAKE_CERTS, *arguments, **{"PATH": quick, **variables})


def refused(harbor: Harbor, *arguments: str, **variables: str) -> str:
    """Run the script, which must fail and leave everything as it was; return its message."""
    before = content(harbor.pki)
    done = make_certs(harbor, *arguments, **variables)
    assert done.returncode == 1, done
    assert content(harbor.pki) == before
    assert done.stderr.startswith("make-certs.sh: ")
    return done.stderr


@needs_openssl
def test_a_certificate_is_as_the_steps_of_the_aqua_adapters_readme_make_it(tmp_path: Path) -> None:
    old = Harbor.installed(tmp_path, blank="")
    Authority.made().write(old.pki)
    assert old.run("/bin/sh", FILES / "aqua_readme.sh").returncode == 0
    before = {name: (old.pki / name).read_bytes() for name in MADE}
    serial_file = old.pki / "harbor_internal_ca.srl"
    assert serial_file.exists(), "theirs leaves one beside the CA"
    for name in (*MADE, serial_file.name):
        (old.pki / name).unlink()

    done = old.run("/bin/sh", MAKE_CERTS, "--subject", SUBJECT)
    assert done.returncode == 0, done.stderr
    assert set(content(old.pki)) == {*CA_FILES, *MADE}
    assert (old.pki / "aqua_adapter_v3.ext").read_bytes() == before["aqua_adapter_v3.ext"]
    theirs = x509.load_pem_x509_certificate(before["aqua_adapter.crt"])
    ours = x509.load_pem_x509_certificate((old.pki / "aqua_adapter.crt").read_bytes())
    assert ours.subject == theirs.subject
    assert ours.issuer == theirs.issuer
    assert {each.oid: each.value for each in ours.extensions if each.oid != x509.OID_SUBJECT_KEY_IDENTIFIER} == {
        each.oid: each.value for each in theirs.extensions if each.oid != x509.OID_SUBJECT_KEY_IDENTIFIER
    }
    assert ours.signature_algorithm_oid == theirs.signature_algorithm_oid
    assert (
        ours.not_valid_after_utc - ours.not_valid_before_utc == theirs.not_valid_after_utc - theirs.not_valid_before_utc
    )
    key = load_pem_private_key((old.pki / "aqua_adapter.key").read_bytes(), None)
    assert key.key_size == load_pem_private_key(before["aqua_adapter.key"], None).key_size == 4096  # type: ignore[union-attr]
    assert key.public_key() == ours.public_key()


@needs_openssl
def test_only_the_scanner_can_read_the_key(harbor: Harbor) -> None:
    done = make_certs(harbor, "qualys-scanner")
    assert done.returncode == 0, done.stderr
    key, certificate = harbor.pki / "qualys_scanner.key", harbor.pki / "qualys_scanner.crt"
    assert (mode(key), mode(certificate)) == (0o600, 0o644)
    if is_root:
        assert (key.stat().st_uid, key.stat().st_gid, certificate.stat().st_uid) == (1000, 1000, 1000)
    else:
        assert f"chown 1000:1000 '{key}' '{certificate}'" in done.stdout
    (names,) = (
        extension.value.get_values_for_type(x509.DNSName)
        for extension in x509.load_pem_x509_certificate(certificate.read_bytes()).extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
    )
    assert names == ["qualys-scanner"]
    assert "https://qualys-scanner until" in done.stdout
    assert (mode(harbor.pki / "harbor_internal_ca.key"), harbor.pki.stat().st_uid) == (0o644, os.geteuid())


@needs_openssl
@pytest.mark.parametrize("name", MADE)
def test_nothing_is_ever_overwritten(name: str, harbor: Harbor) -> None:
    (harbor.pki / name).write_text("precious")
    assert f"{harbor.pki / name} exists already" in refused(harbor)


@needs_openssl
def test_a_link_that_leads_nowhere_is_not_followed(harbor: Harbor) -> None:
    (harbor.pki / "aqua_adapter.key").symlink_to(harbor.pki / "elsewhere")
    assert "exists already" in refused(harbor)


def _no_certificate(pki: Path) -> None:
    (pki / "harbor_internal_ca.crt").unlink()


def _no_key(pki: Path) -> None:
    (pki / "harbor_internal_ca.key").unlink()


def _no_pem(pki: Path) -> None:
    (pki / "harbor_internal_ca.crt").write_text("certificate")


def _no_pem_key(pki: Path) -> None:
    (pki / "harbor_internal_ca.key").write_text("key")


def _expired(pki: Path) -> None:
    Authority.made(days=-1).write(pki)


def _not_yet(pki: Path) -> None:
    Authority.made(days=4001).write(pki)


def _other_key(pki: Path) -> None:
    certificate = (pki / "harbor_internal_ca.crt").read_bytes()
    Authority.made().write(pki)
    (pki / "harbor_internal_ca.crt").write_bytes(certificate)


def _encrypted_key(pki: Path) -> None:
    key = load_pem_private_key((pki / "harbor_internal_ca.key").read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (pki / "harbor_internal_ca.key").write_bytes(encrypted)


def _no_ca(pki: Path) -> None:
    Authority.made(is_ca=False).write(pki)


@needs_openssl
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_certificate, "harbor_internal_ca.crt is not there"),
        (_no_key, "harbor_internal_ca.key is not there"),
        (_no_pem, "harbor_internal_ca.crt is no certificate"),
        (_no_pem_key, "harbor_internal_ca.key is no private key"),
        (_expired, "harbor_internal_ca.crt has expired"),
        (_not_yet, "does not hold for aqua-adapter under"),
        (_other_key, "harbor_internal_ca.key does not belong to"),
        (_encrypted_key, "harbor_internal_ca.key has a passphrase"),
        (_no_ca, "does not hold for aqua-adapter under"),
    ],
)
def test_a_ca_that_is_none_is_told(spoil: Callable[[Path], None], message: str, harbor: Harbor) -> None:
    spoil(harbor.pki)
    assert message in refused(harbor)


@needs_openssl
def test_a_ca_that_ends_before_the_certificate_is_told(harbor: Harbor) -> None:
    Authority.made(days=100).write(harbor.pki)
    done = make_certs(harbor)
    assert done.returncode == 0, done.stderr
    assert "Mind that the CA itself ends earlier" in done.stdout


def test_without_openssl_it_says_so(harbor: Harbor, tmp_path: Path) -> None:
    assert "There is no openssl on PATH" in refused(harbor, PATH=str(tmp_path))


@needs_openssl
@pytest.mark.parametrize("step", ["genrsa", "req", "x509 -req", "verify"])
def test_a_step_that_fails_leaves_nothing_behind(step: str, harbor: Harbor, tmp_path: Path) -> None:
    path = stub(
        tmp_path / "bin",
        "openssl",
        f'case "$*" in "{step} "*) echo out of memory >&2; exit 1 ;; esac',
    )
    assert "out of memory" in refused(harbor, PATH=path)


@needs_openssl
def test_what_somebody_else_makes_meanwhile_stays(harbor: Harbor, tmp_path: Path) -> None:
    theirs = harbor.pki / "aqua_adapter.csr"
    path = stub(tmp_path / "bin", "openssl", f'[ "$1" != verify ] || echo theirs > "{theirs}"')
    done = make_certs(harbor, PATH=path)
    assert done.returncode == 1
    assert set(content(harbor.pki)) == {*CA_FILES, theirs.name}
    assert theirs.read_text() == "theirs\n"


@needs_openssl
def test_an_interruption_leaves_nothing_behind(harbor: Harbor, tmp_path: Path) -> None:
    path = stub(tmp_path / "bin", "openssl", 'case "$*" in "x509 -req "*) kill -TERM "$PPID"; exit 1 ;; esac')
    before = content(harbor.pki)
    assert make_certs(harbor, PATH=path).returncode != 0
    assert content(harbor.pki) == before


@needs_openssl
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Aqua Adapter",), "is no host name"),
        (("../aqua",), "is no host name"),
        (("10.0.0.5",), "is no host name"),
        (("--subject", "C=DE"), "must be written as /C=DE/O=Example"),
        (("--subject", "/Q=DE"), "an attribute that openssl does not know"),
        (("a" * 65,), "is the subject right?"),
    ],
)
def test_names_that_make_no_certificate_are_refused(arguments: tuple[str, ...], message: str, harbor: Harbor) -> None:
    assert message in refused(harbor, *arguments)


def test_the_directory_of_the_ca_must_be_told(harbor: Harbor) -> None:
    assert "HARBOR_PKI_DIR is not set" in refused(harbor, HARBOR_PKI_DIR="")
