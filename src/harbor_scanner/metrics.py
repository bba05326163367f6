"""What Prometheus is told. One registry for each process, and nothing of the runtime's own noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from harbor_scanner.errors import ScanError
from harbor_scanner.harbor.models import Severity
from harbor_scanner.jobs.model import QueueSnapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_BYTES = (1e3, 1e4, 1e5, 1e6, 5e6, 1e7, 2.5e7, 5e7, 1e8)
_POLL_STATUSES = (200, 302, 400, 404, 500, 501)
"""All that a poll can be answered with."""


class Metrics:
    """All metrics of a process; each says in its help text what it counts."""

    def __init__(self) -> None:
        # A second time series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._store_up = Gauge(
            "harbor_scanner_store_up", "1 while the store (Redis or Valkey) answers.", registry=self._registry
        )
        self._certificate_expires = Gauge(
            "harbor_scanner_certificate_expires_timestamp_seconds",
            "When the TLS certificate of this service expires, as Unix time; 0 without TLS.",
            registry=self._registry,
        )
        self.ready = self._gauge(
            "harbor_scanner_scanner_ready", "1 while nothing is known that keeps every scan from succeeding."
        )
        self.database_updated = self._gauge(
            "harbor_scanner_database_updated_timestamp_seconds",
            "Since when no part of the scanner's own database was brought up to date, as Unix time; 0: there is none.",
        )
        self.slots = self._gauge("harbor_scanner_slots", "Scans that all living workers together can run at once.")
        self.jobs = self._gauge("harbor_scanner_jobs", "Scan jobs that have not ended, by state.", "state")
        self.accepted = self._counter("harbor_scanner_accepted", "Scan requests accepted.")
        self.shared = self._counter(
            "harbor_scanner_shared_runs", "Scan requests that were served by the run of another one for the same image."
        )
        self.queue_wait = self._histogram(
            "harbor_scanner_queue_wait_seconds", "Time from acceptance of a job to its first run.", _SECONDS
        )
        self.scans = self._histogram(
            "harbor_scanner_scan_duration_seconds", "Time of one run of a scan, by result.", _SECONDS, "result"
        )
        self.failures = self._counter(
            "harbor_scanner_scan_failures", "Runs that failed, by class of failure and whether they are tried again.",
            "class", "retried",
        )  # fmt: skip
        self.report_bytes = self._histogram(
            "harbor_scanner_report_bytes", "Size of finished reports, before compression, by what they report.",
            _BYTES, "report",
        )  # fmt: skip
        self.findings = self._counter(
            "harbor_scanner_findings", "Findings in finished reports, by severity.", "severity"
        )  # fmt: skip
        self.polls = self._counter(
            "harbor_scanner_report_polls", "Polls for a report, by status of the answer.", "status"
        )
        self.processes = self._gauge("harbor_scanner_scanner_processes", "Scanner programs that run now.")
        self.disk_wait = self._gauge(
            "harbor_scanner_waiting_for_disk", "1 while scans wait for free disk space."
        )  # fmt: skip
        self.cache_files = self._counter("harbor_scanner_cache_cleaned_files", "Unused files removed from a cache.")
        self.cache_bytes = self._counter("harbor_scanner_cache_cleaned_bytes", "Bytes of those files.")

    def of(self, scanner: str) -> ScannerMetrics:
        """Return the metrics of one scanner, which carry its name as a label."""
        return ScannerMetrics(self, scanner)

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self._registry)

    def store_up(self, up: bool) -> None:
        """Note whether the store answers."""
        self._store_up.set(up)

    def watch_certificate(self, expires: Callable[[], float]) -> None:
        """Have the time when the certificate expires read from `expires` (Unix time)."""
        self._certificate_expires.set_function(expires)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["scanner", *labels], registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["scanner", *labels], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, ["scanner", *labels], buckets=buckets, registry=self._registry)


class ScannerMetrics:
    """The metrics of one scanner."""

    def __init__(self, metrics: Metrics, scanner: str) -> None:
        self._metrics = metrics
        self._scanner = scanner
        # What can be told from the start is there from the start, with the value zero: Prometheus takes a series that
        # begins with 1 for one that never rose.
        for result in ("finished", "failed"):
            metrics.scans.labels(scanner, result)
        for failure_class, retried in _failures():
            metrics.failures.labels(scanner, failure_class, _text(retried))
        for status in _POLL_STATUSES:
            metrics.polls.labels(scanner, str(status))
        for severity in Severity:
            metrics.findings.labels(scanner, str(severity))
        self._accepted = metrics.accepted.labels(scanner)
        self._shared = metrics.shared.labels(scanner)
        self._queue_wait = metrics.queue_wait.labels(scanner)
        self._processes = metrics.processes.labels(scanner)
        self._disk_wait = metrics.disk_wait.labels(scanner)
        self._cache_files = metrics.cache_files.labels(scanner)
        self._cache_bytes = metrics.cache_bytes.labels(scanner)

    def watch_processes(self, count: Callable[[], int]) -> None:
        """Have the gauge of scanner programs read from `count`."""
        self._processes.set_function(count)

    def watch_readiness(self, ready: Callable[[], bool]) -> None:
        """Have it read from `ready` whether nothing is known that keeps every scan from succeeding."""
        self._metrics.ready.labels(self._scanner).set_function(ready)

    def watch_database(self, updated_at: Callable[[], float]) -> None:
        """Have the age of the scanner's own database read from `updated_at` (Unix time; 0 if there is none)."""
        self._metrics.database_updated.labels(self._scanner).set_function(updated_at)

    def accepted(self) -> None:
        """Count an accepted request."""
        self._accepted.inc()

    def polled(self, status: int) -> None:
        """Count a poll that was answered with `status`."""
        self._metrics.polls.labels(self._scanner, str(status)).inc()

    def started(self, waited_seconds: float) -> None:
        """Note the first run of a job."""
        self._queue_wait.observe(max(0.0, waited_seconds))

    def shared(self, requests: int) -> None:
        """Note a run that served so many requests besides its own."""
        self._shared.inc(requests)

    def finished(self, seconds: float) -> None:
        """Note a run that ended in reports."""
        self._metrics.scans.labels(self._scanner, "finished").observe(seconds)

    def reported(self, report: str, size: int, by_severity: Mapping[str, int]) -> None:
        """Note a finished report of `size` bytes: what it reports, and its findings."""
        self._metrics.report_bytes.labels(self._scanner, report).observe(size)
        for severity, count in by_severity.items():
            self._metrics.findings.labels(self._scanner, severity).inc(count)

    def failed(self, seconds: float, failure_class: str, *, retried: bool) -> None:
        """Note a run that ended in an error."""
        self._metrics.scans.labels(self._scanner, "failed").observe(seconds)
        self._metrics.failures.labels(self._scanner, failure_class, _text(retried)).inc()

    def queue(self, snapshot: QueueSnapshot | None) -> None:
        """Note the state of the queue; None while the store does not answer."""
        self._metrics.store_up(snapshot is not None)
        if snapshot is not None:
            self._metrics.slots.labels(self._scanner).set(snapshot.slots)
            for state in ("queued", "joined", "running", "delayed"):
                self._metrics.jobs.labels(self._scanner, state).set(getattr(snapshot, state))

    def waiting_for_disk(self, waiting: bool) -> None:
        """Note whether scans wait for disk space."""
        self._disk_wait.set(waiting)

    def cleaned(self, files: int, size: int) -> None:
        """Note what was removed from a cache."""
        self._cache_files.inc(files)
        self._cache_bytes.inc(size)


def _failures(kind: type[ScanError] = ScanError) -> Iterator[tuple[str, bool]]:
    """Yield each class of failure there is, and whether such a run may be tried again."""
    yield kind.code, False
    if kind.retriable:
        yield kind.code, True
    for narrower in kind.__subclasses__():
        yield from _failures(narrower)


def _text(flag: bool) -> str:
    return str(flag).lower()
