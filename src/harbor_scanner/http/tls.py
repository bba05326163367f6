"""TLS for the server: 1.2 and newer, forward-secret AEAD suites only, certificates replaced while it runs."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

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
        self.context = _new_context()
        try:
            self._fingerprint = files.fingerprint()
            _load(self.context, files)
        except (OSError, ssl.SSLError) as error:
            raise StartError(
                f"The TLS files {files.certificate} and {files.key} cannot be used: {error}.",
                "SCANNER_API_TLS_CERTIFICATE needs a PEM certificate, SCANNER_API_TLS_KEY its unencrypted private key.",
            ) from error

    def reload(self) -> bool:
        """Use the files as they are now, for new connections, if they changed. Return whether they did.

        Files that do not fit together, as in the middle of a replacement, leave the old certificate in use.
        """
        try:
            fingerprint = self._files.fingerprint()
            if fingerprint == self._fingerprint:
                return False
            _load(_new_context(), self._files)
            _load(self.context, self._files)
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


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    if files.client_cas is not None:
        context.load_verify_locations(files.client_cas)
        context.verify_mode = ssl.CERT_REQUIRED
