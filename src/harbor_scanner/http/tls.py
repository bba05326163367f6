"""TLS for the server: 1.2 and newer, forward-secret AEAD suites only, certificates replaced while it runs."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog

from harbor_scanner.errors import StartError

log = structlog.get_logger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; all suites of TLS 1.3 are of this kind."""

_LOOK_SECONDS = 2.0


class TlsFiles(msgspec.Struct, frozen=True):
    """The files of the settings."""

    certificate: Path
    key: Path
    client_cas: Path | None = None

    def __str__(self) -> str:
        return ", ".join(str(path) for path in (self.certificate, self.key, self.client_cas) if path is not None)

    def fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file is replaced, also by the symbolic links of a Kubernetes Secret."""
        found = []
        for path in (self.certificate, self.key, self.client_cas):
            if path is not None:
                status = os.stat(path)  # noqa: PTH116 - its result is compared as a whole
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)


class ServerTls:
    """A context whose certificate follows its files."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises StartError if the files do not make a working pair."""
        self._files = files
        try:
            self._fingerprint = files.fingerprint()
            self.context = _Following(_load(files))
            self.expires = _expiry(files.certificate)
            """When the first certificate of the chain in use expires, as Unix time; NaN if that cannot be told."""
        except (OSError, ssl.SSLError) as error:
            raise StartError(
                f"The TLS files {files} cannot be used: {error}.",
                "SCANNER_API_TLS_CERTIFICATE needs a PEM certificate, SCANNER_API_TLS_KEY its unencrypted private key, "
                "SCANNER_API_CLIENT_CAS, if set, PEM certificates.",
            ) from error

    def reload(self) -> bool:
        """Use the files as they are now, for new connections, if they changed. Return whether they did.

        Files that do not fit together, as in the middle of a replacement, leave the old certificate in use.
        """
        try:
            fingerprint = self._files.fingerprint()
            if fingerprint == self._fingerprint:
                return False
            self.context.newest = _load(self._files)
            self.expires = _expiry(self._files.certificate)
        except (OSError, ssl.SSLError) as error:
            log.warning("the changed TLS files cannot be used; the old certificate stays", error=str(error))
            return False
        self._fingerprint = fingerprint
        log.info("the TLS certificate was read again", certificate=str(self._files.certificate))
        return True

    async def follow(self) -> None:
        """Look for changed files again and again, for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.reload()


class _Following(ssl.SSLContext):
    """What the server is given once: it hands each new connection to the context that is the newest at that time.

    A context that was loaded again in place would go on trusting the client CAs of before.
    """

    def __new__(cls, _newest: ssl.SSLContext) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, newest: ssl.SSLContext) -> None:
        self.newest = newest

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*arguments, **named)


def _load(files: TlsFiles) -> ssl.SSLContext:
    """Raises OSError or ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    # Without this, a key with a pass phrase would make OpenSSL ask for it on the terminal.
    context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    if files.client_cas is not None:
        context.load_verify_locations(files.client_cas)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _expiry(chain: Path) -> float:
    """Raises OSError."""
    from cryptography import x509  # noqa: PLC0415 - it takes a while, and without TLS nobody needs it

    try:
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
    except ValueError:
        # What is good enough for OpenSSL is served.
        return math.nan
    return min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)
