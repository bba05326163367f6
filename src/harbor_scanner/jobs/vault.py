"""Encryption of registry credentials in the store."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from harbor_scanner.errors import ScannerConfigurationError, StoreUnavailableError

_NONCE_BYTES = 12
_SALT = b"harbor-scanner registry credentials"


def new_secret() -> str:
    """Return a fresh secret of 256 bits, as text."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


class Vault:
    """Seals text with AES-256-GCM, bound to the job that it belongs to.

    The key is made from a secret by scrypt, for an operator's secret may be a pass phrase. A secret that all processes
    share through the store is known only when the store answers: until then the vault is locked.
    """

    def __init__(self, secret: str = "") -> None:
        self.unlocked = asyncio.Event()
        self.secret = ""
        """What new text is sealed with; empty while locked."""
        self._ciphers: list[AESGCM] = []
        if secret:
            self.unlock(secret)

    def unlock(self, secret: str) -> None:
        """Seal with this secret from now on; what an earlier one sealed can still be opened."""
        if secret != self.secret:
            key = hashlib.scrypt(secret.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)
            self._ciphers.insert(0, AESGCM(key))
            self.secret = secret
        self.unlocked.set()

    def seal(self, text: str, job_id: str) -> bytes:
        """Return `text` encrypted; only `open` with the same `job_id` and secret reads it.

        Raises StoreUnavailableError while the vault is locked.
        """
        if not self._ciphers:
            raise StoreUnavailableError("The key of the store is not known yet.")
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, text.encode(), job_id.encode())

    def open(self, sealed: bytes, job_id: str) -> str:
        """Return the text. Raises ScannerConfigurationError if it was sealed with another secret.

        Raises StoreUnavailableError while the vault is locked.
        """
        if not self._ciphers:
            raise StoreUnavailableError("The key of the store is not known yet.")
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], job_id.encode()).decode()
        raise ScannerConfigurationError(
            "The registry credentials of this scan job cannot be read: they were stored with another key.",
            "Give all processes the same SCANNER_STORE_KEY, then scan again.",
        )
