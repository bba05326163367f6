"""What can go wrong with the local database."""

from __future__ import annotations

from harbor_scanner.errors import HarborScannerError


class UnreadableAdvisoryError(HarborScannerError):
    """A document is no advisory that can be read. The message tells why."""


class DatabaseError(HarborScannerError):
    """The database cannot be used, filled or brought up to date. `advice` says what to do; it may be empty."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message} {advice}" if advice else message)
        self.message = message
        self.advice = advice


class BusyError(DatabaseError):
    """Somebody else is writing the database now."""
