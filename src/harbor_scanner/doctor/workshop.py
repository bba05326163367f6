"""A place for trials, away from the data directory: whoever runs the checks, the service finds nothing of theirs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from harbor_scanner.process import Processes
from harbor_scanner.scratch import Scratch


class Workshop(NamedTuple):
    """Where programs are tried. All that is in it, or started from it, is gone when it closes."""

    directory: Path
    scratch: Scratch
    processes: Processes


@contextlib.asynccontextmanager
async def workshop() -> AsyncIterator[Workshop]:
    """Open one among the temporary files. Raises OSError or StartError if there is no place to write to."""
    with (
        tempfile.TemporaryDirectory(prefix="hs-", ignore_cleanup_errors=True) as name,
        Scratch.open(Path(name)) as scratch,
    ):
        async with Processes(scratch.directory).open() as processes:
            yield Workshop(Path(name), scratch, processes)
