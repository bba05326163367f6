"""The settings of the service. Names and defaults are those of the Aqua adapter's README, with our additions."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from harbor_scanner.duration import format_duration
from harbor_scanner.jobs.address import ALLOWED as REDIS_ALLOWED
from harbor_scanner.jobs.settings import RedisSettings, StoreSettings
from harbor_scanner.scanners.aqua import AquaSettings
from harbor_scanner.settings import (
    BOOLEAN,
    OPTIONAL_PATH,
    Effective,
    Kind,
    Loader,
    Setting,
    absolute_path,
    choice,
    duration,
    integer,
    size,
)


class LogLevel(StrEnum):
    """Levels as the Aqua adapter's README lists them; some of them mean the same here."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"
    PANIC = "panic"


class Role(StrEnum):
    """What a process does: both, or one of the two that scale apart over one Redis."""

    ALL = "all"
    API = "api"
    WORKER = "worker"

    @property
    def serves(self) -> bool:
        """Whether this role answers Harbor."""
        return self is not Role.WORKER

    @property
    def scans(self) -> bool:
        """Whether this role runs scans."""
        return self is not Role.API


class ListenAddress(msgspec.Struct, frozen=True):
    """Where the server listens; an empty host means every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


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


def _data_directory(text: str) -> Path:
    if text != DATA_DIR_DEFAULT:
        return absolute_path(text)
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    return absolute_path(base if base.startswith("/") else "~/.local/share") / "harbor-scanner"


DATA_DIR_DEFAULT = "$XDG_DATA_HOME/harbor-scanner"
HOLD_LIMIT = 4.0
"""Seconds; Harbor gives up on a request after five, its body included (Harbor's `rest/v1/client.go`)."""

_NAMED_PORTS = {"http": 80, "https": 443}
"""Known to Go even where there is no /etc/services, as in small container images."""

LISTEN_ADDRESS = Kind(_listen_address, "an address such as :8080, 127.0.0.1:8080 or [::1]:8080")


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged."""

    level: Annotated[
        LogLevel,
        Setting("SCANNER_LOG_LEVEL", "info", choice(LogLevel), "The least level that is logged"),
    ]


class ApiSettings(msgspec.Struct, frozen=True):
    """The HTTP server."""

    addr: Annotated[
        ListenAddress,
        Setting("SCANNER_API_ADDR", ":8080", LISTEN_ADDRESS, "Address the HTTP server listens on"),
    ]
    tls_certificate: Annotated[
        Path | None,
        Setting(
            "SCANNER_API_TLS_CERTIFICATE", "", OPTIONAL_PATH,
            "Absolute path of the x509 certificate file (PEM, with its chain); read again when it changes",
        ),
    ]  # fmt: skip
    tls_key: Annotated[
        Path | None,
        Setting("SCANNER_API_TLS_KEY", "", OPTIONAL_PATH, "Absolute path of the x509 private key file (PEM)"),
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
        ),
    ]
    write_timeout: Annotated[
        float,
        Setting(
            "SCANNER_API_WRITE_TIMEOUT", "15s", duration(),
            "Longest time from the end of the request to the end of the response (0: no limit)",
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


class WorkerSettings(msgspec.Struct, frozen=True):
    """How scans are run."""

    workers: Annotated[int, Setting("SCANNER_WORKERS", "2", integer(1, 1000), "Scans that run at once in this process")]
    max_attempts: Annotated[
        int,
        Setting(
            "SCANNER_MAX_ATTEMPTS", "3", integer(1, 100),
            "Runs of one job when the cause of its failure is not the image (worker death, unreachable console)",
        ),
    ]  # fmt: skip
    data_dir: Annotated[
        Path,
        Setting(
            "SCANNER_DATA_DIR", DATA_DIR_DEFAULT, Kind(_data_directory, "a path"),
            "Directory of the embedded store and of scratch space",
        ),
    ]  # fmt: skip
    disk_floor: Annotated[
        int,
        Setting("SCANNER_DISK_FLOOR", "200Mi", size(), "With less free space than this, scans wait instead of failing"),
    ]
    shutdown_grace: Annotated[
        float,
        Setting(
            "SCANNER_SHUTDOWN_GRACE", "30s", duration(),
            "How long running scans may go on after SIGTERM, before they are given back to the queue",
        ),
    ]  # fmt: skip


class Config(msgspec.Struct, frozen=True):
    """All settings of one process."""

    role: Role
    log: LogSettings
    api: ApiSettings
    worker: WorkerSettings
    store: StoreSettings
    redis: RedisSettings
    aqua: AquaSettings
    effective: tuple[Effective, ...]
    """Every setting with its text and origin, in the order of the documentation."""
    unknown: tuple[str, ...]
    """A line for each variable that looks like a setting and is none."""

    def secrets(self) -> list[str]:
        """Return every secret value among the settings, for redaction."""
        address = self.redis.address
        settings = ((entry.setting, entry.text) for entry in self.effective)
        found = [text for setting, text in settings if setting.secret and setting.redacted and setting.mask is None]
        found += [self.api.auth_basic.partition(":")[2], *self.api.auth_tokens, address.password if address else ""]
        found.append(self.aqua.host.rpartition("@")[0].rpartition("://")[2].partition(":")[2])
        return [secret for secret in found if secret]


GROUPS: tuple[type[msgspec.Struct], ...] = (
    LogSettings, ApiSettings, AquaSettings, WorkerSettings, StoreSettings, RedisSettings,
)  # fmt: skip


def load_config(environment: Mapping[str, str], role: Role = Role.ALL) -> Config:
    """Read the settings from `environment`. Raises SettingsError, which lists all problems."""
    loader = Loader(environment)
    log = loader.load(LogSettings)
    api = loader.load(ApiSettings)
    aqua = loader.load(AquaSettings)
    worker = loader.load(WorkerSettings)
    store = loader.load(StoreSettings)
    redis = loader.load(RedisSettings)
    if api is not None and role.serves:
        _check_api(loader, api)
    if aqua is not None and role.scans:
        _check_aqua(loader, aqua)
    if redis is not None and role is not Role.ALL:
        loader.require(
            redis.address,
            f"SCANNER_REDIS_URL: it is needed with --role {role}, for API and workers meet in one Redis; "
            f"it must be {REDIS_ALLOWED}",
        )
    if redis is not None and redis.ca_file is not None:
        _check_readable(loader, "SCANNER_REDIS_TLS_CA", redis.ca_file)
    loader.finish()
    assert log and api and aqua and worker and store and redis  # noqa: S101, PT018 - `finish` raised otherwise
    return Config(
        role=role, log=log, api=api, aqua=aqua, worker=worker, store=store, redis=redis,
        effective=tuple(loader.effective), unknown=tuple(loader.unknown()),
    )  # fmt: skip


def _check_api(loader: Loader, api: ApiSettings) -> None:
    loader.require(
        (api.tls_certificate is None) == (api.tls_key is None),
        "SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY: set both for TLS, or neither for plain HTTP",
    )
    loader.require(
        api.client_cas is None or api.tls,
        "SCANNER_API_CLIENT_CAS: client certificates need TLS; set SCANNER_API_TLS_CERTIFICATE and SCANNER_API_TLS_KEY",
    )
    loader.require(
        not api.write_timeout or api.poll_hold < api.write_timeout,
        f"SCANNER_API_POLL_HOLD: {format_duration(api.poll_hold)} is not allowed; "
        f"it must be shorter than SCANNER_API_WRITE_TIMEOUT ({format_duration(api.write_timeout)})",
    )
    _check_readable(loader, "SCANNER_API_TLS_CERTIFICATE", api.tls_certificate)
    _check_readable(loader, "SCANNER_API_TLS_KEY", api.tls_key)
    _check_readable(loader, "SCANNER_API_CLIENT_CAS", api.client_cas)


def _check_aqua(loader: Loader, aqua: AquaSettings) -> None:
    if aqua.token:
        return
    either = "(or set SCANNER_AQUA_TOKEN instead of user and password)"
    loader.require(aqua.username, f"SCANNER_AQUA_USERNAME: it is required; a user of the Aqua console {either}")
    loader.require(aqua.password, f"SCANNER_AQUA_PASSWORD: it is required; that user's password {either}")


def _check_readable(loader: Loader, name: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        loader.problems.append(f"{name}: {str(path)!r} cannot be read: {error.strerror}")
