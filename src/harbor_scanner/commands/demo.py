"""`harbor-scanner demo`: the main job from end to end, on this machine alone."""

from __future__ import annotations

import asyncio
import signal

import typer

from harbor_scanner.errors import HarborScannerError

EXIT_FAILED = 1
"""The demo did not come to its end."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo() -> None:
    """Scan an image as Harbor would, without Harbor, licence, Docker or network.

    Runs the service and a registry for a few seconds, in a temporary directory, and shows the reports. Ends with 1 if
    anything fails.
    """
    raise typer.Exit(asyncio.run(_until_signal()))


async def _until_signal() -> int:
    """Play the demo, and return the exit code; a signal has it cleaned up first."""
    from harbor_scanner.demo.play import play  # noqa: PLC0415 - other commands do without
    from harbor_scanner.demo.screen import Screen  # noqa: PLC0415

    screen = Screen()
    task = asyncio.create_task(play(screen))
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not received:
            received.append(number)
            task.cancel()

    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        screen.step(f"Ended by {received[0].name}. Nothing is left of the demo.")
        return 128 + received[0]
    except (HarborScannerError, OSError) as error:
        screen.fail(str(error))
        return EXIT_FAILED
    return 0
