"""What was accepted ends in a report or in an error that names the cause, whatever dies in between."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from standins.aqua.behaviour import Behaviour
from support.service import Service
from support.stage import Stage, ends, gone, request_for, submit

ONE_TRY = {"MAX_ATTEMPTS": "1"}
WORKERS = 4


def message_of(service: Service, image: str) -> str:
    """Scan an image that must fail, and return the message for Harbor."""
    (message,) = ends(service, submit(service, [request_for(image)]))
    assert message != "report"
    return message


def test_a_killed_service_loses_none_of_50_scans(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(sleep=0.2, findings=3))
    with stage.service(WORKERS=str(WORKERS)) as service:
        job_ids = submit(service, [request_for(f"kill/{number}") for number in range(50)])
        service.wait_for(lambda: len(stage.scannercli.scans()) >= 10, "in the middle")
        service.kill()
        running = [scan.pid for scan in stage.scannercli.scans() if scan.ended is None]
        deadline = time.monotonic() + 10
        while not gone(running) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert gone(running), "scanners outlived the service"
        service.start()
        assert ends(service, job_ids) == {"report": 50}
        scans = Counter(scan.image for scan in stage.scannercli.scans())
        assert len(scans) == 50
        # Only what was in a worker's hands at the kill ran again: a scanner that had ended, too, if its report had not
        # reached the store yet.
        assert sum(scans.values()) <= 50 + WORKERS
        assert list((service.data / "scratch").glob("*/*/work")) == []
    assert list(stage.reports.iterdir()) == []
    assert service.processes() == []


def test_a_grandchild_does_not_survive_its_scan(stage: Stage) -> None:
    with stage.service() as service:
        for kind in ("group", "session"):
            stage.scannercli.force(Behaviour(orphan=kind, findings=1))
            job_ids = submit(service, [request_for(f"orphan/{kind}")])
            assert ends(service, job_ids) == {"report": 1}
            orphans = stage.scannercli.scans(f"orphan/{kind}")[0].orphans
            assert orphans
            service.wait_for(lambda: gone(orphans), "gone")  # noqa: B023


def test_a_scanner_that_hangs_is_ended_at_its_time_limit(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(hang=True, ignore_sigterm=True))
    with stage.service(AQUA_SCAN_TIMEOUT="1s") as service:
        message = message_of(service, "hangs/for-ever")
        assert message.startswith("[time-limit]")
        assert gone([stage.scannercli.scans()[0].pid])


def test_a_scanner_that_is_killed_is_told_apart(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(signal=signal.SIGKILL))
    with stage.service(**ONE_TRY) as service:
        assert message_of(service, "killed/by-kernel").startswith("[memory] scannercli was killed from outside")


@pytest.mark.parametrize(
    ("behaviour", "beginning"),
    [
        (Behaviour(report="missing", findings=1), "[bad-report]"),
        (Behaviour(report="empty", findings=1), "[bad-report]"),
        (Behaviour(report="truncated", findings=50), "[bad-report]"),
        (Behaviour(report="not-json", findings=1), "[bad-report]"),
        (Behaviour(exit=1, message="something nobody has seen before"), "["),
        (Behaviour(exit=5, message="license validation failed"), "[scanner-configuration]"),
        (Behaviour(unreachable=True), "[scanner-unreachable]"),
    ],
    ids=["missing", "empty", "truncated", "not JSON", "unknown", "licence", "unreachable"],
)
def test_what_is_no_report_never_becomes_a_clean_one(stage: Stage, behaviour: Behaviour, beginning: str) -> None:
    stage.scannercli.force(behaviour)
    with stage.service(**ONE_TRY) as service:
        message = message_of(service, "bad/report")
        assert message.startswith(beginning)
        if behaviour.message:
            assert behaviour.message in message


def test_a_report_that_is_not_utf8_is_still_a_report(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(report="not-utf8", findings=5))
    with stage.service() as service:
        assert ends(service, submit(service, [request_for("not/utf8")])) == {"report": 1}


def test_a_report_of_500_megabytes_is_refused_in_words_and_costs_no_memory(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(report_megabytes=500, findings=1))
    with stage.service() as service:
        before = resident_bytes(service.pid)
        message = message_of(service, "huge/report")
        assert message.startswith("[bad-report]")
        assert "too large to read" in message
        assert resident_bytes(service.pid, peak=True) < before + 60 * 2**20


def test_megabytes_of_output_are_bounded(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(stdout_megabytes=50, stderr_megabytes=50, findings=1))
    with stage.service() as service:
        before = resident_bytes(service.pid)
        assert ends(service, submit(service, [request_for("noisy/scanner")])) == {"report": 1}
        assert resident_bytes(service.pid, peak=True) < before + 40 * 2**20


def test_a_cause_that_passes_is_tried_again(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(findings=1))
    stage.scannercli.force(Behaviour(unreachable=True), times=1)
    with stage.service() as service:
        job_ids = submit(service, [request_for("flaky/console")])
        assert ends(service, job_ids) == {"report": 1}
    assert [scan.code for scan in stage.scannercli.scans()] == [1, 0]


def test_a_stopped_service_lets_running_scans_finish(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(sleep=1.5, findings=1))
    with stage.service(WORKERS="1") as service:
        job_ids = submit(service, [request_for("stop/running"), request_for("stop/waiting")])
        service.wait_for(stage.scannercli.scans, "scanning")
        assert service.stop() == 0
        assert [scan.code for scan in stage.scannercli.scans()] == [0]
        assert service.processes() == []
        service.start()
        assert ends(service, job_ids) == {"report": 2}
    assert len(stage.scannercli.scans()) == 2


def test_a_scan_longer_than_the_grace_goes_back_to_the_queue(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(findings=1))
    stage.scannercli.force(Behaviour(hang=True), times=1)
    with stage.service(SHUTDOWN_GRACE="200ms", MAX_ATTEMPTS="1") as service:
        job_ids = submit(service, [request_for("stop/long")])
        service.wait_for(stage.scannercli.scans, "scanning")
        assert service.stop() == 0
        assert gone(scan.pid for scan in stage.scannercli.scans())
        service.start()
        # Its first run does not count as an attempt: the cause was ours.
        assert ends(service, job_ids) == {"report": 1}


@pytest.mark.parametrize("seconds", [0.25, 0.35, 0.45, 0.6, 0.8])
def test_a_service_that_is_stopped_while_it_starts_ends(stage: Stage, seconds: float) -> None:
    service = Service(stage.directory / "early", stage.environment(SHUTDOWN_GRACE="0s"))
    try:
        service.start(ready=False)
        time.sleep(seconds)
        # Before its signal handler is there, the signal itself ends it.
        assert service.stop(seconds=20) in {0, -signal.SIGTERM}
    finally:
        service.end()


def test_a_burst_of_2000_requests_is_accepted_and_each_is_scanned_once(stage: Stage) -> None:
    counted = stage.use_quick_scanner()
    with stage.service(WORKERS="2") as service:
        warm = submit(service, [request_for(f"warm/{number}") for number in range(50)])
        assert ends(service, warm) == {"report": 50}
        before = resident_bytes(service.pid)
        job_ids = submit(service, [request_for(f"burst/{number}") for number in range(2000)])
        assert len(set(job_ids)) == 2000
        service.wait_for(lambda: service.metrics().count('state="queued"} 0.0') == 1, "drained", seconds=150)
        assert ends(service, job_ids) == {"report": 2000}
        assert resident_bytes(service.pid) < before + 40 * 2**20
    scans = Counter(line for line in counted.read_text().splitlines() if line.startswith("burst/"))
    assert len(scans) == 2000
    assert set(scans.values()) == {1}


def test_scans_wait_for_disk_space_and_say_so(stage: Stage) -> None:
    """The floor is put above what is free, for filling a disk of a tmpfs needs root; see the next test for that."""
    stage.scannercli.force(Behaviour(findings=1))
    free = os.statvfs(stage.directory)
    floor = free.f_bavail * free.f_frsize + 2**30
    with stage.service(DISK_FLOOR=str(floor)) as service:
        submit(service, [request_for("disk/short")])
        service.wait_for(lambda: service.probe()[1]["checks"]["aqua disk"]["state"] == "waiting", "waiting")
        assert service.probe()[0] == 200
        assert "scans wait for free disk space" in service.log()
        assert 'harbor_scanner_waiting_for_disk{scanner="aqua"} 1.0' in service.metrics()
        assert stage.scannercli.scans() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_loses_nothing(stage: Stage) -> None:
    import subprocess

    stage.scannercli.force(Behaviour(findings=1))
    data = stage.directory / "small"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(data)], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with stage.service(DATA_DIR=str(data), DISK_FLOOR="4Mi") as service:
            filler = data / "filler"
            filler.write_bytes(bytes(20 * 2**20 + 2**19))
            service.wait_for(lambda: service.probe()[1]["checks"]["aqua disk"]["state"] == "waiting", "waiting")
            job_ids = submit(service, [request_for(f"disk/{number}") for number in range(20)])
            # Now not even the store can write: what is refused was never accepted.
            with pytest.raises(OSError, match="No space"):
                fill(filler)
            assert stage.scannercli.scans() == []
            filler.unlink()
            assert ends(service, job_ids) == {"report": 20}
    finally:
        subprocess.run(["umount", "--lazy", str(data)], check=True)


def fill(path: Path) -> None:
    """Append to a file until the disk is full."""
    with path.open("ab") as file:
        while True:
            file.write(bytes(2**16))
            file.flush()


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """Return the resident memory of a process, or the most that it ever was."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)
