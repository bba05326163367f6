"""Metrics: one registry for all scanners of a process, each under its name."""

from __future__ import annotations

import pytest

from harbor_scanner import errors
from harbor_scanner.harbor.models import Severity
from harbor_scanner.jobs.model import QueueSnapshot
from harbor_scanner.metrics import Metrics, ScannerMetrics

WITHOUT_FURTHER_LABELS = (
    "harbor_scanner_accepted_total",
    "harbor_scanner_shared_runs_total",
    "harbor_scanner_queue_wait_seconds_count",
    "harbor_scanner_scanner_processes",
    "harbor_scanner_waiting_for_disk",
    "harbor_scanner_cache_cleaned_files_total",
    "harbor_scanner_cache_cleaned_bytes_total",
)


def values(metrics: Metrics) -> dict[str, float]:
    """Return the value of each series by its name and labels."""
    lines = (line for line in metrics.render().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_can_be_told_from_the_start_is_there_from_the_start() -> None:
    metrics = Metrics()
    for scanner in ("one", "other"):
        metrics.of(scanner)
    told = values(metrics)
    for name in WITHOUT_FURTHER_LABELS:
        for scanner in ("one", "other"):
            assert told[f'{name}{{scanner="{scanner}"}}'] == 0


FAILURES = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ScanError)
]  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
def test_the_first_failure_of_each_class_is_a_rise_and_no_new_series(kind: type[errors.ScanError]) -> None:
    metrics = Metrics()
    scanner = metrics.of("one")
    before = values(metrics)
    for retried in {False, kind.retriable}:
        scanner.failed(1.0, kind.code, retried=retried)
    scanner.finished(1.0)
    scanner.reported("vulnerability", 1, dict.fromkeys(map(str, Severity), 1))
    for status in (200, 302, 400, 404, 500, 501):
        scanner.polled(status)
    counted = {name for name in values(metrics) if "_total{" in name or "_duration_seconds_count{" in name}
    assert {name for name in counted if name not in before} == set()


def everything(scanner: ScannerMetrics) -> None:
    """Note something of each kind."""
    scanner.watch_processes(lambda: 7)
    scanner.watch_readiness(lambda: True)
    scanner.watch_database(lambda: 1700000000.0)
    scanner.accepted()
    scanner.polled(302)
    scanner.started(-0.5)
    scanner.shared(2)
    scanner.finished(3.0)
    scanner.reported("sbom", 1000, {})
    scanner.reported("vulnerability", 5000, {str(Severity.HIGH): 4, str(Severity.LOW): 0})
    scanner.failed(1.0, "registry", retried=True)
    scanner.waiting_for_disk(True)
    scanner.cleaned(3, 4096)
    scanner.queue(QueueSnapshot(queued=1, joined=2, running=3, delayed=4, slots=5))


def test_everything_is_told_under_the_name_of_its_scanner_and_of_no_other() -> None:
    metrics = Metrics()
    metrics.of("other")
    before = values(metrics)
    everything(metrics.of("one"))
    after = values(metrics)
    changed = {name: value for name, value in after.items() if before.get(name, 0) != value and "_bucket" not in name}
    assert changed == {
        'harbor_scanner_accepted_total{scanner="one"}': 1,
        'harbor_scanner_cache_cleaned_bytes_total{scanner="one"}': 4096,
        'harbor_scanner_cache_cleaned_files_total{scanner="one"}': 3,
        'harbor_scanner_database_updated_timestamp_seconds{scanner="one"}': 1700000000,
        'harbor_scanner_findings_total{scanner="one",severity="High"}': 4,
        'harbor_scanner_jobs{scanner="one",state="delayed"}': 4,
        'harbor_scanner_jobs{scanner="one",state="joined"}': 2,
        'harbor_scanner_jobs{scanner="one",state="queued"}': 1,
        'harbor_scanner_jobs{scanner="one",state="running"}': 3,
        'harbor_scanner_queue_wait_seconds_count{scanner="one"}': 1,
        'harbor_scanner_report_bytes_count{report="sbom",scanner="one"}': 1,
        'harbor_scanner_report_bytes_count{report="vulnerability",scanner="one"}': 1,
        'harbor_scanner_report_bytes_sum{report="sbom",scanner="one"}': 1000,
        'harbor_scanner_report_bytes_sum{report="vulnerability",scanner="one"}': 5000,
        'harbor_scanner_report_polls_total{scanner="one",status="302"}': 1,
        'harbor_scanner_scan_duration_seconds_count{result="failed",scanner="one"}': 1,
        'harbor_scanner_scan_duration_seconds_count{result="finished",scanner="one"}': 1,
        'harbor_scanner_scan_duration_seconds_sum{result="failed",scanner="one"}': 1,
        'harbor_scanner_scan_duration_seconds_sum{result="finished",scanner="one"}': 3,
        'harbor_scanner_scan_failures_total{class="registry",retried="true",scanner="one"}': 1,
        'harbor_scanner_scanner_processes{scanner="one"}': 7,
        'harbor_scanner_scanner_ready{scanner="one"}': 1,
        'harbor_scanner_shared_runs_total{scanner="one"}': 2,
        'harbor_scanner_slots{scanner="one"}': 5,
        "harbor_scanner_store_up": 1,
        'harbor_scanner_waiting_for_disk{scanner="one"}': 1,
    }  # fmt: skip


def test_a_store_that_does_not_answer_is_told_and_the_queue_is_as_it_was() -> None:
    metrics = Metrics()
    scanner = metrics.of("one")
    scanner.queue(QueueSnapshot(queued=5))
    scanner.queue(None)
    told = values(metrics)
    assert told["harbor_scanner_store_up"] == 0
    assert told['harbor_scanner_jobs{scanner="one",state="queued"}'] == 5


def test_what_is_watched_is_told_as_it_is_now() -> None:
    metrics = Metrics()
    scanner = metrics.of("one")
    assert not any("database_updated" in name for name in values(metrics)), "not every scanner keeps a database"
    assert values(metrics)["harbor_scanner_certificate_expires_timestamp_seconds"] == 0
    told: dict[str, float] = {"ready": 1, "updated": 5, "expires": 6}
    scanner.watch_readiness(lambda: bool(told["ready"]))
    scanner.watch_database(lambda: told["updated"])
    metrics.watch_certificate(lambda: told["expires"])
    names = {
        "ready": 'harbor_scanner_scanner_ready{scanner="one"}',
        "updated": 'harbor_scanner_database_updated_timestamp_seconds{scanner="one"}',
        "expires": "harbor_scanner_certificate_expires_timestamp_seconds",
    }
    assert {key: values(metrics)[name] for key, name in names.items()} == told
    told.update(ready=0, updated=7, expires=8)
    assert {key: values(metrics)[name] for key, name in names.items()} == told


def test_nothing_of_the_runtime_itself_is_told() -> None:
    metrics = Metrics()
    everything(metrics.of("one"))
    assert {name.partition("{")[0].startswith("harbor_scanner_") for name in values(metrics)} == {True}
    assert not any("_created" in name for name in values(metrics))
