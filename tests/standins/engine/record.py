"""Tell tests what happened: a line of JSON for every start and end of a stand-in, and for what came between."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Record:
    """This run's lines in the record. Without a record file beside the script, nothing is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = os.urandom(8).hex()

    def started(self, **fields: Any) -> None:
        """Note the start of this run, with all that the program was given, and what that means to it."""
        self.note("start", pid=os.getpid(), argv=sys.argv, environment=dict(os.environ), **fields)

    def ended(self, code: int) -> None:
        """Note that this run ended by itself."""
        self.note("end", code=code)

    def note(self, event: str, **fields: Any) -> None:
        """Note anything else."""
        line = json.dumps({"run": self._run, "event": event, "time": time.time(), **fields}) + "\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return
        # One write at the end of the file: lines of runs at the same time do not mix.
        os.write(file, line.encode())
        os.close(file)
