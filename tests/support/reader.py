"""Run a block of the documentation as a reader would, and end with 0 if it works.

    unshare --user --map-root-user --mount --net python reader.py URL FILES BLOCK

FILES is a JSON object: what stands in which file, at the paths that the documentation names. Where URL is given, the
block's last command is a service: it must become ready there, and end in order when asked to. In namespaces of its
own the ports of the documentation are free, and nobody else sees the files.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
PATIENCE = 60
"""Seconds that a service may take to become ready."""


def raise_loopback() -> None:
    """Bring up the loopback interface, which is down in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, SIOCGIFFLAGS, asked), 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def lay(files: dict[str, str]) -> None:
    """Write files at absolute paths, over what the machine has there."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/mnt"], check=True)
    covered: set[Path] = set()
    for number, (name, content) in enumerate(files.items()):
        path = Path(name)
        base = next(parent for parent in path.parents if parent.exists())
        if base not in covered:
            upper, work = Path(f"/mnt/upper{number}"), Path(f"/mnt/work{number}")
            upper.mkdir()
            work.mkdir()
            layers = f"lowerdir={base},upperdir={upper},workdir={work}"
            subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, str(base)], check=True)
            covered.add(base)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def readiness(url: str) -> dict[str, object]:
    """Return what the service says of itself; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/probe/ready", timeout=5) as response:
            return dict(json.load(response))
    except OSError:
        return {}


def main(url: str, files: str, block: str) -> int:
    """Run the block; return its exit code, or another than 0 if its service does not become ready."""
    raise_loopback()
    lay(json.loads(files))
    process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", block], start_new_session=True)
    if url:
        deadline = time.monotonic() + PATIENCE
        while not (answer := readiness(url)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        print(json.dumps(answer))
        if not answer:
            process.kill()
            return process.wait() or 1
        # The shell waits for its last command: both are asked to end.
        os.killpg(process.pid, signal.SIGTERM)
    return process.wait()


def read(
    block: str, *, url: str, files: Mapping[str, str], programs: Path, home: Path, variables: Mapping[str, str]
) -> dict[str, Any]:
    """Run a block as above, with `programs` before all others on PATH; return what its service says of itself, if any.

    Raises AssertionError with all that was printed if it does not work.
    """
    namespaces = ("unshare", "--user", "--map-root-user", "--mount", "--net")
    done = subprocess.run(
        # Without -P, modules beside this file would stand before those of Python.
        [*namespaces, sys.executable, "-P", __file__, url, json.dumps(dict(files)), block],
        env={"PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin", **variables},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[0])) if url else {}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
