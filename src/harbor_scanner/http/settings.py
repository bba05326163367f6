"""The settings of the HTTP server."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from harbor_scanner.duration import format_duration
from harbor_scanner.settings import BOOLEAN, OPTIONAL_BOOLEAN, OPTIONAL_PATH, Kind, Setting, duration, unreadable

HOLD_LIMIT = 4.0
"""Seconds; Harbor gives up on a request after five, its body included (Harbor's `rest/v1/client.go`)."""

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is connected to
"""For every address of a kind, one of them."""
_NAMED_PORTS = {"http": 80, "https": 443}
"""Known to Go even where there is no /etc/services, as in small container images."""


class ListenAddress(msgspec.Struct, frozen=True):
    """Where the server listens; an empty host means every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def from_here(self) -> ListenAddress:
        """The address by which this machine itself connects."""
        return ListenAddress(_LOOPBACK.get(self.host, self.host), self.port)


def _listen_address(text: str) -> ListenAddress:
    match = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[\w-]+)", text, re.ASCII)
    if not match:
        raise ValueError
    port = int(match["port"]) if match["port"].isdecimal() else _service_port(match["port"])
    if port >= 2**16:
        raise ValueError
    return ListenAddress(match["v6"] or match["host"] or "", port)


def _service_port(name: str) -> int:
    try:
        return _NAMED_PORTS.get(name) or socket.getservbyname(name, "tcp")
    except OSError:
        raise ValueError from None


def _basic_credentials(text: str) -> str:
    username, separator, password = text.partition(":")
    if text and not (separator and username and password):
        raise ValueError
    return text


def _tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(token.strip() for token in text.split(",") if token.strip())
    # Who set something wanted clients to be checked: no token at all would let everybody in.
    if text and not tokens:
        raise ValueError
    return tokens


def _any_host(text: str) -> str:
    """Return the address that a bare port stands for."""
    return f":{text}" if text.isdecimal() else text


LISTEN_ADDRESS = Kind(_listen_address, "an address such as :8080, 127.0.0.1:8080 or [::1]:8080")


class ApiSettings(msgspec.Struct, frozen=True):
    """The HTTP server."""

    addr: Annotated[
        ListenAddress,
        Setting(
            "SCANNER_API_ADDR", ":8080", LISTEN_ADDRESS, "Address the HTTP server listens on",
            keys=("service.port",), read_key=_any_host, key_allowed="a port such as 5000", values_default=":5000",
        ),
    ]  # fmt: skip
    tls_enabled: Annotated[
        bool | None,
        Setting(
            "SCANNER_API_TLS_ENABLED", "", OPTIONAL_BOOLEAN,
            "Whether the server speaks TLS. Empty: if it has a certificate, but not one of `service.tlsCertData`",
            keys=("service.tlsEnabled",),
        ),
    ]  # fmt: skip
    tls_certificate: Annotated[
        Path | None,
        Setting(
            "SCANNER_API_TLS_CERTIFICATE", "", OPTIONAL_PATH,
            "Absolute path of the x509 certificate file (PEM, with its chain); read again when it changes",
            keys=("service.tlsCertData",),
        ),
    ]  # fmt: skip
    tls_key: Annotated[
        Path | None,
        Setting(
            "SCANNER_API_TLS_KEY",
            "",
            OPTIONAL_PATH,
            "Absolute path of the x509 private key file (PEM)",
            keys=("service.tlsKeyData",),
        ),
    ]
    client_cas: Annotated[
        Path | None,
        Setting(
            "SCANNER_API_CLIENT_CAS", "", OPTIONAL_PATH,
            "CA file (PEM): clients must then show a certificate signed by one of them (Harbor itself cannot)",
        ),
    ]  # fmt: skip
    read_timeout: Annotated[
        float,
        Setting(
            "SCANNER_API_READ_TIMEOUT",
            "15s",
            duration(),
            "Longest time for reading a request with its body (0: no limit)",
            keys=("service.maxTimeout",),
            values_default="1m",
        ),
    ]
    write_timeout: Annotated[
        float,
        Setting(
            "SCANNER_API_WRITE_TIMEOUT", "15s", duration(),
            "Longest time from the end of the request to the end of the response (0: no limit)",
            keys=("service.maxTimeout",), values_default="1m",
        ),
    ]  # fmt: skip
    idle_timeout: Annotated[
        float,
        Setting(
            "SCANNER_API_IDLE_TIMEOUT", "60s", duration(),
            "How long a kept-alive connection may wait for its next request (0: the read timeout)",
        ),
    ]  # fmt: skip
    poll_hold: Annotated[
        float,
        Setting(
            "SCANNER_API_POLL_HOLD", "3s", duration(0, HOLD_LIMIT),
            "How long a poll of an unfinished report is held, so that the report leaves the moment it is there "
            "(0: not at all)",
        ),
    ]  # fmt: skip
    legacy_report: Annotated[
        bool,
        Setting(
            "SCANNER_API_LEGACY_REPORT", "false", BOOLEAN,
            "Also advertise the report type 1.0, for Harbor 1.10 to 2.1; either type is served in any case",
        ),
    ]  # fmt: skip
    auth_basic: Annotated[
        str,
        Setting(
            "SCANNER_API_AUTH_BASIC", "", Kind(_basic_credentials, "user:password"),
            "`user:password` that clients must send as Basic authorization", secret=True,
        ),
    ]  # fmt: skip
    auth_tokens: Annotated[
        tuple[str, ...],
        Setting(
            "SCANNER_API_AUTH_TOKENS", "", Kind(_tokens, "a comma list of tokens"),
            "Comma list of tokens that clients may send as Bearer authorization or as X-ScannerAdapter-API-Key; "
            "two at once allow a rotation", secret=True,
        ),
    ]  # fmt: skip

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS."""
        return self.tls_certificate is not None


def problems(api: ApiSettings) -> Iterator[str]:
    """Yield what does not fit together, a line each that names the setting."""
    if (api.tls_certificate is None) != (api.tls_key is None):
        yield "SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY: set both for TLS, or neither for plain HTTP"
    if api.tls_enabled and api.tls_certificate is None and api.tls_key is None:
        yield "SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY: SCANNER_API_TLS_ENABLED is true and needs them"
    if api.client_cas is not None and not api.tls:
        yield (
            "SCANNER_API_CLIENT_CAS: client certificates need TLS; "
            "set SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY"
        )
    if api.write_timeout and api.poll_hold >= api.write_timeout:
        yield (
            f"SCANNER_API_POLL_HOLD: {format_duration(api.poll_hold)} is not allowed; "
            f"it must be shorter than SCANNER_API_WRITE_TIMEOUT ({format_duration(api.write_timeout)})"
        )
    yield from unreadable("SCANNER_API_TLS_CERTIFICATE", api.tls_certificate)
    yield from unreadable("SCANNER_API_TLS_KEY", api.tls_key)
    yield from unreadable("SCANNER_API_CLIENT_CAS", api.client_cas)
