"""Containers of the image, run by an OCI runtime: read-only, without any capability, as the user that a test wants."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.image import Image
from support.image_tools import tool
from support.installed import TESTS

_LAUNCHER = """#!/usr/bin/python3 -S
import sys
sys.path[0] = "/tests"
from standins.{package}.cli import main
sys.exit(main())
"""

_NUMBERS = itertools.count(1)
_MOUNTS = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev"]},
)


class Mount(NamedTuple):
    """What is mounted from this machine, and where."""

    source: Path
    target: str
    writable: bool = False


class Container:
    """A container, from its configuration in the image and what `docker run` would add."""

    def __init__(
        self,
        image: Image,
        folder: Path,
        *command: str,
        mounts: Sequence[Mount] = (),
        user: str = "",
        **environment: str,
    ) -> None:
        self._folder = folder
        self._name = f"test-{os.getpid()}-{next(_NUMBERS)}"
        self._bundle = folder / self._name
        rootfs = self._bundle / "rootfs"
        rootfs.mkdir(parents=True)
        self.log_file = self._bundle / "log"
        config = image.config
        self.user = user or config["User"]
        self._cwd = config["WorkingDir"]
        uid, gid = map(int, self.user.split(":"))
        # The order of Docker: a mount below another one comes after it.
        ordered = sorted(mounts, key=lambda mount: mount.target.count("/"))
        specification = {
            "ociVersion": "1.0.2",
            "root": {"path": str(rootfs), "readonly": True},
            "hostname": self._name,
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*config["Entrypoint"], *(command or config["Cmd"])],
                "env": [*config["Env"], *(f"{name}={value}" for name, value in environment.items())],
                "cwd": self._cwd,
                "noNewPrivileges": True,
                "capabilities": {},
            },
            # The loopback interface stays that of this machine, where the tests and their registry are.
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
            "mounts": [*_MOUNTS, _bind(Mount(Path("/etc/hosts"), "/etc/hosts")), *map(_bind, ordered)],
        }
        (self._bundle / "config.json").write_text(json.dumps(specification), encoding="utf-8")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self._crun("run", "--bundle", str(self._bundle), self._name, image=image.rootfs, rootfs=rootfs),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self, seconds: float = 120) -> int:
        """Wait until it ends, and return its exit code."""
        return self.process.wait(seconds)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as `docker exec` does."""
        argv = self._crun("exec", "--user", self.user, "--cwd", self._cwd, self._name, *command)
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def python(self, program: str) -> str:
        """Run a Python program inside, and return what it printed."""
        done = self.execute("python", "-c", program)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> int:
        """Ask it to end, as `docker stop` does, and return its exit code."""
        subprocess.run(self._crun("kill", self._name, "TERM"), check=True)
        return self.wait()

    def end(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            subprocess.run(self._crun("delete", "--force", self._name), capture_output=True, check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        """Return all that it has printed."""
        return self.log_file.read_text(errors="replace")

    def wait_until_healthy(self, *check: str, seconds: float = 120) -> None:
        """Wait until the health check succeeds."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if self.execute(*check).returncode == 0:
                return
        raise AssertionError(f"not healthy (exit code {self.process.poll()}):\n{self.log()[-4000:]}")

    def wait_until_ready(self, url: str, seconds: float = 120) -> dict[str, Any]:
        """Wait for the service inside, and return what its probe says."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/probe/ready", timeout=5) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not ready (exit code {self.process.poll()}):\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def _crun(self, *arguments: str, **places: Path) -> list[str]:
        root = str(self._folder / "crun")
        return tool("crun", "--root", root, "--cgroup-manager=disabled", *arguments, **places)


@contextlib.contextmanager
def running(
    image: Image,
    folder: Path,
    *command: str,
    mounts: Sequence[Mount] = (),
    user: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Container]:
    """Run a container until the block ends."""
    container = Container(image, folder, *command, mounts=mounts, user=user, **(environment or {}))
    try:
        yield container
    finally:
        container.end()


def portable(program: Path, package: str) -> list[Mount]:
    """Return what to mount for a stand-in, so that the Python of the image starts it."""
    program.write_text(_LAUNCHER.format(package=package), encoding="utf-8")
    program.chmod(0o755)
    tests = program.parent / "tests"
    shutil.copytree(TESTS / "standins", tests / "standins", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", tests, *program.parent.glob("*.json*")], check=True)
    return [
        Mount(tests, "/tests"),
        *(Mount(path, f"/usr/local/bin/{path.name}") for path in program.parent.glob("*.json")),
    ]


def _bind(mount: Mount) -> dict[str, Any]:
    options = ["rbind", "rw" if mount.writable else "ro"]
    return {"destination": mount.target, "type": "bind", "source": str(mount.source), "options": options}
