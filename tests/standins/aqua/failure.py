"""How a scan of scannercli fails."""

from __future__ import annotations


class FailureError(Exception):
    """The scan failed. The message is the last line of the log."""
