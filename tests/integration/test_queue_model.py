"""The queue against a model of it: whatever happens in whatever order, every job is in one place and ends once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.model import Lease
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import GROUP, Store
from support.jobs import KEEP, PATIENCE, redis_settings, scan_request, vault
from support.redis_servers import RedisServer

T = TypeVar("T")

NOBODY = "nobody"
"""In whose hands the queue puts a job that was given back."""

_numbers = itertools.count(1)


class Job(msgspec.Struct):
    """What must be true of one job."""

    number: int
    turn: int
    """Its place in the stream, higher than that of all entries before it."""
    place: str = "queued"
    """queued, held, delayed or ended."""
    holder: str = ""
    entry: str = ""
    """Of its present place in the stream; empty until a lease has told it."""
    due: bool = False
    attempts: int = 0
    state: str = "queued"
    ended_by: tuple[str, str] | None = None
    outcome: bytes = b""


class Held(msgspec.Struct, frozen=True):
    """A lease that was handed out, valid or not any more."""

    worker: str
    lease: Lease


class LossyStore(Store):
    """Loses the reply of one call after it took effect, when told to."""

    lose = 0
    """Which of the next calls; 0: none."""

    async def call(self, operation: Callable[[Any], Awaitable[T]], patience: float) -> T:
        loses = self.lose == 1
        self.lose = max(0, self.lose - 1)

        async def lossy(redis: Any) -> T:
            nonlocal loses
            result = await operation(redis)
            if loses:
                loses = False
                raise RedisConnectionError("the reply got lost")
            return result

        return await super().call(lossy, patience)


class QueueMachine(RuleBasedStateMachine):
    """Two workers at a time, any number of jobs; workers crash and replies get lost."""

    jobs: Bundle[str] = Bundle("jobs")
    leases: Bundle[Held] = Bundle("leases")
    worker = st.sampled_from(("one", "two"))

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.namespace = f"model-{next(_numbers)}"
        self.known: dict[str, Job] = {}
        self.names = {"one": "one-0", "two": "two-0"}
        self.turns = itertools.count(1)
        self.connections: Connections

    @initialize()
    def connect(self) -> None:
        async def connected() -> None:
            self.connections = Connections(redis_settings(), self.server.address)
            self.store = LossyStore(self.connections, self.namespace)
            await self.store.prepare(PATIENCE)

        self.run(connected())
        self.queues = {slot: Queue(self.store, vault(), name) for slot, name in self.names.items()}

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def lost(self) -> bool:
        """Forget what was to be lost, and tell whether it was the reply of the first call."""
        lost, self.store.lose, self.lose_first = self.lose_first, 0, False
        return lost

    lose_first = False

    @rule(call=st.integers(1, 3))
    def lose_a_reply(self, call: int) -> None:
        self.store.lose = call
        self.lose_first = call == 1

    @rule(target=jobs)
    def accept(self) -> str:
        number = len(self.known) + 1
        job_id = f"job-{number}"
        self.run(self.queues["one"].accept(job_id, scan_request(number), PATIENCE))
        self.known[job_id] = Job(number, next(self.turns))
        self.lost()
        return job_id

    @rule(job_id=jobs)
    def accept_again(self, job_id: str) -> None:
        self.run(self.queues["two"].accept(job_id, scan_request(self.known[job_id].number), PATIENCE))
        self.lost()

    @rule(target=leases, slot=worker, count=st.integers(1, 3))
    def lease(self, slot: str, count: int) -> MultipleResults[Held]:
        taken = self.run(self.queues[slot].lease(count))
        waiting = sorted((job for job in self.known.values() if job.place == "queued"), key=lambda job: job.turn)
        if self.lost():
            # They are in the hands of a worker that does not know of it.
            for job in waiting[:count]:
                job.place, job.holder = "held", self.names[slot]
            waiting = waiting[count:]
        return self.begun(slot, taken, waiting[:count])

    @rule(target=leases, slot=worker, count=st.integers(1, 3))
    def leases_run_out(self, slot: str, count: int) -> MultipleResults[Held]:
        taken = self.run(self.queues[slot].reclaim(count, idle_seconds=0))
        held = sorted((job for job in self.known.values() if job.place == "held"), key=lambda job: job.turn)
        self.lost()
        return self.begun(slot, taken, held[:count])

    @rule(target=leases, slot=worker)
    def take_what_was_given_back(self, slot: str) -> MultipleResults[Held]:
        lost = self.lose_first
        taken = self.run(self.queues[slot].reclaim(9))
        given_back = sorted(
            (job for job in self.known.values() if job.place == "held" and job.holder == NOBODY),
            key=lambda job: job.turn,
        )
        self.lost()
        if lost:
            for job in given_back:
                job.holder = self.names[slot]
            given_back = []
        return self.begun(slot, taken, given_back)

    def begun(self, slot: str, taken: list[Lease], expected: list[Job]) -> MultipleResults[Held]:
        name = self.names[slot]
        assert [lease.job_id for lease in taken] == [f"job-{job.number}" for job in expected]
        for lease, job in zip(taken, expected, strict=True):
            job.place, job.holder, job.entry, job.state = "held", name, lease.entry, "running"
            job.attempts += 1
            assert lease.attempt == job.attempts
            assert self.queues[slot].open_request(lease) == scan_request(job.number)
        return multiple(*(Held(name, lease) for lease in taken))

    @rule(slot=worker)
    def heartbeat(self, slot: str) -> None:
        mine = [job for job in self.known.values() if job.entry]
        name = self.names[slot]
        leases = [Lease(f"job-{job.number}", job.entry, 1, 0, 0, b"") for job in mine]
        if leases:
            lost = self.run(self.queues[slot].prolong(leases))
            assert lost == {job.entry for job in mine if not self.holds(name, job.entry, job)}
        self.lost()

    @rule(held=leases, report=st.binary(min_size=1, max_size=20))
    def finish(self, held: Held, report: bytes) -> None:
        self.end(held, "finished", report, lambda queue: queue.finish(held.lease, report, KEEP, 1.0))

    @rule(held=leases, error=st.text(min_size=1, max_size=20))
    def fail(self, held: Held, error: str) -> None:
        self.end(held, "failed", error.encode(), lambda queue: queue.fail(held.lease, error, KEEP))

    def end(self, held: Held, state: str, outcome: bytes, step: Callable[[Queue], Awaitable[bool]]) -> None:
        job = self.known[held.lease.job_id]
        mark = (held.worker, held.lease.entry)
        holds = self.holds(*mark, job)
        assert self.ask(held, step) == (holds or job.ended_by == mark)
        if holds:
            job.place, job.state, job.outcome, job.ended_by = "ended", state, outcome, mark
        self.lost()

    @rule(held=leases, due=st.booleans())
    def retry(self, held: Held, due: bool) -> None:
        job = self.known[held.lease.job_id]
        holds = self.holds(held.worker, held.lease.entry, job)
        done = self.ask(held, lambda queue: queue.retry(held.lease, 0 if due else 3600, "unreachable"))
        assert done == (holds or job.place == "delayed")
        if holds:
            job.place, job.state, job.due = "delayed", "queued", due
        self.lost()

    @rule(held=leases)
    def give_back(self, held: Held) -> None:
        job = self.known[held.lease.job_id]
        holds = self.holds(held.worker, held.lease.entry, job)
        done = self.ask(held, lambda queue: queue.give_back(held.lease))
        if not self.lost():
            assert done == holds
        if holds:
            job.holder, job.state = NOBODY, "queued"
            job.attempts -= 1

    @rule()
    def promote(self) -> None:
        due = [job for job in map(self.known.__getitem__, self.run(self.delayed())) if job.due]
        promoted = self.run(self.queues["one"].promote())
        if not self.lost():
            assert promoted == len(due)
        for job in due:
            job.place, job.entry, job.due = "queued", "", False
            job.turn = next(self.turns)

    async def delayed(self) -> list[str]:
        redis: Any = self.connections.client
        return [job_id.decode() for job_id in await redis.zrange(self.store.delayed, 0, -1)]

    @rule(slot=worker)
    def crash(self, slot: str) -> None:
        kind, _, generation = self.names[slot].partition("-")
        self.names[slot] = f"{kind}-{int(generation) + 1}"
        self.queues[slot] = Queue(self.store, vault(), self.names[slot])

    def ask(self, held: Held, step: Callable[[Queue], Awaitable[bool]]) -> bool:
        """Have the worker of that lease take a step, though it may be dead: a command may be late on the wire."""

        async def taken() -> bool:
            return await step(Queue(self.store, vault(), held.worker))

        return self.run(taken())

    def holds(self, worker: str, entry: str, job: Job) -> bool:
        return job.place == "held" and job.holder == worker and job.entry == entry

    @invariant()
    def every_job_is_where_it_must_be(self) -> None:
        entries, held, delayed, kept = self.run(self.look())
        jobs = self.known
        in_stream = [job_id for job_id, job in jobs.items() if job.place in {"queued", "held"}]
        assert sorted(entries.values()) == sorted(in_stream)
        assert {entries[entry]: holder for entry, holder in held.items()} == {
            job_id: job.holder for job_id, job in jobs.items() if job.place == "held"
        }
        assert sorted(delayed) == sorted(job_id for job_id, job in jobs.items() if job.place == "delayed")
        for (job_id, job), (fields, report, expires, report_expires) in zip(jobs.items(), kept, strict=True):
            ended = job.place == "ended"
            assert fields[b"state"].decode() == job.state, job_id
            assert int(fields[b"attempts"]) == job.attempts
            assert (b"authorization" in fields) is not ended
            assert (expires == -1) is not ended
            assert report == (job.outcome if job.state == "finished" else None)
            assert fields.get(b"error", b"") == (job.outcome if job.state == "failed" else b"")
            assert report is None or report_expires > 0

    async def look(self) -> tuple[dict[str, str], dict[str, str], list[str], list[Any]]:
        redis: Any = self.connections.client
        store = self.store
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.xrange(store.queue)
            pipeline.xpending_range(store.queue, GROUP, "-", "+", 1000)
            pipeline.zrange(store.delayed, 0, -1)
            for job_id in self.known:
                pipeline.hgetall(store.job(job_id))
                pipeline.get(store.report(job_id))
                pipeline.pttl(store.job(job_id))
                pipeline.pttl(store.report(job_id))
            stream, pending, delayed, *rest = await pipeline.execute()
        return (
            {entry.decode(): fields[b"job"].decode() for entry, fields in stream},
            {item["message_id"].decode(): item["consumer"].decode() for item in pending},
            [job_id.decode() for job_id in delayed],
            [rest[start : start + 4] for start in range(0, len(rest), 4)],
        )

    def teardown(self) -> None:
        try:
            if hasattr(self, "connections"):
                try:
                    self.run(self.bring_to_an_end())
                finally:
                    self.run(self.connections.close())
        finally:
            self.runner.close()

    async def bring_to_an_end(self) -> None:
        """Whatever has happened, what has not ended yet can end; then nothing is left in the queue."""
        redis: Any = self.connections.client
        queue, store = Queue(self.store, vault(), "last"), self.store
        store.lose = 0
        for job_id in await redis.zrange(store.delayed, 0, -1):
            await redis.zadd(store.delayed, {job_id: 0})
        await queue.promote()
        open_jobs = {job_id for job_id, job in self.known.items() if job.place != "ended"}
        for lease in (*await queue.reclaim(1000, idle_seconds=0), *await queue.lease(1000)):
            open_jobs.remove(lease.job_id)
            assert await queue.finish(lease, b"at last", KEEP, 1.0)
        assert open_jobs == set()
        assert await redis.xlen(store.queue) == 0
        assert (await redis.xpending(store.queue, GROUP))["pending"] == 0
        keys = await redis.keys(f"{self.namespace}:*")
        await redis.delete(*keys)


def test_every_job_is_in_one_place_and_ends_once_whatever_happens(engine: RedisServer) -> None:
    class Machine(QueueMachine):
        server = engine

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
