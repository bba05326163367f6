"""The log of trivy: lines on stderr, as it writes them where there is no terminal."""

from __future__ import annotations

import sys
import time


def line(level: str, text: str) -> None:
    """Print a line with time, level and text, parted by tabs."""
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), level, text, sep="\t", file=sys.stderr, flush=True)
