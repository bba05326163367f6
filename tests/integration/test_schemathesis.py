"""The API against its own document, with requests that nobody thought of; over a real store and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CheckFunction, not_a_server_error
from starlette.types import ASGIApp

from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Cvss, Finding, FindingStatus, Layer, ScannerInfo, Severity
from harbor_scanner.harbor.report import render
from support.api import Api, api_over
from support.jobs import KEEP
from support.redis_servers import RedisServer
from support.wire import SOON, in_background

SCANNER = ScannerInfo("Imaginary", "Nobody", "1.2.3")
FINDINGS = [
    Finding(
        id="CVE-2005-2541", package="tar", version="1.34", severity=Severity.HIGH, fix_version="1.35",
        description="Tar does not warn.", links=["https://example.org/1"], status=FindingStatus.FIXED,
        preferred_cvss=Cvss(score_v3=7.5, vector_v3="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:N"),
        cwe_ids=["CWE-250"], layer=Layer(f"sha256:{'1' * 64}"), vendor_attributes={"epss": 0.1, "list": [1, None]},
    ),
    Finding(id="CVE-2005-2542", package="tar", version="1.34", severity=Severity.UNKNOWN),
]  # fmt: skip
BOUNDED = settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
)  # fmt: skip


async def work_off(api: Api) -> None:
    """End jobs as a worker does: one with a report, the next with an error, and so on."""
    failing = False
    while True:
        for lease in await api.queue.lease(10):
            if failing:
                await api.queue.fail(lease, "[image] The artifact is not an image.\nScan something else.", KEEP)
            else:
                artifact = api.queue.open_request(lease).artifact
                report = render(artifact, SCANNER, FINDINGS, ["A notice."], datetime.now(UTC))
                await api.queue.finish(lease, report.body, KEEP, 1.0)
            failing = not failing
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def url(valkey: RedisServer) -> Iterator[str]:
    """Of the service."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        async with api_over(valkey.address, f"test-{os.urandom(6).hex()}") as api:
            api.health.started = True
            worker = asyncio.create_task(work_off(api))
            watch = asyncio.create_task(api.service.watch_queue())
            try:
                yield api.app
            finally:
                for task in (worker, watch):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    with in_background(opened) as port:
        yield f"http://127.0.0.1:{port}"


schema = schemathesis.openapi.from_dict(json.loads(files("harbor_scanner.http").joinpath("openapi.json").read_bytes()))


@schema.hook
def filter_body(_context: schemathesis.HookContext, body: Any) -> bool:
    """Leave out what begins like a URL and is none, such as `https://:port`: a pattern cannot tell."""
    try:
        text = body["registry"]["url"]
        if not text.startswith(("http://", "https://")):
            return True
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except (TypeError, KeyError, AttributeError):
        return True  # it is another kind of body, which must be refused
    except ValueError:
        return False


REPORT = schema["/api/v1/scan/{scan_request_id}/report"]["GET"]


@schema.parametrize()
@BOUNDED
def test_every_answer_is_as_the_document_says(case: Case[Any], url: str) -> None:
    # A poll is told of a failed scan by 500, and of an unknown report type by 501: both are in the document.
    excluded: list[CheckFunction] = [not_a_server_error] if case.operation.label == REPORT.label else []
    case.call_and_validate(base_url=url, excluded_checks=excluded)


def test_accepted_jobs_are_found_under_the_id_of_the_answer(url: str) -> None:
    accepted: set[str] = set()
    polled: list[int] = []

    class Machine(schema.as_state_machine()):  # type: ignore[misc] # the class is made from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": url}

        def before_call(self, case: Case[Any]) -> None:
            if case.operation.label == REPORT.label:
                case.headers["Accept"] = media.GENERIC_REPORT

        def validate_response(self, response: schemathesis.Response, case: Case[Any], **_: Any) -> None:
            case.validate_response(response, excluded_checks=[not_a_server_error])
            if response.status_code == 202:
                accepted.add(response.json()["id"])
            elif case.path_parameters.get("scan_request_id") in accepted:
                polled.append(response.status_code)

    Machine.run(settings=settings(BOUNDED, max_examples=6, stateful_step_count=5))
    assert polled
    assert set(polled) <= {200, 302, 500}


def test_reports_and_failures_are_as_the_document_says(url: str) -> None:
    digest = f"sha256:{'0' * 64}"
    request = {"registry": {"url": "https://registry.example"}, "artifact": {"repository": "a", "digest": digest}}
    seen = set()
    with requests.Session() as client:
        for _ in range(4):
            job_id = client.post(f"{url}/api/v1/scan", json=request).json()["id"]
            for media_type in media.VULNERABILITY_REPORTS:
                answer = client.get(f"{url}/api/v1/scan/{job_id}/report", headers={"Accept": media_type})
                deadline = time.monotonic() + SOON
                while answer.status_code == 302 and time.monotonic() < deadline:
                    REPORT.validate_response(answer)
                    answer = client.get(answer.url, headers={"Accept": media_type})
                REPORT.validate_response(answer)
                seen.add((answer.status_code, answer.headers["content-type"]))
    assert seen == {(200, media.GENERIC_REPORT), (200, media.NATIVE_REPORT), (500, media.ERROR)}
