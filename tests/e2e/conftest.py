"""What the end-to-end tests share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.oci import Registry
from support.stage import NOWHERE, Stage
from support.standin import ScannerCli


@pytest.fixture
def stage(scannercli: ScannerCli) -> Iterator[Stage]:
    """A stage whose paths are short enough for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="hs-"))
    # Made-up findings need no image, but the console knows its registries all the same.
    scannercli.connect(Registry(NOWHERE, "", ""))
    yield Stage(directory, scannercli)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def connected(stage: Stage, registry: Registry) -> Stage:
    """A stage whose Aqua console knows the registry as `Harbor`."""
    stage.scannercli.connect(registry)
    return stage
