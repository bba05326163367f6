"""The worker: every job that it takes comes to its end, whatever happens to the scan, the store, the disk or itself."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import (
    BadReportError,
    DiskError,
    ImageError,
    MemoryLimitError,
    RegistryError,
    ScanError,
    ScannerConfigurationError,
    ScannerUnreachableError,
    TimeLimitError,
)
from harbor_scanner.harbor.models import VULNERABILITY, Finding, ScanRequest
from harbor_scanner.jobs import queue as queue_module
from harbor_scanner.jobs import worker as worker_module
from harbor_scanner.jobs.model import JobState, Lease
from harbor_scanner.jobs.store import GROUP
from support.jobs import (
    AUTHORIZATION,
    KEEP,
    PATIENCE,
    ROBOT_PASSWORD,
    Station,
    scan_request,
    station,
    until,
    vulnerabilities,
)
from support.redis_servers import RedisServer, program, serving
from support.workplace import LONG, Gate, Inspector, ScriptedScanner, found, grow_old, never_ends, working


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats every moment, and another try at once: tests that are about time set it themselves."""
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(worker_module, "_FIRST_RETRY", 0.0)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker believe that it has been running, and the store been there, for a long time."""
    monkeypatch.setattr(worker_module, "LEASE_SECONDS", 0.0)


@pytest.fixture
def durable(short_dir: Path) -> Iterator[RedisServer]:
    """A server of this test's own, which survives being killed."""
    with serving(program("valkey"), short_dir / "durable", durable=True) as server:
        yield server


async def left_by_a_dead_worker(server: RedisServer, namespace: str, *numbers: int) -> None:
    """Have jobs that a worker took before it died, an hour ago."""
    async with station(server.address, namespace, "dead") as dead:
        for number in numbers:
            await dead.queue.accept(f"job-{number}", scan_request(number), PATIENCE)
        for lease in await dead.queue.lease(len(numbers)):
            grow_old(server, dead, lease, "dead")


def asked(number: int) -> ScanRequest:
    """Return what the scanner is asked of a job."""
    return scan_request(number).asking_for([VULNERABILITY])


def test_a_job_ends_in_its_report_and_leaves_nothing_but_that(
    engine: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner()
        async with working(engine, namespace, short_dir, scanner) as place:
            await place.accept(1)
            status = await place.ended()
            assert status.state is JobState.FINISHED
            assert status.report is not None
            report = json.loads(gzip.decompress(status.report))
            assert report["scanner"] == {"name": "Scripted", "vendor": "Tests", "version": "1.0"}
            assert report["artifact"]["digest"] == scan_request(1).artifact.digest
            assert [(item["id"], item["package"]) for item in report["vulnerabilities"]] == [
                ("CVE-2026-0001", "openssl")
            ]

            assert scanner.requests == [asked(1)]
            assert engine.ask("HEXISTS", place.here.store.job("job-1"), "authorization") == 0
            assert engine.ask("XLEN", place.here.store.queue) == 0
            assert place.metric('harbor_scanner_findings_total{scanner="scripted",severity="High"}') == 1
            await until(lambda: not any(path.exists() for path in scanner.directories_used), "the workspace is gone")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "failure",
    [RegistryError, ImageError, ScannerConfigurationError, TimeLimitError, BadReportError],
    ids=lambda failure: failure.code,
)
def test_a_failure_that_no_other_try_can_cure_is_reported_at_once(
    valkey: RedisServer, namespace: str, short_dir: Path, failure: type[ScanError]
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(failure("It went wrong.", "Do this."))
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            status = await place.ended()
            assert (status.state, status.error) == (JobState.FAILED, f"[{failure.code}] It went wrong.\nDo this.")
            assert len(scanner.requests) == 1
            assert valkey.ask("HEXISTS", place.here.store.job("job-1"), "authorization") == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "failure", [ScannerUnreachableError, MemoryLimitError, DiskError], ids=lambda failure: failure.code
)
def test_a_failure_that_passes_is_tried_again_with_the_same_credentials(
    valkey: RedisServer, namespace: str, short_dir: Path, failure: type[ScanError]
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(failure("It went wrong."), failure("It went wrong."), found)
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            assert (await place.ended()).state is JobState.FINISHED
            assert scanner.requests == [asked(1)] * 3

    asyncio.run(scenario())


def test_tries_come_to_an_end_and_the_message_tells_how_many_there_were(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(ScannerUnreachableError("Nobody answers."))
        async with working(valkey, namespace, short_dir, scanner, max_attempts=3) as place:
            await place.accept(1)
            status = await place.ended()
            assert status.error == "[scanner-unreachable] Nobody answers.\n(attempt 3 of 3)"
            assert len(scanner.requests) == 3
            retried = 'harbor_scanner_scan_failures_total{class="scanner-unreachable",retried="%s",scanner="scripted"}'
            assert (place.metric(retried % "true"), place.metric(retried % "false")) == (2, 1)

    asyncio.run(scenario())


def test_the_next_try_waits_longer_each_time(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.02)

    async def scenario() -> None:
        scanner = ScriptedScanner(ScannerUnreachableError("Nobody answers."))
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            for least, most in ((4.0, 6.0), (16.0, 24.0)):
                before = _time_of(valkey)
                await until(lambda: valkey.ask("ZSCORE", place.here.store.delayed, "job-1"), "it was put aside")
                due = valkey.ask("ZSCORE", place.here.store.delayed, "job-1") / 1000
                assert before + least - 0.1 <= due <= _time_of(valkey) + most + 0.1
                valkey.ask("ZADD", place.here.store.delayed, 0, "job-1")
            assert (await place.ended()).state is JobState.FAILED

    asyncio.run(scenario())


def _time_of(server: RedisServer) -> float:
    seconds, microseconds = server.ask("TIME")
    return float(seconds + microseconds / 1e6)


def test_no_try_is_begun_that_harbor_would_not_wait_for(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(ScannerUnreachableError("Nobody answers."))
        gate = Gate()
        async with working(valkey, namespace, short_dir, ScriptedScanner(gate), slots=1) as busy:
            await busy.accept(0)
            await gate.entered.wait()
            await busy.accept(1)
            half_an_hour_ago = _time_of(valkey) - 30 * 60
            valkey.ask("HSET", busy.here.store.job("job-1"), "queued_at", half_an_hour_ago)
            async with working(valkey, namespace, short_dir, scanner, name="worker-2") as place:
                status = await place.ended()
                assert status.error == "[scanner-unreachable] Nobody answers."
                assert len(scanner.requests) == 1

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
def test_the_job_of_a_dead_worker_is_taken_over_and_the_run_counts(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await left_by_a_dead_worker(valkey, namespace, 1)
        scanner = ScriptedScanner(ScannerUnreachableError("Nobody answers."))
        async with working(valkey, namespace, short_dir, scanner, max_attempts=2) as place:
            assert (await place.ended()).error.endswith("(attempt 2 of 2)")
            assert len(scanner.requests) == 1

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
def test_a_job_whose_workers_died_too_often_fails_and_says_so(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await left_by_a_dead_worker(valkey, namespace, 1)
        valkey.ask("HSET", f"{namespace}:job:job-1", "attempts", 3)
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, max_attempts=3) as place:
            status = await place.ended()
            assert status.error.startswith("[worker-died] The worker that ran this scan died 3 times.\n")
            assert "SCANNER_MAX_ATTEMPTS" in status.error
            assert "attempt 4" not in status.error
            assert scanner.requests == []

    asyncio.run(scenario())


def test_the_only_worker_takes_over_what_its_predecessor_left_without_waiting(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waits for the lease to run out waits for ever.
    monkeypatch.setattr(worker_module, "LEASE_SECONDS", 1e9)

    async def scenario() -> None:
        async with station(valkey.address, namespace, "predecessor") as predecessor:
            for number in (1, 2):
                await predecessor.queue.accept(f"job-{number}", scan_request(number), PATIENCE)
            assert len(await predecessor.queue.lease(1)) == 1
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, sole=True) as place:
            for number in (1, 2):
                assert (await place.ended(number)).state is JobState.FINISHED
            assert len(scanner.requests) == 2

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
def test_a_stop_lets_a_scan_finish_and_takes_nothing_new(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        gate = Gate()
        scanner = ScriptedScanner(gate)
        async with working(valkey, namespace, short_dir, scanner, slots=3, shutdown_grace=LONG) as place:
            await place.accept(1)
            await gate.entered.wait()
            stopping = asyncio.create_task(place.stop())
            await until(lambda: not place.worker._takes_jobs, "it takes no more")
            await left_by_a_dead_worker(valkey, namespace, 2)
            await place.accept(3)
            # Many heartbeats long.
            await asyncio.sleep(0.3)
            assert not stopping.done()
            assert scanner.now == 1

            gate.open.set()
            await stopping
            assert (await place.status(1)).state is JobState.FINISHED
            assert (await place.status(2)).state is JobState.RUNNING
            assert (await place.status(3)).state is JobState.QUEUED
            assert len(scanner.requests) == 1

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
def test_a_scan_longer_than_the_grace_goes_back_to_the_queue_and_the_run_does_not_count(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def slow_to_end(_: ScanRequest) -> list[Finding]:
        try:
            await asyncio.Event().wait()
        finally:
            # As a scanner that gets SIGTERM and takes its time. Meanwhile the other job waits for anybody.
            await asyncio.sleep(0.5)
        return []

    async def scenario() -> None:
        scanner = ScriptedScanner(never_ends, slow_to_end)
        async with working(valkey, namespace, short_dir, scanner, shutdown_grace=0.05) as place:
            await place.accept(1, 2)
            await until(lambda: scanner.now == 2, "both run")
            await place.stop()
            assert scanner.now == 0
            assert len(scanner.requests) == 2
            for number in (1, 2):
                assert (await place.status(number)).state is JobState.QUEUED
        async with station(valkey.address, namespace, "next") as successor:
            taken = await successor.queue.reclaim(9)
            assert sorted((lease.job_id, lease.attempt) for lease in taken) == [("job-1", 1), ("job-2", 1)]

    asyncio.run(scenario())


def test_a_worker_that_is_cancelled_gives_its_jobs_back(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(never_ends)
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            await until(lambda: scanner.now == 1, "it runs")
            place.task.cancel()
            await asyncio.wait([place.task])
            assert scanner.now == 0
            assert (await place.status()).state is JobState.QUEUED
            place.task = asyncio.create_task(asyncio.sleep(0))

    asyncio.run(scenario())


def test_a_job_given_back_while_it_was_being_ended_is_not_lost(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner) as place:
            ending = asyncio.Event()

            async def stuck(*_: Any) -> bool:
                ending.set()
                await asyncio.Event().wait()
                return False

            monkeypatch.setattr(place.here.queue, "finish", stuck)
            await place.accept(1)
            await ending.wait()
            await place.stop()
            assert (await place.status()).state is JobState.QUEUED
        async with working(valkey, namespace, short_dir, scanner, name="next", sole=True) as place:
            assert (await place.ended()).state is JobState.FINISHED

    asyncio.run(scenario())


def test_a_scan_whose_lease_was_lost_is_ended_and_changes_nothing(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with (
            station(valkey.address, namespace, "other") as other,
            working(valkey, namespace, short_dir, ScriptedScanner(gate)) as place,
        ):
            await place.accept(1)
            await gate.entered.wait()
            (lease,) = await other.queue.reclaim(1, idle_seconds=0)
            await until(lambda: gate.cancelled, "the scan was ended here")
            assert await other.queue.prolong([lease]) == set()
            assert (await place.status()).state is JobState.RUNNING
            assert await other.queue.finish(lease, vulnerabilities(lease, b"of the other"), KEEP, 1.0)
            assert (await place.status()).report == b"of the other"

    asyncio.run(scenario())


def test_a_long_scan_keeps_its_lease(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with working(valkey, namespace, short_dir, ScriptedScanner(gate)) as place:
            await place.accept(1)
            await gate.entered.wait()
            for _ in range(3):
                ((entry, *_),) = _pending(valkey, place.here)
                lease = Lease("job-1", entry.decode(), 1, 0, 0, b"")
                grow_old(valkey, place.here, lease, "worker-1")
                await until(lambda: _pending(valkey, place.here)[0][2] < 1_000_000, "a heartbeat came")
            gate.open.set()
            assert (await place.ended()).state is JobState.FINISHED

    asyncio.run(scenario())


def _pending(server: RedisServer, here: Station) -> Any:
    """Return entry, owner, idle milliseconds and number of deliveries of what was delivered."""
    items = server.ask("XPENDING", here.store.queue, GROUP, "-", "+", 9, parse_detail=True)
    return [tuple(item.values()) for item in items]


def test_heartbeats_go_on_after_a_defect(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with working(valkey, namespace, short_dir, ScriptedScanner(gate)) as place:
            await place.accept(1)
            await gate.entered.wait()
            failed = asyncio.Event()

            async def broken(*_: Any, **__: Any) -> None:
                failed.set()
                raise AttributeError("a defect")

            with monkeypatch.context() as patch:
                patch.setattr(place.here.store, "announce", broken)
                await failed.wait()
            ((entry, *_),) = _pending(valkey, place.here)
            grow_old(valkey, place.here, Lease("job-1", entry.decode(), 1, 0, 0, b""), "worker-1")
            await until(lambda: _pending(valkey, place.here)[0][2] < 1_000_000, "a heartbeat came")

    asyncio.run(scenario())


def test_a_heartbeat_between_the_end_of_a_job_and_word_of_it_changes_nothing(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with working(valkey, namespace, short_dir, ScriptedScanner()) as place:
            finish = place.here.queue.finish

            async def slow_to_answer(*arguments: Any) -> bool:
                done = await finish(*arguments)
                # Many heartbeats long.
                await asyncio.sleep(0.3)
                return done

            monkeypatch.setattr(place.here.queue, "finish", slow_to_answer)
            await place.accept(1)
            assert (await place.ended()).state is JobState.FINISHED
            counted = 'harbor_scanner_scan_duration_seconds_count{result="finished",scanner="scripted"}'
            await until(lambda: place.metric(counted) == 1, "the end was counted")

    asyncio.run(scenario())


def test_a_report_waits_for_a_store_that_is_down_when_the_scan_ends(
    durable: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The outage outlasts the patience of a single step.
    monkeypatch.setattr(queue_module, "PATIENCE", 0.02)
    monkeypatch.setattr(worker_module, "_TICK", 0.05)

    async def scenario() -> None:
        gate, failing = Gate(), Gate()

        async def fails(request: ScanRequest) -> list[Finding]:
            await failing(request)
            raise ImageError("It is no image.")

        scanner = ScriptedScanner(gate, fails)
        async with working(durable, namespace, short_dir, scanner) as place:
            await place.accept(1, 2)
            await gate.entered.wait()
            await failing.entered.wait()
            durable.kill()
            gate.open.set()
            failing.open.set()
            await until(lambda: scanner.now == 0, "the scans have ended")
            await asyncio.sleep(0.5)
            durable.start()
            first, second = await place.ended(1), await place.ended(2)
            assert (first.state, second.error) == (JobState.FINISHED, "[image] It is no image.")
            assert len(scanner.requests) == 2

    asyncio.run(scenario())


def test_a_store_that_comes_back_empty_stops_no_worker(durable: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with working(durable, namespace, short_dir, ScriptedScanner(gate, found), slots=1) as place:
            await place.accept(1)
            await gate.entered.wait()
            durable.ask("FLUSHALL")
            durable.ask("SCRIPT FLUSH")
            gate.open.set()
            await place.accept(2)
            assert (await place.ended(2)).state is JobState.FINISHED

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
def test_there_are_never_more_scans_than_slots(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        await left_by_a_dead_worker(valkey, namespace, 1, 2, 3)

        async def short(_: ScanRequest) -> list[Finding]:
            await asyncio.sleep(0.02)
            return []

        scanner = ScriptedScanner(short)
        async with working(valkey, namespace, short_dir, scanner, slots=1) as place:
            queue = place.here.queue
            for name in ("lease", "reclaim"):
                setattr(queue, name, _after_a_while(getattr(queue, name)))
            await place.accept(*range(4, 8))
            for number in range(1, 8):
                assert (await place.ended(number)).state is JobState.FINISHED
            assert scanner.most == 1
            assert len(scanner.requests) == 7

    asyncio.run(scenario())


def _after_a_while(source: Callable[..., Awaitable[list[Lease]]]) -> Callable[..., Awaitable[list[Lease]]]:
    async def slow(count: int) -> list[Lease]:
        await asyncio.sleep(0.05)
        return await source(count)

    return slow


def test_all_slots_are_used(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(never_ends)
        async with working(valkey, namespace, short_dir, scanner, slots=3) as place:
            await place.accept(*range(5))
            await until(lambda: scanner.now == 3, "three scans run at once")
            assert (await place.here.store.snapshot(PATIENCE)).slots == 3

    asyncio.run(scenario())


def test_a_queued_job_is_started_without_waiting_for_the_next_look(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_TICK", 600.0)

    async def scenario() -> None:
        async with working(valkey, namespace, short_dir, ScriptedScanner(), slots=1) as place:
            for number in range(5):
                await place.accept(number)
                assert (await place.ended(number)).state is JobState.FINISHED
            # Nor does a free slot wait.
            await place.accept(*range(5, 10))
            for number in range(5, 10):
                assert (await place.ended(number)).state is JobState.FINISHED

    asyncio.run(scenario())


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("sole", [False, True])
def test_scans_wait_for_free_disk_space_and_then_go_on(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch, sole: bool
) -> None:
    free = 0
    monkeypatch.setattr(worker_module, "free_bytes", lambda *_: free)
    monkeypatch.setattr(worker_module, "_TICK", 0.05)

    async def scenario() -> None:
        nonlocal free
        await left_by_a_dead_worker(valkey, namespace, 1)
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, disk_floor=1000, sole=sole) as place:
            await place.accept(2)
            await until(lambda: place.worker.waiting_for_disk, "it says that it waits")
            await asyncio.sleep(0.3)
            assert scanner.requests == []
            assert place.metric('harbor_scanner_waiting_for_disk{scanner="scripted"}') == 1

            free = 1000
            for number in (1, 2):
                assert (await place.ended(number)).state is JobState.FINISHED
            assert not place.worker.waiting_for_disk
            assert place.metric('harbor_scanner_waiting_for_disk{scanner="scripted"}') == 0

    asyncio.run(scenario())


def test_a_defect_of_the_service_is_reported_as_that_and_without_secrets(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(ValueError(f"no idea what {AUTHORIZATION} and {ROBOT_PASSWORD} are"))
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            status = await place.ended()
            assert status.error.startswith("[internal] The scan failed for a defect of this service: ValueError(")
            assert "job-1" in status.error
            assert "no idea what" in status.error
            assert ROBOT_PASSWORD not in status.error
            assert AUTHORIZATION.removeprefix("Basic ") not in status.error
            assert len(scanner.requests) == 1

    asyncio.run(scenario())


def test_a_failure_is_reported_without_secrets(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        error = RegistryError(f"401 for robot$harbor:{ROBOT_PASSWORD}", f"Is {ROBOT_PASSWORD} right?")
        async with working(valkey, namespace, short_dir, ScriptedScanner(error)) as place:
            await place.accept(1)
            status = await place.ended()
            assert status.error.startswith("[registry] 401 for robot$harbor:")
            assert ROBOT_PASSWORD not in status.error

    asyncio.run(scenario())


def test_a_failure_whose_message_is_no_sound_text_is_reported_all_the_same(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner(DiskError("no room for caf\udce9"), ImageError("caf\udce9 is no image\0"))
        async with working(valkey, namespace, short_dir, scanner) as place:
            await place.accept(1)
            assert (await place.ended()).error.startswith("[image] caf")

    asyncio.run(scenario())


def test_an_artifact_that_is_no_image_never_reaches_the_scanner(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    class Refusing(Inspector):
        async def require_image(self, request: ScanRequest) -> None:
            raise ImageError(f"{request.artifact.repository} is a Helm chart.")

    async def scenario() -> None:
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, inspector=Refusing()) as place:
            await place.accept(1)
            assert (await place.ended()).error == "[image] library/image-1 is a Helm chart."
            assert scanner.requests == []

    asyncio.run(scenario())


def test_a_request_that_cannot_be_read_fails_alone(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        async with station(valkey.address, namespace) as here:
            await here.queue.accept("job-1", scan_request(1), PATIENCE)
            valkey.ask("HSET", here.store.job("job-1"), "request", b'{"artifact": "of another version"}')
            await here.queue.accept("job-2", scan_request(2), PATIENCE)
        async with working(valkey, namespace, short_dir, ScriptedScanner()) as place:
            assert (await place.ended(1)).error.startswith("[internal] The stored scan request cannot be read")
            assert (await place.ended(2)).state is JobState.FINISHED

    asyncio.run(scenario())


def test_a_worker_shows_itself_to_the_others(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        async with working(valkey, namespace, short_dir, ScriptedScanner()) as place:

            async def seen() -> bool:
                return await place.here.store.scanner_version(PATIENCE) == "1.0"

            await until(seen, "its scanner's version is known")

    asyncio.run(scenario())
