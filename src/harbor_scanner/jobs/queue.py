"""The queue of scan jobs: a Redis stream with one consumer group.

A worker holds a job by a *lease*: the stream entry is delivered to it, and its heartbeat keeps the entry's idle time
low. An entry that has been idle for longer than a lease belongs to a worker that died, and the next worker takes it.
Every step that ends a lease is one script, which first checks that the lease still holds.

Harbor asks for the vulnerabilities and the SBOM of an image in two requests. Where a scanner makes both, the later job
joins the earlier one, if that has not begun, as its *companion*: one run then serves both. Companions are not in the
stream; a job that fails, or is tried again, parts from them, and each is then run on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harbor_scanner.errors import InternalError, StoreUnavailableError
from harbor_scanner.harbor.models import ScanRequest
from harbor_scanner.jobs.model import Companion, Lease
from harbor_scanner.jobs.store import GROUP, Store
from harbor_scanner.jobs.vault import Vault

LEASE_SECONDS = 20.0
HEARTBEAT_SECONDS = 1.0
PATIENCE = 2.0
"""Seconds that the steps of the queue wait for the store; the worker repeats them as long as it takes."""


class Queue:
    """Accepts jobs, leases them to workers, and ends them."""

    def __init__(self, store: Store, vault: Vault, worker: str = "", *, joining: bool = False) -> None:
        self._store = store
        self._vault = vault
        self._worker = worker
        self.joining = joining
        """Whether jobs join others for the same image."""
        self._accept = store.script("accept")
        self._start = store.script("start")
        self._heartbeat = store.script("heartbeat")
        self._gather = store.script("gather")
        self._part = store.script("part")
        self._finish = store.script("finish")
        self._fail = store.script("fail")
        self._retry = store.script("retry")
        self._give_back = store.script("give_back")
        self._promote = store.script("promote")

    async def accept(self, job_id: str, request: ScanRequest, patience: float) -> None:
        """Keep the request and queue it, durably. Raises StoreUnavailableError; accepting an id twice is harmless."""
        deadline = time.monotonic() + patience
        authorization = request.registry.authorization
        if authorization and not self._vault.unlocked.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._vault.unlocked.wait()
        sealed = self._vault.seal(authorization, job_id) if authorization else b""
        registry = msgspec.structs.replace(request.registry, authorization=None)
        body = msgspec.json.encode(msgspec.structs.replace(request, registry=registry))
        store = self._store
        keys = [store.job(job_id), store.queue, store.stats, store.joined]
        image = store.open(_image(request)) if self.joining else ""
        arguments = [job_id, body, sealed, store.events, store.companions(""), image, *request.reports]
        await store.call(lambda redis: self._accept(keys, arguments, client=redis), deadline - time.monotonic())

    async def lease(self, count: int) -> list[Lease]:
        """Take up to `count` jobs that nobody has. Raises StoreUnavailableError."""

        async def read(redis: Any) -> list[Any]:
            streams = await redis.xreadgroup(GROUP, self._worker, {self._store.queue: ">"}, count=count)
            return list(streams[0][1]) if streams else []

        return await self._begin(await self._store.call(read, PATIENCE))

    async def reclaim(self, count: int, idle_seconds: float = LEASE_SECONDS) -> list[Lease]:
        """Take up to `count` jobs whose worker has not prolonged its lease for `idle_seconds`."""

        async def claim(redis: Any) -> list[Any]:
            taken: list[Any] = []
            cursor = "0-0"
            while len(taken) < count:
                cursor, entries, *_ = await redis.xautoclaim(
                    self._store.queue, GROUP, self._worker,
                    min_idle_time=int(idle_seconds * 1000), start_id=cursor, count=count - len(taken),
                )  # fmt: skip
                taken.extend(entry for entry in entries if entry[1])
                if cursor in {b"0-0", "0-0"}:
                    break
            return taken

        return await self._begin(await self._store.call(claim, PATIENCE))

    async def prolong(self, leases: Sequence[Lease]) -> set[str]:
        """Send the heartbeat of `leases`; return the entries of those that were lost."""
        keys = [self._store.queue]
        arguments = [GROUP, self._worker, *(lease.entry for lease in leases)]
        lost = await self._store.call(lambda redis: self._heartbeat(keys, arguments, client=redis), PATIENCE)
        return {entry.decode() for entry in lost}

    async def gather(self, lease: Lease) -> list[Companion]:
        """Return the jobs that joined this one; from now on, no other can. Nothing if the lease was lost."""
        store = self._store
        keys = [store.job(lease.job_id), store.queue, store.companions(lease.job_id)]
        arguments = [*self._held(lease), lease.job_id, store.job("")]
        found = await store.call(lambda redis: self._gather(keys, arguments, client=redis), PATIENCE)
        return [Companion(job_id.decode(), body, sealed) for job_id, body, sealed in found or ()]

    async def part(self, lease: Lease, companion: Companion) -> bool:
        """Have a companion run on its own. Return False if the lease was lost."""
        store = self._store
        keys = [store.queue, store.companions(lease.job_id), store.joined, store.job(companion.job_id)]
        arguments = [*self._held(lease), companion.job_id]
        return bool(await store.call(lambda redis: self._part(keys, arguments, client=redis), PATIENCE))

    async def finish(
        self, lease: Lease, reports: Mapping[str, Mapping[str, bytes]], keep_seconds: float, scan_seconds: float
    ) -> bool:
        """End the job, and the companions that shared its run, with reports: by job id, then by kind.

        Return False if the lease was lost: another worker has the job now.
        """
        store = self._store
        order = [lease.job_id, *(job_id for job_id in reports if job_id != lease.job_id)]
        keys = [store.queue, store.stats, store.joined, store.companions(lease.job_id)]
        arguments: list[Any] = [
            *self._held(lease), int(keep_seconds * 1000), f"{scan_seconds:.3f}", store.events, store.job(""),
        ]  # fmt: skip
        for job_id in order:
            keys += [store.job(job_id), store.reports(job_id)]
            arguments += [job_id, len(reports[job_id])]
            for kind, body in reports[job_id].items():
                arguments += [kind, body]
        # A report of many megabytes takes its time on the wire: a multiple of the usual patience.
        return bool(await store.call(lambda redis: self._finish(keys, arguments, client=redis), PATIENCE * 5))

    async def fail(self, lease: Lease, error: str, keep_seconds: float) -> bool:
        """End the job with an error message for Harbor. Return False if the lease was lost."""
        store = self._store
        keys = [store.job(lease.job_id), store.queue, store.joined, store.companions(lease.job_id)]
        arguments = [
            *self._held(lease), lease.job_id, _sound(error), int(keep_seconds * 1000), store.events, store.job(""),
        ]  # fmt: skip
        return bool(await store.call(lambda redis: self._fail(keys, arguments, client=redis), PATIENCE))

    async def retry(self, lease: Lease, delay_seconds: float, error: str) -> bool:
        """Have the job run again after a delay. Return False if the lease was lost."""
        store = self._store
        keys = [
            store.job(lease.job_id), store.queue, store.delayed, store.joined, store.companions(lease.job_id),
        ]  # fmt: skip
        arguments = [*self._held(lease), lease.job_id, int(delay_seconds * 1000), _sound(error), store.job("")]
        return bool(await store.call(lambda redis: self._retry(keys, arguments, client=redis), PATIENCE))

    async def give_back(self, lease: Lease) -> bool:
        """Return a job that this worker cannot bring to its end. Return False if the lease was lost."""
        store = self._store
        keys = [store.job(lease.job_id), store.queue]
        arguments = [*self._held(lease), int(LEASE_SECONDS * 1000)]
        return bool(await store.call(lambda redis: self._give_back(keys, arguments, client=redis), PATIENCE))

    async def promote(self) -> int:
        """Queue the jobs whose delay is over. Return how many."""
        store = self._store
        keys = [store.delayed, store.queue]
        return int(await store.call(lambda redis: self._promote(keys, [100], client=redis), PATIENCE))

    def open_request(self, job: Lease | Companion) -> ScanRequest:
        """Return the request of a job with its registry credentials.

        Raises InternalError if it cannot be read, ScannerConfigurationError if the credentials were stored with
        another key.
        """
        try:
            request = msgspec.json.decode(job.body, type=ScanRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InternalError(
                f"The stored scan request cannot be read: {error}.",
                "Another version of harbor-scanner may have accepted it. Scan again.",
            ) from error
        if job.sealed is None:
            return request
        authorization = self._vault.open(job.sealed, job.job_id)
        return msgspec.structs.replace(
            request, registry=msgspec.structs.replace(request.registry, authorization=authorization)
        )

    async def _begin(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Lease]:
        leases: list[Lease] = []
        for entry, fields in entries:
            try:
                lease = await self._begin_one(entry.decode(), fields[b"job"].decode())
            except StoreUnavailableError:
                if not leases:
                    raise
                # What was begun is run. The rest is found again when it has been idle for as long as a lease.
                break
            if lease is not None:
                leases.append(lease)
        return leases

    async def _begin_one(self, entry: str, job_id: str) -> Lease | None:
        store = self._store
        keys = [store.job(job_id), store.queue, store.stats, store.companions(job_id), store.joined]
        run = os.urandom(8).hex()
        arguments = [GROUP, entry, self._worker, run, store.job("")]
        started = await store.call(lambda redis: self._start(keys, arguments, client=redis), PATIENCE)
        if started is None:
            return None
        attempt, started_at, queued_at, body, sealed = started
        return Lease(
            job_id=job_id, entry=entry, attempt=int(attempt), queued_at=float(queued_at), started_at=float(started_at),
            body=body, sealed=sealed,
        )  # fmt: skip

    def _held(self, lease: Lease) -> tuple[str, str, str]:
        """Return what a script needs to tell whether a lease still holds."""
        return GROUP, lease.entry, self._worker


def _image(request: ScanRequest) -> str:
    """Return a name for the image of a request, the same for each request for it."""
    artifact = request.artifact
    parts = (request.registry.url, artifact.repository, artifact.digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sound(text: str) -> bytes:
    """Return `text` in UTF-8; names of files may bring in what has no place there."""
    return text.encode(errors="replace")
