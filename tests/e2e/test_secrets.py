"""No secret comes out anywhere, at the most verbose level and with a scanner that prints its command line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from redis.asyncio import Redis

from harbor_scanner.harbor.client import ScanFailedError, basic
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest
from standins.aqua.behaviour import Behaviour
from support import oci
from support.service import Service
from support.stage import NOWHERE, Stage, harbor, request_for, run

CONSOLE_PASSWORD = 'c0nsole"Marked$ecret'
ROBOT_PASSWORD = "r0bot:Marked/secret+1"
API_PASSWORD = "api-Marked-pw-2"
API_TOKEN = "api-Marked-token-3"
STORE_KEY = "store-Marked-key-4"
SECRETS = (CONSOLE_PASSWORD, ROBOT_PASSWORD, API_PASSWORD, API_TOKEN, STORE_KEY)
SETTINGS = {
    "LOG_LEVEL": "trace",
    "CLI_OVERRIDE_REGISTRY_CREDENTIALS": "true",
    "API_AUTH_BASIC": f"harbor:{API_PASSWORD}",
    "API_AUTH_TOKENS": API_TOKEN,
    "STORE_KEY": STORE_KEY,
    "SHUTDOWN_GRACE": "0s",
    "MAX_ATTEMPTS": "1",
}
AUTHORIZATION = oci.basic("robot$marked", ROBOT_PASSWORD)


def spellings() -> Iterator[bytes]:
    for secret in SECRETS:
        yield secret.encode()
        yield base64.b64encode(secret.encode())
    yield AUTHORIZATION.removeprefix("Basic ").encode()
    yield base64.b64encode(f"harbor:{API_PASSWORD}".encode())


def leaks(text: bytes) -> list[bytes]:
    return [secret for secret in spellings() if secret in text]


def marked_request(name: str) -> ScanRequest:
    made_up = request_for(name)
    return ScanRequest(Registry(NOWHERE, AUTHORIZATION), Artifact(name, made_up.artifact.digest))


async def contents_of_store(socket: Path) -> bytes:
    """Return every key of the store with all that it holds."""
    async with Redis(unix_socket_path=str(socket)) as redis:
        commands = {b"string": ["GET"], b"hash": ["HGETALL"], b"stream": ["XRANGE"], b"zset": ["ZRANGE"]}
        ranges = {b"stream": ["-", "+"], b"zset": ["0", "-1"]}
        found = []
        async for key in redis.scan_iter("*"):
            kind: Any = await redis.type(key)
            answer: Any = redis.execute_command(*commands[kind], key, *ranges.get(kind, []))  # type: ignore[no-untyped-call]
            found.append(repr((key, await answer)).encode())
        return b"\n".join(found)


def test_marked_secrets_are_in_no_log_answer_metric_or_key_of_the_store(stage: Stage) -> None:
    stage.scannercli.configure(password=CONSOLE_PASSWORD)
    stage.scannercli.force(Behaviour(print_arguments=True, hang=True), repository="leak/hangs")
    stage.scannercli.force(Behaviour(print_arguments=True, exit=1, message="boom"), repository="leak/fails")
    stage.scannercli.force(Behaviour(print_arguments=True, findings=2), repository="leak/works")
    answers: list[bytes] = []

    async def scan(service: Service) -> None:
        auth = basic("harbor", API_PASSWORD)
        async with harbor(service, auth=auth) as client, httpx2.AsyncClient(headers=auth) as plain:
            for name in ("leak/works", "leak/fails", "leak/hangs"):
                job_id = await client.submit(marked_request(name))
                if name == "leak/hangs":
                    while not stage.scannercli.scans(name):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                else:
                    with contextlib.suppress(ScanFailedError):
                        await client.wait_for_report(job_id)
                for path in (f"/api/v1/scan/{job_id}/report", "/api/v1/metadata", "/metrics", "/probe/ready"):
                    answer = await plain.get(service.url + path)
                    answers.append(answer.content + repr(answer.headers).encode())

    with stage.service(**SETTINGS) as service:
        run(scan(service))
        store = run(contents_of_store(service.data / "store" / "store.sock"))
        append_only = b"".join(path.read_bytes() for path in (service.data / "store").rglob("*.aof*"))
        service.stop()
        log = service.log_file.read_bytes()
    # The test can fail: the scanner did print the secrets, the store does hold the jobs, and one is not over yet.
    printed = [scan.argv for scan in stage.scannercli.scans()]
    assert all(any(ROBOT_PASSWORD in argument for argument in argv) for argv in printed)
    assert len(printed) == 3
    assert b"leak/hangs" in store
    assert b"authorization" in store
    assert any(b"boom" in answer and b"[redacted]" in answer for answer in answers)
    assert leaks(log) == []
    assert leaks(store) == []
    assert leaks(append_only) == []
    assert [leaks(answer) for answer in answers if leaks(answer)] == []


def test_the_scanner_sees_no_setting_of_the_service(stage: Stage) -> None:
    stage.scannercli.configure(password=CONSOLE_PASSWORD)
    stage.scannercli.force(Behaviour(findings=1))

    async def scan(service: Service) -> None:
        async with harbor(service, auth=basic("harbor", API_PASSWORD)) as client:
            await client.wait_for_report(await client.submit(marked_request("leak/environment")))

    with stage.service(**SETTINGS) as service:
        run(scan(service))
    (scan_run,) = stage.scannercli.scans()
    assert "PATH" in scan_run.environment
    assert not [name for name in scan_run.environment if name.startswith("SCANNER_")]
    assert leaks(repr(scan_run.environment).encode()) == []
