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
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from harbor_scanner.harbor.media import CYCLONEDX, SPDX
from harbor_scanner.harbor.models import VULNERABILITY, ScanRequest
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.model import Companion, Lease
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import GROUP, Store
from support.jobs import KEEP, PATIENCE, redis_settings, scan_request, vault
from support.redis_servers import RedisServer

T = TypeVar("T")

ASKED = (
    (VULNERABILITY,), (SPDX,), (VULNERABILITY, SPDX), (SPDX, VULNERABILITY), (VULNERABILITY, SPDX, CYCLONEDX),
    (SPDX, SPDX, VULNERABILITY),
)  # fmt: skip
"""What may be asked of an image at a time, in a request for each."""
NOBODY = "nobody"
"""In whose hands the queue puts a job that was given back."""

_numbers = itertools.count(1)


class Job(msgspec.Struct):
    """What must be true of one job."""

    id: str
    image: int
    kind: str
    """Of the one report that it asks for."""
    turn: int
    """Its place in the stream, higher than that of all entries before it."""
    place: str = "queued"
    """queued, held, delayed, joined or ended."""
    leader: str = ""
    """The job whose run it waits for, or shares, while it is joined."""
    holder: str = ""
    entry: str = ""
    """Of its present place in the stream; empty until a lease has told it."""
    due: bool = False
    attempts: int = 0
    state: str = "queued"
    ended_by: tuple[str, str] | None = None
    outcome: bytes = b""

    @property
    def request(self) -> ScanRequest:
        """Like no other one."""
        return scan_request(self.image, f"Basic {self.id}").asking_for([self.kind])


class Held(msgspec.Struct, frozen=True):
    """A lease that was handed out, valid or not any more."""

    worker: str
    lease: Lease


class Gathered(msgspec.Struct, frozen=True):
    """The companions that the holder of a lease was told of."""

    held: Held
    companions: tuple[Companion, ...]


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


any_lease = precondition(lambda self: self.leases)
any_gathered = precondition(lambda self: self.gathered)


class QueueMachine(RuleBasedStateMachine):
    """Two workers at a time, any number of jobs for a few images; workers crash and replies get lost."""

    jobs: Bundle[str] = Bundle("jobs")
    worker = st.sampled_from(("one", "two"))
    often = st.sampled_from((True, True, True, False))

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.namespace = f"model-{next(_numbers)}"
        self.known: dict[str, Job] = {}
        self.leases: list[Held] = []
        """All that were ever handed out."""
        self.gathered: list[Gathered] = []
        self.open: dict[int, tuple[str, set[str]]] = {}
        """Which job others may join, and what is asked of its image, by image."""
        self.names = {"one": "one-0", "two": "two-0"}
        self.turns = itertools.count(1)
        self.connections: Connections

    @initialize(target=jobs, asked=st.lists(st.sampled_from(ASKED), min_size=1, max_size=3), leased=st.integers(0, 2))
    def connect(self, asked: list[tuple[str, ...]], leased: int) -> MultipleResults[str]:
        """Begin with some jobs, of which some are in hand."""

        async def connected() -> None:
            self.connections = Connections(redis_settings(), self.server.address)
            self.store = LossyStore(self.connections, self.namespace)
            await self.store.prepare(PATIENCE)

        self.run(connected())
        self.queues = {slot: self.queue(name) for slot, name in self.names.items()}
        accepted = [self.accept_one(image, kind, True) for image, kinds in enumerate(asked, 1) for kind in kinds]
        if leased:
            self.take("one", leased)
        return multiple(*accepted)

    def queue(self, worker: str, *, joining: bool = True) -> Queue:
        return Queue(self.store, vault(), worker, joining=joining)

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

    @rule(target=jobs, image=st.integers(1, 3), kinds=st.sampled_from(ASKED), joins=often)
    def accept(self, image: int, kinds: tuple[str, ...], joins: bool) -> MultipleResults[str]:
        return multiple(*(self.accept_one(image, kind, joins) for kind in kinds))

    def accept_one(self, image: int, kind: str, joins: bool) -> str:
        job = Job(f"job-{len(self.known) + 1}", image, kind, next(self.turns))
        self.run(self.queue("api", joining=joins).accept(job.id, job.request, PATIENCE))
        if joins:
            leader, kinds = self.open.setdefault(image, (job.id, set()))
            if leader != job.id and kind not in kinds:
                job.place, job.leader = "joined", leader
            kinds.add(kind)
        self.known[job.id] = job
        self.lost()
        return job.id

    @rule(job_id=jobs, joins=often)
    def accept_again(self, job_id: str, joins: bool) -> None:
        self.run(self.queue("api", joining=joins).accept(job_id, self.known[job_id].request, PATIENCE))
        self.lost()

    @rule(slot=worker, count=st.integers(1, 3))
    def lease(self, slot: str, count: int) -> None:
        self.take(slot, count)

    def take(self, slot: str, count: int) -> None:
        taken = self.run(self.queues[slot].lease(count))
        waiting = sorted((job for job in self.known.values() if job.place == "queued"), key=lambda job: job.turn)
        if self.lost():
            # They are in the hands of a worker that does not know of it.
            for job in waiting[:count]:
                job.place, job.holder = "held", self.names[slot]
            waiting = waiting[count:]
        self.begun(slot, taken, waiting[:count])

    @rule(slot=worker, count=st.integers(1, 3))
    def leases_run_out(self, slot: str, count: int) -> None:
        taken = self.run(self.queues[slot].reclaim(count, idle_seconds=0))
        held = sorted((job for job in self.known.values() if job.place == "held"), key=lambda job: job.turn)
        self.lost()
        self.begun(slot, taken, held[:count])

    @rule(slot=worker)
    def take_what_was_given_back(self, slot: str) -> None:
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
        self.begun(slot, taken, given_back)

    def begun(self, slot: str, taken: list[Lease], expected: list[Job]) -> None:
        name = self.names[slot]
        assert [lease.job_id for lease in taken] == [job.id for job in expected]
        for lease, job in zip(taken, expected, strict=True):
            job.place, job.holder, job.entry, job.state = "held", name, lease.entry, "running"
            job.attempts += 1
            assert lease.attempt == job.attempts
            assert self.queues[slot].open_request(lease) == job.request
        self.leases += [Held(name, lease) for lease in taken]

    def a_lease(self, data: st.DataObject) -> Held:
        """Draw one that was handed out; more often than not one that holds."""
        valid = [held for held in self.leases if self.holds(held.worker, held.lease.entry, self.job_of(held))]
        prefers_valid = data.draw(self.often)
        return data.draw(st.sampled_from(valid if valid and prefers_valid else self.leases))

    def a_gathering(self, data: st.DataObject) -> Gathered:
        return data.draw(st.sampled_from(self.gathered))

    def job_of(self, held: Held) -> Job:
        return self.known[held.lease.job_id]

    @rule(slot=worker)
    def heartbeat(self, slot: str) -> None:
        mine = [job for job in self.known.values() if job.entry]
        name = self.names[slot]
        leases = [Lease(job.id, job.entry, 1, 0, 0, b"") for job in mine]
        if leases:
            lost = self.run(self.queues[slot].prolong(leases))
            assert lost == {job.entry for job in mine if not self.holds(name, job.entry, job)}
        self.lost()

    @any_lease
    @rule(data=st.data())
    def gather(self, data: st.DataObject) -> None:
        held = self.a_lease(data)
        job = self.job_of(held)
        found = self.ask(held, lambda queue: queue.gather(held.lease))
        self.lost()
        if not self.holds(held.worker, held.lease.entry, job):
            assert found == []
            return
        self.close(job)
        companions = self.companions_of(job)
        assert [companion.job_id for companion in found] == [companion.id for companion in companions]
        for companion, expected in zip(found, companions, strict=True):
            expected.state = "running"
            assert self.queues["one"].open_request(companion) == expected.request
        if found:
            self.gathered.append(Gathered(held, tuple(found)))

    @any_gathered
    @rule(data=st.data())
    def part(self, data: st.DataObject) -> None:
        gathered = self.a_gathering(data)
        held, companion = gathered.held, data.draw(st.sampled_from(gathered.companions))
        leader = self.job_of(held)
        holds = self.holds(held.worker, held.lease.entry, leader)
        assert self.ask(held, lambda queue: queue.part(held.lease, companion)) == holds
        if holds and self.known[companion.job_id] in self.companions_of(leader):
            self.on_its_own(self.known[companion.job_id])
        self.lost()

    @any_lease
    @rule(report=st.binary(min_size=1, max_size=20), data=st.data())
    def finish(self, report: bytes, data: st.DataObject) -> None:
        self.finish_with(self.a_lease(data), report, [])

    @any_gathered
    @rule(report=st.binary(min_size=1, max_size=20), data=st.data())
    def finish_shared(self, report: bytes, data: st.DataObject) -> None:
        gathered = self.a_gathering(data)
        served = [companion for companion in gathered.companions if data.draw(self.often)]
        self.finish_with(gathered.held, report, [self.known[companion.job_id] for companion in served])

    def finish_with(self, held: Held, report: bytes, served: list[Job]) -> None:
        leader = self.job_of(held)
        reports = {job.id: {job.kind: report} for job in (leader, *served)}
        sharing = [job for job in self.companions_of(leader) if job in served]
        self.end(held, "finished", report, sharing, lambda queue: queue.finish(held.lease, reports, KEEP, 1.0))

    @any_lease
    @rule(error=st.text(min_size=1, max_size=20), data=st.data())
    def fail(self, error: str, data: st.DataObject) -> None:
        held = self.a_lease(data)
        self.end(held, "failed", error.encode(), [], lambda queue: queue.fail(held.lease, error, KEEP))

    def end(
        self, held: Held, state: str, outcome: bytes, sharing: list[Job], step: Callable[[Queue], Awaitable[bool]]
    ) -> None:
        job = self.job_of(held)
        mark = (held.worker, held.lease.entry)
        holds = self.holds(*mark, job)
        assert self.ask(held, step) == (holds or job.ended_by == mark)
        if holds:
            for ended in (job, *sharing):
                ended.place, ended.state, ended.outcome, ended.ended_by = "ended", state, outcome, mark
            self.leave_alone(job)
        self.lost()

    @any_lease
    @rule(due=st.booleans(), data=st.data())
    def retry(self, due: bool, data: st.DataObject) -> None:
        held = self.a_lease(data)
        job = self.job_of(held)
        holds = self.holds(held.worker, held.lease.entry, job)
        done = self.ask(held, lambda queue: queue.retry(held.lease, 0 if due else 3600, "unreachable"))
        assert done == (holds or job.place == "delayed")
        if holds:
            job.place, job.state, job.due = "delayed", "queued", due
            self.leave_alone(job)
        self.lost()

    def companions_of(self, leader: Job) -> list[Job]:
        return [job for job in self.known.values() if job.place == "joined" and job.leader == leader.id]

    def close(self, job: Job) -> None:
        if job.image in self.open and self.open[job.image][0] == job.id:
            del self.open[job.image]

    def leave_alone(self, leader: Job) -> None:
        """Nobody joins that job any more, and those that did are on their own."""
        self.close(leader)
        for job in self.companions_of(leader):
            self.on_its_own(job)

    def on_its_own(self, job: Job) -> None:
        job.place, job.state, job.leader, job.turn = "queued", "queued", "", next(self.turns)

    @any_lease
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        held = self.a_lease(data)
        job = self.job_of(held)
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
        self.queues[slot] = self.queue(self.names[slot])

    def ask(self, held: Held, step: Callable[[Queue], Awaitable[T]]) -> T:
        """Have the worker of that lease take a step, though it may be dead: a command may be late on the wire."""

        async def taken() -> T:
            return await step(self.queue(held.worker))

        return self.run(taken())

    def holds(self, worker: str, entry: str, job: Job) -> bool:
        return job.place == "held" and job.holder == worker and job.entry == entry

    @invariant()
    def every_job_is_where_it_must_be(self) -> None:
        entries, held, delayed, joined, kept = self.run(self.look())
        jobs = self.known
        in_stream = [job_id for job_id, job in jobs.items() if job.place in {"queued", "held"}]
        assert sorted(entries.values()) == sorted(in_stream)
        assert {entries[entry]: holder for entry, holder in held.items()} == {
            job_id: job.holder for job_id, job in jobs.items() if job.place == "held"
        }
        assert sorted(delayed) == sorted(job_id for job_id, job in jobs.items() if job.place == "delayed")
        assert joined == {job_id for job_id, job in jobs.items() if job.place == "joined"}
        for (job_id, job), (fields, reports, expires, reports_expire, companions) in zip(
            jobs.items(), kept, strict=True
        ):
            ended = job.place == "ended"
            assert fields[b"state"].decode() == job.state, job_id
            assert int(fields[b"attempts"]) == job.attempts
            assert (b"authorization" in fields) is not ended
            assert (expires == -1) is not ended
            assert reports == ({job.kind.encode(): job.outcome} if job.state == "finished" else {})
            assert fields.get(b"error", b"") == (job.outcome if job.state == "failed" else b"")
            assert not reports or reports_expire > 0
            assert [companion.decode() for companion in companions] == [mate.id for mate in self.companions_of(job)]
            # A companion waits for nobody who does not run, or wait to be run.
            assert job.place != "joined" or jobs[job.leader].place in {"queued", "held"}

    @invariant()
    def only_a_job_that_will_be_run_can_be_joined(self) -> None:
        assert self.run(self.look_at_open()) == {
            leader: {kind.encode() for kind in kinds} for leader, kinds in self.open.values()
        }
        assert all(self.known[leader].place in {"queued", "held"} for leader, _ in self.open.values())

    async def look(self) -> tuple[dict[str, str], dict[str, str], list[str], set[str], list[Any]]:
        redis: Any = self.connections.client
        store = self.store
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.xrange(store.queue)
            pipeline.xpending_range(store.queue, GROUP, "-", "+", 1000)
            pipeline.zrange(store.delayed, 0, -1)
            pipeline.smembers(store.joined)
            for job_id in self.known:
                pipeline.hgetall(store.job(job_id))
                pipeline.hgetall(store.reports(job_id))
                pipeline.pttl(store.job(job_id))
                pipeline.pttl(store.reports(job_id))
                pipeline.lrange(store.companions(job_id), 0, -1)
            stream, pending, delayed, joined, *rest = await pipeline.execute()
        return (
            {entry.decode(): fields[b"job"].decode() for entry, fields in stream},
            {item["message_id"].decode(): item["consumer"].decode() for item in pending},
            [job_id.decode() for job_id in delayed],
            {job_id.decode() for job_id in joined},
            [rest[start : start + 5] for start in range(0, len(rest), 5)],
        )

    async def look_at_open(self) -> dict[str, set[bytes]]:
        """Return what is asked of each image, by the job that can be joined."""
        redis: Any = self.connections.client
        found = [await redis.hgetall(key) for key in await redis.keys(self.store.open("*"))]
        return {kinds.pop(b"leader").decode(): set(kinds) for kinds in found}

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
        queue, store = self.queue("last"), self.store
        store.lose = 0
        for job_id in await redis.zrange(store.delayed, 0, -1):
            await redis.zadd(store.delayed, {job_id: 0})
        await queue.promote()
        open_jobs = {job_id for job_id, job in self.known.items() if job.place != "ended"}
        for lease in (*await queue.reclaim(1000, idle_seconds=0), *await queue.lease(1000)):
            ending = [lease.job_id, *(companion.job_id for companion in await queue.gather(lease))]
            open_jobs.difference_update(ending)
            reports = {job_id: {self.known[job_id].kind: b"at last"} for job_id in ending}
            assert await queue.finish(lease, reports, KEEP, 1.0)
        assert open_jobs == set()
        assert await redis.xlen(store.queue) == 0
        assert (await redis.xpending(store.queue, GROUP))["pending"] == 0
        keys = {key.decode() for key in await redis.keys(f"{self.namespace}:*")}
        of_jobs = {key for job_id in self.known for key in (store.job(job_id), store.reports(job_id))}
        assert keys - of_jobs <= {store.queue, store.stats}
        await redis.delete(*keys)


def test_every_job_is_in_one_place_and_ends_once_whatever_happens(engine: RedisServer) -> None:
    class Machine(QueueMachine):
        server = engine

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
