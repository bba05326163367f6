"""The image that a scan is of."""

from __future__ import annotations

import msgspec

from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest


class Subject(msgspec.Struct, frozen=True):
    """An image by its digest, where it can be pulled, and what to call it."""

    name: str
    """As the user named it."""
    registry: Registry
    artifact: Artifact
    platform: str = ""
    """What was chosen of an index; empty if there was nothing to choose."""
    size: int = 0
    """Bytes that there are to pull."""
    secrets: tuple[str, ...] = ()
    """What of its credentials must be seen nowhere."""

    @property
    def request(self) -> ScanRequest:
        """What a scanner is asked, before it is said for which reports."""
        return ScanRequest(self.registry, self.artifact)
