"""The log of scannercli: lines on stderr, as zap's console encoder prints them."""

from __future__ import annotations

import json
import sys
import time

_COLOURS = {"DEBUG": 35, "INFO": 34, "WARN": 33, "ERROR": 31}


def line(level: str, message: str, **fields: object) -> None:
    """Print a line with time, coloured level, message, and the fields as JSON."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}"
    columns = [stamp, f"\x1b[{_COLOURS[level]}m{level}\x1b[0m", message]
    if fields:
        columns.append(json.dumps(fields))
    plain("\t".join(columns))


def plain(text: str) -> None:
    """Print a line as it is: scannercli does so as well, above all with the error that ends it."""
    print(text, file=sys.stderr, flush=True)
