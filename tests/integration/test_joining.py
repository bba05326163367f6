"""Jobs that share a run: of two requests for one image, the later one joins the earlier, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import pytest

from harbor_scanner.harbor.media import CYCLONEDX, SPDX
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, Registry, ScanRequest
from harbor_scanner.jobs.model import Companion, JobState, JobStatus, Lease
from harbor_scanner.jobs.store import GROUP
from support.jobs import (
    KEEP,
    PATIENCE,
    ROBOT_PASSWORD,
    Station,
    everything_in,
    lose_a_reply,
    sbom_request,
    scan_request,
    station,
    until,
)
from support.redis_servers import RedisServer

OTHER = "Basic cm9ib3Qkb3RoZXI6UzNjcmV0LU90aGVy"
"""Credentials of the second request: not those of the first."""
OTHER_PASSWORD = "S3cret-Other"
REPORTS = {"scan": {VULNERABILITY: b"of the vulnerabilities"}, "sbom": {SPDX: b"of the packages"}}
"""What the run of both ends with."""


def joined(
    server: RedisServer, namespace: str, worker: str = "worker-1"
) -> contextlib.AbstractAsyncContextManager[Station]:
    return station(server.address, namespace, worker, joining=True)


async def accepted(here: Station, *names: str) -> None:
    """Accept requests for one image, one of each kind; by default both."""
    requests = {"scan": scan_request(), "sbom": sbom_request(authorization=OTHER)}
    for name in names or requests:
        await here.queue.accept(name, requests[name], PATIENCE)


async def one_lease(here: Station) -> Lease:
    (lease,) = await here.queue.lease(9)
    return lease


async def shared(here: Station) -> tuple[Lease, Companion]:
    """Have a job in hand that another one has joined."""
    await accepted(here)
    lease = await one_lease(here)
    (companion,) = await here.queue.gather(lease)
    return lease, companion


async def status_of(here: Station, job_id: str, kind: str = VULNERABILITY) -> JobStatus:
    status = await here.store.find(job_id, kind, PATIENCE)
    assert status is not None
    return status


async def ends_alone(here: Station, job_id: str) -> None:
    """The job waits to be run, once and for the first time, and can be."""
    assert (await status_of(here, job_id)).state is JobState.QUEUED
    lease = await one_lease(here)
    assert (lease.job_id, lease.attempt) == (job_id, 1)
    assert await here.queue.gather(lease) == []
    assert await here.queue.finish(lease, {job_id: REPORTS[job_id]}, KEEP, 1.0)
    assert (await status_of(here, job_id)).state is JobState.FINISHED


def nothing_left(server: RedisServer, here: Station) -> bool:
    """Whether the server keeps nothing but what has ended."""
    names = {key.removeprefix(f"{here.store.namespace}:").partition(":")[0] for key in everything(server, here)}
    unread = int(server.ask("XLEN", here.store.queue)), int(server.ask("XPENDING", here.store.queue, GROUP)["pending"])
    return unread == (0, 0) and names <= {"queue", "stats", "job", "reports", "delayed"}


def everything(server: RedisServer, here: Station) -> set[str]:
    return server.keys(f"{here.store.namespace}:*")


@pytest.mark.parametrize("order", list(itertools.permutations(("scan", "sbom"))), ids=" ".join)
def test_two_requests_for_one_image_are_served_by_one_run(
    engine: RedisServer, namespace: str, order: tuple[str, str]
) -> None:
    async def scenario() -> None:
        first, second = order
        async with joined(engine, namespace) as here:
            await accepted(here, *order)
            assert engine.ask("XLEN", here.store.queue) == 1
            lease = await one_lease(here)
            assert lease.job_id == first
            (companion,) = await here.queue.gather(lease)
            assert companion.job_id == second
            assert await here.queue.finish(lease, REPORTS, KEEP, 1.0)

            for job_id, reports in REPORTS.items():
                ((kind, report),) = reports.items()
                status = await status_of(here, job_id, kind)
                assert (status.state, status.report, status.error) == (JobState.FINISHED, report, "")
                for key in (here.store.job(job_id), here.store.reports(job_id)):
                    assert (KEEP - 60) * 1000 < engine.ask("PTTL", key) <= KEEP * 1000
            assert nothing_left(engine, here)
            assert await here.queue.lease(9) == []

    asyncio.run(scenario())


def test_each_job_keeps_its_own_request_and_credentials(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            kept = [everything_in(engine, namespace)]
            lease = await one_lease(here)
            (companion,) = await here.queue.gather(lease)
            kept.append(everything_in(engine, namespace))
            assert here.queue.open_request(lease) == scan_request()
            assert here.queue.open_request(companion) == sbom_request(authorization=OTHER)
            assert await here.queue.finish(lease, REPORTS, KEEP, 1.0)

            assert lease.sealed
            assert companion.sealed
            for content in kept:
                assert lease.sealed in content
                assert companion.sealed in content
                assert ROBOT_PASSWORD.encode() not in content
                assert OTHER_PASSWORD.encode() not in content
                assert OTHER.removeprefix("Basic ").encode() not in content
            ended = everything_in(engine, namespace)
            assert lease.sealed not in ended
            assert companion.sealed not in ended

    asyncio.run(scenario())


def test_a_companion_without_credentials_has_none(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here, "scan")
            await here.queue.accept("sbom", sbom_request(authorization=None), PATIENCE)
            (companion,) = await here.queue.gather(await one_lease(here))
            assert here.queue.open_request(companion) == sbom_request(authorization=None)

    asyncio.run(scenario())


def test_the_end_of_each_is_told(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here, here.events.open() as events:
            await until(events.queued.is_set, "subscribed")
            lease, _ = await shared(here)
            with events.watch("scan") as one, events.watch("sbom") as other:
                for ended in (one, other):
                    ended.clear()
                assert await here.queue.finish(lease, REPORTS, KEEP, 1.0)
                await until(lambda: one.is_set() and other.is_set(), "both ends were heard of")

    asyncio.run(scenario())


def test_a_poll_is_told_what_was_asked_for_and_that_a_shared_run_goes_on(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            lease = await one_lease(here)
            waiting = await status_of(here, "sbom")
            assert (waiting.state, waiting.reports) == (JobState.QUEUED, (SPDX,))
            await here.queue.gather(lease)
            assert (await status_of(here, "sbom")).state is JobState.RUNNING
            await here.queue.finish(lease, REPORTS, KEEP, 1.0)
            for job_id, asked, other in (("scan", VULNERABILITY, SPDX), ("sbom", SPDX, VULNERABILITY)):
                status = await status_of(here, job_id, other)
                assert (status.state, status.reports, status.report) == (JobState.FINISHED, (asked,), None)

    asyncio.run(scenario())


def test_one_request_for_all_has_all_its_reports_and_no_companion(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            kinds = (VULNERABILITY, SPDX, CYCLONEDX)
            await here.queue.accept("all", scan_request().asking_for(kinds), PATIENCE)
            lease = await one_lease(here)
            assert await here.queue.gather(lease) == []
            assert await here.queue.finish(lease, {"all": {kind: kind.encode() for kind in kinds}}, KEEP, 1.0)
            for kind in kinds:
                status = await status_of(here, "all", kind)
                assert (status.reports, status.report) == (kinds, kind.encode())

    asyncio.run(scenario())


def test_what_is_asked_for_twice_is_run_twice(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            for number, kinds in enumerate(([SPDX], [VULNERABILITY], [CYCLONEDX, SPDX], [CYCLONEDX], [CYCLONEDX])):
                await here.queue.accept(f"more-{number}", scan_request().asking_for(kinds), PATIENCE)
            first, *others = await here.queue.lease(9)
            companions = await here.queue.gather(first)
            assert [companion.job_id for companion in companions] == ["sbom", "more-3"]
            assert [lease.job_id for lease in others] == ["more-0", "more-1", "more-2", "more-4"]
            for lease in others:
                assert await here.queue.gather(lease) == []

    asyncio.run(scenario())


def test_no_job_joins_a_run_that_has_begun_but_the_next_one(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here, "scan")
            begun = await one_lease(here)
            assert await here.queue.gather(begun) == []

            await accepted(here, "sbom")
            await here.queue.accept("another", scan_request(), PATIENCE)
            assert await here.queue.gather(begun) == []
            assert await here.queue.finish(begun, {"scan": REPORTS["scan"]}, KEEP, 1.0)
            lease = await one_lease(here)
            assert lease.job_id == "sbom"
            assert [companion.job_id for companion in await here.queue.gather(lease)] == ["another"]

    asyncio.run(scenario())


ELSEWHERE: dict[str, Callable[[Registry, Artifact], Mapping[str, Registry | Artifact]]] = {
    "image": lambda _, artifact: {"artifact": msgspec.structs.replace(artifact, digest=f"sha256:{'f' * 64}")},
    "repository": lambda _, artifact: {"artifact": msgspec.structs.replace(artifact, repository="library/other")},
    "registry": lambda registry, _: {"registry": msgspec.structs.replace(registry, url="https://other.example")},
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_request_for_something_else_does_not_join(engine: RedisServer, namespace: str, what: str) -> None:
    async def scenario() -> None:
        request = sbom_request()
        other: ScanRequest = msgspec.structs.replace(request, **ELSEWHERE[what](request.registry, request.artifact))
        async with joined(engine, namespace) as here:
            await accepted(here, "scan")
            await here.queue.accept("other", other, PATIENCE)
            leases = await here.queue.lease(9)
            assert [lease.job_id for lease in leases] == ["scan", "other"]
            assert [await here.queue.gather(lease) for lease in leases] == [[], []]

    asyncio.run(scenario())


@pytest.mark.parametrize("joins", [(False, False), (False, True), (True, False)], ids=str)
def test_a_request_joins_only_where_both_may(engine: RedisServer, namespace: str, joins: tuple[bool, bool]) -> None:
    async def scenario() -> None:
        for joining, name in zip(joins, ("scan", "sbom"), strict=True):
            async with station(engine.address, namespace, joining=joining) as here:
                await accepted(here, name)
        async with joined(engine, namespace) as here:
            leases = await here.queue.lease(9)
            assert [lease.job_id for lease in leases] == ["scan", "sbom"]
            assert [await here.queue.gather(lease) for lease in leases] == [[], []]

    asyncio.run(scenario())


Step = Callable[[Station, Lease], Awaitable[bool]]
ENDS: dict[str, Step] = {
    "fail": lambda here, lease: here.queue.fail(lease, "broken", KEEP),
    "retry": lambda here, lease: here.queue.retry(lease, 0, "unreachable"),
    "finish": lambda here, lease: here.queue.finish(lease, {"scan": REPORTS["scan"]}, KEEP, 1.0),
}


@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("end", ENDS)
def test_a_companion_that_a_run_did_not_serve_is_run_on_its_own(
    engine: RedisServer, namespace: str, end: str, gathered: bool
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            lease = await one_lease(here)
            if gathered:
                await here.queue.gather(lease)
            assert await ENDS[end](here, lease)
            await ends_alone(here, "sbom")

            # Nor does anybody wait from now on for a run that is over.
            await here.queue.accept("later", scan_request().asking_for([CYCLONEDX]), PATIENCE)
            assert (await one_lease(here)).job_id == "later"
            if end == "retry":
                assert await here.queue.promote() == 1
                again = await one_lease(here)
                assert (again.job_id, again.attempt, await here.queue.gather(again)) == ("scan", 2, [])

    asyncio.run(scenario())


def test_a_companion_that_is_sent_away_is_run_on_its_own(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            await here.queue.accept("kept", scan_request().asking_for([CYCLONEDX]), PATIENCE)
            lease = await one_lease(here)
            sent, kept = await here.queue.gather(lease)
            assert await here.queue.part(lease, sent)
            assert await here.queue.gather(lease) == [kept]
            assert (await status_of(here, "sbom")).state is JobState.QUEUED
            (own,) = await here.queue.lease(9)
            assert (own.job_id, own.attempt, here.queue.open_request(own)) == (
                "sbom", 1, sbom_request(authorization=OTHER),
            )  # fmt: skip
            reports = {"scan": REPORTS["scan"], "kept": {CYCLONEDX: b"in the other format"}}
            assert await here.queue.finish(lease, reports, KEEP, 1.0)
            assert (await status_of(here, "kept")).state is JobState.FINISHED
            assert (await status_of(here, "sbom")).state is JobState.RUNNING
            assert await here.queue.gather(own) == []
            assert await here.queue.finish(own, {"sbom": REPORTS["sbom"]}, KEEP, 1.0)
            assert nothing_left(engine, here)

    asyncio.run(scenario())


@pytest.mark.parametrize("gathered", [True, False])
@pytest.mark.parametrize("end", ["given back", "died"])
def test_companions_go_to_the_next_worker_with_the_job(
    engine: RedisServer, namespace: str, end: str, gathered: bool
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as leaving, joined(engine, namespace, "b") as here:
            await accepted(leaving)
            lease = await one_lease(leaving)
            if gathered:
                await leaving.queue.gather(lease)
            if end == "given back":
                assert await leaving.queue.give_back(lease)
                (taken,) = await here.queue.reclaim(9)
            else:
                (taken,) = await here.queue.reclaim(9, idle_seconds=0)
            assert [companion.job_id for companion in await here.queue.gather(taken)] == ["sbom"]
            assert await here.queue.finish(taken, REPORTS, KEEP, 1.0)
            assert (await status_of(here, "sbom", SPDX)).report == b"of the packages"
            assert nothing_left(engine, here)

    asyncio.run(scenario())


LATE: dict[str, Callable[[Station, Lease, Companion], Awaitable[object]]] = {
    "gather": lambda late, lost, _: late.queue.gather(lost),
    "part": lambda late, lost, companion: late.queue.part(lost, companion),
    "finish": lambda late, lost, _: late.queue.finish(lost, REPORTS, KEEP, 1.0),
    "fail": lambda late, lost, _: late.queue.fail(lost, "late", KEEP),
    "retry": lambda late, lost, _: late.queue.retry(lost, 0, "late"),
    "give_back": lambda late, lost, _: late.queue.give_back(lost),
}


@pytest.mark.parametrize("step", LATE)
def test_a_worker_that_lost_its_lease_changes_nothing_for_companions(
    engine: RedisServer, namespace: str, step: str
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as late, joined(engine, namespace, "b") as here:
            lost, companion = await shared(late)
            (held,) = await here.queue.reclaim(9, idle_seconds=0)
            assert not await LATE[step](late, lost, companion)
            assert await here.queue.gather(held) == [companion]
            assert (await status_of(here, "sbom")).state is JobState.RUNNING
            assert await here.queue.lease(9) == []
            assert await here.queue.finish(held, REPORTS, KEEP, 1.0)
            ended = everything_in(engine, namespace)
            assert not await LATE[step](late, lost, companion)
            assert everything_in(engine, namespace) == ended

    asyncio.run(scenario())


def test_a_late_worker_that_holds_the_job_again_does_not_end_who_went_away_meanwhile(
    engine: RedisServer, namespace: str
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as late, joined(engine, namespace, "b") as here:
            old, companion = await shared(late)
            (held,) = await here.queue.reclaim(9, idle_seconds=0)
            assert await here.queue.part(held, companion)
            own = await one_lease(here)
            assert await here.queue.give_back(held)
            assert len(await late.queue.reclaim(9)) == 1

            assert await late.queue.finish(old, REPORTS, KEEP, 1.0)
            assert (await status_of(here, "scan")).state is JobState.FINISHED
            assert (await status_of(here, "sbom")).state is JobState.RUNNING
            assert await here.queue.finish(own, {"sbom": {SPDX: b"its own"}}, KEEP, 1.0)
            assert (await status_of(here, "sbom", SPDX)).report == b"its own"
            assert nothing_left(engine, here)

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ENDS)
def test_lost_replies_change_nothing(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            for name in ("scan", "sbom"):
                lose_a_reply(here, monkeypatch)
                await accepted(here, name)
            await here.queue.accept("sent", scan_request().asking_for([CYCLONEDX]), PATIENCE)
            assert engine.ask("XLEN", here.store.queue) == 1
            assert engine.ask("SCARD", here.store.joined) == 2
            lease = await one_lease(here)
            lose_a_reply(here, monkeypatch)
            companion, sent = await here.queue.gather(lease)
            assert (companion.job_id, sent.job_id) == ("sbom", "sent")
            lose_a_reply(here, monkeypatch)
            assert await here.queue.part(lease, sent)
            assert (await one_lease(here)).job_id == "sent"
            lose_a_reply(here, monkeypatch)
            assert await ENDS[end](here, lease)
            await ends_alone(here, "sbom")
            assert engine.ask("SCARD", here.store.joined) == 0

    asyncio.run(scenario())


def test_a_lost_reply_to_the_end_of_both_changes_nothing(
    engine: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            lease, _ = await shared(here)
            lose_a_reply(here, monkeypatch)
            assert await here.queue.finish(lease, REPORTS, KEEP, 10.0)
            assert nothing_left(engine, here)
            assert (await here.store.snapshot(PATIENCE)).scan_seconds == 10.0

    asyncio.run(scenario())


def test_a_request_accepted_twice_joins_once(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            for _ in range(2):
                await accepted(here)
            lease = await one_lease(here)
            assert len(await here.queue.gather(lease)) == 1
            await accepted(here)
            assert await here.queue.finish(lease, REPORTS, KEEP, 1.0)
            await accepted(here)
            assert nothing_left(engine, here)

    asyncio.run(scenario())


def test_the_snapshot_tells_who_waits_for_the_run_of_another(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.joined, snapshot.running) == (1, 1, 0)
            lease = await one_lease(here)
            await here.queue.gather(lease)
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.joined, snapshot.running) == (0, 1, 1)
            await here.queue.retry(lease, 3600, "unreachable")
            snapshot = await here.store.snapshot(PATIENCE)
            assert (snapshot.queued, snapshot.joined, snapshot.delayed) == (1, 0, 1)

    asyncio.run(scenario())


def test_a_job_that_nobody_can_join_any_more_still_serves_those_that_did(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            await accepted(here)
            (kept,) = engine.keys(f"{namespace}:open:*")
            assert 0 < engine.ask("TTL", kept) <= 86400
            engine.ask("DEL", kept)
            await here.queue.accept("another", sbom_request(), PATIENCE)
            lease, another = await here.queue.lease(9)
            assert [companion.job_id for companion in await here.queue.gather(lease)] == ["sbom"]
            # What belongs to the next job is left to it.
            await here.queue.accept("with another", scan_request(), PATIENCE)
            assert [companion.job_id for companion in await here.queue.gather(another)] == ["with another"]

    asyncio.run(scenario())


def test_many_processes_share_many_runs_and_lose_no_job(engine: RedisServer, namespace: str) -> None:
    images, workers = 60, 3
    ended: list[str] = []
    runs = 0

    async def ask(here: Station, kind: str) -> None:
        for number in range(images):
            request = scan_request(number).asking_for([kind])
            await here.queue.accept(f"{number} {kind}", request, PATIENCE)

    async def work(name: str) -> None:
        nonlocal runs
        async with joined(engine, namespace, name) as here:
            while len(ended) < 2 * images:
                for lease in await here.queue.lease(3):
                    companions = await here.queue.gather(lease)
                    jobs = [lease.job_id, *(companion.job_id for companion in companions)]
                    reports = {job_id: {job_id.partition(" ")[2]: job_id.encode()} for job_id in jobs}
                    assert await here.queue.finish(lease, reports, KEEP, 1.0)
                    ended.extend(jobs)
                    runs += 1

    async def scenario() -> None:
        async with joined(engine, namespace) as here, joined(engine, namespace) as other, asyncio.timeout(120):
            await asyncio.gather(
                ask(here, VULNERABILITY), ask(other, SPDX), *(work(f"worker-{number}") for number in range(workers))
            )
            expected = [f"{number} {kind}" for number in range(images) for kind in (VULNERABILITY, SPDX)]
            assert sorted(ended) == sorted(expected)
            assert images <= runs <= 2 * images
            for job_id in expected:
                assert (await status_of(here, job_id, job_id.partition(" ")[2])).report == job_id.encode()
            assert nothing_left(engine, here)

    asyncio.run(scenario())


def test_a_job_that_vanished_keeps_nobody_from_being_run(engine: RedisServer, namespace: str) -> None:
    """A server that evicts keys, or a hand that deletes them, costs that job and no other."""

    async def scenario() -> None:
        async with joined(engine, namespace) as here:
            # The first of two.
            await accepted(here)
            engine.ask("DEL", here.store.job("scan"))
            assert await here.queue.lease(9) == []
            assert (await one_lease(here)).job_id == "sbom"
        async with joined(engine, f"{namespace}-2") as here:
            # The first of two, before the second came.
            await accepted(here, "scan")
            engine.ask("DEL", here.store.job("scan"))
            await accepted(here, "sbom")
            assert [lease.job_id for lease in await here.queue.lease(9)] == ["sbom"]
        async with joined(engine, f"{namespace}-3") as here:
            # The second of two.
            await accepted(here)
            lease = await one_lease(here)
            engine.ask("DEL", here.store.job("sbom"))
            assert await here.queue.gather(lease) == []
            assert await here.queue.fail(lease, "broken", KEEP)
            assert await here.queue.lease(9) == []
            assert (await here.store.snapshot(PATIENCE)).joined == 0

    asyncio.run(scenario())
