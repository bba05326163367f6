"""The example of `docs/adding-a-scanner.md`: its files, taken out of the page, and its module, loaded as it stands."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from harbor_scanner.scanners.base import ScannerPlugin
from support.installed import TESTS

PAGE = TESTS.parent / "docs" / "adding-a-scanner.md"
MODULE = "harbor_scanner_trivy"

_FILE = re.compile(r"<!-- example: (\S+) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def files() -> dict[str, str]:
    """Return the files that the page shows, by their names."""
    return dict(_FILE.findall(PAGE.read_text()))


def commands() -> list[str]:
    """Return the commands that the page shows, in their order."""
    return [line for block in _COMMANDS.findall(PAGE.read_text()) for line in block.splitlines()]


def write(directory: Path) -> None:
    """Write the files into a new directory, as a reader of the page does."""
    directory.mkdir()
    for name, text in files().items():
        (directory / name).write_text(text)


@cache
def plugin() -> ScannerPlugin:
    """Return the plugin of the example's module."""
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module  # where its annotations are looked up
    exec(compile(files()[f"{MODULE}.py"], str(PAGE), "exec"), module.__dict__)
    found = module.PLUGIN
    assert isinstance(found, ScannerPlugin)
    return found
