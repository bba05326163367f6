#!/usr/bin/env python3
"""Make Helm available to the tests of the chart, without touching the system.

    python tests/support/fetch_helm.py

A `helm` 3 or 4 on PATH is used as it is. Otherwise Go, if it is there, builds one into `.venv/servers/bin` from the
Go module proxy: about two minutes and 1.5 GB on the way, which are given back. Where neither is possible the script
says so and still succeeds: the tests of the chart are skipped then.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "servers"
BIN = FOLDER / "bin"
MODULE = "helm.sh/helm/v3"
VERSION = "v3.18.6"
# A Helm without a cluster acts as if Kubernetes were of this version; its own release builds set it in this way.
KUBERNETES = {"k8sVersionMajor": "1", "k8sVersionMinor": "33"}


def find() -> Path | None:
    """Return the Helm that tests can use: on PATH, or as an earlier run of this script built it."""
    for found in (shutil.which("helm"), shutil.which(BIN / "helm")):
        if found and re.match(r"v[34]\.", _version(found)):
            return Path(found)
    return None


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "version", "--template", "{{.Version}}"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def build() -> None:
    """Build Helm. Raises OSError where that fails."""
    go = shutil.which("go")
    if go is None:
        raise OSError("this machine has neither helm nor go")
    workspace = FOLDER / "go"
    print(f"Building Helm {VERSION} by {go}, which takes a few minutes.", flush=True)
    variables = " ".join(f"-X {MODULE}/pkg/chartutil.{name}={value}" for name, value in KUBERNETES.items())
    variables += f" -X {MODULE}/internal/version.version={VERSION}"
    try:
        done = subprocess.run(
            [go, "install", "-trimpath", f"-ldflags=-s -w {variables}", f"{MODULE}/cmd/helm@{VERSION}"],
            # Modules that may be written can also be removed. No other toolchain is fetched.
            env={
                **os.environ,
                "GOPATH": str(workspace / "path"),
                "GOCACHE": str(workspace / "cache"),
                "GOTMPDIR": str(FOLDER),
                "GOBIN": str(BIN),
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
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"go ended with {done.returncode}"])[-1])


def main() -> None:
    """Build Helm if there is none, then tell where it is or what goes without it."""
    if find() is None:
        BIN.mkdir(parents=True, exist_ok=True)
        try:
            build()
        except OSError as error:
            print(f"Helm could not be built: {error}")
    print(f"helm: {find() or 'not available, though needed for the tests of the chart, which are skipped'}")


if __name__ == "__main__":
    main()
