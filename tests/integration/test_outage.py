"""A server that is killed, hangs, is late or comes back empty: nothing accepted is lost, and all goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import BusyLoadingError

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.jobs.model import JobState
from support.jobs import KEEP, PATIENCE, Station, ride_out, scan_request, station, until, vulnerabilities
from support.redis_servers import RedisServer, program, serving

LONG = 60.0
"""Seconds of patience that outlast every outage here."""


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.redis)])
def durable(request: pytest.FixtureRequest, short_dir: Path) -> Iterator[RedisServer]:
    """A server of this test's own, which syncs every change to its append-only file."""
    engine = request.getfixturevalue("redis_program") if request.param == "redis" else program("valkey")
    with serving(engine, short_dir / "durable", durable=True) as server:
        yield server


@pytest.fixture
def own(short_dir: Path) -> Iterator[RedisServer]:
    """A server of this test's own, which keeps nothing on disk."""
    with serving(program("valkey"), short_dir / "own") as server:
        yield server


class Load:
    """Jobs that are accepted and worked on all the time."""

    def __init__(self, api: Station, worker: Station) -> None:
        self._api = api
        self._worker = worker
        self._numbers = itertools.count()
        self._closing = False
        self._accepting = 0
        self.accepted: list[str] = []
        self.ends: Counter[str] = Counter()

    async def accept(self) -> None:
        self._accepting += 1
        while not self._closing:
            job_id = f"job-{next(self._numbers)}"
            await self._api.queue.accept(job_id, scan_request(), LONG)
            self.accepted.append(job_id)
        self._accepting -= 1

    async def work(self) -> None:
        queue = self._worker.queue
        while self._accepting or not (self._closing and len(self.ends) == len(self.accepted)):
            # One worker, which runs nothing while it looks for what is left of an outage.
            leases = await ride_out(lambda: queue.lease(4)) or await ride_out(lambda: queue.reclaim(4, idle_seconds=0))
            for lease in leases:
                reports = vulnerabilities(lease, lease.job_id.encode())
                if await ride_out(lambda: queue.finish(lease, reports, KEEP, 1.0)):  # noqa: B023
                    self.ends[lease.job_id] += 1

    async def more(self, count: int) -> None:
        """Wait until so many more were accepted and have ended."""
        goal = len(self.ends) + count
        await until(lambda: len(self.ends) >= goal, f"{goal} jobs ended", LONG)

    def close(self) -> None:
        self._closing = True


def test_every_accept_that_returned_survives_the_kill_and_every_job_ends_once(
    durable: RedisServer, namespace: str
) -> None:
    async def scenario() -> None:
        async with station(durable.address, namespace, "api") as api, station(durable.address, namespace) as worker:
            load = Load(api, worker)
            async with asyncio.timeout(LONG * 2), asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(load.accept())
                tasks.create_task(load.work())
                for _ in range(3):
                    await load.more(20)
                    durable.kill()
                    await asyncio.sleep(0.1)
                    await asyncio.to_thread(durable.start)
                await load.more(20)
                load.close()
            assert load.ends == dict.fromkeys(load.accepted, 1)
            for job_id in load.accepted:
                status = await api.store.find(job_id, VULNERABILITY, PATIENCE)
                assert status is not None
                assert (status.state, status.report) == (JobState.FINISHED, job_id.encode())
            assert durable.ask("XLEN", api.store.queue) == 0

    asyncio.run(scenario())


def test_what_was_accepted_just_before_the_kill_is_there_with_its_credentials(
    durable: RedisServer, namespace: str
) -> None:
    async def scenario() -> None:
        async with station(durable.address, namespace) as here:
            for number in range(5):
                await here.queue.accept(f"job-{number}", scan_request(number), LONG)
                durable.kill()
                durable.start()
            leases = await here.queue.lease(9)
            assert [here.queue.open_request(lease) for lease in leases] == list(map(scan_request, range(5)))

    asyncio.run(scenario())


def test_a_call_waits_for_the_server_no_longer_than_its_patience(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace, read_timeout=LONG) as here:
            for outage, remedy in ((own.kill, own.start), (own.pause, own.resume)):
                outage()
                began = time.monotonic()
                async with asyncio.timeout(LONG / 2):
                    with pytest.raises(StoreUnavailableError, match=r"did not answer in 0\.3 seconds"):
                        await here.store.ping(0.3)
                assert time.monotonic() - began >= 0.29
                assert here.store.reachable_since is None
                remedy()
                await here.store.ping(LONG)
                assert here.store.reachable_since is not None

    asyncio.run(scenario())


def test_a_call_that_is_patient_enough_gets_its_answer(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace, read_timeout=0.2) as here:
            for outage, remedy in ((own.kill, own.start), (own.pause, own.resume)):
                outage()
                call = asyncio.create_task(here.queue.accept(f"during-{outage.__name__}", scan_request(), LONG))
                await asyncio.sleep(0.5)
                assert not call.done()
                remedy()
                await call

    asyncio.run(scenario())


@pytest.mark.parametrize("durable", ["valkey"], indirect=True)
def test_a_server_that_still_loads_its_data_is_waited_for(durable: RedisServer, namespace: str) -> None:
    seen: list[Exception] = []

    async def scenario() -> None:
        async with station(durable.address, namespace) as here:
            await here.queue.accept("job-1", scan_request(), PATIENCE)
            async with here.connections.client.pipeline(transaction=False) as pipeline:
                for number in range(10_000):
                    pipeline.set(f"{namespace}:{number}", "x")
                await pipeline.execute()
            durable.kill()
            durable.slow_down_loading(100)
            starting = asyncio.create_task(asyncio.to_thread(durable.start))

            async def watching(redis: Any) -> Any:
                try:
                    return await redis.ping()
                except Exception as error:
                    seen.append(error)
                    raise

            await here.store.call(watching, LONG)
            assert [lease.job_id for lease in await here.queue.lease(1)] == ["job-1"]
            await starting

    asyncio.run(scenario())
    assert any(isinstance(error, BusyLoadingError) for error in seen)


def test_a_server_that_takes_no_changes_for_a_while_is_waited_for(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace) as here:
            for setting, off in (("min-replicas-to-write", "0"), ("maxmemory", "0")):
                own.ask("CONFIG SET", setting, "1")
                call = asyncio.create_task(here.queue.accept(f"job-{setting}", scan_request(), LONG))
                await asyncio.sleep(0.3)
                assert not call.done()
                with pytest.raises(StoreUnavailableError, match="not"):
                    await here.queue.accept("another", scan_request(), 0.1)
                own.ask("CONFIG SET", setting, off)
                await call
            assert len(await here.queue.lease(9)) == 2

    asyncio.run(scenario())


def test_a_command_that_is_refused_for_good_is_no_reason_to_wait(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace) as here:
            own.ask("SET", here.store.job("job-1"), "something else")
            async with asyncio.timeout(LONG / 2):
                with pytest.raises(StoreUnavailableError, match="refused"):
                    await here.store.find("job-1", VULNERABILITY, LONG)

    asyncio.run(scenario())


def test_the_subscription_recovers_from_a_restart(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace) as here, here.events.open() as events:
            for outage, remedy in ((own.kill, own.start), (own.stop, own.start)):
                with events.watch("job-1") as ended:
                    await until(events.queued.is_set, "subscribed")
                    events.queued.clear()
                    ended.clear()
                    outage()
                    remedy()
                    await until(ended.is_set, "who waits was told to look")
                    ended.clear()
                    own.ask("PUBLISH", here.store.events, "ended job-1")
                    await until(ended.is_set, "word comes again")

    asyncio.run(scenario())


def test_a_server_that_comes_back_empty_is_worked_on_at_once(own: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(own.address, namespace) as here:
            await here.queue.accept("before", scan_request(), PATIENCE)
            (lease,) = await here.queue.lease(1)
            own.kill()
            own.start()

            # All the scripts and the queue itself are gone; the first to notice may be anybody.
            assert await here.queue.prolong([lease]) == {lease.entry}
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0) is False
            assert await here.store.find("before", VULNERABILITY, PATIENCE) is None
            own.ask("FLUSHALL")
            assert (await here.store.snapshot(PATIENCE)).queued == 0
            own.ask("FLUSHALL")
            assert await here.queue.reclaim(1) == []
            own.ask("FLUSHALL")

            await here.queue.accept("after", scan_request(), PATIENCE)
            (lease,) = await here.queue.lease(1)
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)

    asyncio.run(scenario())
