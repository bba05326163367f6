#!/usr/bin/env python3
"""Make docker-registry and Redis available to the tests, without root and without touching the system.

    python tests/support/fetch_servers.py

A program on PATH is used as it is. Any other is fetched through apt, whose lists and downloads stay in
`.venv/servers/apt`, and unpacked into `.venv/servers/root` with the libraries that this machine lacks. Where
that is not possible the script says so and still succeeds: tests that need the program are skipped then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / ".venv" / "servers"
ROOT = FOLDER / "root"
DEBS = FOLDER / "debs"


class Program(NamedTuple):
    """A program that tests start, and the package it comes in."""

    name: str
    package: str
    needed_for: str


PROGRAMS = (
    Program("docker-registry", "docker-registry", "tests with a real registry"),
    Program("redis-server", "redis-server", "tests with Redis"),
    Program("redis-sentinel", "redis-sentinel", "tests with Redis Sentinel"),
    Program("redis-cli", "redis-tools", "a look into Redis by hand"),
    Program("wrk", "wrk", "benchmarks"),
    Program("docker-compose", "docker-compose", "tests of the Compose files"),
    Program("promtool", "prometheus", "tests of the alerts and the dashboard"),
    Program("buildah", "buildah", "the test of the container image"),
    Program("crun", "crun", "the test of the container image"),
    Program("debootstrap", "debootstrap", "the test of the container image"),
)

IMAGE_PACKAGES = ("base-files", "zlib1g", "busybox-static")
"""Packages of which a test image is made."""


class Apt:
    """Debian's package client, with lists and downloads of its own."""

    def __init__(self, folder: Path) -> None:
        self.archives = folder / "cache" / "archives"
        self._options = {
            "Dir::State": folder / "state",
            "Dir::Cache": folder / "cache",
            # What is installed is read from the system, so that only missing libraries are fetched.
            "Dir::State::status": "/var/lib/dpkg/status",
            "Debug::NoLocking": "true",
            # As root, apt would download as a user who may not write here.
            "APT::Sandbox::User": "root",
            "Acquire::http::Timeout": "20",
            "Acquire::Retries": "1",
        }
        for partial in (folder / "state" / "lists", self.archives):
            (partial / "partial").mkdir(parents=True, exist_ok=True)

    def update(self) -> None:
        """Fetch the lists of packages."""
        self._run("update")

    def fetch(self, package: str) -> None:
        """Download a package, with all that it needs and this machine lacks, into `archives`."""
        self._run("install", "--yes", "--no-install-recommends", "--download-only", package)

    def download(self, packages: tuple[str, ...], folder: Path) -> None:
        """Download just these packages, installed or not, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run("download", *packages, folder=folder)

    def _run(self, *arguments: str, folder: Path | None = None) -> None:
        options = [f"-o{name}={value}" for name, value in self._options.items()]
        done = subprocess.run(
            ["apt-get", "--quiet", *options, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            problem = done.stderr.strip().splitlines() or [f"apt-get ended with {done.returncode}"]
            raise OSError(problem[-1])


def find(name: str) -> Path | None:
    """Return where a program is: on PATH, or as an earlier run of this script unpacked it."""
    unpacked = (ROOT / "usr" / folder / name for folder in ("bin", "sbin"))
    found = shutil.which(name) or next(filter(None, map(shutil.which, unpacked)), None)
    return Path(found) if found else None


def library_path() -> dict[str, str]:
    """Return the environment in which unpacked programs find the libraries and scripts unpacked with them."""
    folders = sorted({str(library.parent) for library in (ROOT / "usr" / "lib").glob("*/*.so*")})
    scripts = ROOT / "usr" / "share" / "debootstrap"
    return {
        **({"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}),
        **({"DEBOOTSTRAP_DIR": str(scripts)} if scripts.exists() else {}),
    }


def starts(program: Path) -> bool:
    """Tell whether the dynamic loader has all that a program needs (it ends with 127 if not)."""
    try:
        done = subprocess.run(
            [program, "--version"],
            # Even for this, crun makes a directory for its state.
            env={**os.environ, **library_path(), "XDG_RUNTIME_DIR": str(FOLDER)},
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode != 127


def fetch(missing: list[Program]) -> None:
    """Fetch and unpack the programs, and the packages for a test image. Raises OSError where that fails."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise OSError(f"this machine has no {tool}")
    apt = Apt(FOLDER / "apt")
    names = [program.name for program in missing] or IMAGE_PACKAGES
    print(f"Fetching {', '.join(names)} from the package sources of this machine.")
    apt.update()
    for program in missing:
        try:
            apt.fetch(program.package)
        except OSError as error:
            print(f"{program.name}: {error}")
    for archive in sorted(apt.archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", archive, ROOT], check=True)
    if not any(DEBS.glob("*.deb")):
        apt.download(IMAGE_PACKAGES, DEBS)


def main() -> None:
    """Fetch what is missing, then tell of every program where it is or what goes without it."""
    missing = [program for program in PROGRAMS if not (found := find(program.name)) or not starts(found)]
    if missing or not any(DEBS.glob("*.deb")):
        try:
            fetch(missing)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"Not everything could be fetched: {error}")
    for program in PROGRAMS:
        found = find(program.name)
        usable = found is not None and starts(found)
        print(f"{program.name}: {found if usable else f'not available, though needed for {program.needed_for}'}")


if __name__ == "__main__":
    main()
