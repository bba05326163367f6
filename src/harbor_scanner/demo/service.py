"""The service, started as an operator does: `harbor-scanner serve`, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from harbor_scanner.demo.errors import DemoError
from harbor_scanner.harbor.client import AdapterUnreachableError

_START_SECONDS = 30.0
_END_SECONDS = 15.0
_LAST_LINES = 15
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
"""All that the process needs of the environment: no setting of this machine shall count."""
_SHARED = re.compile(r'^harbor_scanner_shared_runs_total\{scanner="osv"\} (\d+)', re.MULTILINE)


class Service:
    """A service that is ready."""

    def __init__(self, url: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.url = url
        self._log = log
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path, data: Path) -> AsyncIterator[Service]:
        """Run a service on a free port of the loopback interface until the block ends. Raises DemoError."""
        address = f"127.0.0.1:{_free_port()}"
        log = directory / "service.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "harbor_scanner", "serve",
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory,
                # Ctrl-C is for the demo, which then ends the service in order.
                start_new_session=True,
                env=_environment(directory, address, data),
            )  # fmt: skip
        service = cls(f"http://{address}", log, process)
        try:
            await service._become_ready()
            yield service
        except AdapterUnreachableError as error:
            if process.returncode is None:
                raise
            raise DemoError(f"The service has ended. {service._last_words()}") from error
        finally:
            await asyncio.shield(_end(process))

    async def shared_runs(self) -> int:
        """Return how many requests were served by the run of another one, as the metrics tell. Raises DemoError."""
        try:
            async with self._client() as client:
                found = _SHARED.search((await client.get("/metrics")).text)
        except httpx2.RequestError as error:
            raise DemoError(f"The metrics cannot be read: {error}") from error
        return int(found[1]) if found else 0

    async def stop(self) -> None:
        """End it in order. Raises DemoError if it does not end well."""
        await _end(self._process)
        if self._process.returncode:
            raise DemoError(f"The service ended with {self._process.returncode}. {self._last_words()}")

    async def _become_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS), self._client() as client:
                while not await _answers(client):
                    if self._process.returncode is not None:
                        raise DemoError(f"The service did not start. {self._last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoError(
                f"The service was not ready within {_START_SECONDS:g} seconds. {self._last_words()}"
            ) from None

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, verify=False, trust_env=False)

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join(["It logged last:", *lines]) if lines else "It logged nothing."


def _environment(directory: Path, address: str, data: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HOME": str(directory),
        "TMPDIR": str(directory),
        # Settings that Qualys' deployment keeps on this machine are for another service.
        "SCANNER_CONFIG": os.devnull,
        "SCANNER_ENABLED": "osv",
        "SCANNER_API_ADDR": address,
        "SCANNER_DATA_DIR": str(data),
        "SCANNER_OSV_UPDATE_EVERY": "0",
        "SCANNER_LOG_LEVEL": "info",
        "SCANNER_SHUTDOWN_GRACE": "0s",
    }


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/probe/ready")).status_code == 200
    except httpx2.RequestError:
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
