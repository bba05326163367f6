"""The store: a Redis or Valkey of the operator's, or the one that comes with the service."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from harbor_scanner.config import Config
from harbor_scanner.doctor.certificates import causes, tls_trouble
from harbor_scanner.doctor.check import Area, TroubleError, Verdict
from harbor_scanner.doctor.clock import Offset
from harbor_scanner.doctor.workshop import Workshop
from harbor_scanner.embedded import EmbeddedStore, socket_in
from harbor_scanner.errors import StartError
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.store import RIGHTS

STORE = Area("store")

_PINGS = 5
_SLOW = 0.1
"""Seconds of the fastest answer, of which a poll needs several."""
_OLDEST = (6, 2)
_NEARLY_FULL = 0.9
_KEEP_SECONDS = 60
_WRITES = """
redis.call('XADD', KEYS[1], '*', 'a', 'b')
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[1], 'doctor', '0')
return redis.call('TIME')
"""


async def look(config: Config, workshop: Workshop, offsets: list[Offset]) -> AsyncIterator[Verdict]:
    """Yield what is to be said of the store of these settings. Nothing that a running service has is touched."""
    if config.redis.address is None:
        async for verdict in _embedded(config, workshop):
            yield verdict
        return
    connections = Connections(config.redis, config.redis.address)
    try:
        async for verdict in _server(connections, config.store.namespace, offsets):
            yield verdict
    except TroubleError as trouble:
        yield trouble.verdict(STORE, "connection")
        return
    finally:
        await connections.close()
    yield _key(config)


async def _server(connections: Connections, namespace: str, offsets: list[Offset]) -> AsyncIterator[Verdict]:
    """Raises TroubleError if the server does not answer."""
    redis: Any = connections.client
    address = connections.address
    try:
        await redis.ping()
        yield STORE.ok("connection", f"{address} answers and accepts the login.")
        yield await _latency(redis, offsets)
    except (RedisError, OSError) as error:
        raise await _trouble(error, address) from error
    about = {}
    try:
        about = await redis.info()
    except NoPermissionError as error:
        yield STORE.unknown("server", f"{address} does not tell of itself: {error}.", f"Allow INFO. {RIGHTS}")
    except (RedisError, OSError) as error:
        raise await _trouble(error, address) from error
    for verdict in _qualities(about):
        yield verdict
    yield await _rights(redis, namespace)


async def _latency(redis: Any, offsets: list[Offset]) -> Verdict:
    seconds = []
    for _ in range(_PINGS):
        began = time.monotonic()
        await redis.ping()
        seconds.append(time.monotonic() - began)
    before = time.time()
    whole, micro = await redis.time()
    offsets.append(Offset("the store", whole + micro / 1e6 - (before + time.time()) / 2))
    fastest = min(seconds)
    if fastest > _SLOW:
        return STORE.warning(
            "latency", f"It takes {fastest * 1000:.0f} ms to answer; every poll of Harbor waits for several answers.",
            "Have the store run near the service.",
        )  # fmt: skip
    return STORE.ok("latency", f"It answers in {fastest * 1000:.1f} ms.")


def _qualities(about: Mapping[str, Any]) -> list[Verdict]:
    """Return what the server's own account of itself (INFO) gives rise to."""
    if not about:
        return []
    return [verdict for verdict in (_version(about), _role(about), *_memory(about), *_persistence(about)) if verdict]


def _version(about: Mapping[str, Any]) -> Verdict:
    version = str(about.get("redis_version", ""))
    valkey = about.get("valkey_version")
    shown = f"Valkey {valkey}" if valkey else f"Redis {version}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST:
        return STORE.failure("version", f"It is {shown}, which lacks what the queue needs.", RIGHTS)
    return STORE.ok("version", f"It is {shown}.")


def _role(about: Mapping[str, Any]) -> Verdict | None:
    if "cluster" in {about.get("redis_mode"), about.get("server_mode")}:
        return STORE.failure(
            "role", "It is a cluster, where keys of one job lie on several servers.",
            "Let SCANNER_REDIS_URL name a server alone, or Sentinels.",
        )  # fmt: skip
    if about.get("role") == "slave":
        return STORE.failure(
            "role",
            "It is a replica, which takes no writes.",
            "Let SCANNER_REDIS_URL name the master, or the Sentinels.",
        )
    return None


def _memory(about: Mapping[str, Any]) -> list[Verdict]:
    limit, used, policy = about.get("maxmemory", 0), about.get("used_memory", 0), about.get("maxmemory_policy", "")
    if not limit:
        return [STORE.ok("memory", f"It has no limit of memory, and uses {used / 2**20:,.0f} MiB.")]
    verdicts = []
    if policy != "noeviction":
        verdicts.append(STORE.warning(
            "memory", f"Its policy is {policy}: when its {limit / 2**20:,.0f} MiB are full, it throws away jobs that "
            "were accepted.", "Set `maxmemory-policy noeviction` there.",
        ))  # fmt: skip
    if used > _NEARLY_FULL * limit:
        verdicts.append(STORE.warning(
            "memory", f"{used / 2**20:,.0f} of its {limit / 2**20:,.0f} MiB are used; when they are full, no scan is "
            "accepted.", "Give it more memory, or lower SCANNER_STORE_REDIS_SCAN_JOB_TTL.",
        ))  # fmt: skip
    return verdicts or [STORE.ok("memory", f"Its policy is noeviction, its limit {limit / 2**20:,.0f} MiB.")]


def _persistence(about: Mapping[str, Any]) -> list[Verdict]:
    disk = "Look into its log: a full disk is the usual cause."
    if about.get("aof_last_write_status", "ok") != "ok":
        return [STORE.failure(
            "persistence", "It cannot write to its disk (aof_last_write_status), and refuses jobs for that.", disk
        )]  # fmt: skip
    if about.get("rdb_last_bgsave_status", "ok") != "ok":
        # Whether it refuses writes for that is up to its settings, and seen when one is tried.
        return [STORE.warning(
            "persistence", "Its last snapshot failed (rdb_last_bgsave_status); unless told otherwise it refuses jobs "
            "until one does not.", disk,
        )]  # fmt: skip
    if about.get("loading"):
        return [STORE.warning("persistence", "It is reading its data, and answers later.", "Wait until it has.")]
    if about.get("aof_enabled"):
        return [STORE.ok("persistence", "It keeps an append-only file.")]
    return [STORE.warning(
        "persistence", "It keeps no append-only file: what was accepted last is lost when it ends without warning.",
        "Set `appendonly yes` there.",
    )]  # fmt: skip


async def _rights(redis: Any, namespace: str) -> Verdict:
    """Do what the service does, with keys of our own that are gone afterwards."""
    key = f"{namespace}:doctor:{os.urandom(8).hex()}"
    stream = f"{key}:stream"
    try:
        await redis.set(key, b"1", ex=_KEEP_SECONDS, nx=True)
        await redis.eval(_WRITES, 1, stream, _KEEP_SECONDS)
        await redis.xreadgroup("doctor", "doctor", {stream: ">"}, count=1)
        await redis.xautoclaim(stream, "doctor", "doctor", 0)
        await redis.publish(key, b"")
    except (RedisError, OSError) as error:
        return STORE.failure("rights", f"It refuses what the service must do: {error}.", RIGHTS)
    finally:
        with contextlib.suppress(RedisError, OSError):  # it would go by itself in a minute
            await redis.delete(key, stream)
    return STORE.ok("rights", "Its user may write, work on a queue, run scripts and publish.")


def _key(config: Config) -> Verdict:
    if config.store.key:
        return STORE.ok("key", "SCANNER_STORE_KEY is set; it must be the same in all processes.")
    return STORE.warning(
        "key", "The key that encrypts registry credentials lies in the same Redis as they do.",
        "Set SCANNER_STORE_KEY (or SCANNER_STORE_KEY_FILE), the same in all processes.",
    )  # fmt: skip


async def _trouble(error: Exception, address: RedisAddress) -> TroubleError:
    """Return why the server cannot be used."""
    if any(isinstance(cause, AuthenticationError) for cause in causes(error)):
        return TroubleError(
            f"{address} refuses the login: {str(error).rstrip('.')}.",
            "Correct user and password in SCANNER_REDIS_URL (redis.url), or of the Sentinels in "
            "SCANNER_REDIS_SENTINEL_USERNAME and SCANNER_REDIS_SENTINEL_PASSWORD.",
        )
    host, port = address.hosts[0] if address.hosts else ("", 0)
    trust = "Let SCANNER_REDIS_TLS_CA name a file with the certificate of that authority."
    if address.tls and (tls := await tls_trouble(error, "the store", host, port, advice=trust)):
        return tls
    if any(isinstance(cause, socket.gaierror) for cause in causes(error)):
        return TroubleError(
            f"The host of {address} is not known: {error}.",
            "Correct it in SCANNER_REDIS_URL (redis.url); see that name resolution works here.",
        )
    if isinstance(error, NoPermissionError):
        return TroubleError(f"{address} refuses its user the simplest things: {error}.", RIGHTS)
    if isinstance(error, ResponseError):
        return TroubleError(
            f"{address} refuses what it is asked: {str(error).rstrip('.')}.",
            "See the log of that server; the number of a database in SCANNER_REDIS_URL (redis.url) must be one it has.",
        )
    other = "redis://, if it does not speak TLS" if address.tls else "rediss://, if it speaks TLS"
    return TroubleError(
        f"{address} does not answer: {str(error).rstrip('.')}.",
        f"See that it runs, and that this machine may reach it. Its URL begins with {other}.",
    )


async def _embedded(config: Config, workshop: Workshop) -> AsyncIterator[Verdict]:
    try:
        listening = socket_in(config.worker.data_dir)
    except StartError as error:
        yield STORE.failure("embedded", *told(error))
        return
    running = Connections(config.redis, RedisAddress(socket=listening))
    try:
        redis: Any = running.client
        await redis.ping()
        about = await redis.info()
    except (RedisError, OSError) as error:
        if any(isinstance(cause, PermissionError) for cause in causes(error)):
            yield STORE.unknown(
                "embedded", f"A store may run at {listening}, but this user may not ask it.",
                "Run this as the user of the service.",
            )  # fmt: skip
            return
        if not any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes(error)):
            yield STORE.failure(
                "embedded", f"The embedded store at {listening} does not answer: {str(error).rstrip('.')}.",
                "Look into server.log beside it, and at the load of this machine; a restart of the service starts it "
                "again.",
            )  # fmt: skip
            return
    else:
        yield STORE.ok("embedded", f"The embedded store runs, and answers at {listening}.")
        for verdict in _persistence(about):
            yield verdict
        return
    finally:
        await running.close()
    yield await _trial(workshop)


async def _trial(workshop: Workshop) -> Verdict:
    """Start a store of our own, in a directory of our own, and end it."""
    place = workshop.directory / "trial"
    try:
        socket_in(place)
    except StartError:
        return STORE.unknown(
            "embedded", f"The embedded store does not run now, and cannot be tried in {place}: the path is too long.",
            "Let TMPDIR name a directory with a shorter path.",
        )  # fmt: skip
    try:
        async with EmbeddedStore.open(place, workshop.processes.adopt):
            return STORE.ok("embedded", "The embedded store does not run now; one was started for a try, and works.")
    except StartError as error:
        what, advice = told(error)
        return STORE.failure("embedded", f"The embedded store cannot run here: {what}", advice)


def told(error: StartError) -> tuple[str, str]:
    """Return what happened and what to do, from an error of the service's start."""
    what, _, advice = str(error).partition("\n")
    return what, advice
