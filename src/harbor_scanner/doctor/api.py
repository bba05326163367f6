"""What Harbor connects to: the certificate, the address, and the service itself if it runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from harbor_scanner.config import Config
from harbor_scanner.doctor.certificates import SOON, day, for_servers, load_chain, names
from harbor_scanner.doctor.check import Area, Verdict
from harbor_scanner.doctor.store import told
from harbor_scanner.errors import StartError
from harbor_scanner.harbor.checks import AdapterError
from harbor_scanner.harbor.client import HarborClient, UnexpectedStatusError
from harbor_scanner.http.settings import ApiSettings, ListenAddress
from harbor_scanner.http.tls import ServerTls, TlsFiles
from harbor_scanner.presence import services

API = Area("api")

_SECONDS = 4.0
_SHOWN = 80


async def certificate(config: Config) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the certificate that Harbor is shown."""
    for verdict in await asyncio.to_thread(lambda: list(_certificate(config.api))):
        yield verdict


async def service(config: Config) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the address, and of the service if it runs there, which is only asked."""
    addr, here = config.api.addr, config.api.addr.from_here
    if not await _somebody_listens(here.host, here.port):
        for verdict in await asyncio.to_thread(lambda: list(_free(addr, config.worker.data_dir))):
            yield verdict
        return
    if config.api.client_cas is not None:
        yield API.unknown(
            "service", f"Something listens on {addr}, but wants clients to have certificates (SCANNER_API_CLIENT_CAS).",
            "Look at its log.",
        )  # fmt: skip
        return
    url = f"{'https' if config.api.tls else 'http'}://{here}"
    try:
        context = await asyncio.to_thread(_context, config.api)
        ready = await _probe(url, context)
    except (httpx2.HTTPError, OSError, ValueError) as error:
        speaks = "TLS" if config.api.tls else "plain HTTP"
        yield API.failure(
            "service", f"Something listens on {addr}, but it is not this service with these settings ({speaks}): "
            f"{str(error).rstrip('.') or type(error).__name__}.",
            "If it is this service, restart it, for its settings or certificate have changed; else let "
            "SCANNER_API_ADDR name another port.",
        )  # fmt: skip
        return
    for verdict in _readiness(ready, str(addr)):
        yield verdict
    for enabled in config.scanners if config.role.serves else ():
        yield await _metadata(url, enabled.name, context)


def _certificate(api: ApiSettings) -> Iterator[Verdict]:
    if api.tls_certificate is None or api.tls_key is None:
        yield API.skipped("certificate", "Harbor is answered by plain HTTP: no certificate is set.")
        return
    try:
        ServerTls(TlsFiles(api.tls_certificate, api.tls_key, api.client_cas))
        chain = load_chain(api.tls_certificate.read_bytes())
    except StartError as error:
        yield API.failure("certificate", *told(error))
        return
    except (OSError, ValueError) as error:
        yield API.failure(
            "certificate", f"The certificates in {api.tls_certificate} cannot be read: {error}.", "Make it a PEM file."
        )
        return
    yield from _dates(chain, api.tls_certificate)
    if not for_servers(chain[0]):
        yield API.failure(
            "usage", "The certificate is not for servers (extendedKeyUsage), so that Harbor does not take it.",
            "Make one with extendedKeyUsage = serverAuth.",
        )  # fmt: skip
    given = names(chain[0])
    if given:
        yield API.ok("names", f"The certificate is for {', '.join(given)}: one of these must be in the URL in Harbor.")
    else:
        yield API.failure(
            "names", "The certificate has no names in its SAN extension; Harbor, written in Go, looks at no others.",
            "Make one with the name that stands in the URL in Harbor as subjectAltName.",
        )  # fmt: skip


def _dates(chain: list[Any], path: Path) -> Iterator[Verdict]:
    now = datetime.now(UTC)
    end = min(one.not_valid_after_utc for one in chain)
    begin = max(one.not_valid_before_utc for one in chain)
    renew = "Renew it; the service takes the new files without a restart."
    if end <= now:
        yield API.failure("certificate", f"The certificate in {path} has expired on {day(end)}.", renew)
    elif begin > now:
        yield API.failure(
            "certificate", f"The certificate in {path} is not valid before {day(begin)}.", "See the clock."
        )
    elif end - now < SOON:
        yield API.warning("certificate", f"The certificate in {path} expires on {day(end)}.", renew)
    else:
        yield API.ok("certificate", f"Certificate and key fit together, and are valid until {day(end)}.")


def _free(addr: ListenAddress, data_dir: Path) -> Iterator[Verdict]:
    """Yield whether the service could listen there, without taking the port from it, and whether it does elsewhere."""
    try:
        _bind(addr)
    except PermissionError as error:
        yield API.failure(
            "service", f"This user may not listen on {addr}: {error.strerror}.",
            "Let SCANNER_API_ADDR name a port of 1024 or above, such as :8443.",
        )  # fmt: skip
        return
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        what = "the port is taken" if taken else "it is no address of this machine"
        yield API.failure(
            "service", f"The service cannot listen on {addr}, for {what}: {error.strerror or error}.",
            "Let SCANNER_API_ADDR name a free port and an address of this machine, or only a port such as :8080.",
        )  # fmt: skip
        return
    elsewhere: list[str] = []
    with contextlib.suppress(OSError):
        # One that was killed has left its note behind.
        elsewhere = [one.address for one in services(data_dir) if one.address != str(addr.from_here)]
    where = f", but one may run on {', '.join(elsewhere)} that was started with other settings" if elsewhere else ""
    yield API.skipped("service", f"Nothing listens on {addr} here: with these settings, no service runs{where}.")


def _bind(addr: ListenAddress) -> None:
    """Bind to the address without listening, so that a service that starts now is not disturbed. Raises OSError."""
    family = socket.getaddrinfo(addr.host or None, addr.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((addr.host, addr.port))


async def _somebody_listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
        return True
    return False


def _context(api: ApiSettings) -> ssl.SSLContext | bool:
    """Return what trusts the certificate of the settings, and no other, whatever its names."""
    if api.tls_certificate is None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(api.tls_certificate)
    return context


async def _probe(url: str, context: ssl.SSLContext | bool) -> dict[str, Any]:
    """Return the answer of the readiness probe. Raises HTTPError, OSError or ValueError."""
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=_SECONDS) as client:
        response = await client.get(f"{url}/probe/ready")
    found = msgspec.json.decode(response.content, type=dict[str, Any])
    if "status" not in found:
        raise ValueError(f"it answers with status {response.status_code}, and not as this service does")
    return found


def _readiness(ready: dict[str, Any], addr: str) -> Iterator[Verdict]:
    status = ready["status"]
    if status == "ready":
        yield API.ok("service", f"The service runs on {addr}, and is ready.")
        return
    checks = ready.get("checks") or {}
    bad = {name: check for name, check in checks.items() if isinstance(check, dict) and check.get("state") != "ok"}
    said = "; ".join(f"{name}: {check.get('message', check.get('state'))}" for name, check in bad.items())
    advice = "The other verdicts here tell more, and so does the log of the service."
    word = API.warning if status in {"starting", "draining"} else API.failure
    yield word(
        "service", f"The service runs on {addr}, and says that it is {status}{f' ({said})' if said else ''}.", advice
    )


async def _metadata(url: str, name: str, context: ssl.SSLContext | bool) -> Verdict:
    """Ask as Harbor's TEST CONNECTION does, but for the credentials, which are given to nobody."""
    try:
        # With a transport of its own, no proxy is asked for a server of this machine.
        transport = httpx2.AsyncHTTPTransport(verify=context)
        async with HarborClient(f"{url}/{name}", transport=transport) as harbor:
            scanner = (await harbor.metadata()).scanner
    except UnexpectedStatusError as error:
        if error.status in {401, 403}:
            return API.ok("metadata", f"/{name} answers, and asks for the credentials that stand in Harbor.")
        return API.failure(
            "metadata", f"/{name} answers with status {error.status}: the service was started with other settings.",
            "Restart it.",
        )  # fmt: skip
    except AdapterError as error:
        return API.failure(
            "metadata", f"Harbor would not take what /{name} answers: {error}.", "See the log of the service."
        )
    return API.ok("metadata", f"/{name} answers as {scanner.name} {scanner.version}.")
