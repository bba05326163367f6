"""The API against its own document, with requests that nobody thought of; over a real store and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import CheckFunction, not_a_server_error
from starlette.types import ASGIApp

from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import (
    VULNERABILITY,
    Artifact,
    Cvss,
    Finding,
    FindingStatus,
    Layer,
    ScannerInfo,
    Severity,
)
from harbor_scanner.harbor.report import render
from harbor_scanner.harbor.sbom import render_sbom
from harbor_scanner.harbor.validation import parse_scan_request
from support.api import SBOMS, VULNERABILITIES, Api, api_over
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
CAPABILITIES = (VULNERABILITIES, SBOMS)
BOUNDED = settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
)  # fmt: skip


def rendered(artifact: Artifact, kind: str) -> bytes:
    """Return the report of a kind, as a worker makes it."""
    now = datetime.now(UTC)
    if kind == VULNERABILITY:
        return render(artifact, SCANNER, FINDINGS, ["A notice."], now).body
    return render_sbom(artifact, SCANNER, kind, b'{"packages": [{"name": "tar"}]}', now).body


async def work_off(api: Api) -> None:
    """End jobs as a worker does: one with a report, the next with an error, and so on."""
    failing = False
    while True:
        for lease in await api.queue.lease(10):
            if failing:
                await api.queue.fail(lease, "[image] The artifact is not an image.\nScan something else.", KEEP)
            else:
                request = api.queue.open_request(lease)
                reports = {kind: rendered(request.artifact, kind) for kind in request.reports}
                await api.queue.finish(lease, {lease.job_id: reports}, KEEP, 1.0)
            failing = not failing
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def url(valkey: RedisServer) -> Iterator[str]:
    """Of the service."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        namespace = f"test-{os.urandom(6).hex()}"
        async with api_over(valkey.address, namespace, capabilities=CAPABILITIES) as api:
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


BASES = pytest.mark.parametrize("base", ["", "/imaginary"], ids=["root", "base-path"])
"""The same scanner under the root and under its own base path."""

REPORT = schema["/api/v1/scan/{scan_request_id}/report"]["GET"]


@schema.parametrize()
@BOUNDED
def test_every_answer_is_as_the_document_says(case: Case[Any], url: str) -> None:
    validate(case, url)


@schema.include(path_regex="^/api/").parametrize()
@BOUNDED
def test_every_answer_under_a_base_path_is_as_the_document_says(case: Case[Any], url: str) -> None:
    validate(case, f"{url}/imaginary")


def validate(case: Case[Any], url: str) -> None:
    # A poll is told of a failed scan by 500, and of an unknown report type by 501: both are in the document.
    excluded: list[CheckFunction] = [not_a_server_error] if case.operation.label == REPORT.label else []
    case.call_and_validate(base_url=url, excluded_checks=excluded)


@BASES
def test_accepted_jobs_are_found_under_the_id_of_the_answer(url: str, base: str) -> None:
    accepted: dict[str, tuple[str, ...]] = {}
    polled: dict[str, set[int]] = {}
    kinds = itertools.cycle((VULNERABILITY, *media.SBOM_FORMATS))

    class Machine(schema.include(path_regex="^/api/").as_state_machine()):  # type: ignore[misc] # made from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": f"{url}{base}"}

        def before_call(self, case: Case[Any]) -> None:
            if case.operation.label != REPORT.label:
                return
            asked = accepted.get(case.path_parameters.get("scan_request_id", ""), ())
            kind = next(kind for kind in kinds if kind in asked or not asked)
            sbom = kind != VULNERABILITY
            case.headers["Accept"] = media.SBOM_REPORT if sbom else media.GENERIC_REPORT
            case.query = {"sbom_media_type": kind} if sbom else {}

        def validate_response(self, response: schemathesis.Response, case: Case[Any], **_: Any) -> None:
            case.validate_response(response, excluded_checks=[not_a_server_error])
            if response.status_code == 202:
                request = parse_scan_request(msgspec.json.encode(case.body), CAPABILITIES)
                accepted[response.json()["id"]] = request.reports
            elif case.path_parameters.get("scan_request_id") in accepted:
                polled.setdefault(case.headers["Accept"], set()).add(response.status_code)

    Machine.run(settings=settings(BOUNDED, max_examples=12, stateful_step_count=5))
    assert polled.keys() == {media.GENERIC_REPORT, media.SBOM_REPORT}
    assert set().union(*polled.values()) <= {200, 302, 500}


@BASES
def test_reports_and_failures_are_as_the_document_says(url: str, base: str) -> None:
    digest = f"sha256:{'0' * 64}"
    request: dict[str, Any] = {
        "registry": {"url": "https://registry.example"},
        "artifact": {"repository": "a", "digest": digest},
        "enabled_capabilities": [{"type": "vulnerability"}, {"type": "sbom"}],
    }
    wanted: list[tuple[str, dict[str, str]]] = [(name, {}) for name in media.VULNERABILITY_REPORTS]
    wanted += [(media.SBOM_REPORT, {"sbom_media_type": name}) for name in media.SBOM_FORMATS]
    seen = set()
    with requests.Session() as client:
        for _ in range(4):
            job_id = client.post(f"{url}{base}/api/v1/scan", json=request).json()["id"]
            for media_type, query in wanted:
                headers = {"Accept": media_type}
                answer = client.get(f"{url}{base}/api/v1/scan/{job_id}/report", params=query, headers=headers)
                deadline = time.monotonic() + SOON
                while answer.status_code == 302 and time.monotonic() < deadline:
                    REPORT.validate_response(answer)
                    answer = client.get(answer.url, headers=headers)
                REPORT.validate_response(answer)
                shown = answer.json().get("media_type") if answer.status_code == 200 else None
                assert shown == query.get("sbom_media_type") or answer.status_code == 500
                seen.add((answer.status_code, answer.headers["content-type"], shown))
    assert seen == {
        (200, media.GENERIC_REPORT, None),
        (200, media.NATIVE_REPORT, None),
        (200, media.SBOM_REPORT, media.SPDX),
        (200, media.SBOM_REPORT, media.CYCLONEDX),
        (500, media.ERROR, None),
    }


@pytest.mark.parametrize("query", [{}, {"sbom_media_type": "application/json"}])
def test_a_refused_sbom_is_as_the_document_says(url: str, query: dict[str, str]) -> None:
    answer = requests.get(
        f"{url}/api/v1/scan/nobody/report", params=query, headers={"Accept": media.SBOM_REPORT}, timeout=SOON
    )
    assert answer.status_code == 400
    REPORT.validate_response(answer)
