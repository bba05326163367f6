"""What the API promises Harbor: the whole application, over the bundled Valkey wherever a store matters."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import random
import re
import string
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harbor_scanner import service
from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import check_metadata
from harbor_scanner.harbor.client import CALL_LIMIT
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, Capability, Registry
from harbor_scanner.health import Check, CheckState, Health
from harbor_scanner.http.auth import Authenticator
from harbor_scanner.http.routes import BODY_LIMIT, create_app
from harbor_scanner.jobs.address import RedisAddress
from harbor_scanner.jobs.events import Events
from harbor_scanner.jobs.model import JobState, JobStatus, QueueSnapshot
from harbor_scanner.jobs.queue import Queue
from harbor_scanner.jobs.store import Store
from harbor_scanner.metrics import Metrics
from harbor_scanner.service import NotReady
from support.api import DOCUMENT, OUTAGE, REPORT, SBOMS, VULNERABILITIES, Api, MemoryStore, api_over, assemble
from support.asgi import Answer, NoAnswerError, ask, sends
from support.jobs import AUTHORIZATION, KEEP, Station, connected, until, vault
from support.redis_servers import RedisServer

METADATA = "/api/v1/metadata"
SCAN = "/api/v1/scan"
DIGEST = f"sha256:{'0a' * 32}"
SCAN_REQUEST: dict[str, Any] = {
    "registry": {"url": "https://core.harbor.domain", "authorization": AUTHORIZATION},
    "artifact": {
        "repository": "library/mongo",
        "digest": DIGEST,
        "tag": "3.4-xenial",
        "mime_type": media.DOCKER_MANIFEST,
    },
}
SOON = 30
"""Seconds within which a thing that must happen happens, however slow the machine is."""


def request_with(path: str, value: Any) -> bytes:
    """Return a scan request in which one field has another value."""
    document = json.loads(json.dumps(SCAN_REQUEST))
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    place[name] = value
    return msgspec.json.encode(document)


def request_without(path: str) -> bytes:
    """Return a scan request that lacks one field."""
    document = json.loads(json.dumps(SCAN_REQUEST))
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    del place[name]
    return msgspec.json.encode(document)


def report_of(job_id: str) -> str:
    return f"/api/v1/scan/{job_id}/report"


async def submit(api: Api, body: bytes | None = None) -> str:
    """Have a scan request accepted, and return the id of its job."""
    answer = await ask(api.app, "POST", SCAN, body=body or msgspec.json.encode(SCAN_REQUEST))
    assert answer.status == 202, answer
    job_id: str = json.loads(answer.body)["id"]
    return job_id


async def poll(api: Api, job_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    return await ask(api.app, "GET", report_of(job_id), {"Accept": media.GENERIC_REPORT, **(headers or {})})


def over(server: RedisServer, namespace: str, work: Callable[[Api], Awaitable[None]], **options: Any) -> None:
    """Do `work` with the API over a real store."""

    async def run() -> None:
        async with asyncio.timeout(SOON * 2), api_over(server.address, namespace, **options) as api:
            await work(api)

    asyncio.run(run())


# Metadata


def test_metadata_is_what_harbor_registers() -> None:
    answer = asyncio.run(ask(MemoryStore().api().app, "GET", METADATA))
    assert answer.status == 200
    assert answer.headers["content-type"] == media.METADATA
    metadata = check_metadata(answer.body)
    assert metadata.scanner.name == "Imaginary"
    assert metadata.scanner.vendor == "Nobody"
    assert metadata.scanner.version
    (capability,) = metadata.capabilities
    assert capability.type == "vulnerability"
    assert set(capability.consumes_mime_types) == {media.OCI_MANIFEST, media.DOCKER_MANIFEST}
    assert capability.produces_mime_types == (media.GENERIC_REPORT,)
    assert metadata.properties["harbor.scanner-adapter/registry-authorization-type"] == "Basic"
    assert metadata.properties["harbor.scanner-adapter/scanner-type"]
    assert metadata.properties["env.SCANNER_IMAGINARY"] == "yes"


def test_the_legacy_report_is_advertised_only_on_request() -> None:
    answer = asyncio.run(ask(MemoryStore().api(legacy_report=True).app, "GET", METADATA))
    (capability,) = check_metadata(answer.body).capabilities
    assert capability.produces_mime_types == (media.GENERIC_REPORT, media.NATIVE_REPORT)


def test_metadata_comes_from_memory_whatever_the_store_does(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        before = await ask(api.app, "GET", METADATA)
        valkey.pause()
        try:
            with pytest.raises(StoreUnavailableError):
                await api.store.ping(0.05)
            answers = [await ask(api.app, "GET", METADATA) for _ in range(200)]
        finally:
            valkey.resume()
        assert all(answer == before for answer in answers)
        assert before.body == api.service.metadata.encoded

    over(valkey, namespace, work)


def test_a_new_scanner_version_is_shown_without_a_request_waiting_for_it() -> None:
    async def run() -> None:
        api = MemoryStore().api()
        asked = asyncio.Event()
        told = asyncio.Event()

        async def version() -> str:
            asked.set()
            await told.wait()
            return "6.5.0"

        refresh = asyncio.create_task(api.service.metadata.refresh(version))
        await asked.wait()
        waiting = await ask(api.app, "GET", METADATA)
        assert check_metadata(waiting.body).scanner.version != "6.5.0"
        told.set()
        assert await refresh
        assert check_metadata((await ask(api.app, "GET", METADATA)).body).scanner.version == "6.5.0"

    asyncio.run(run())


# Accepting scans


def test_an_accepted_request_is_queued_under_an_id_that_fits_into_a_url(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        answer = await ask(api.app, "POST", SCAN, body=msgspec.json.encode(SCAN_REQUEST))
        assert answer.status == 202
        assert answer.headers["content-type"] == media.SCAN_RESPONSE
        job_id = json.loads(answer.body)["id"]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", job_id)
        lease = await api.lease()
        assert lease.job_id == job_id
        request = api.queue.open_request(lease)
        assert request.registry == Registry("https://core.harbor.domain", AUTHORIZATION)
        assert request.artifact == Artifact("library/mongo", DIGEST, "3.4-xenial", media.DOCKER_MANIFEST)

    over(valkey, namespace, work)


def test_every_request_is_a_job_of_its_own(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        ids = [await submit(api) for _ in range(3)]
        assert len(set(ids)) == 3
        assert [(await api.lease()).job_id for _ in ids] == ids

    over(valkey, namespace, work)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"scan"',
        b"\xff\xfe",
        b'{"registry": "\xff"}',
        msgspec.json.encode(SCAN_REQUEST) + b"x",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        request_with("registry", []),
        request_with("registry.url", 5),
        request_with("artifact.digest", {}),
        request_with("artifact.size", "big"),
        request_with("enabled_capabilities", "vulnerability"),
    ],
    ids=lambda body: repr(body[:24]) + "…" + repr(body[-24:]),
)
def test_malformed_json_is_refused_with_400(body: bytes) -> None:
    store = MemoryStore()
    answer = asyncio.run(ask(store.api().app, "POST", SCAN, body=body))
    assert answer.status == 400
    assert answer.error
    assert not store.accepted


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("registry.url", request_without("registry")),
        ("registry.url", request_without("registry.url")),
        ("registry.url", request_with("registry.url", "")),
        ("registry.url", request_with("registry.url", "core.harbor.domain")),
        ("registry.url", request_with("registry.url", "file:///etc/passwd")),
        ("registry.url", request_with("registry.url", "https://core.harbor.domain:port")),
        ("registry.url", request_with("registry.url", "https://core.harbor.domain/ --flag")),
        ("registry.url", request_with("registry.url", "https://core.harbor.domain\n")),
        ("registry.authorization", request_with("registry.authorization", "Basic a\r\nX-Injected: 1")),
        ("artifact.repository", request_without("artifact")),
        ("artifact.repository", request_without("artifact.repository")),
        ("artifact.repository", request_with("artifact.repository", "library/mongo:latest")),
        ("artifact.repository", request_with("artifact.repository", "Library/Mongo")),
        ("artifact.repository", request_with("artifact.repository", "../../etc")),
        ("artifact.repository", request_with("artifact.repository", "library/mongo\n")),
        ("artifact.repository", request_with("artifact.repository", "--help")),
        ("artifact.repository", request_with("artifact.repository", "library/$(id)")),
        ("artifact.repository", request_with("artifact.repository", "a" * 256)),
        ("artifact.digest", request_without("artifact.digest")),
        ("artifact.digest", request_with("artifact.digest", None)),
        ("artifact.digest", request_with("artifact.digest", "latest")),
        ("artifact.digest", request_with("artifact.digest", "sha256:123")),
        ("artifact.digest", request_with("artifact.digest", DIGEST.upper())),
        ("artifact.digest", request_with("artifact.digest", f"{DIGEST}\n")),
        ("artifact.digest", request_with("artifact.digest", "sha256:" + "٣" * 64)),
        ("artifact.tag", request_with("artifact.tag", "-rf")),
        ("artifact.tag", request_with("artifact.tag", "a b")),
        ("artifact.mime_type", request_with("artifact.mime_type", "application/vnd.cncf.helm.config.v1+json")),
        ("artifact.mime_type", request_with("artifact.mime_type", "application/vnd.oci.image.index.v1+json")),
        (
            "artifact.mime_type",
            request_with("artifact.mime_type", "application/vnd.docker.distribution.manifest.list.v2+json"),
        ),
        ("enabled_capabilities[0].type", request_with("enabled_capabilities", [{"type": "sbom"}])),
        (
            "enabled_capabilities[1].type",
            request_with("enabled_capabilities", [{"type": "vulnerability"}, {"type": "malware"}]),
        ),
        (
            "enabled_capabilities[0].produces_mime_types",
            request_with(
                "enabled_capabilities", [{"type": "vulnerability", "produces_mime_types": ["application/spdx+json"]}]
            ),
        ),
    ],
)
def test_what_cannot_be_scanned_is_refused_with_422_naming_the_field(field: str, body: bytes) -> None:
    store = MemoryStore()
    answer = asyncio.run(ask(store.api().app, "POST", SCAN, body=body))
    assert answer.status == 422
    assert answer.error.startswith(f"{field}: ")
    assert not store.accepted


def test_an_index_is_refused_with_the_reason() -> None:
    body = request_with("artifact.mime_type", "application/vnd.oci.image.index.v1+json")
    answer = asyncio.run(ask(MemoryStore().api().app, "POST", SCAN, body=body))
    assert "index" in answer.error


@pytest.mark.parametrize(
    "body",
    [
        request_without("artifact.tag"),
        request_with("artifact.tag", None),
        request_with("artifact.tag", ""),
        request_without("artifact.mime_type"),
        request_with("artifact.mime_type", None),
        request_with("artifact.mime_type", media.OCI_MANIFEST),
        request_with("artifact.size", 123_456_789),
        request_with("artifact.size", None),
        request_with("artifact.accessory", {"type": "signature.cosign"}),
        request_with("artifact.digest", f"sha512:{'0' * 128}"),
        request_with("artifact.repository", "project/nested/deep__name-of.it"),
        request_without("registry.authorization"),
        request_with("registry.authorization", None),
        request_with("registry.authorization", "Bearer token"),
        request_with("registry.insecure", True),
        request_with("registry.url", "http://[::1]:5000/v2"),
        request_with("registry", {"url": "https://core.harbor.domain", "authorization": "", "new": [None]}),
        request_with("enabled_capabilities", None),
        request_with("enabled_capabilities", []),
        request_with("enabled_capabilities", [None]),
        request_with("enabled_capabilities", [{"type": "vulnerability"}]),
        request_with(
            "enabled_capabilities",
            [
                {
                    "type": "vulnerability",
                    "produces_mime_types": [media.GENERIC_REPORT, media.NATIVE_REPORT.replace(" ", "")],
                    "parameters": None,
                    "new": 1,
                }
            ],
        ),
        request_with("enabled_capabilities", [{"type": None, "produces_mime_types": None, "parameters": {"a": [1]}}]),
        request_with("request_type", "scan"),
    ],
)
def test_null_absent_and_unknown_fields_are_accepted_as_harbors_versions_send_them(body: bytes) -> None:
    store = MemoryStore()
    answer = asyncio.run(ask(store.api().app, "POST", SCAN, body=body))
    assert answer.status == 202, answer
    assert len(store.accepted) == 1


def test_a_body_of_one_mebibyte_is_accepted_and_one_byte_more_is_not() -> None:
    store = MemoryStore()
    largest = msgspec.json.encode(SCAN_REQUEST).ljust(BODY_LIMIT)
    assert BODY_LIMIT == 1024 * 1024
    assert asyncio.run(ask(store.api().app, "POST", SCAN, body=largest)).status == 202
    assert len(store.accepted) == 1
    answer = asyncio.run(ask(store.api().app, "POST", SCAN, body=largest + b" "))
    assert answer.status == 413
    assert answer.error
    assert len(store.accepted) == 1


def test_an_endless_body_is_refused_before_it_fills_the_memory() -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 65536
        assert read < 100 * BODY_LIMIT, "nobody ever stops reading"
        return {"type": "http.request", "body": bytes(65536), "more_body": True}

    answer = asyncio.run(ask(MemoryStore().api().app, "POST", SCAN, receive=receive))
    assert answer.status == 413
    assert read <= 2 * BODY_LIMIT


def test_a_body_that_announces_its_excess_is_refused_unread() -> None:
    async def receive() -> Message:
        raise AssertionError("it was read")

    headers = {"Content-Length": str(BODY_LIMIT + 1)}
    assert asyncio.run(ask(MemoryStore().api().app, "POST", SCAN, headers, receive=receive)).status == 413


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_no_job(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    body = msgspec.json.encode(SCAN_REQUEST)
    # Even what arrived as a whole document is no request yet: its end was announced for later.
    with caplog.at_level(logging.DEBUG), pytest.raises(NoAnswerError):
        asyncio.run(ask(store.api().app, "POST", SCAN, receive=sends(body, leaves=True)))
    assert not store.accepted
    assert not [record for record in caplog.records if record.exc_info]
    # The same pieces, sent to their end, are a request.
    assert asyncio.run(ask(store.api().app, "POST", SCAN, receive=sends(body[:9], body[9:]))).status == 202


def test_a_request_that_cannot_be_kept_is_not_accepted() -> None:
    store = MemoryStore()
    store.trouble = OUTAGE
    answer = asyncio.run(ask(store.api().app, "POST", SCAN, body=msgspec.json.encode(SCAN_REQUEST)))
    assert answer.status == 500
    assert "repeat" in answer.error


def test_an_unforeseen_error_is_answered_in_the_shape_of_the_api_and_tells_no_details() -> None:
    store = MemoryStore()
    store.trouble = RuntimeError("the password is hunter2")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError):  # the server is told, and logs it
            await store.api().app(scope, receive, send)

    answer = asyncio.run(ask(app, "POST", SCAN, body=msgspec.json.encode(SCAN_REQUEST)))
    assert answer.status == 500
    assert "hunter2" not in answer.error


# Reports


@pytest.mark.parametrize("job_id", ["0" * 32, "nobody", "%00", "%F0%9F%90%B3", "a%20b", "x" * 5000])
def test_an_unknown_id_is_answered_with_404(valkey: RedisServer, namespace: str, job_id: str) -> None:
    async def work(api: Api) -> None:
        answer = await poll(api, job_id)
        assert answer.status == 404
        assert answer.error

    over(valkey, namespace, work, hold=3600)


def test_an_unfinished_report_is_held_back_and_then_answered_with_302_and_no_body(
    valkey: RedisServer, namespace: str
) -> None:
    hold = 0.3

    async def work(api: Api) -> None:
        job_id = await submit(api)
        for _ in ("queued", "running"):
            began = time.monotonic()
            answer = await poll(api, job_id)
            assert time.monotonic() - began >= hold
            assert answer.status == 302
            assert answer.body == b""
            assert answer.headers["content-length"] == "0"
            assert 1 <= int(answer.headers["refresh-after"]) <= 127
            assert "location" not in answer.headers
            await api.queue.lease(1)

    over(valkey, namespace, work, hold=hold)


def test_without_a_hold_an_unfinished_report_is_looked_for_just_once(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api)
        looked = spied_on(api)
        assert (await poll(api, job_id)).status == 302
        assert len(looked) == 1

    over(valkey, namespace, work, hold=0)


def spied_on(api: Api) -> list[JobStatus | None]:
    """Return a list to which all that polls find in the store is appended."""
    looked: list[JobStatus | None] = []
    find = api.store.find

    async def spy(job_id: str, kind: str, patience: float) -> JobStatus | None:
        looked.append(await find(job_id, kind, patience))
        return looked[-1]

    api.store.find = spy  # type: ignore[method-assign]
    return looked


async def polls_that_wait(api: Api, job_id: str, *media_types: str) -> list[asyncio.Task[Answer]]:
    """Start a poll for each of these types, and return them when all have looked for the report in vain."""
    looked = spied_on(api)
    polls = [asyncio.create_task(poll(api, job_id, {"Accept": name})) for name in media_types]
    await until(lambda: len(looked) >= len(polls), "every poll has looked once")
    assert not any(status.state.ended for status in looked if status is not None)
    assert not any(task.done() for task in polls)
    return polls


def test_a_report_that_arrives_while_polls_are_held_is_answered_at_once(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api)
        polls = await polls_that_wait(api, job_id, media.GENERIC_REPORT, media.NATIVE_REPORT)
        await api.finish()
        # Held for an hour: only the word of the report can end them.
        answers = await asyncio.wait_for(asyncio.gather(*polls), SOON)
        assert [answer.status for answer in answers] == [200, 200]
        assert {answer.headers["content-type"] for answer in answers} == {media.GENERIC_REPORT, media.NATIVE_REPORT}

    over(valkey, namespace, work, hold=3600)


def test_a_failure_while_a_poll_is_held_is_answered_at_once(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api)
        (held,) = await polls_that_wait(api, job_id, media.GENERIC_REPORT)
        await api.fail("[registry] No such image.")
        answer = await asyncio.wait_for(held, SOON)
        assert answer.status == 500
        assert answer.error == "[registry] No such image."

    over(valkey, namespace, work, hold=3600)


def test_a_poll_that_is_woken_for_nothing_waits_on_without_asking_again_and_again() -> None:
    async def run() -> None:
        api = MemoryStore(job=JobStatus(JobState.RUNNING)).api(hold=3600)
        looked = spied_on(api)
        held = asyncio.create_task(poll(api, "job"))
        await until(lambda: looked, "it has looked once")
        api.events._heard("ended job")
        for _ in range(100):
            await asyncio.sleep(0)
        assert not held.done()
        assert len(looked) == 2
        held.cancel()

    asyncio.run(run())


def test_a_held_poll_is_not_disturbed_by_the_end_of_another_job(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        other = await submit(api)
        job_id = await submit(api)
        (held,) = await polls_that_wait(api, job_id, media.GENERIC_REPORT)
        await api.finish()
        assert (await asyncio.wait_for(poll(api, other), SOON)).status == 200
        assert not held.done()
        await api.finish(gzip.compress(b"another"))
        assert (await asyncio.wait_for(held, SOON)).body == b"another"

    over(valkey, namespace, work, hold=3600)


def test_a_finished_report_is_sent_as_it_is_stored_to_clients_that_take_gzip(
    valkey: RedisServer, namespace: str
) -> None:
    stored = gzip.compress(random.Random(1).randbytes(1_000_000), mtime=0)

    async def work(api: Api) -> None:
        job_id = await submit(api)
        await api.finish(stored)
        for accepted in ("gzip", "GZIP", "br, gzip;q=0.5", "gzip, deflate", "x-gzip"):
            answer = await poll(api, job_id, {"Accept-Encoding": accepted})
            assert answer.status == 200
            assert answer.body == stored, accepted
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["content-length"] == str(len(stored))
            assert "accept-encoding" in answer.headers["vary"].lower()
        assert (await poll(api, job_id, {"Accept-Encoding": "gzip"})).body == stored, "a report is fetched repeatedly"

    over(valkey, namespace, work)


@pytest.mark.parametrize("accepted", [None, "", "identity", "br", "gzip;q=0", "gzip; q=0.000, identity", "notgzip"])
def test_a_client_that_takes_no_gzip_gets_the_report_as_it_is(accepted: str | None) -> None:
    api = MemoryStore(job=JobStatus(JobState.FINISHED, report=REPORT)).api()
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    answer = asyncio.run(poll(api, "job", headers))
    assert answer.status == 200
    assert answer.body == DOCUMENT
    assert "content-encoding" not in answer.headers
    assert "accept-encoding" in answer.headers["vary"].lower()


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * 1024 * 1024 + 7])
@pytest.mark.parametrize("dense", [False, True], ids=["repetitive", "random"])
def test_a_report_of_any_size_is_unpacked_whole(size: int, dense: bool) -> None:
    document = random.Random(size).randbytes(size) if dense else bytes(size)
    api = MemoryStore(job=JobStatus(JobState.FINISHED, report=gzip.compress(document, mtime=0))).api()
    assert asyncio.run(poll(api, "job")).body == document


def test_others_are_served_while_a_report_is_unpacked() -> None:
    api = MemoryStore(job=JobStatus(JobState.FINISHED, report=gzip.compress(bytes(4 * 1024 * 1024)))).api()

    async def run() -> int:
        polling = asyncio.create_task(poll(api, "job"))
        turns = 0
        while not polling.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(run()) > 10


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, media.NATIVE_REPORT),
        ("*/*", media.NATIVE_REPORT),
        (media.NATIVE_REPORT, media.NATIVE_REPORT),
        (media.GENERIC_REPORT, media.GENERIC_REPORT),
        (media.GENERIC_REPORT.replace("; ", ";"), media.GENERIC_REPORT),
        (f"application/json, {media.GENERIC_REPORT}", media.GENERIC_REPORT),
    ],
)
@pytest.mark.parametrize("legacy_report", [False, True], ids=["advertised-1.1", "advertised-both"])
def test_either_report_type_is_served_whatever_is_advertised(
    accept: str | None, content_type: str, legacy_report: bool
) -> None:
    api = MemoryStore(job=JobStatus(JobState.FINISHED, report=REPORT)).api(legacy_report=legacy_report)
    answer = asyncio.run(ask(api.app, "GET", report_of("job"), {"Accept": accept} if accept else {}))
    assert answer.status == 200
    assert answer.headers["content-type"] == content_type
    assert answer.body == DOCUMENT


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.security.sbom.report+json; version=1.0",
        "application/vnd.scanner.adapter.vuln.report.raw",
        "application/vnd.security.vulnerability.report; version=9.9",
        "text/html",
        "nonsense",
    ],
)
def test_an_unknown_report_type_is_answered_with_501(accept: str) -> None:
    api = MemoryStore(job=JobStatus(JobState.FINISHED, report=REPORT)).api()
    answer = asyncio.run(poll(api, "job", {"Accept": accept}))
    assert answer.status == 501
    assert media.GENERIC_REPORT in answer.error


# SBOMs

BOTH_CAPABILITIES = (VULNERABILITIES, SBOMS)
HARBORS_SBOM_REQUEST = request_with(
    "enabled_capabilities",
    [
        {
            "type": "sbom",
            "produces_mime_types": [media.SBOM_REPORT],
            "parameters": {"sbom_media_types": ["application/spdx+json"]},
        }
    ],
)
HARBORS_PARAMETER = "sbom_media_type=application%2Fspdx%2Bjson"
EVERY_KIND = (VULNERABILITY, *media.SBOM_FORMATS)


def asked(query: str, accept: str | None, *kinds: str, capabilities: tuple[Capability, ...]) -> Answer:
    """Return the answer to a poll for a finished job that was asked for `kinds`."""
    job = JobStatus(JobState.FINISHED, reports=kinds, report=REPORT)
    api = MemoryStore(job=job).api(capabilities=capabilities)
    headers = {} if accept is None else {"Accept": accept}
    return asyncio.run(ask(api.app, "GET", f"{report_of('job')}?{query}", headers))


def asked_of_both(query: str, accept: str | None, *kinds: str) -> Answer:
    return asked(query, accept, *(kinds or EVERY_KIND), capabilities=BOTH_CAPABILITIES)


def test_harbor_gets_the_sbom_that_it_asks_for(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api, HARBORS_SBOM_REQUEST)
        target, headers = f"{report_of(job_id)}?{HARBORS_PARAMETER}", {"Accept": media.SBOM_REPORT}
        assert (await ask(api.app, "GET", target, headers)).status == 302
        await api.finish()
        answer = await ask(api.app, "GET", target, headers)
        assert answer.status == 200
        assert answer.headers["content-type"] == media.SBOM_REPORT
        assert answer.body == DOCUMENT

    over(valkey, namespace, work, capabilities=BOTH_CAPABILITIES)


def test_each_kind_of_report_is_answered_with_its_own(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api, request_with("enabled_capabilities", [{"type": "vulnerability"}, {"type": "sbom"}]))
        lease = await api.lease()
        reports = {kind: gzip.compress(kind.encode()) for kind in EVERY_KIND}
        assert await api.queue.finish(lease, {lease.job_id: reports}, KEEP, 1.0)
        assert (await poll(api, job_id)).body == VULNERABILITY.encode()
        for kind in media.SBOM_FORMATS:
            target = f"{report_of(job_id)}?sbom_media_type={kind}"
            answer = await ask(api.app, "GET", target, {"Accept": media.SBOM_REPORT})
            assert (answer.body, answer.headers["content-type"]) == (kind.encode(), media.SBOM_REPORT)

    over(valkey, namespace, work, capabilities=BOTH_CAPABILITIES)


@pytest.mark.parametrize(
    "query",
    [
        HARBORS_PARAMETER,
        "sbom_media_type=application/spdx+json",
        "sbom_media_type=Application%2FSPDX%2bjson",
        f"more=1&{HARBORS_PARAMETER}&sbom_media_type=nonsense",
        "sbom%5Fmedia%5Ftype=application/spdx%2Bjson",
    ],
)
@pytest.mark.parametrize(
    "accept", [media.SBOM_REPORT, media.SBOM_REPORT.replace("; ", ";"), f"text/html, {media.SBOM_REPORT};q=0.1"]
)
def test_the_format_of_an_sbom_may_be_written_in_any_way_that_urls_allow(query: str, accept: str) -> None:
    answer = asked_of_both(query, accept, media.SPDX)
    assert (answer.status, answer.headers["content-type"]) == (200, media.SBOM_REPORT)


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/*"])
def test_a_client_that_names_a_format_but_no_type_wants_an_sbom(accept: str | None) -> None:
    answer = asked_of_both(HARBORS_PARAMETER, accept)
    assert answer.headers["content-type"] == media.SBOM_REPORT
    assert asked_of_both("sbom_media_type=nonsense", accept).status == 400
    assert asked_of_both("", accept).headers["content-type"] == media.NATIVE_REPORT


@pytest.mark.parametrize("query", [HARBORS_PARAMETER, "sbom_media_type=nonsense", "sbom_media_type="])
@pytest.mark.parametrize("accept", media.VULNERABILITY_REPORTS)
def test_a_client_that_names_a_vulnerability_report_gets_it_whatever_else_it_says(query: str, accept: str) -> None:
    answer = asked_of_both(query, accept)
    assert (answer.status, answer.headers["content-type"]) == (200, accept)


@pytest.mark.parametrize(
    "query",
    ["", "sbom_media_type", "sbom_media_type=", "sbom_media_type=application/json", "media_type=application/spdx+json",
     "sbom_media_type=vulnerability", "sbom_media_type=%FF%00", "sbom_media_type=application%252Fspdx%252Bjson"],
)  # fmt: skip
def test_an_sbom_in_no_known_format_is_refused_with_400_naming_those_that_are(query: str) -> None:
    answer = asked_of_both(query, media.SBOM_REPORT)
    assert answer.status == 400
    assert "sbom_media_type" in answer.error
    assert all(name in answer.error for name in media.SBOM_FORMATS)


@pytest.mark.parametrize(
    ("accept", "kinds"),
    [
        (media.GENERIC_REPORT, (media.SPDX,)),
        (media.SBOM_REPORT, (VULNERABILITY,)),
        (media.SBOM_REPORT, (VULNERABILITY, media.CYCLONEDX)),
    ],
)
def test_a_report_that_the_scan_was_not_asked_for_is_refused_with_400(accept: str, kinds: tuple[str, ...]) -> None:
    answer = asked_of_both(HARBORS_PARAMETER, accept, *kinds)
    assert answer.status == 400
    assert all(kind in answer.error for kind in kinds)


@pytest.mark.parametrize(
    ("capability", "accept", "offered"),
    [(VULNERABILITIES, media.SBOM_REPORT, media.GENERIC_REPORT), (SBOMS, media.GENERIC_REPORT, media.SBOM_REPORT)],
)
def test_a_type_that_the_scanner_does_not_make_is_answered_with_501(
    capability: Capability, accept: str, offered: str
) -> None:
    answer = asked(HARBORS_PARAMETER, accept, *EVERY_KIND, capabilities=(capability,))
    assert answer.status == 501
    assert offered in answer.error
    assert accept not in answer.error


def test_polls_for_sboms_are_counted_with_the_others() -> None:
    async def run() -> None:
        api = MemoryStore(job=JobStatus(JobState.RUNNING)).api(capabilities=BOTH_CAPABILITIES)
        for query in ("", HARBORS_PARAMETER):
            await ask(api.app, "GET", f"{report_of('job')}?{query}", {"Accept": media.SBOM_REPORT})
        assert value(await samples(api), "harbor_scanner_report_polls_total", status="400") == 2

    asyncio.run(run())


# Several scanners


def several(*names: str) -> tuple[ASGIApp, dict[str, MemoryStore]]:
    """Return an application of several scanners, and the stores behind them."""
    stores = {name: MemoryStore(**{name: JobStatus(JobState.FINISHED, report=REPORT)}) for name in names}
    services = {name: store.api().service for name, store in stores.items()}
    return create_app(Health(), Metrics(), services), stores


def test_each_scanner_answers_under_its_own_base_path_and_the_first_at_the_root_too() -> None:
    async def run() -> None:
        app, stores = several("one", "two")
        body = msgspec.json.encode(SCAN_REQUEST)
        for base, name, other in (("", "one", "two"), ("/one", "one", "two"), ("/two", "two", "one")):
            before = len(stores[other].accepted)
            assert (await ask(app, "POST", f"{base}{SCAN}", body=body)).status == 202
            assert stores[name].accepted
            assert len(stores[other].accepted) == before, "the others hear nothing of it"
            assert check_metadata((await ask(app, "GET", f"{base}{METADATA}")).body).capabilities
            headers = {"Accept": media.GENERIC_REPORT}
            assert (await ask(app, "GET", f"{base}{report_of(name)}", headers)).status == 200
            assert (await ask(app, "GET", f"{base}{report_of(other)}", headers)).status == 404

    asyncio.run(run())


def test_a_scanner_in_trouble_leaves_the_others_alone() -> None:
    async def run() -> None:
        app, stores = several("one", "two")
        stores["one"].trouble = OUTAGE
        body = msgspec.json.encode(SCAN_REQUEST)
        assert (await ask(app, "POST", f"/one{SCAN}", body=body)).status == 500
        assert (await ask(app, "POST", f"/two{SCAN}", body=body)).status == 202

    asyncio.run(run())


@pytest.mark.parametrize("base", ["/three", "/One", "/one/two", "/api"])
def test_a_scanner_that_is_not_there_is_answered_with_404_naming_those_that_are(base: str) -> None:
    async def run() -> None:
        app, _ = several("one", "two")
        for method, path in (("GET", METADATA), ("POST", SCAN), ("GET", report_of("one"))):
            answer = await ask(app, method, f"{base}{path}")
            assert answer.status == 404
            assert "/one/api/v1, /two/api/v1" in answer.error

    asyncio.run(run())


def test_no_base_path_is_open_to_those_who_show_no_credentials() -> None:
    async def run() -> None:
        services = {"one": MemoryStore().api().service, "two": MemoryStore().api().service}
        app = create_app(Health(), Metrics(), services, Authenticator(tokens=["t"]))
        for base in ("", "/one", "/two"):
            for method, path, _ in GUARDED:
                assert (await ask(app, method, base + path)).status == 401
                assert (await ask(app, method, base + path, {"Authorization": "Bearer t"})).status != 401

    asyncio.run(run())


# Failures


def test_a_failed_scan_is_answered_with_500_and_its_message(valkey: RedisServer, namespace: str) -> None:
    message = '[image] Kein "Abbild": \\ \u0000\n\t<b>🐳</b>'

    async def work(api: Api) -> None:
        job_id = await submit(api)
        await api.fail(message)
        for _ in range(2):
            answer = await poll(api, job_id)
            assert answer.status == 500
            assert answer.error == message

    over(valkey, namespace, work)


def test_a_report_that_is_not_kept_any_more_is_answered_with_404(valkey: RedisServer, namespace: str) -> None:
    async def work(api: Api) -> None:
        job_id = await submit(api)
        await api.finish(keep_seconds=0.01)

        async def gone() -> bool:
            answer = await poll(api, job_id)
            assert answer.status in {200, 404}
            return answer.status == 404

        await until(gone, "it is gone")

    over(valkey, namespace, work)


@pytest.mark.parametrize("trouble", [OUTAGE, RuntimeError("a defect")], ids=["outage", "defect"])
def test_own_trouble_never_ends_a_scan(trouble: Exception) -> None:
    store = MemoryStore(job=JobStatus(JobState.FINISHED, report=REPORT))
    api = store.api(hold=0)
    store.trouble = trouble
    answer = asyncio.run(poll(api, "job"))
    assert answer.status == 302
    assert answer.body == b""
    assert 1 <= int(answer.headers["refresh-after"]) <= 127
    store.trouble = None
    assert asyncio.run(poll(api, "job")).status == 200


def test_a_store_out_of_reach_is_answered_with_302_before_harbor_gives_up(short_dir: Path) -> None:
    async def run() -> None:
        async with connected(RedisAddress(socket=short_dir / "nobody")) as connections:
            store = Store(connections, "test")
            queue, events = Queue(store, vault(), "worker"), Events(connections.subscriber, store.events)
            api = assemble(Station(connections, store, queue, events), hold=4)
            answer = await asyncio.wait_for(poll(api, "job"), CALL_LIMIT)
            assert answer.status == 302
            assert 1 <= int(answer.headers["refresh-after"]) <= 127

    asyncio.run(run())


def test_a_store_that_goes_silent_while_a_poll_is_held_delays_the_answer_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(service, "POLL_PATIENCE", SOON * 2)
    store = MemoryStore(job=JobStatus(JobState.RUNNING))
    api = store.api(hold=0.1)
    looked = spied_on(api)
    find = api.store.find

    async def silent_at_last(job_id: str, kind: str, patience: float) -> JobStatus | None:
        if looked:
            await asyncio.sleep(patience)
            raise OUTAGE
        return await find(job_id, kind, patience)

    api.store.find = silent_at_last  # type: ignore[method-assign]
    assert asyncio.run(asyncio.wait_for(poll(api, "job"), SOON)).status == 302
    assert looked, "it was found at first"


FINITE = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
SNAPSHOTS = st.builds(
    QueueSnapshot,
    queued=st.integers(0, 10**9),
    running=st.integers(0, 10**6),
    delayed=st.integers(0, 10**9),
    slots=st.integers(1, 10**6),
    scan_seconds=FINITE,
    started_sequence=st.integers(0, 2**63),
)


async def refresh_after(api: Api, snapshot: QueueSnapshot | None, status: JobStatus) -> int:
    """Return what a poll of such a job is told while the queue is so."""
    api.service.snapshot = snapshot
    api.store.jobs["job"] = status  # type: ignore[attr-defined]
    answer = await api.service.report("job", VULNERABILITY)
    assert isinstance(answer, NotReady)
    return answer.refresh_after


@settings(deadline=None)
@given(st.none() | SNAPSHOTS, st.sampled_from([JobState.QUEUED, JobState.RUNNING]), st.integers(0, 2**63))
@example(QueueSnapshot(queued=10**9, scan_seconds=1.7e308), JobState.QUEUED, 10**9)
def test_refresh_after_is_always_one_that_harbor_can_read(
    snapshot: QueueSnapshot | None, state: JobState, sequence: int
) -> None:
    seconds = asyncio.run(refresh_after(MemoryStore().api(), snapshot, JobStatus(state, sequence=sequence)))
    assert type(seconds) is int
    assert 1 <= seconds <= 127


@settings(deadline=None)
@given(SNAPSHOTS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_job_farther_back_is_never_asked_for_sooner(snapshot: QueueSnapshot, one: int, other: int) -> None:
    async def run() -> list[int]:
        api = MemoryStore().api()
        sequences = [snapshot.started_sequence + place for place in sorted((one, other))]
        return [
            await refresh_after(api, snapshot, JobStatus(JobState.QUEUED, sequence=sequence)) for sequence in sequences
        ]

    seconds = asyncio.run(run())
    assert seconds == sorted(seconds)


def test_refresh_after_follows_the_queue_and_the_time_of_past_scans() -> None:
    async def run() -> None:
        api = MemoryStore().api()
        crowded = QueueSnapshot(queued=100, running=2, slots=2, scan_seconds=30, started_sequence=2)
        next_one = await refresh_after(api, crowded, JobStatus(JobState.QUEUED, sequence=3))
        tenth = await refresh_after(api, crowded, JobStatus(JobState.QUEUED, sequence=13))
        last = await refresh_after(api, crowded, JobStatus(JobState.QUEUED, sequence=102))
        running = await refresh_after(api, crowded, JobStatus(JobState.RUNNING, sequence=102))
        assert (next_one, running, last) == (1, 1, 127)
        assert next_one < tenth < last
        quicker = msgspec.structs.replace(crowded, scan_seconds=3)
        assert await refresh_after(api, quicker, JobStatus(JobState.QUEUED, sequence=13)) < tenth

    asyncio.run(run())


# Errors


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/", 404, None),
        ("GET", "/api/v1", 404, None),
        ("GET", "/api/v1/metadata/", 404, None),
        ("POST", "/api/v1/scan/", 404, None),
        ("GET", "/api/v1/scan/1", 404, None),
        ("GET", "/api/v1/scan//report", 404, None),
        ("GET", "/api/v1/scan/a%2Fb/report", 404, None),
        ("GET", "/favicon.ico", 404, None),
        ("POST", METADATA, 405, {"GET", "HEAD"}),
        ("GET", SCAN, 405, {"POST"}),
        ("DELETE", "/api/v1/scan/1/report", 405, {"GET", "HEAD"}),
        ("OPTIONS", SCAN, 405, {"POST"}),
        ("PUT", "/probe/ready", 405, {"GET", "HEAD"}),
        ("POST", "/metrics", 405, {"GET", "HEAD"}),
    ],
)
def test_wrong_paths_and_methods_are_answered_in_the_shape_of_the_api(
    method: str, path: str, status: int, allowed: set[str] | None
) -> None:
    answer = asyncio.run(ask(MemoryStore().api().app, method, path))
    assert answer.status == status
    assert answer.error
    assert allowed is None or set(answer.headers["allow"].split(", ")) == allowed


# Probes and metrics


def test_the_process_is_healthy_whatever_else_is_wrong() -> None:
    store = MemoryStore()
    store.trouble = OUTAGE
    api = store.api()
    api.health.draining = True
    answer = asyncio.run(ask(api.app, "GET", "/probe/healthy"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["status"] == "healthy"


def readiness(api: Api) -> tuple[int, str, dict[str, dict[str, str]]]:
    answer = asyncio.run(ask(api.app, "GET", "/probe/ready"))
    assert answer.headers["content-type"] == "application/json"
    document = json.loads(answer.body)
    return answer.status, document["status"], document["checks"]


def test_ready_is_refused_until_the_first_start_and_while_draining_but_not_for_trouble() -> None:
    api = MemoryStore().api()
    fine, bad = Check(CheckState.OK), Check(CheckState.DEGRADED, "redis://db:6379/0 does not answer")
    state = bad
    api.health.add("store", lambda: state)
    api.health.add("scanner", lambda: fine)
    degraded = {"store": {"state": "degraded", "message": bad.message}, "scanner": {"state": "ok"}}

    assert readiness(api) == (503, "starting", degraded)
    api.health.started = True
    state = fine
    assert readiness(api) == (200, "ready", {"store": {"state": "ok"}, "scanner": {"state": "ok"}})
    state = bad
    assert readiness(api) == (200, "degraded", degraded)
    state = Check(CheckState.WAITING, "no room")
    assert readiness(api)[:2] == (200, "degraded")
    api.health.draining = True
    assert readiness(api)[:2] == (503, "draining")


def test_a_worker_answers_probes_and_metrics_and_nothing_else() -> None:
    app = create_app(Health(), Metrics(), {})

    async def statuses() -> dict[str, int]:
        paths = ("/probe/healthy", "/probe/ready", "/metrics", METADATA, report_of("1"), "/openapi.json")
        return {path: (await ask(app, "GET", path)).status for path in paths}

    assert list(asyncio.run(statuses()).values()) == [200, 503, 200, 404, 404, 404]


Samples = dict[str, list[tuple[dict[str, str], float]]]


async def samples(api: Api) -> Samples:
    """Return all samples that Prometheus reads, by name."""
    answer = await ask(api.app, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    (only,) = [number for shown, number in found[name] if labels.items() <= shown.items()]
    return only


def test_metrics_tell_of_the_queue_the_scans_the_failures_the_polls_and_the_processes(
    valkey: RedisServer, namespace: str
) -> None:
    async def work(api: Api) -> None:
        ids = [await submit(api) for _ in range(4)]
        await api.finish()
        await api.fail("[image] no image")
        lease = await api.lease()
        for job_id, status in zip((*ids, "nobody"), (200, 500, 302, 302, 404), strict=True):
            assert (await poll(api, job_id)).status == status
        # What workers tell of themselves.
        metrics = api.metrics.of("imaginary")
        metrics.watch_processes(lambda: 1)
        metrics.started(lease.started_at - lease.queued_at)
        metrics.finished(12.0)
        metrics.reported("vulnerability", 123_456, {"High": 3, "Low": 0})
        metrics.failed(1.0, "registry", retried=False)
        metrics.failed(2.0, "scanner-unreachable", retried=True)

        watch = asyncio.create_task(api.service.watch_queue())
        await until(lambda: api.service.snapshot is not None, "the queue was looked at")
        watch.cancel()

        found = await samples(api)
        assert value(found, "harbor_scanner_store_up") == 1
        assert value(found, "harbor_scanner_jobs", state="queued") == 1
        assert value(found, "harbor_scanner_jobs", state="running") == 1
        assert value(found, "harbor_scanner_jobs", state="delayed") == 0
        assert value(found, "harbor_scanner_accepted_total") == 4
        assert value(found, "harbor_scanner_queue_wait_seconds_count") == 1
        assert value(found, "harbor_scanner_scan_duration_seconds_count", result="finished") == 1
        assert value(found, "harbor_scanner_scan_duration_seconds_sum", result="finished") == 12
        assert value(found, "harbor_scanner_scan_duration_seconds_count", result="failed") == 2
        assert value(found, "harbor_scanner_scan_failures_total", **{"class": "registry", "retried": "false"}) == 1
        unreachable = {"class": "scanner-unreachable", "retried": "true"}
        assert value(found, "harbor_scanner_scan_failures_total", **unreachable) == 1
        assert value(found, "harbor_scanner_report_polls_total", status="200") == 1
        assert value(found, "harbor_scanner_report_polls_total", status="302") == 2
        assert value(found, "harbor_scanner_report_polls_total", status="404") == 1
        assert value(found, "harbor_scanner_report_polls_total", status="500") == 1
        assert value(found, "harbor_scanner_report_bytes_sum") == 123_456
        assert value(found, "harbor_scanner_findings_total", severity="High") == 3
        assert value(found, "harbor_scanner_scanner_processes") == 1

    over(valkey, namespace, work)


@pytest.mark.parametrize("trouble", [OUTAGE, RuntimeError("a defect")], ids=["outage", "defect"])
def test_metrics_tell_when_the_store_is_out_of_reach(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SNAPSHOT_SECONDS", 0.001)
    store = MemoryStore()
    api = store.api()

    async def store_is(number: int) -> bool:
        return value(await samples(api), "harbor_scanner_store_up") == number

    async def run() -> None:
        watch = asyncio.create_task(api.service.watch_queue())
        await until(lambda: store_is(1), "it answers")
        store.trouble = trouble
        await until(lambda: store_is(0), "it does not answer")
        store.trouble = None
        await until(lambda: store_is(1), "it answers again")
        watch.cancel()

    asyncio.run(run())


def test_metrics_are_our_own_and_nothing_of_the_runtime() -> None:
    found = asyncio.run(samples(MemoryStore().api()))
    assert found
    assert [name for name in found if not name.startswith("harbor_scanner_")] == []


# Authentication


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


GUARDED = [("GET", METADATA, 200), ("POST", SCAN, 400), ("GET", report_of("nobody"), 404)]
OPEN = ["/probe/healthy", "/probe/ready", "/metrics", "/openapi.json"]


def answers(guard: Authenticator | None, headers: Mapping[str, str]) -> list[Answer]:
    """Return what each guarded route answers to a request with these headers."""

    async def run() -> list[Answer]:
        app = MemoryStore().api(authenticator=guard).app
        return [await ask(app, method, path, headers) for method, path, _ in GUARDED]

    return asyncio.run(run())


BOTH = {"basic": "harbor:pass:wörd", "tokens": ("first-token", "second-token")}


@pytest.mark.parametrize(
    ("guard", "headers"),
    [
        ({}, {}),
        ({}, {"Authorization": "Basic nonsense"}),
        (BOTH, {"Authorization": basic("harbor:pass:wörd")}),
        (BOTH, {"Authorization": basic("harbor:pass:wörd").replace("Basic", "BASIC")}),
        (BOTH, {"Authorization": "Bearer first-token"}),
        (BOTH, {"Authorization": "bearer second-token"}),
        (BOTH, {"X-ScannerAdapter-API-Key": "first-token"}),
        (BOTH, {"X-ScannerAdapter-API-Key": "second-token"}),
        (BOTH, {"X-ScannerAdapter-API-Key": "second-token", "Authorization": "Bearer wrong"}),
    ],
)
def test_who_shows_valid_credentials_may_call_the_api(guard: dict[str, Any], headers: dict[str, str]) -> None:
    assert [answer.status for answer in answers(Authenticator(**guard), headers)] == [200, 400, 404]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": basic("harbor:wrong")},
        {"Authorization": basic("harbor:")},
        {"Authorization": basic("other:pass:wörd")},
        {"Authorization": basic("first-token")},
        {"Authorization": "Basic first-token"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer third-token"},
        {"Authorization": "Bearer first-tokenx"},
        {"Authorization": "Bearer first-token,second-token"},
        {"Authorization": "first-token"},
        {"X-ScannerAdapter-API-Key": ""},
        {"X-ScannerAdapter-API-Key": "third-token"},
        {"X-ScannerAdapter-API-Key": "Bearer first-token"},
        {"X-ScannerAdapter-API-Key": basic("harbor:pass:wörd")},
        {"Cookie": "token=first-token"},
    ],
)
def test_who_does_not_is_refused_with_401_and_a_challenge(headers: dict[str, str]) -> None:
    for answer in answers(Authenticator(**BOTH), headers):  # type: ignore[arg-type]
        assert answer.status == 401
        assert "Credentials" in answer.error
        challenge = answer.headers["www-authenticate"]
        assert "Basic realm=" in challenge
        assert "Bearer realm=" in challenge


def test_each_kind_of_authentication_stands_alone() -> None:
    only_basic, only_token = Authenticator(basic="a:b"), Authenticator(tokens=["t"])
    assert [each.status for each in answers(only_basic, {"Authorization": basic("a:b")})] == [200, 400, 404]
    assert [each.status for each in answers(only_basic, {"X-ScannerAdapter-API-Key": ""})] == [401] * 3
    assert [each.status for each in answers(only_token, {"Authorization": "Bearer t"})] == [200, 400, 404]
    refused = answers(only_token, {"Authorization": basic("a:b")})
    assert [each.status for each in refused] == [401] * 3
    assert "Basic" not in refused[0].headers["www-authenticate"]


@given(
    st.dictionaries(
        st.sampled_from(["Authorization", "X-ScannerAdapter-API-Key"]), st.text(string.printable, max_size=40)
    )
)
def test_no_other_header_opens_the_api(headers: dict[str, str]) -> None:
    guard = Authenticator(basic="harbor:Harbor12345", tokens=["5Jw7kq2mBzXh9RtL4vYdN8sPfGcA3eUu"])
    assert not guard.allows({name.lower().encode(): text.encode() for name, text in headers.items()})


def test_probes_and_metrics_are_open_to_everybody() -> None:
    async def run() -> dict[str, int]:
        app = MemoryStore().api(authenticator=Authenticator(tokens=["t"])).app
        return {path: (await ask(app, "GET", path)).status for path in OPEN}

    assert asyncio.run(run()) == {
        "/probe/healthy": 200,
        "/probe/ready": 503,
        "/metrics": 200,
        "/openapi.json": 200,
    }


# The document


def operations(paths: Iterable[tuple[str, Iterable[str]]]) -> set[tuple[str, str]]:
    return {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, methods in paths for method in methods}


def test_the_document_and_the_routes_name_the_same_operations() -> None:
    app = MemoryStore().api().app
    assert isinstance(app, Starlette)
    answer = asyncio.run(ask(app, "GET", "/openapi.json"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    paths = json.loads(answer.body)["paths"]
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(routes) == len(app.routes)
    routed = operations((route.path, (route.methods or set()) - {"HEAD"}) for route in routes)
    at_the_root = {(method, path) for method, path in routed if not path.startswith("/imaginary/")}
    assert operations((path, item.keys() - {"servers"}) for path, item in paths.items()) == at_the_root

    under_a_base_path = {(method, path.removeprefix("/imaginary")) for method, path in routed - at_the_root}
    with_servers = ((path, item.keys() - {"servers"}) for path, item in paths.items() if "servers" in item)
    assert operations(with_servers) == under_a_base_path
    assert all("/{scanner}" in (server["url"] for server in paths[path]["servers"]) for path in (METADATA, SCAN))
