"""TLS: what is negotiated, who is let in, and how certificates are replaced while connections go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from starlette.types import ASGIApp

from harbor_scanner.errors import StartError
from harbor_scanner.http import tls as module
from harbor_scanner.http.tls import ServerTls, TlsFiles
from harbor_scanner.jobs.model import JobState, JobStatus
from support.api import MemoryStore
from support.jobs import until
from support.wire import SHORT, SOON, Watched, in_background, request, run, server

GET = request("GET", "/api/v1/metadata")
BIG = bytes(24 * 1024 * 1024)
"""A report larger than all the buffers on its way; it is sent as it is stored, so it need not be one."""

authority = trustme.CA()


class Pair(NamedTuple):
    """A certificate with its chain, and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def serial(self) -> int:
        """What tells this certificate from others."""
        return x509.load_pem_x509_certificate(self.certificate).serial_number


def issue(key_type: trustme.KeyType = trustme.KeyType.ECDSA, by: trustme.CA = authority) -> Pair:
    """Return a new certificate for this machine."""
    issued = by.issue_cert("127.0.0.1", key_type=key_type)
    return Pair(b"".join(pem.bytes() for pem in issued.cert_chain_pems), issued.private_key_pem.bytes())


def write(pair: Pair, directory: Path) -> TlsFiles:
    """Write the pair as an operator does."""
    files = TlsFiles(directory / "tls.crt", directory / "tls.key")
    files.certificate.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)
    return files


def trusting(ca: trustme.CA = authority, client: Pair | None = None, directory: Path | None = None) -> ssl.SSLContext:
    """Return what a client needs, which may show a certificate of its own."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if client is not None:
        assert directory is not None
        (directory / "client.pem").write_bytes(client.key + client.certificate)
        context.load_cert_chain(directory / "client.pem")
    return context


class Connection:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.ssl: ssl.SSLObject = writer.get_extra_info("ssl_object")

    @property
    def serial(self) -> int:
        """Of the server's certificate."""
        certificate = self.ssl.getpeercert(binary_form=True)
        assert certificate
        return x509.load_der_x509_certificate(certificate).serial_number

    async def status(self) -> int:
        """Ask for the metadata, and return the status of the answer. Raises OSError or EOFError."""
        self._writer.write(GET)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        await self._reader.readexactly(int(length.partition(":")[2]))
        return int(head.split(" ")[1])


@contextlib.asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    """Open a connection. Raises OSError, of which ssl.SSLError is one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def fetch(port: int, context: ssl.SSLContext) -> int:
    """Return the serial number of the certificate by which a request was answered. Raises OSError or EOFError."""
    async with asyncio.timeout(SOON), connected(port, context) as connection:
        assert await connection.status() == 200
        return connection.serial


async def refused(port: int, context: ssl.SSLContext) -> bool:
    """Tell whether the server does not talk to such a client."""
    try:
        await fetch(port, context)
    except (OSError, EOFError):
        return True
    return False


def api() -> ASGIApp:
    """Return the API, with one report."""
    return MemoryStore(job=JobStatus(JobState.FINISHED, report=BIG)).api().app


# What is negotiated


def client_of(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """Return a client that knows just this."""
    context = trusting()
    with warnings.catch_warnings(action="ignore"):
        context.maximum_version = version
        context.minimum_version = version
    if ciphers:
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


def lenient_server(pair: Pair, directory: Path) -> ssl.SSLContext:
    """Return a server that takes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = write(pair, directory)
    context.load_cert_chain(files.certificate, files.key)
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def shake_hands(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> str | None:
    """Return the version that the two agree on, in memory. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(back, there, server_hostname="127.0.0.1")
    peer = server_side.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.version()


@pytest.fixture(scope="module")
def rsa() -> Pair:
    """A certificate that goes with every suite tried here."""
    return issue(trustme.KeyType.RSA)


@pytest.fixture(scope="module")
def port(rsa: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server with that certificate."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        yield api()

    with in_background(opened, ServerTls(write(rsa, tmp_path_factory.mktemp("rsa")))) as port:
        yield port


TLS_1_0, TLS_1_1 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (TLS_1_3, ""),
        (TLS_1_2, ""),
        (TLS_1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
        (TLS_1_2, "ECDHE-RSA-AES256-GCM-SHA384"),
        (TLS_1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
    ],
)
def test_new_versions_with_forward_secret_aead_suites_are_accepted(
    version: ssl.TLSVersion, ciphers: str, rsa: Pair, port: int
) -> None:
    assert run(fetch(port, client_of(version, ciphers))) == rsa.serial


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (TLS_1_0, "ALL"),
        (TLS_1_1, "ALL"),
        (TLS_1_2, "AES128-GCM-SHA256"),
        (TLS_1_2, "AES256-SHA"),
        (TLS_1_2, "ECDHE-RSA-AES128-SHA"),
        (TLS_1_2, "ECDHE-RSA-AES256-SHA384"),
        (TLS_1_2, "ECDHE-ARIA128-GCM-SHA256"),
        (TLS_1_2, "aNULL"),
    ],
)
def test_old_versions_and_other_suites_are_refused(
    version: ssl.TLSVersion, ciphers: str, rsa: Pair, port: int, tmp_path: Path
) -> None:
    client = client_of(version, ciphers)
    try:
        agreed = shake_hands(lenient_server(rsa, tmp_path), client)
    except ssl.SSLError:
        pytest.skip("the OpenSSL of this machine cannot do it at all")
    assert agreed == {TLS_1_0: "TLSv1", TLS_1_1: "TLSv1.1", TLS_1_2: "TLSv1.2"}[version]
    assert run(refused(port, client))


def test_http_1_1_is_agreed_on_by_name(port: int) -> None:
    async def work() -> None:
        context = trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with connected(port, context) as connection:
            assert connection.ssl.selected_alpn_protocol() == "http/1.1"
            assert await connection.status() == 200

    run(work())


# Slow and wrong clients


def test_who_does_not_begin_to_talk_tls_is_cut_off_at_the_read_limit(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def work() -> None:
        tls = ServerTls(write(issue(), tmp_path))
        async with server(api(), read=SHORT, tls=tls) as here:
            silent, plain = await here.peer(), await here.peer()
            await plain.send(GET)
            assert await silent.is_cut_off()
            assert not (await asyncio.wait_for(plain.rest(), SOON)).startswith(b"HTTP")

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


def test_who_reads_nothing_is_cut_off_at_the_write_limit(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(api())
        async with server(watched, write=SHORT, tls=ServerTls(write(issue(), tmp_path))) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=trusting(), limit=1024)
            writer.write(request("GET", "/api/v1/scan/job/report", "Accept-Encoding: gzip"))
            await until(lambda: watched.begun, "the response has begun")
            await until(lambda: not watched.running, "it is given up", SOON)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await reader.read()

    run(work())


# Replacement


def test_a_new_certificate_is_used_for_new_connections_and_open_ones_go_on(tmp_path: Path) -> None:
    async def work() -> None:
        old, new = issue(), issue(trustme.KeyType.RSA)
        tls = ServerTls(write(old, tmp_path))
        async with server(api(), tls=tls) as here, connected(here.port, trusting()) as before:
            assert await before.status() == 200
            assert before.serial == old.serial
            assert not tls.reload()

            write(new, tmp_path)
            assert tls.reload()
            assert await fetch(here.port, trusting()) == new.serial
            assert await before.status() == 200
            assert before.serial == old.serial
            assert not tls.reload()

    run(work())


def test_it_is_known_when_the_first_certificate_of_the_chain_in_use_expires(tmp_path: Path) -> None:
    def lasting(days: float) -> tuple[bytes, bytes, float]:
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        issued = authority.issue_cert("127.0.0.1", not_after=end)
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes(), end.timestamp()

    long, key, later = lasting(300)
    short, other_key, soon = lasting(3)
    tls = ServerTls(write(Pair(long, key), tmp_path))
    assert tls.expires == later
    write(Pair(short, key), tmp_path)
    assert not tls.reload()
    assert tls.expires == later, "it is not in use, for its key does not fit"
    write(Pair(short, other_key), tmp_path)
    assert tls.reload()
    assert tls.expires == soon
    write(Pair(long + short, key), tmp_path)
    assert tls.reload()
    assert tls.expires == soon


def test_a_changed_file_is_noticed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)

    async def work() -> None:
        old, new = issue(), issue()
        async with server(api(), tls=ServerTls(write(old, tmp_path))) as here:

            async def shown(pair: Pair) -> bool:
                return await fetch(here.port, trusting()) == pair.serial

            assert await shown(old)
            write(new, tmp_path)
            await until(lambda: shown(new), "the new certificate is shown")
            # And what does not fit together neither ends the server nor the watch.
            write(new._replace(key=old.key), tmp_path)
            await asyncio.sleep(0.05)
            assert await shown(new)
            write(old, tmp_path)
            await until(lambda: shown(old), "the old certificate is shown again")

    run(work())


def test_a_kubernetes_secret_is_followed_through_its_links(tmp_path: Path) -> None:
    def publish(version: str, pair: Pair) -> None:
        """Swap the whole volume at once, as the kubelet does."""
        (tmp_path / version).mkdir()
        write(pair, tmp_path / version)
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    async def work() -> None:
        old, new = issue(), issue()
        publish("..2026_01_01", old)
        for name in ("tls.crt", "tls.key"):
            (tmp_path / name).symlink_to(f"..data/{name}")
        tls = ServerTls(TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key"))
        async with server(api(), tls=tls) as here:
            assert await fetch(here.port, trusting()) == old.serial
            publish("..2026_02_02", new)
            assert tls.reload()
            assert await fetch(here.port, trusting()) == new.serial

    run(work())


@pytest.mark.parametrize("state", ["certificate first", "key first", "cut short", "gone", "empty", "nonsense"])
def test_a_replacement_under_way_leaves_the_old_certificate_in_use(state: str, tmp_path: Path) -> None:
    async def work() -> None:
        old, new = issue(), issue()
        files = write(old, tmp_path)
        tls = ServerTls(files)
        async with server(api(), tls=tls) as here:
            match state:
                case "certificate first":
                    files.certificate.write_bytes(new.certificate)
                case "key first":
                    files.key.write_bytes(new.key)
                case "cut short":
                    files.certificate.write_bytes(new.certificate[:300])
                    files.key.write_bytes(new.key)
                case "gone":
                    files.key.unlink()
                case "empty":
                    files.certificate.write_bytes(b"")
                case _:
                    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
            for _ in range(2):
                assert not tls.reload()
                assert await fetch(here.port, trusting()) == old.serial
            write(new, tmp_path)
            assert tls.reload()
            assert await fetch(here.port, trusting()) == new.serial

    run(work())


# Client certificates


def test_with_a_client_ca_only_its_clients_are_let_in(tmp_path: Path) -> None:
    clients, strangers = trustme.CA(), trustme.CA()
    cas = tmp_path / "clients.pem"
    clients.cert_pem.write_to_path(cas)
    known = trusting(client=issue(by=clients), directory=tmp_path)
    unknown = trusting(client=issue(by=strangers), directory=tmp_path)
    files = write(issue(), tmp_path)

    async def work() -> None:
        tls = ServerTls(TlsFiles(files.certificate, files.key, cas))
        async with server(api(), tls=tls) as here:
            assert await fetch(here.port, known)
            for version in (TLS_1_2, TLS_1_3):
                nobody = trusting()
                nobody.maximum_version = version
                assert await refused(here.port, nobody)
                unknown.maximum_version = version
                assert await refused(here.port, unknown)
        async with server(api(), tls=ServerTls(files)) as here:
            assert not await refused(here.port, trusting()), "without a client CA, nobody needs a certificate"

    run(work())


def test_a_client_ca_that_was_removed_is_trusted_no_more(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    cas = tmp_path / "clients.pem"
    first.cert_pem.write_to_path(cas)
    of_first = trusting(client=issue(by=first), directory=tmp_path)
    of_second = trusting(client=issue(by=second), directory=tmp_path)
    files = write(issue(), tmp_path)

    async def work() -> None:
        tls = ServerTls(TlsFiles(files.certificate, files.key, cas))
        async with server(api(), tls=tls) as here:
            assert await fetch(here.port, of_first)
            assert await refused(here.port, of_second)
            cas.write_bytes(first.cert_pem.bytes() + second.cert_pem.bytes())
            assert tls.reload()
            assert await fetch(here.port, of_first)
            assert await fetch(here.port, of_second)
            second.cert_pem.write_to_path(cas)
            assert tls.reload()
            assert await refused(here.port, of_first)
            assert await fetch(here.port, of_second)

    run(work())


# Files that do not serve


@pytest.mark.parametrize(
    "state",
    ["no certificate", "no key", "another key", "swapped", "nonsense", "a directory", "a pass phrase", "no client CAs",
     "empty client CAs"],
)  # fmt: skip
def test_files_that_do_not_serve_are_told_at_the_start(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is asked for a pass phrase: there is no terminal to ask on.
    monkeypatch.setattr("sys.stdin", None)
    pair = issue()
    files = write(pair, tmp_path)
    cas = tmp_path / "clients.pem"
    match state:
        case "no certificate":
            files.certificate.unlink()
        case "no key":
            files.key.unlink()
        case "another key":
            files.key.write_bytes(issue().key)
        case "swapped":
            files = TlsFiles(files.key, files.certificate)
        case "nonsense":
            files.certificate.write_bytes(b"certificate")
        case "a directory":
            files = TlsFiles(tmp_path, files.key)
        case "a pass phrase":
            key = load_pem_private_key(pair.key, None)
            encrypted = BestAvailableEncryption(b"secret")
            files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
        case "no client CAs":
            files = TlsFiles(files.certificate, files.key, cas)
        case _:
            cas.write_bytes(b"")
            files = TlsFiles(files.certificate, files.key, cas)
    with pytest.raises(StartError) as raised:
        ServerTls(files)
    text = str(raised.value)
    assert all(str(path) in text for path in (files.certificate, files.key, files.client_cas) if path)
    assert "SCANNER_API_TLS_CERTIFICATE" in text
    assert "BEGIN" not in text
