"""A scan job, as the store keeps it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from harbor_scanner.harbor.models import VULNERABILITY


class JobState(StrEnum):
    """Where a scan job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in {JobState.FINISHED, JobState.FAILED}


class JobStatus(msgspec.Struct, frozen=True):
    """What a poll needs to know of a job."""

    state: JobState
    error: str = ""
    """The message for Harbor, if the job failed."""
    sequence: int = 0
    """Place in the order of acceptance, over all jobs ever accepted."""
    reports: tuple[str, ...] = (VULNERABILITY,)
    """The kinds of reports that were asked for (`ScanRequest.reports`)."""
    report: bytes | None = None
    """The report of the kind that is looked for, gzip-compressed, if the job finished."""


class Lease(msgspec.Struct, frozen=True):
    """A job in the hands of one worker, for as long as its heartbeat goes on."""

    job_id: str
    entry: str
    """Id of the job's entry in the stream, by which the queue knows whether the lease still holds."""
    attempt: int
    """1 for the first run of the job."""
    queued_at: float
    """Time of acceptance, in seconds since the epoch by the store's clock."""
    started_at: float
    body: bytes
    """The request as it was stored, without the registry credentials."""
    sealed: bytes | None = None
    """The registry credentials, encrypted."""


class Companion(msgspec.Struct, frozen=True):
    """A job that shares the run of another one, which asks for another report of the same image."""

    job_id: str
    body: bytes
    """As in `Lease`."""
    sealed: bytes | None = None


class QueueSnapshot(msgspec.Struct, frozen=True):
    """The queue at one moment, for metrics and for telling Harbor when to come back."""

    queued: int = 0
    joined: int = 0
    """Waiting for, or sharing, the run of another job."""
    running: int = 0
    delayed: int = 0
    """Waiting for another try."""
    slots: int = 1
    """Scans that all living workers together can run at once; at least 1."""
    scan_seconds: float = 0.0
    """Moving average of past scans; 0 before the first."""
    started_sequence: int = 0
    """The highest sequence number among the jobs started so far."""

    def seconds_to_start(self, sequence: int) -> float:
        """Estimate when the job with this sequence number will be started."""
        ahead = max(0, min(sequence - self.started_sequence, self.queued + self.delayed) - 1)
        return (ahead // self.slots) * self.scan_seconds
