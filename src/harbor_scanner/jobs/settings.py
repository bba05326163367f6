"""The settings of the store and of the connection to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from harbor_scanner.jobs.address import ALLOWED as REDIS_ALLOWED
from harbor_scanner.jobs.address import RedisAddress, mask_redis_url, parse_redis_url
from harbor_scanner.settings import OPTIONAL_PATH, TEXT, Kind, Setting, duration, integer


def _redis_address(text: str) -> RedisAddress | None:
    return parse_redis_url(text) if text else None


def _hours(text: str) -> str:
    """Return the duration that a bare number of hours stands for."""
    return f"{text}h" if re.fullmatch(r"\d+(\.\d+)?|\.\d+", text, re.ASCII) else text


class StoreSettings(msgspec.Struct, frozen=True):
    """Scan jobs and reports in the store."""

    namespace: Annotated[
        str,
        Setting("SCANNER_STORE_REDIS_NAMESPACE", "harbor.scanner.aqua:store", TEXT, "Prefix of all keys in the store"),
    ]
    scan_job_ttl: Annotated[
        float,
        Setting(
            "SCANNER_STORE_REDIS_SCAN_JOB_TTL", "1h", duration(1),
            "How long scan jobs and their reports are kept, counted from the end of the scan",
            keys=("service.scanJobTTLHour",), read_key=_hours, key_allowed="a number of hours, such as 1 or 0.5",
        ),
    ]  # fmt: skip
    key: Annotated[
        str,
        Setting(
            "SCANNER_STORE_KEY", "", TEXT,
            "Secret from which the key is made that encrypts registry credentials in the store; "
            "the same in all processes. Without it a key is made once and kept in the data directory, "
            "or in the Redis of SCANNER_REDIS_URL",
            secret=True,
        ),
    ]  # fmt: skip


class RedisSettings(msgspec.Struct, frozen=True):
    """The connection to Redis or Valkey."""

    address: Annotated[
        RedisAddress | None,
        Setting(
            "SCANNER_REDIS_URL", "", Kind(_redis_address, REDIS_ALLOWED),
            "Redis or Valkey server, standalone (`redis://:password@host:port/0`, `rediss://` with TLS) or behind "
            "Sentinels (`redis+sentinel://:password@host1:port1,host2:port2/master-name/0`). "
            "Empty: an embedded store in the data directory",
            secret=True, mask=mask_redis_url, keys=("redis.url",),
        ),
    ]  # fmt: skip
    sentinel_username: Annotated[
        str,
        Setting("SCANNER_REDIS_SENTINEL_USERNAME", "", TEXT, "User of the Sentinels themselves, if they ask for one"),
    ]
    sentinel_password: Annotated[
        str,
        Setting("SCANNER_REDIS_SENTINEL_PASSWORD", "", TEXT, "Password of the Sentinels themselves", secret=True),
    ]
    ca_file: Annotated[
        Path | None,
        Setting(
            "SCANNER_REDIS_TLS_CA", "", OPTIONAL_PATH,
            "CA file (PEM) for `rediss://`, when the server's certificate is not signed by a CA that the system knows",
        ),
    ]  # fmt: skip
    pool_max_active: Annotated[
        int,
        Setting(
            "SCANNER_REDIS_POOL_MAX_ACTIVE",
            "5",
            integer(0, 10_000),
            "Most connections at once, one of them for events; more callers wait (0: no limit)",
            keys=("redis.maxActiveConnections",),
        ),
    ]
    pool_max_idle: Annotated[
        int,
        Setting(
            "SCANNER_REDIS_POOL_MAX_IDLE",
            "5",
            integer(0, 10_000),
            "Most connections kept open while idle",
            keys=("redis.maxIdleConnections",),
        ),
    ]
    pool_idle_timeout: Annotated[
        float,
        Setting(
            "SCANNER_REDIS_POOL_IDLE_TIMEOUT", "5m", duration(),
            "Idle time after which a connection is closed (0: never)",
        ),
    ]  # fmt: skip
    connection_timeout: Annotated[
        float,
        Setting(
            "SCANNER_REDIS_POOL_CONNECTION_TIMEOUT",
            "1s",
            duration(),
            "Time limit for connecting (0: no limit)",
            keys=("service.maxTimeout",),
            values_default="1m",
        ),
    ]
    read_timeout: Annotated[
        float,
        Setting(
            "SCANNER_REDIS_POOL_READ_TIMEOUT",
            "1s",
            duration(),
            "Time limit for reading the reply to one command (0: no limit)",
            keys=("service.maxTimeout",),
            values_default="1m",
        ),
    ]
    write_timeout: Annotated[
        float,
        Setting(
            "SCANNER_REDIS_POOL_WRITE_TIMEOUT",
            "1s",
            duration(),
            "Time limit for writing one command (0: no limit)",
            keys=("service.maxTimeout",),
            values_default="1m",
        ),
    ]
