"""What certificates say, and why one is not trusted."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from harbor_scanner.doctor.check import TroubleError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOON = timedelta(days=30)
"""A certificate that ends in less time should be renewed now."""
TRUST = (
    "Let SSL_CERT_FILE name a file (PEM) with the certificate of that authority beside the others that are trusted, "
    "for the service and so for its scanners."
)
_SECONDS = 3.0
_EXPIRED, _NOT_YET = 10, 9
_SELF_SIGNED = 18
_UNKNOWN_AUTHORITY = {2, 19, 20, 21}
_OTHER_NAME = {62, 64}
"""Reasons of OpenSSL (x509_vfy.h)."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that led to it, the last one first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def names(certificate: Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for (its SAN): Go looks at no others."""
    from cryptography import x509  # noqa: PLC0415 - it takes a while, and the service does without

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    return [*extension.get_values_for_type(x509.DNSName), *addresses]


def for_servers(certificate: Certificate) -> bool:
    """Return whether a server may show a certificate: Go takes none whose extendedKeyUsage leaves servers out."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    return not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(usage)


def load_chain(data: bytes) -> list[Certificate]:
    """Return the certificates of a PEM file, the server's own first. Raises ValueError."""
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificates(data)


def day(moment: datetime) -> str:
    """Return a time as people read it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


async def tls_trouble(
    error: BaseException, whom: str, host: str, port: int, *, advice: str = TRUST, direct: bool = True
) -> TroubleError | None:
    """Return what is wrong with the TLS of a server by the error that a connection ended in; None if it is not TLS.

    `advice` tells how to trust an authority. The certificate itself is looked at only if the way there is `direct`.
    """
    found = next((cause for cause in causes(error) if isinstance(cause, ssl.SSLError)), None)
    if found is None:
        return None
    if not isinstance(found, ssl.SSLCertVerificationError):
        if any(word in str(found).upper() for word in _NO_TLS):
            return TroubleError(
                f"{whom} at {host}:{port} does not speak TLS.",
                "Correct its address: http instead of https, or the port.",
            )
        return TroubleError(
            f"No TLS connection with {whom} at {host}:{port} can be made: {found.reason or found}.",
            "See which versions of TLS it speaks, and whether it wants a certificate of its clients.",
        )
    certificate = await _presented(host, port) if direct else None
    return _untrusted(found, whom, host, certificate, advice)


def _untrusted(
    error: ssl.SSLCertVerificationError, whom: str, host: str, certificate: Certificate | None, advice: str
) -> TroubleError:
    code = error.verify_code
    issuer = f" by {certificate.issuer.rfc4514_string()!r}" if certificate is not None else " by"
    if code in _OTHER_NAME:
        given = ", ".join(names(certificate)) if certificate is not None else ""
        others = f": it is for {given}" if given else " (it names none, or others)"
        return TroubleError(
            f"The certificate of {whom} is not for {host}{others}.",
            "Use one of its names in the address, or give the server a certificate with this name (SAN).",
        )
    if code == _EXPIRED:
        since = f" on {day(certificate.not_valid_after_utc)}" if certificate is not None else ""
        return TroubleError(
            f"A certificate of {whom} at {host} has expired{since}.",
            "Renew it there. If that date is not past, the clock of this machine is wrong.",
        )
    if code == _NOT_YET:
        begin = f" before {day(certificate.not_valid_before_utc)}" if certificate is not None else " yet"
        return TroubleError(
            f"The certificate of {whom} at {host} is not valid{begin}.",
            "If that is past, the clock of this machine is wrong.",
        )
    if code == _SELF_SIGNED:
        return TroubleError(f"The certificate of {whom} at {host} is signed by itself, and not trusted here.", advice)
    if code in _UNKNOWN_AUTHORITY:
        return TroubleError(
            f"The certificate of {whom} at {host} is signed{issuer}, an authority that is not trusted here; or the "
            "server leaves out the certificates between.",
            advice,
        )
    return TroubleError(f"The certificate of {whom} at {host} is not trusted: {error.verify_message}.", advice)


async def _presented(host: str, port: int) -> Certificate | None:
    """Return the certificate that a server shows, whether it can be trusted or not; None if it shows none."""
    from cryptography import x509  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and nothing is believed
    with contextlib.suppress(OSError, ValueError):
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                shown: Any = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                writer.transport.abort()
        return x509.load_der_x509_certificate(shown) if shown else None
    return None
