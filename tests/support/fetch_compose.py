#!/usr/bin/env python3
"""Make what reads Compose files as `docker compose` does available to the tests, without touching the system.

    python tests/support/fetch_compose.py

Go, if it is there, builds `compose-config` into `.venv/servers/bin`, around the library that Docker's own program reads
these files with: half a minute and 150 MB on the way, which are given back. Where that is not possible the script says
so and still succeeds: the tests that need it are skipped then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "servers"
PROGRAM = FOLDER / "bin" / "compose-config"
SOURCE = Path(__file__).with_name("compose_files") / "parser"


def build() -> None:
    """Build the program. Raises OSError where that fails."""
    go = shutil.which("go")
    if go is None:
        raise OSError("this machine has no go")
    print(f"Building {PROGRAM.name} by {go}.", flush=True)
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="go-", dir=FOLDER) as workspace:
        done = subprocess.run(
            [go, "build", "-trimpath", "-ldflags=-s -w", "-o", PROGRAM, "."],
            cwd=SOURCE,
            # Modules that may be written can also be removed. No other toolchain is fetched.
            env={
                **os.environ,
                "GOPATH": f"{workspace}/path",
                "GOCACHE": f"{workspace}/cache",
                "GOTMPDIR": workspace,
                "GOFLAGS": "-modcacherw",
                "GOTOOLCHAIN": "local",
                "CGO_ENABLED": "0",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"go ended with {done.returncode}"])[-1])


def newest_source() -> float:
    """Return when the source changed last."""
    return max(path.stat().st_mtime for path in SOURCE.iterdir())


def main() -> None:
    """Build the program unless it is there, then tell where it is or what goes without it."""
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < newest_source():
        try:
            build()
        except OSError as error:
            print(f"{PROGRAM.name} could not be built: {error}")
    found = PROGRAM if PROGRAM.exists() else "not available, though needed for tests of the Compose files"
    print(f"{PROGRAM.name}: {found}")


if __name__ == "__main__":
    main()
