"""What Prometheus is told. One registry for each process, and nothing of the runtime's own noise."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from harbor_scanner.jobs.model import QueueSnapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_BYTES = (1e3, 1e4, 1e5, 1e6, 5e6, 1e7, 2.5e7, 5e7, 1e8)


class Metrics:
    """All metrics of the service; each says in its help text what it counts."""

    def __init__(self, scanner: str) -> None:
        # A second time series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._scanner = scanner
        self._jobs = Gauge(
            "harbor_scanner_jobs",
            "Scan jobs that have not ended, by state.",
            ["scanner", "state"],
            registry=self.registry,
        )
        self._store_up = Gauge(
            "harbor_scanner_store_up", "1 while the store (Redis or Valkey) answers.", registry=self.registry
        )
        self._accepted = self._counter("harbor_scanner_accepted", "Scan requests accepted.").labels(scanner)
        self._queue_wait = self._histogram(
            "harbor_scanner_queue_wait_seconds", "Time from acceptance of a job to its first run.", _SECONDS
        ).labels(scanner)
        self._scans = self._histogram(
            "harbor_scanner_scan_duration_seconds", "Time of one run of a scan, by result.", _SECONDS, "result"
        )
        self._failures = self._counter(
            "harbor_scanner_scan_failures", "Runs that failed, by class of failure and whether they are tried again.",
            "class", "retried",
        )  # fmt: skip
        self._report_bytes = self._histogram(
            "harbor_scanner_report_bytes", "Size of finished reports, before compression.", _BYTES
        ).labels(scanner)
        self._findings = self._counter(
            "harbor_scanner_findings", "Findings in finished reports, by severity.", "severity"
        )
        self._polls = self._counter(
            "harbor_scanner_report_polls", "Polls for a report, by status of the answer.", "status"
        )
        self._processes = Gauge(
            "harbor_scanner_scanner_processes", "Scanner programs that run now.", ["scanner"], registry=self.registry
        ).labels(scanner)
        self._disk_wait = Gauge(
            "harbor_scanner_waiting_for_disk", "1 while scans wait for free disk space.", registry=self.registry
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["scanner", *labels], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, ["scanner", *labels], buckets=buckets, registry=self.registry)

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)

    def watch_processes(self, count: Callable[[], int]) -> None:
        """Have the gauge of scanner programs read from `count`."""
        self._processes.set_function(count)

    def accepted(self) -> None:
        """Count an accepted request."""
        self._accepted.inc()

    def polled(self, status: int) -> None:
        """Count a poll that was answered with `status`."""
        self._polls.labels(self._scanner, str(status)).inc()

    def started(self, waited_seconds: float) -> None:
        """Note the first run of a job."""
        self._queue_wait.observe(max(0.0, waited_seconds))

    def finished(self, seconds: float, report_bytes: int, by_severity: dict[str, int]) -> None:
        """Note a run that ended in a report."""
        self._scans.labels(self._scanner, "finished").observe(seconds)
        self._report_bytes.observe(report_bytes)
        for severity, count in by_severity.items():
            self._findings.labels(self._scanner, severity).inc(count)

    def failed(self, seconds: float, failure_class: str, *, retried: bool) -> None:
        """Note a run that ended in an error."""
        self._scans.labels(self._scanner, "failed").observe(seconds)
        self._failures.labels(self._scanner, failure_class, str(retried).lower()).inc()

    def queue(self, snapshot: QueueSnapshot | None) -> None:
        """Note the state of the queue; None while the store does not answer."""
        self._store_up.set(snapshot is not None)
        if snapshot is not None:
            for state in ("queued", "running", "delayed"):
                self._jobs.labels(self._scanner, state).set(getattr(snapshot, state))

    def waiting_for_disk(self, waiting: bool) -> None:
        """Note whether scans wait for disk space."""
        self._disk_wait.set(waiting)
