"""What the queue promises, on every engine: nothing accepted is lost, and everything ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harbor_scanner.errors import InternalError, ScannerConfigurationError, StoreUnavailableError
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.jobs.model import Companion, JobState, Lease
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import GROUP
from harbor_scanner.jobs.vault import Vault
from support.jobs import (
    AUTHORIZATION,
    KEEP,
    PATIENCE,
    ROBOT_PASSWORD,
    Station,
    everything_in,
    lose_a_reply,
    scan_request,
    station,
    until,
    vault,
    vulnerabilities,
)
from support.redis_servers import RedisServer


def pending(server: RedisServer, here: Station) -> int:
    return int(server.ask("XPENDING", here.store.queue, GROUP)["pending"])


async def accepted(here: Station, *numbers: int) -> list[str]:
    """Accept requests of these numbers and return the ids of their jobs."""
    for number in numbers:
        await here.queue.accept(f"job-{number}", scan_request(number), PATIENCE)
    return [f"job-{number}" for number in numbers]


async def state_of(here: Station, job_id: str) -> JobState:
    status = await here.store.find(job_id, VULNERABILITY, PATIENCE)
    assert status is not None
    return status.state


async def one_lease(here: Station) -> Lease:
    (lease,) = await here.queue.lease(1)
    return lease


def test_jobs_are_leased_in_the_order_of_acceptance(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2, 3)
            first = await here.queue.lease(2)
            second = await here.queue.lease(2)
            assert [lease.job_id for lease in (*first, *second)] == ["job-1", "job-2", "job-3"]
            assert await here.queue.lease(2) == []
            assert {lease.attempt for lease in (*first, *second)} == {1}
            assert all(lease.queued_at <= lease.started_at for lease in (*first, *second))

    asyncio.run(scenario())


def test_a_lease_brings_the_request_with_its_credentials(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 7)
            assert here.queue.open_request(await one_lease(here)) == scan_request(7)

            await here.queue.accept("anonymous", scan_request(8, None), PATIENCE)
            assert here.queue.open_request(await one_lease(here)) == scan_request(8, None)

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["finish", "fail"])
def test_credentials_never_lie_in_the_store_in_clear_and_are_gone_when_the_job_ends(
    engine: RedisServer, namespace: str, end: str
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            kept = [everything_in(engine, namespace)]
            lease = await one_lease(here)
            kept.append(everything_in(engine, namespace))
            assert await here.queue.retry(lease, 0, "unreachable")
            kept.append(everything_in(engine, namespace))
            assert await here.queue.promote() == 1
            lease = await one_lease(here)
            if end == "finish":
                assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)
            else:
                assert await here.queue.fail(lease, "broken", KEEP)

            assert lease.sealed is not None
            for content in kept:
                assert lease.sealed in content
                assert ROBOT_PASSWORD.encode() not in content
                assert AUTHORIZATION.removeprefix("Basic ").encode() not in content
            assert lease.sealed not in everything_in(engine, namespace)

    asyncio.run(scenario())


def test_credentials_stored_with_another_key_are_told_from_an_outage(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            stranger = Queue(here.store, Vault("another secret"), "stranger")
            (lease,) = await stranger.lease(1)
            with pytest.raises(ScannerConfigurationError, match="SCANNER_STORE_KEY"):
                stranger.open_request(lease)

    asyncio.run(scenario())


def test_a_finished_job_is_kept_with_its_report_from_its_end_on(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            (job_id,) = await accepted(here, 1)
            job, report = here.store.job(job_id), here.store.reports(job_id)
            assert engine.ask("PTTL", job) == -1
            lease = await one_lease(here)
            assert engine.ask("PTTL", job) == -1
            assert await here.queue.finish(lease, vulnerabilities(lease, b"\x1f\x8breport"), KEEP, 12.5)

            status = await here.store.find(job_id, VULNERABILITY, PATIENCE)
            assert status is not None
            assert (status.state, status.report, status.error) == (JobState.FINISHED, b"\x1f\x8breport", "")
            for key in (job, report):
                assert (KEEP - 60) * 1000 < engine.ask("PTTL", key) <= KEEP * 1000

    asyncio.run(scenario())


def test_a_failed_job_is_kept_with_its_error(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            (job_id,) = await accepted(here, 1)
            assert await here.queue.fail(await one_lease(here), "[image] no image: naïve", KEEP)
            status = await here.store.find(job_id, VULNERABILITY, PATIENCE)
            assert status is not None
            assert (status.state, status.error, status.report) == (JobState.FAILED, "[image] no image: naïve", None)
            assert 0 < engine.ask("PTTL", here.store.job(job_id)) <= KEEP * 1000

    asyncio.run(scenario())


def test_an_error_that_is_no_sound_text_ends_its_job_all_the_same(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            lease = await one_lease(here)
            assert await here.queue.retry(lease, 0, "no such file: caf\udce9")
            await here.queue.promote()
            assert await here.queue.fail(await one_lease(here), "no such file: caf\udce9", KEEP)
            status = await here.store.find("job-1", VULNERABILITY, PATIENCE)
            assert status is not None
            assert status.error.startswith("no such file: caf")

    asyncio.run(scenario())


def test_a_job_and_its_report_expire_together(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            (job_id,) = await accepted(here, 1)
            lease = await one_lease(here)
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), 0.05, 1.0)

            async def gone() -> bool:
                return await here.store.find(job_id, VULNERABILITY, PATIENCE) is None

            await until(gone, "the job is forgotten")
            assert engine.keys(f"{namespace}:job:*") | engine.keys(f"{namespace}:reports:*") == set()

    asyncio.run(scenario())


def test_nothing_stays_in_the_queue_when_all_jobs_have_ended(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, *range(20))
            for number, lease in enumerate(await here.queue.lease(20)):
                if number % 2:
                    await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)
                else:
                    await here.queue.fail(lease, "broken", KEEP)
            assert engine.ask("XLEN", here.store.queue) == 0
            assert pending(engine, here) == 0
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.running, snapshot.delayed) == (0, 0, 0)

    asyncio.run(scenario())


def test_a_request_accepted_twice_is_one_job(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 1)
            lease = await one_lease(here)
            await accepted(here, 1)
            assert await here.queue.lease(5) == []
            await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)
            await accepted(here, 1)
            assert await here.queue.lease(5) == []
            assert await state_of(here, "job-1") is JobState.FINISHED

    asyncio.run(scenario())


def test_a_job_of_a_dead_worker_goes_to_another_and_counts_as_an_attempt(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as dead, station(engine.address, namespace, "b") as here:
            await accepted(dead, 1, 2, 3)
            assert len(await dead.queue.lease(3)) == 3
            taken = await here.queue.reclaim(2, idle_seconds=0)
            assert [(lease.job_id, lease.attempt) for lease in taken] == [("job-1", 2), ("job-2", 2)]
            assert here.queue.open_request(taken[0]) == scan_request(1)

    asyncio.run(scenario())


def grow_old(server: RedisServer, here: Station, lease: Lease, worker: str = "worker-1") -> None:
    """Let an hour pass since the last heartbeat of a lease."""
    server.ask(
        "XCLAIM", here.store.queue, GROUP, worker, 0, lease.entry, "IDLE", 3_600_000, "JUSTID", parse_justid=True
    )


def test_a_job_is_left_to_its_worker_as_long_as_that_sends_heartbeats(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here, station(engine.address, namespace, "b") as other:
            await accepted(here, 1)
            lease = await one_lease(here)
            assert await other.queue.reclaim(5) == []

            grow_old(engine, here, lease)
            assert await here.queue.prolong([lease]) == set()
            assert await other.queue.reclaim(5) == []

            grow_old(engine, here, lease)
            assert [(taken.job_id, taken.attempt) for taken in await other.queue.reclaim(5)] == [("job-1", 2)]

    asyncio.run(scenario())


@pytest.mark.parametrize("step", ["finish", "fail", "retry", "give_back"])
def test_a_worker_that_lost_its_lease_can_end_nothing(engine: RedisServer, namespace: str, step: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as late, station(engine.address, namespace, "b") as here:
            await accepted(late, 1)
            lost = await one_lease(late)
            (held,) = await here.queue.reclaim(1, idle_seconds=0)

            steps: dict[str, Callable[[], Awaitable[bool]]] = {
                "finish": lambda: late.queue.finish(lost, vulnerabilities(lost, b"late"), KEEP, 1.0),
                "fail": lambda: late.queue.fail(lost, "late", KEEP),
                "retry": lambda: late.queue.retry(lost, 0, "late"),
                "give_back": lambda: late.queue.give_back(lost),
            }
            assert await late.queue.prolong([lost]) == {lost.entry}
            assert await steps[step]() is False
            assert await state_of(here, "job-1") is JobState.RUNNING
            assert engine.ask("ZCARD", here.store.delayed) == 0
            assert await here.queue.prolong([held]) == set()

            assert await here.queue.finish(held, vulnerabilities(held, b"right"), KEEP, 1.0)
            assert await steps[step]() is False
            status = await here.store.find("job-1", VULNERABILITY, PATIENCE)
            assert status is not None
            assert (status.state, status.report) == (JobState.FINISHED, b"right")

    asyncio.run(scenario())


def test_a_worker_that_woke_up_too_late_to_begin_a_job_gets_no_lease(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as late, station(engine.address, namespace, "b") as here:
            await accepted(late, 1)
            entries = await _delivered(late)
            (held,) = await here.queue.reclaim(1, idle_seconds=0)
            assert await late.queue._begin(entries) == []
            (again,) = await here.queue.reclaim(1, idle_seconds=0)
            assert (held.attempt, again.attempt) == (1, 2)

    asyncio.run(scenario())


async def _delivered(here: Station) -> Any:
    """Take an entry as `Queue.lease` does, but do not begin its job yet."""
    client: Any = here.connections.client
    ((_, entries),) = await client.xreadgroup(GROUP, "worker-1", {here.store.queue: ">"}, count=1)
    return entries


def test_a_job_given_back_is_free_at_once_and_the_run_does_not_count(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as leaving, station(engine.address, namespace, "b") as here:
            await accepted(leaving, 1)
            lease = await one_lease(leaving)
            assert await leaving.queue.give_back(lease)
            assert await state_of(here, "job-1") is JobState.QUEUED
            assert await leaving.queue.give_back(lease) is False

            # Without waiting for a lease to run out: the idle time that counts here is the real one.
            (taken,) = await here.queue.reclaim(1)
            assert (taken.job_id, taken.attempt) == ("job-1", 1)

    asyncio.run(scenario())


def test_a_job_to_be_tried_again_waits_for_its_delay(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2)
            first, second = await here.queue.lease(2)
            assert await here.queue.retry(first, 3600, "unreachable")
            assert await here.queue.retry(second, 0, "unreachable")
            assert engine.ask("XLEN", here.store.queue) == 0
            assert await state_of(here, "job-1") is JobState.QUEUED

            assert await here.queue.promote() == 1
            assert await here.queue.promote() == 0
            (again,) = await here.queue.lease(2)
            assert (again.job_id, again.attempt) == ("job-2", 2)
            assert here.queue.open_request(again) == scan_request(2)
            assert (await here.store.snapshot(PATIENCE)).delayed == 1

    asyncio.run(scenario())


def test_a_lost_reply_makes_no_second_job_no_second_end_and_no_second_attempt(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            lose_a_reply(here, monkeypatch)
            await accepted(here, 1)
            assert engine.ask("XLEN", here.store.queue) == 1

            entries = await _delivered(here)
            lose_a_reply(here, monkeypatch)
            (lease,) = await here.queue._begin(entries)
            assert lease.attempt == 1

            lose_a_reply(here, monkeypatch)
            assert await here.queue.prolong([lease]) == set()

            lose_a_reply(here, monkeypatch)
            assert await here.queue.retry(lease, 0, "unreachable")
            assert engine.ask("ZCARD", here.store.delayed) == 1
            lose_a_reply(here, monkeypatch)
            await here.queue.promote()
            assert engine.ask("XLEN", here.store.queue) == 1

            (lease,) = await here.queue.lease(1)
            assert lease.attempt == 2
            lose_a_reply(here, monkeypatch)
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 10.0)
            assert await state_of(here, "job-1") is JobState.FINISHED
            assert engine.ask("XLEN", here.store.queue) == 0
            assert (await here.store.snapshot(PATIENCE)).scan_seconds == 10.0

    asyncio.run(scenario())


def test_a_lost_reply_to_giving_back_takes_nothing_from_the_attempts(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            lease = await one_lease(here)
            lose_a_reply(here, monkeypatch)
            await here.queue.give_back(lease)
            (again,) = await here.queue.reclaim(1)
            assert again.attempt == 1

    asyncio.run(scenario())


def test_a_delivery_whose_reply_was_lost_is_found_again_as_a_first_attempt(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            lose_a_reply(here, monkeypatch)
            assert await here.queue.lease(1) == []
            (lease,) = await here.queue.reclaim(1, idle_seconds=0)
            assert (lease.job_id, lease.attempt) == ("job-1", 1)

    asyncio.run(scenario())


def test_a_lease_begun_before_an_outage_is_not_forgotten_for_those_that_could_not_be(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2)
            answering = here.store.call
            calls = 0

            async def breaking(operation: Any, patience: float) -> Any:
                nonlocal calls
                calls += 1
                # The delivery and the first start are answered, the second start is not.
                if calls > 2:
                    raise StoreUnavailableError("an outage")
                return await answering(operation, patience)

            monkeypatch.setattr(here.store, "call", breaking)
            leases = await here.queue.lease(2)
            monkeypatch.setattr(here.store, "call", answering)
            assert [(lease.job_id, lease.attempt) for lease in leases] == [("job-1", 1)]
            taken = await here.queue.reclaim(2, idle_seconds=0)
            assert ("job-2", 1) in [(lease.job_id, lease.attempt) for lease in taken]

    asyncio.run(scenario())


def test_a_job_whose_stored_request_is_unreadable_can_still_be_failed(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2)
            engine.ask("HSET", here.store.job("job-1"), "request", b'{"registry": 5}')
            first, second = await here.queue.lease(2)
            assert (first.job_id, second.job_id) == ("job-1", "job-2")
            with pytest.raises(InternalError, match="Another version"):
                here.queue.open_request(first)
            assert await here.queue.fail(first, "unreadable", KEEP)
            assert here.queue.open_request(second) == scan_request(2)

    asyncio.run(scenario())


def test_an_entry_whose_job_is_gone_or_over_is_dropped(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2, 3)
            engine.ask("DEL", here.store.job("job-1"))
            engine.ask("HSET", here.store.job("job-2"), "state", "finished")
            assert [lease.job_id for lease in await here.queue.lease(3)] == ["job-3"]
            assert engine.ask("XLEN", here.store.queue) == 1
            assert pending(engine, here) == 1

    asyncio.run(scenario())


def test_a_server_that_lost_its_data_under_running_scans_is_worked_on_at_once(
    engine: RedisServer, namespace: str
) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1)
            lease = await one_lease(here)
            engine.ask("DEL", *engine.keys(f"{namespace}:*"))

            assert await here.queue.prolong([lease]) == {lease.entry}
            assert await here.queue.reclaim(5, idle_seconds=0) == []
            assert await here.queue.promote() == 0
            assert await here.queue.gather(lease) == []
            assert await here.queue.part(lease, Companion("job-2", lease.body)) is False
            assert await here.queue.give_back(lease) is False
            assert await here.queue.retry(lease, 0, "unreachable") is False
            assert await here.queue.fail(lease, "broken", KEEP) is False
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0) is False
            assert await here.store.find("job-1", VULNERABILITY, PATIENCE) is None
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.running) == (0, 0)

            await accepted(here, 2)
            found: list[str] = []

            async def leased() -> bool:
                found.extend(lease.job_id for lease in await here.queue.lease(1))
                return bool(found)

            await until(leased, "a job accepted afterwards is leased")
            assert found == ["job-2"]

    asyncio.run(scenario())


def test_many_workers_share_many_jobs_without_running_one_twice(engine: RedisServer, namespace: str) -> None:
    jobs, workers = 120, 4
    done: list[str] = []

    async def work(name: str) -> None:
        async with station(engine.address, namespace, name) as here:
            while leases := await here.queue.lease(3):
                await here.queue.prolong(leases)
                for lease in leases:
                    assert await here.queue.finish(lease, vulnerabilities(lease, lease.job_id.encode()), KEEP, 1.0)
                    done.append(lease.job_id)

    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await asyncio.gather(*(accepted(here, number) for number in range(jobs)))
            await asyncio.gather(*(work(f"worker-{number}") for number in range(workers)))
            assert sorted(done) == sorted(f"job-{number}" for number in range(jobs))
            for job_id in done:
                status = await here.store.find(job_id, VULNERABILITY, PATIENCE)
                assert status is not None
                assert status.report == job_id.encode()

    asyncio.run(scenario())


def test_the_snapshot_tells_what_waits_runs_and_can_run(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            await accepted(here, 1, 2, 3, 4, 5)
            await here.store.announce("worker-1", 2, "1.2.3", PATIENCE)
            await here.store.announce("worker-2", 3, "", PATIENCE)
            first, second, _ = await here.queue.lease(3)
            await here.queue.finish(first, vulnerabilities(first, b"report"), KEEP, 10.0)
            await here.queue.retry(second, 3600, "unreachable")
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.running, snapshot.delayed, snapshot.slots) == (2, 1, 1, 5)
            assert snapshot.scan_seconds == 10.0
            status = await here.store.find("job-5", VULNERABILITY, PATIENCE)
            assert status is not None
            assert (status.sequence, snapshot.started_sequence) == (5, 3)

            assert await here.store.scanner_version(PATIENCE) == "1.2.3"
            await here.store.retract("worker-1", PATIENCE)
            assert (await here.store.snapshot(PATIENCE)).slots == 3
            assert await here.store.scanner_version(PATIENCE) == ""

    asyncio.run(scenario())


def test_a_worker_that_ends_is_forgotten_but_never_what_it_holds(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace, "b") as here, station(engine.address, namespace) as other:
            await accepted(here, 1, 2)
            kept = await here.queue.lease(1)
            done = await other.queue.lease(1)
            assert await other.queue.finish(done[0], vulnerabilities(done[0], b"report"), KEEP, 1.0)

            await other.store.retract("worker-1", PATIENCE)
            assert consumers(engine, here) == {"b"}
            await here.store.retract("b", PATIENCE)
            assert consumers(engine, here) == {"b"}
            assert await here.queue.prolong(kept) == set()
            assert [lease.job_id for lease in await other.queue.reclaim(9, idle_seconds=0)] == ["job-1"]
            await here.store.retract("b", PATIENCE)
            assert consumers(engine, here) == {"worker-1"}

    asyncio.run(scenario())


def consumers(server: RedisServer, here: Station) -> set[str]:
    return {consumer["name"].decode() for consumer in server.ask("XINFO CONSUMERS", here.store.queue, GROUP)}


def test_all_processes_agree_on_one_shared_secret(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here, station(engine.address, namespace, "b") as other:
            secrets = await asyncio.gather(
                here.store.shared_secret("first", PATIENCE), other.store.shared_secret("second", PATIENCE)
            )
            assert set(secrets) <= {"first", "second"}
            assert len(set(secrets)) == 1
            assert await here.store.shared_secret("third", PATIENCE) == secrets[0]

    asyncio.run(scenario())


def test_waiting_for_the_key_and_for_the_store_stays_within_one_patience(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(engine.address, namespace) as here:
            locked = Vault()
            queue = Queue(here.store, locked)
            given: list[float] = []
            answering = here.store.call

            async def watching(operation: Any, patience: float) -> Any:
                given.append(patience)
                return await answering(operation, patience)

            here.store.call = watching  # type: ignore[method-assign]
            asyncio.get_running_loop().call_later(0.3, locked.unlock, "a secret")
            await queue.accept("late", scan_request(), 10.0)
            assert given[0] <= 9.8

            with pytest.raises(StoreUnavailableError, match="key"):
                await Queue(here.store, Vault()).accept("never", scan_request(), 0.05)
            assert vault().unlocked.is_set()

    asyncio.run(scenario())
