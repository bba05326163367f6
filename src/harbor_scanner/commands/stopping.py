"""Commands that a signal stops in order: what they started is ended, and nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from typing import TypeVar

_Result = TypeVar("_Result")


class StoppedError(Exception):
    """A signal has stopped the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number
        """With which the command ends, as shells have it."""


async def until_signal(work: Awaitable[_Result]) -> _Result:
    """Return what `work` returns. SIGINT and SIGTERM cancel it; StoppedError is raised when it has ended then."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if signals:
            raise StoppedError(signals[0]) from None
        raise
