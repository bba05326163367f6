"""Word of what happens in the store, as it happens, so that nobody has to ask again and again.

Messages are hints: one may be lost while the connection is. Whoever waits looks for itself when it is woken, and when
its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_PAUSE = 0.2
_SILENCE = 5.0
"""Seconds without a word after which the server is asked for a sign of life, and then given up."""


class Events:
    """One subscription for a whole process, and everybody in it who waits."""

    def __init__(self, redis: Redis, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.queued = asyncio.Event()
        """Set when a job was queued; cleared by the worker that looks."""

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the job may have ended."""
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Events]:
        """Listen until the block ends."""
        listener = asyncio.create_task(self._listen(), name="events")
        try:
            yield self
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    await self._hear(subscription)
            except (RedisError, OSError) as error:
                log.debug("the subscription to the store's events broke", error=str(error))
                await asyncio.sleep(_PAUSE)

    async def _hear(self, subscription: PubSub) -> None:
        """Pass on what comes, for ever. Raises TimeoutError when the server gives no sign of life."""
        asked = False
        while True:
            message = await subscription.get_message(timeout=_SILENCE)
            if message is None and asked:
                raise TimeoutError("the server gives no sign of life")
            asked = message is None
            if message is None:
                await subscription.ping()
            elif message["type"] == "subscribe":
                # Before this moment, anything may have happened.
                self._wake_everybody()
            elif message["type"] == "message":
                self._heard(message["data"].decode(errors="replace"))

    def _heard(self, message: str) -> None:
        if message == "queued":
            self.queued.set()
            return
        for event in self._waiting.get(message.removeprefix("ended "), ()):
            event.set()

    def _wake_everybody(self) -> None:
        self.queued.set()
        for events in self._waiting.values():
            for event in events:
                event.set()
