"""What can go wrong with the demo itself."""

from __future__ import annotations

from harbor_scanner.errors import HarborScannerError


class DemoError(HarborScannerError):
    """The service did not run as it should, or Harbor would have got something else than it should."""
