"""Start the service as an operator does: `harbor-scanner serve`, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harbor_scanner import warden


class Service:
    """One `harbor-scanner serve`, which can be killed and started again on the same settings."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        within: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data = directory / "data"
        self.log_file = directory / "service.log"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        # Other commands than `serve` stand before the options.
        command = () if arguments and not arguments[0].startswith("-") else ("serve",)
        self._command = [*within, sys.executable, "-m", "harbor_scanner", *command, *arguments]
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "SCANNER_API_ADDR": self.address,
            "SCANNER_DATA_DIR": str(self.data),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        if ready:
            self.wait_for(lambda: self.probe()[0] == 200, "ready")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.stop(signal.SIGKILL)

    def end(self) -> None:
        """End it whatever it does, and whatever it left."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        warden.kill_marked(os.fsencode(f"HARBOR_SCANNER_WORKSPACE={self.data}"))

    def probe(self) -> tuple[int, dict[str, Any]]:
        """Return the status and body of the readiness probe; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/probe/ready", timeout=5) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as response:
            return str(response.read().decode())

    def log(self) -> str:
        """Return all that it has logged, over all its starts."""
        return self.log_file.read_text(errors="replace")

    def wait_for(self, condition: Any, what: str, seconds: float = 30) -> None:
        """Wait until `condition()` holds; the failure shows the log."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process is not None
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                raise AssertionError(f"not {what} (exit code {ended}):\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Return the scanner processes that run on behalf of this service, in whatever group."""
        return list(warden.marked_processes(os.fsencode(f"HARBOR_SCANNER_WORKSPACE={self.data}")))


@contextlib.contextmanager
def serving(
    directory: Path, environment: Mapping[str, str], *arguments: str, within: Sequence[str] = ()
) -> Iterator[Service]:
    """Run a service until the block ends, `within` another program if given, which it replaces."""
    service = Service(directory, environment, arguments, within=within)
    try:
        service.start()
        yield service
    finally:
        service.end()


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
