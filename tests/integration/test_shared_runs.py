"""Runs that serve several requests: one scan for all of them, and nobody pays for the trouble of another."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from harbor_scanner.errors import (
    BadReportError,
    ImageError,
    ScanError,
    ScannerConfigurationError,
    ScannerFailedError,
    ScannerUnreachableError,
)
from harbor_scanner.harbor.media import CYCLONEDX, SPDX
from harbor_scanner.harbor.models import VULNERABILITY, Finding, ScanRequest
from harbor_scanner.jobs import run as run_module
from harbor_scanner.jobs import worker as worker_module
from harbor_scanner.jobs.model import JobState, JobStatus
from harbor_scanner.jobs.store import GROUP
from support.jobs import PATIENCE, sbom_request, scan_request, station, until
from support.redis_servers import RedisServer
from support.workplace import FINDING, Gate, Inspector, ScriptedScanner, Workplace, found, grow_old, working

OTHER = "Basic cm9ib3Qkb3RoZXI6UzNjcmV0LU90aGVy"
"""Credentials of the request for the SBOM: not those of the other one."""
KINDS = {"scan": VULNERABILITY, "sbom": SPDX}
REQUESTS = {"scan": scan_request(), "sbom": sbom_request(authorization=OTHER)}
REPORTS = 'harbor_scanner_report_bytes_count{report="%s",scanner="scripted"}'
SHARED = 'harbor_scanner_shared_runs_total{scanner="scripted"}'


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats every moment, another try at once, and no wait for others."""
    monkeypatch.setattr(worker_module, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(worker_module, "_FIRST_RETRY", 0.0)
    monkeypatch.setattr(run_module, "JOIN_SECONDS", 0.0)


async def accepted(server: RedisServer, namespace: str, *order: str, joining: bool = True) -> None:
    """Have requests for one image accepted before any worker looks; by default both."""
    async with station(server.address, namespace, joining=joining) as here:
        for name in order or REQUESTS:
            await here.queue.accept(name, REQUESTS[name], PATIENCE)


async def both_ended(place: Workplace) -> dict[str, JobStatus]:
    return {name: await place.ended(name, kind) for name, kind in KINDS.items()}


def document(status: JobStatus) -> dict[str, Any]:
    assert status.report is not None
    decoded: dict[str, Any] = json.loads(gzip.decompress(status.report))
    return decoded


def asked_of(scanner: ScriptedScanner) -> list[tuple[str, ...]]:
    """Return the kinds of reports that each scan was to make."""
    return [request.reports for request in scanner.requests]


@pytest.mark.parametrize("first", REQUESTS)
def test_one_scan_serves_both_requests(engine: RedisServer, namespace: str, short_dir: Path, first: str) -> None:
    async def scenario() -> None:
        order = sorted(REQUESTS, key=lambda name: name != first)
        await accepted(engine, namespace, *order)
        scanner = ScriptedScanner()
        async with working(engine, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            report, sbom = document(ended["scan"]), document(ended["sbom"])
            assert [item["id"] for item in report["vulnerabilities"]] == [FINDING.id]
            assert (sbom["media_type"], sbom["sbom"]) == (SPDX, {"name": "of the packages"})
            assert "sbom" not in report
            assert "vulnerabilities" not in sbom

            assert scanner.requests == [REQUESTS[first].asking_for([VULNERABILITY, SPDX])]
            await until(lambda: place.metric(SHARED) == 1, "the shared run was counted")
            for kind in ("vulnerability", "sbom"):
                await until(lambda: place.metric(REPORTS % kind) == 1, "the report was counted")  # noqa: B023
            assert place.metric('harbor_scanner_findings_total{scanner="scripted",severity="High"}') == 1
            runs = 'harbor_scanner_scan_duration_seconds_count{result="finished",scanner="scripted"}'
            assert place.metric(runs) == 1
            assert (await place.here.store.snapshot(PATIENCE)).joined == 0

    asyncio.run(scenario())


def test_the_log_tells_of_each_job_by_its_id(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        with capture_logs() as logs:
            async with working(valkey, namespace, short_dir, ScriptedScanner(), joining=True) as place:
                await both_ended(place)
        ends = {line["job"]: line["reports"] for line in logs if line["event"] == "scan finished"}
        assert ends == {name: [kind] for name, kind in KINDS.items()}

    asyncio.run(scenario())


def test_each_report_names_the_artifact_of_its_own_request(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        async with station(valkey.address, namespace, joining=True) as here:
            for tag, (name, request) in zip(("1.0", "latest"), REQUESTS.items(), strict=True):
                artifact = msgspec.structs.replace(request.artifact, tag=tag)
                await here.queue.accept(name, msgspec.structs.replace(request, artifact=artifact), PATIENCE)
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            assert [document(ended[name])["artifact"]["tag"] for name in REQUESTS] == ["1.0", "latest"]
            assert len(scanner.requests) == 1

    asyncio.run(scenario())


def test_one_request_for_all_has_all_its_reports(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        kinds = (VULNERABILITY, SPDX, CYCLONEDX)
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            await place.here.queue.accept("all", scan_request().asking_for(kinds), PATIENCE)
            made = {kind: document(await place.ended("all", kind)) for kind in kinds}
            assert made[VULNERABILITY]["vulnerabilities"]
            assert [made[kind]["media_type"] for kind in (SPDX, CYCLONEDX)] == [SPDX, CYCLONEDX]
            assert asked_of(scanner) == [kinds]
            await until(lambda: place.metric(REPORTS % "sbom") == 2, "both SBOMs were counted")
            assert place.metric(SHARED) == 0

    asyncio.run(scenario())


class Shown(Inspector):
    """Shows the image to nobody, and remembers who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ScanRequest] = []

    async def shows_image(self, request: ScanRequest) -> bool:
        self.asked.append(request)
        return False


def test_a_report_reaches_nobody_to_whom_the_registry_does_not_show_the_image(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        gate = Gate()

        async def step(request: ScanRequest) -> list[Finding]:
            return await gate(request) if VULNERABILITY in request.reports else []

        scanner, inspector = ScriptedScanner(step), Shown()
        async with working(valkey, namespace, short_dir, scanner, joining=True, inspector=inspector) as place:
            # Nor does it wait for the run that does not serve it.
            assert (await place.ended("sbom", SPDX)).state is JobState.FINISHED
            assert (await place.status("scan")).state is JobState.RUNNING
            gate.open.set()
            assert (await place.ended("scan")).state is JobState.FINISHED
            # It was asked with the companion's credentials, and each scan has those of its own request.
            assert inspector.asked == [REQUESTS["sbom"]]
            by_kinds = {request.reports: request.registry.authorization for request in scanner.requests}
            assert by_kinds == {
                (kind,): REQUESTS[name].registry.authorization for name, kind in KINDS.items()
            }  # fmt: skip
            assert len(scanner.requests) == 2
            assert place.metric(SHARED) == 0

    asyncio.run(scenario())


def test_a_companion_that_cannot_be_read_fails_alone(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        valkey.ask("HSET", f"{namespace}:job:sbom", "request", b'{"artifact": "of another version"}')
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            assert ended["scan"].state is JobState.FINISHED
            assert ended["sbom"].error.startswith("[internal] The stored scan request cannot be read")
            assert asked_of(scanner) == [(VULNERABILITY,)]

    asyncio.run(scenario())


def test_a_companion_of_a_run_that_failed_is_run_on_its_own(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        scanner = ScriptedScanner(ImageError("It is no image."), found)
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            assert ended["scan"].error == "[image] It is no image."
            assert document(ended["sbom"])["sbom"]
            assert asked_of(scanner) == [(VULNERABILITY, SPDX), (SPDX,)]
            assert scanner.requests[1].registry.authorization == OTHER
            assert place.metric(SHARED) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "trouble",
    [
        ScannerFailedError("Exit code 34."),
        BadReportError("There is no SBOM."),
        ScannerConfigurationError("There is no token, which only one of them needs."),
        ScannerUnreachableError("Nobody answers, whom only one of them needs."),
    ],
)
def test_what_only_the_shared_run_could_not_do_fails_nobody_else(
    valkey: RedisServer, namespace: str, short_dir: Path, trouble: ScanError
) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        scanner = ScriptedScanner(trouble, found)
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            for status in (await both_ended(place)).values():
                assert status.state is JobState.FINISHED
            shared, *own = asked_of(scanner)
            assert (shared, sorted(own)) == ((VULNERABILITY, SPDX), [(SPDX,), (VULNERABILITY,)])
            assert place.metric('harbor_scanner_scan_duration_seconds_count{result="failed",scanner="scripted"}') == 0

    asyncio.run(scenario())


def test_after_a_run_that_is_tried_again_each_is_run_on_its_own(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        scanner = ScriptedScanner(ScannerUnreachableError("Nobody answers."), found)
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            for status in (await both_ended(place)).values():
                assert status.state is JobState.FINISHED
            shared, *own = asked_of(scanner)
            assert (shared, sorted(own)) == ((VULNERABILITY, SPDX), [(SPDX,), (VULNERABILITY,)])

    asyncio.run(scenario())


@pytest.mark.parametrize("died", [1, 3])
def test_both_end_when_a_worker_died_in_the_middle(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch, died: int
) -> None:
    # As if the worker had been running, and the store been there, for a long time.
    monkeypatch.setattr(worker_module, "LEASE_SECONDS", 0.0)

    async def scenario() -> None:
        await accepted(valkey, namespace)
        async with station(valkey.address, namespace, "dead", joining=True) as dead:
            (lease,) = await dead.queue.lease(9)
            assert len(await dead.queue.gather(lease)) == 1
            valkey.ask("HSET", dead.store.job("scan"), "attempts", died)
            grow_old(valkey, dead, lease, "dead")
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            assert document(ended["sbom"])["sbom"]
            if died == 1:
                assert document(ended["scan"])["vulnerabilities"]
                assert asked_of(scanner) == [(VULNERABILITY, SPDX)]
            else:
                assert ended["scan"].error.startswith("[worker-died]")
                assert asked_of(scanner) == [(SPDX,)]

    asyncio.run(scenario())


def test_a_shared_run_that_is_given_back_is_still_shared(valkey: RedisServer, namespace: str, short_dir: Path) -> None:
    async def scenario() -> None:
        gate = Gate()
        await accepted(valkey, namespace)
        async with working(valkey, namespace, short_dir, ScriptedScanner(gate), joining=True) as place:
            await gate.entered.wait()
            await place.stop()
            assert gate.cancelled
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True, sole=True, name="next") as place:
            await both_ended(place)
            assert asked_of(scanner) == [(VULNERABILITY, SPDX)]

    asyncio.run(scenario())


def test_an_sbom_that_the_scanner_left_out_is_a_failure_and_never_an_empty_one(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        scanner = ScriptedScanner()
        scanner.left_out.add(CYCLONEDX)
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            for name, kinds in (("sbom", [CYCLONEDX]), ("all", [VULNERABILITY, SPDX, CYCLONEDX])):
                await place.here.queue.accept(name, scan_request().asking_for(kinds), PATIENCE)
                status = await place.ended(name, CYCLONEDX)
                assert (status.state, status.report) == (JobState.FAILED, None)
                assert status.error.startswith("[bad-report]")
                assert CYCLONEDX in status.error
            assert (await place.status("all", VULNERABILITY)).report is None

    asyncio.run(scenario())


def test_a_report_that_cannot_be_made_fails_only_those_who_asked_for_it(
    valkey: RedisServer, namespace: str, short_dir: Path
) -> None:
    async def scenario() -> None:
        await accepted(valkey, namespace)
        scanner = ScriptedScanner()
        scanner.left_out.add(SPDX)
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            ended = await both_ended(place)
            assert document(ended["scan"])["vulnerabilities"]
            assert ended["sbom"].error.startswith(f"[{BadReportError.code}]")
            assert asked_of(scanner) == [(VULNERABILITY, SPDX), (SPDX,)]
            assert place.metric(SHARED) == 0

    asyncio.run(scenario())


class Waits:
    """What a run sees of asyncio: it waits for others until it is told to go on."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()
        self.to_thread = asyncio.to_thread

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if seconds > 0:
            await self.over.wait()


def test_a_run_waits_a_moment_for_the_second_request(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    async def scenario() -> None:
        waits = Waits()
        monkeypatch.setattr(run_module, "asyncio", waits)
        monkeypatch.setattr(run_module, "JOIN_SECONDS", 600.0)
        scanner = ScriptedScanner()
        async with working(valkey, namespace, short_dir, scanner, joining=True) as place:
            await accepted(valkey, namespace, "scan")
            await until(lambda: waits.seconds, "it waits")
            await accepted(valkey, namespace, "sbom")
            waits.over.set()
            await both_ended(place)
            assert asked_of(scanner) == [(VULNERABILITY, SPDX)]
            assert 0 < waits.seconds[0] <= 600

    asyncio.run(scenario())


@pytest.mark.parametrize("joining", [True, False], ids=["waited already", "makes one report only"])
def test_no_run_waits_without_need(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch, joining: bool
) -> None:
    async def scenario() -> None:
        waits = Waits()
        monkeypatch.setattr(run_module, "asyncio", waits)
        monkeypatch.setattr(run_module, "JOIN_SECONDS", 600.0)
        await accepted(valkey, namespace, "scan", joining=joining)
        seconds, _ = valkey.ask("TIME")
        valkey.ask("HSET", f"{namespace}:job:scan", "queued_at", seconds - 700 if joining else seconds)
        async with working(valkey, namespace, short_dir, ScriptedScanner(), joining=joining) as place:
            assert (await place.ended("scan")).state is JobState.FINISHED
            assert [seconds for seconds in waits.seconds if seconds > 0] == []

    asyncio.run(scenario())


def test_a_shared_run_whose_lease_was_lost_leaves_all_to_the_other_worker(
    valkey: RedisServer, namespace: str, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        gate = Gate()
        await accepted(valkey, namespace)
        async with (
            station(valkey.address, namespace, "other", joining=True) as other,
            working(valkey, namespace, short_dir, ScriptedScanner(gate), joining=True) as place,
        ):
            await gate.entered.wait()
            (lease,) = await other.queue.reclaim(9, idle_seconds=0)
            await until(lambda: gate.cancelled, "the scan was ended here")
            assert [companion.job_id for companion in await other.queue.gather(lease)] == ["sbom"]
            for name in REQUESTS:
                assert (await place.status(name)).state is JobState.RUNNING
            assert int(valkey.ask("XPENDING", other.store.queue, GROUP)["pending"]) == 1

    asyncio.run(scenario())
