"""What is kept in Redis or Valkey, and how to ask for it while that server comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
import structlog
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor.models import UNKNOWN_VERSION
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.model import JobState, JobStatus, QueueSnapshot

log = structlog.get_logger(__name__)

T = TypeVar("T")
Script = Callable[..., Awaitable[Any]]

GROUP = "workers"
WORKER_SECONDS = 15.0
"""A worker that has not shown itself for so long is not counted any more."""

_OUTAGE = (
    RedisConnectionError, RedisTimeoutError, OSError,
    BusyLoadingError, ReadOnlyError, MasterDownError, OutOfMemoryError,
)  # fmt: skip
_REFUSALS = ("NOREPLICAS", "MISCONF", "BUSY ")
"""Words with which a server refuses what it will do again when it has its replicas, room on its disk, or time."""
RIGHTS = (
    "Use Redis 6.2 or newer, or Valkey, and let its user run PING, TIME, all data commands, scripts, PUBLISH and "
    "SUBSCRIBE on the keys and channels that begin with SCANNER_STORE_REDIS_NAMESPACE."
)
"""What to do when the server refuses what the service needs."""
_REFUSAL_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class WorkerNotice(msgspec.Struct, frozen=True):
    """What each worker process tells the others of itself."""

    slots: int
    scanner_version: str
    seen_at: float


class Store:
    """Keys, scripts and patience: every other module of `jobs` reaches the server through this one."""

    def __init__(self, connections: Connections, namespace: str) -> None:
        self._connections = connections
        # redis-py's annotations cover both of its ways of decoding replies; these are bytes.
        self._redis: Any = connections.client
        self.namespace = namespace
        self.queue = f"{namespace}:queue"
        self.delayed = f"{namespace}:delayed"
        self.joined = f"{namespace}:joined"
        self.stats = f"{namespace}:stats"
        self.workers = f"{namespace}:workers"
        self.events = f"{namespace}:events"
        self._forget_consumers = self.script("forget_consumers")
        self.reachable_since: float | None = None
        """Since when, by the monotonic clock, every call was answered; None while the server is out of reach."""
        self._refused = "", 0.0

    @property
    def refusal(self) -> str:
        """What the server has refused lately of all that is asked of it; empty if nothing."""
        refusal, when = self._refused
        return refusal if time.monotonic() - when < _REFUSAL_SECONDS else ""

    def job(self, job_id: str) -> str:
        """Return the key of a job."""
        return f"{self.namespace}:job:{job_id}"

    def reports(self, job_id: str) -> str:
        """Return the key of a job's reports, by their kinds."""
        return f"{self.namespace}:reports:{job_id}"

    def companions(self, job_id: str) -> str:
        """Return the key of the jobs that share the run of this one."""
        return f"{self.namespace}:companions:{job_id}"

    def open(self, image: str) -> str:
        """Return the key of what is asked of an image by a job that others may join."""
        return f"{self.namespace}:open:{image}"

    def script(self, name: str) -> Script:
        """Return one of the scripts beside this module."""
        folder = files("harbor_scanner.jobs").joinpath("lua")
        parts = [folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("common", name)]
        script: Script = self._redis.register_script("\n".join(parts))
        return script

    async def call(self, operation: Callable[[Any], Awaitable[T]], patience: float) -> T:
        """Run `operation`, again and again while the server is out of reach, for up to `patience` seconds.

        The operation must bear repeating: the answer to one that took effect may have been lost. Raises
        StoreUnavailableError.
        """
        pause = _FIRST_PAUSE
        failure: Exception | None = None
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        result = await self._attempt(operation)
                    except (RedisError, OSError) as error:
                        if not _will_pass(error):
                            raise
                        failure = error
                        self.reachable_since = None
                        await asyncio.sleep(pause)
                        pause = min(pause * 2, _LONGEST_PAUSE)
                    else:
                        if self.reachable_since is None:
                            self.reachable_since = time.monotonic()
                        return result
        except TimeoutError:
            self.reachable_since = None
            raise StoreUnavailableError(
                f"The store at {self._connections.address} did not answer in {patience:g} seconds"
                + (f": {failure}" if failure else ".")
            ) from failure
        except RedisError as error:
            refusal = f"The store at {self._connections.address} refused a command: {error}"
            if refusal != self.refusal:
                log.error("the store refuses what the service needs", error=refusal, advice=RIGHTS)  # noqa: TRY400
            self._refused = refusal, time.monotonic()
            raise StoreUnavailableError(refusal) from error

    async def ping(self, patience: float) -> None:
        """Raises StoreUnavailableError if the server does not answer."""
        await self.call(lambda redis: redis.ping(), patience)

    async def prepare(self, patience: float) -> None:
        """Create the queue if it is not there. Raises StoreUnavailableError."""
        await self.call(self._create_queue, patience)

    async def _attempt(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        try:
            return await operation(self._redis)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        # The server lost its data, as one without persistence does when it restarts.
        await self._create_queue(self._redis)
        return await operation(self._redis)

    async def _create_queue(self, redis: Any) -> None:
        try:
            await redis.xgroup_create(self.queue, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def find(self, job_id: str, kind: str, patience: float) -> JobStatus | None:
        """Return the state of a job, with its report of a kind if that is there; None if the job is unknown."""

        async def read(redis: Any) -> list[Any]:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.hmget(self.job(job_id), ["state", "error", "sequence", "reports"])
                pipeline.hget(self.reports(job_id), kind)
                return list(await pipeline.execute())

        (state, error, sequence, reports), report = await self.call(read, patience)
        if state is None:
            return None
        return JobStatus(
            state=JobState(state.decode()),
            error=(error or b"").decode(),
            sequence=int(sequence or 0),
            reports=tuple((reports or b"").decode().split()),
            report=report,
        )

    async def snapshot(self, patience: float) -> QueueSnapshot:
        """Return the state of the queue."""

        async def read(redis: Any) -> list[Any]:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.xlen(self.queue)
                pipeline.xpending(self.queue, GROUP)
                pipeline.zcard(self.delayed)
                pipeline.scard(self.joined)
                pipeline.hmget(self.stats, ["scan_seconds", "started"])
                pipeline.hvals(self.workers)
                pipeline.time()
                return list(await pipeline.execute())

        length, pending, delayed, joined, (scan_seconds, started), notices, now = await self.call(read, patience)
        alive = _alive(notices, now)
        return QueueSnapshot(
            queued=length - pending["pending"],
            joined=joined,
            running=pending["pending"],
            delayed=delayed,
            slots=max(1, sum(notice.slots for notice in alive)),
            scan_seconds=float(scan_seconds or 0),
            started_sequence=int(started or 0),
        )

    async def announce(self, worker: str, slots: int, scanner_version: str, patience: float) -> None:
        """Let the other processes know that this worker lives, by the clock of the store that all share."""

        async def tell(redis: Any) -> None:
            seconds, _ = await redis.time()
            await redis.hset(self.workers, worker, msgspec.json.encode(WorkerNotice(slots, scanner_version, seconds)))

        await self.call(tell, patience)

    async def retract(self, worker: str, patience: float) -> None:
        """Let the other processes know that this worker ends, and forget workers that ended without a word."""

        async def forget(redis: Any) -> None:
            entries, now = await redis.hgetall(self.workers), await redis.time()
            gone = [name for name, notice in entries.items() if not _alive([notice], now)]
            await redis.hdel(self.workers, worker, *gone)
            await self._forget_consumers(keys=[self.queue], args=[GROUP, worker], client=redis)

        await self.call(forget, patience)

    async def scanner_version(self, patience: float) -> str:
        """Return the scanner version that a living worker reports, or an empty text."""

        async def read(redis: Any) -> list[WorkerNotice]:
            return _alive(await redis.hvals(self.workers), await redis.time())

        known = [notice.scanner_version for notice in await self.call(read, patience)]
        return next((version for version in known if version not in {"", UNKNOWN_VERSION}), "")

    async def shared_secret(self, proposal: str, patience: float) -> str:
        """Return the secret that all processes of this store share, which is `proposal` if there was none."""
        key = f"{self.namespace}:key"

        async def agree(redis: Any) -> bytes:
            await redis.set(key, proposal, nx=True)
            return bytes(await redis.get(key))

        return (await self.call(agree, patience)).decode()

    async def close_idle(self) -> None:
        """Close connections that nobody used for a while."""
        await self._connections.close_idle()


def _will_pass(error: Exception) -> bool:
    return isinstance(error, _OUTAGE) or any(words in str(error) for words in _REFUSALS)


def _alive(notices: Iterable[bytes], now: tuple[int, int]) -> list[WorkerNotice]:
    """Return the notices of living workers; one that another version of the service left may not be readable."""
    decoded = []
    for notice in notices:
        with contextlib.suppress(msgspec.DecodeError):
            decoded.append(msgspec.json.decode(notice, type=WorkerNotice))
    return [notice for notice in decoded if now[0] - notice.seen_at < WORKER_SECONDS]
