"""What was scanned, as all documents about it tell."""

from __future__ import annotations

from typing import NamedTuple

from standins.engine.model import Inventory


class Subject(NamedTuple):
    """An image, and what is in it."""

    image: str
    """As on the command line."""
    repository: str
    """With the registry's host and port."""
    digest: str
    image_id: str
    """The digest of its config."""
    architecture: str
    inventory: Inventory
    started: float
    """When the scan began, in seconds since 1970."""

    @property
    def hash(self) -> str:
        """What the names of files about it begin with."""
        return self.image_id.removeprefix("sha256:")
