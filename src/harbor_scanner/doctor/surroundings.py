"""What a scanner's own checks are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from harbor_scanner.doctor.network import Network


class Surroundings(msgspec.Struct, frozen=True):
    """The means of a check."""

    network: Network
    """Asks servers."""
    version: Callable[[], Awaitable[str]]
    """Returns the version of the scanner as `Scanner.version` tells it; empty if it does not."""
    data_dir: Path
    """The data directory of the service (`Premises.lasting`)."""
    registry: str = ""
    """The URL of the registry that scans pull from, if the operator named it."""
