"""Sentinel failover under load: clients find the new master by themselves, and what was replicated is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.jobs.model import JobState, Lease
from support.jobs import KEEP, PATIENCE, Station, ride_out, scan_request, station, until, vulnerabilities
from support.redis_servers import SentinelDeployment, eventually, program, under_sentinels

LONG = 60.0
"""Seconds of patience that outlast a failover."""


@pytest.fixture(scope="module")
def shared_deployment(short_dirs: Path) -> Iterator[SentinelDeployment]:
    """A master and a replica under three Sentinels."""
    with under_sentinels(program("valkey"), short_dirs / "failover") as deployment:
        yield deployment


@pytest.fixture
def deployment(shared_deployment: SentinelDeployment) -> Iterator[SentinelDeployment]:
    """The same, whole again after each test."""
    yield shared_deployment
    for node in shared_deployment.nodes:
        node.resume()
        if not node.runs:
            node.start()
    eventually(lambda: shared_deployment.is_whole, "a master, a replica and three Sentinels", LONG)


@contextlib.asynccontextmanager
async def under(deployment: SentinelDeployment, namespace: str, worker: str) -> AsyncIterator[Station]:
    async with station(deployment.address, namespace, worker, read_timeout=1.0, connection_timeout=1.0) as here:
        yield here


async def accepted(here: Station, *numbers: int) -> list[str]:
    for number in numbers:
        await here.queue.accept(f"job-{number}", scan_request(number), PATIENCE)
    return [f"job-{number}" for number in numbers]


async def settled(deployment: SentinelDeployment) -> None:
    """Wait until the replica has all that the master has."""
    await asyncio.to_thread(deployment.settle)


async def finished(here: Station, lease: Lease) -> bool:
    return await ride_out(lambda: here.queue.finish(lease, vulnerabilities(lease, lease.job_id.encode()), KEEP, 1.0))


async def report_of(here: Station, job_id: str) -> bytes | None:
    status = await ride_out(lambda: here.store.find(job_id, VULNERABILITY, PATIENCE))
    if status is None:
        return None
    assert status.state is JobState.FINISHED
    return status.report


def test_what_was_replicated_survives_the_master_in_whatever_state_it_is(
    deployment: SentinelDeployment, namespace: str
) -> None:
    async def scenario() -> None:
        async with under(deployment, namespace, "worker-1") as here:
            await accepted(here, *range(9))
            finishes, runs, fails = await here.queue.lease(3)
            assert await here.queue.finish(finishes, vulnerabilities(finishes, b"report"), KEEP, 1.0)
            assert await here.queue.retry(fails, 0, "unreachable")
            await settled(deployment)

            master = deployment.master
            master.kill()
            assert await ride_out(lambda: here.queue.prolong([finishes, runs, fails])) == {finishes.entry, fails.entry}
            assert deployment.master is not master

            # A repeated end is still the same end, and the lease that was held still holds.
            assert await here.queue.finish(finishes, vulnerabilities(finishes, b"report"), KEEP, 1.0)
            assert await finished(here, runs)
            assert await here.queue.promote() == 1
            leases = await here.queue.lease(99)
            assert [lease.job_id for lease in leases] == [*(f"job-{number}" for number in range(3, 9)), "job-2"]
            assert [lease.attempt for lease in leases] == [1] * 6 + [2]
            for lease in leases:
                assert here.queue.open_request(lease) == scan_request(int(lease.job_id.removeprefix("job-")))
                assert await finished(here, lease)
            assert await report_of(here, "job-0") == b"report"
            assert await report_of(here, "job-8") == b"job-8"

    asyncio.run(scenario())


class Stream:
    """Jobs that are accepted and worked on all the time, while a master dies."""

    def __init__(self, deployment: SentinelDeployment, api: Station, worker: Station) -> None:
        self._deployment = deployment
        self._api = api
        self._worker = worker
        self._numbers = itertools.count()
        self._failed_over = False
        self._closing = False
        self._all_accepted = False
        self.safe: list[str] = []
        """Accepted and known to the replica, or accepted after the failover."""
        self.at_risk: list[str] = []
        """Accepted by the old master, which may have died before it passed them on."""
        self.ended: set[str] = set()

    async def accept(self) -> None:
        while not self._closing:
            number = next(self._numbers)
            on_new_master = self._failed_over
            await self._api.queue.accept(f"job-{number}", scan_request(number), LONG)
            (self.safe if on_new_master else self.at_risk).append(f"job-{number}")
            await asyncio.sleep(0.005)
        self._all_accepted = True

    async def settle(self) -> None:
        while not self._failed_over:
            known = list(self.at_risk)
            with contextlib.suppress(AssertionError, OSError, RedisError):
                await asyncio.to_thread(self._deployment.settle, 1.0)
                self.safe += known
                self.at_risk = [job_id for job_id in self.at_risk if job_id not in known]

    async def work(self) -> None:
        queue = self._worker.queue
        leases: list[Lease] = []
        while leases or not (self._all_accepted and self.ended >= set(self.safe)):
            leases = await ride_out(lambda: queue.lease(4)) or await ride_out(lambda: queue.reclaim(4, idle_seconds=0))
            for lease in leases:
                if await finished(self._worker, lease):
                    self.ended.add(lease.job_id)
            await asyncio.sleep(0.005)

    async def outlive_the_master(self) -> None:
        await until(lambda: len(self.safe) > 20 and len(self.ended) > 10, "jobs flow")
        master = self._deployment.master
        await asyncio.to_thread(master.kill)
        await until(lambda: self._deployment.master is not master, "another node is the master", LONG)
        self._failed_over = True
        goal = len(self.safe) + 20
        await until(lambda: len(self.safe) >= goal, "jobs are accepted by the new master", LONG)
        self._closing = True


def test_a_stream_of_jobs_goes_on_through_a_failover(deployment: SentinelDeployment, namespace: str) -> None:
    async def scenario() -> None:
        async with under(deployment, namespace, "api") as api, under(deployment, namespace, "worker-1") as worker:
            stream = Stream(deployment, api, worker)
            async with asyncio.timeout(LONG * 2), asyncio.TaskGroup() as tasks:
                for part in (stream.accept, stream.settle, stream.work, stream.outlive_the_master):
                    tasks.create_task(part())
            for job_id in stream.safe:
                assert await report_of(api, job_id) == job_id.encode()
            # What the old master took with it is unknown, and not half there.
            for job_id in stream.at_risk:
                assert await report_of(api, job_id) in {job_id.encode(), None}
            assert deployment.master.ask("XLEN", api.store.queue) == 0

    asyncio.run(scenario())


def test_a_master_that_hangs_is_left_and_does_no_harm_when_it_wakes(
    deployment: SentinelDeployment, namespace: str
) -> None:
    async def scenario() -> None:
        async with under(deployment, namespace, "worker-1") as here, here.events.open() as events:
            await accepted(here, 1)
            (lease,) = await here.queue.lease(1)
            await settled(deployment)

            master = deployment.master
            master.pause()
            assert await ride_out(lambda: here.queue.prolong([lease])) == set()
            await here.queue.accept("job-2", scan_request(2), LONG)
            master.resume()
            eventually(lambda: deployment.is_whole, "the old master is a replica now", LONG)

            assert await finished(here, lease)
            (second,) = await ride_out(lambda: here.queue.lease(9))
            with events.watch("job-2") as ended:
                assert await finished(here, second)
                await until(ended.is_set, "the end was heard of", LONG)
            for number in (1, 2):
                assert await report_of(here, f"job-{number}") == f"job-{number}".encode()

    asyncio.run(scenario())
