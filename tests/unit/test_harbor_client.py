"""The client that behaves like Harbor: what Harbor accepts, what it refuses, and when it asks again."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import httpx2
import pytest

from harbor_scanner.harbor import media
from harbor_scanner.harbor.checks import AdapterError, InvalidAnswerError, check_metadata, check_report, check_sbom
from harbor_scanner.harbor.client import (
    AdapterUnreachableError,
    HarborClient,
    NotReady,
    Ready,
    ScanFailedError,
    ScanTimeoutError,
    UnexpectedStatusError,
    api_key,
    basic,
    bearer,
)
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest

REQUEST = ScanRequest(
    registry=Registry(url="https://core.harbor.domain", authorization="Basic cm9ib3Q6c2VjcmV0"),
    artifact=Artifact(repository="library/mongo", digest="sha256:1", mime_type=media.DOCKER_MANIFEST),
)
ITEM = {"id": "CVE-2026-1", "package": "openssl", "version": "1.0", "severity": "High"}
REPORT = {"generated_at": "2026-11-22T12:00:00Z", "severity": "High", "vulnerabilities": [ITEM]}
METADATA: dict[str, Any] = {
    "scanner": {"name": "Aqua", "vendor": "Aqua Security", "version": "2022.4"},
    "capabilities": [
        {
            "type": "vulnerability",
            "consumes_mime_types": [media.OCI_MANIFEST, media.DOCKER_MANIFEST],
            "produces_mime_types": [media.GENERIC_REPORT],
        }
    ],
    "properties": {"harbor.scanner-adapter/scanner-type": "os-package-vulnerability"},
}

Handler = (
    Callable[[httpx2.Request], httpx2.Response] | Callable[[httpx2.Request], Coroutine[None, None, httpx2.Response]]
)


class Adapter:
    """Answers one call after the other as it is told, and remembers what it was asked."""

    def __init__(self, *answers: httpx2.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.answers.pop(0)

    @property
    def request(self) -> httpx2.Request:
        (request,) = self.requests
        return request


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def answer(status: int, body: Any = b"", **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.Response(status, content=content, headers={name.replace("_", "-"): headers[name] for name in headers})


def run(
    handler: Handler, use: Callable[[HarborClient], Awaitable[Any]], base_url: str = "http://adapter", **options: Any
) -> Any:
    async def main() -> Any:
        async with HarborClient(base_url, transport=httpx2.MockTransport(handler), **options) as client:
            return await use(client)

    return asyncio.run(main())


def poll(response: httpx2.Response) -> Any:
    return run(Adapter(response), lambda client: client.report("1"))


class TestRequests:
    def test_metadata(self) -> None:
        adapter = Adapter(answer(200, METADATA))
        run(adapter, lambda client: client.metadata())
        assert (adapter.request.method, str(adapter.request.url)) == ("GET", "http://adapter/api/v1/metadata")
        assert adapter.request.headers["accept"] == "application/vnd.scanner.adapter.metadata+json; version=1.0"
        assert adapter.request.headers["accept-encoding"] == "gzip"
        assert "authorization" not in adapter.request.headers

    def test_scan(self) -> None:
        adapter = Adapter(answer(202, {"id": "a-1"}))
        assert run(adapter, lambda client: client.submit(REQUEST)) == "a-1"
        assert (adapter.request.method, adapter.request.url.path) == ("POST", "/api/v1/scan")
        assert (
            adapter.request.headers["content-type"] == "application/vnd.scanner.adapter.scan.request+json; version=1.0"
        )
        assert adapter.request.headers["accept"] == media.SCAN_RESPONSE
        body = json.loads(adapter.request.content)
        assert body["registry"] == {"url": "https://core.harbor.domain", "authorization": "Basic cm9ib3Q6c2VjcmV0"}
        assert body["artifact"]["digest"] == "sha256:1"

    @pytest.mark.parametrize("media_type", media.VULNERABILITY_REPORTS)
    def test_report(self, media_type: str) -> None:
        adapter = Adapter(answer(200, REPORT))
        run(adapter, lambda client: client.report("a-1", media_type))
        assert (adapter.request.method, adapter.request.url.path) == ("GET", "/api/v1/scan/a-1/report")
        assert adapter.request.headers["accept"] == media_type
        assert adapter.request.url.query == b""

    @pytest.mark.parametrize(
        ("sbom_media_type", "query"),
        [
            (media.SPDX, b"sbom_media_type=application%2Fspdx%2Bjson"),
            (media.CYCLONEDX, b"sbom_media_type=application%2Fvnd.cyclonedx%2Bjson"),
        ],
    )
    def test_sbom(self, sbom_media_type: str, query: bytes) -> None:
        adapter = Adapter(answer(302))
        run(adapter, lambda client: client.report("a-1", media.SBOM_REPORT, sbom_media_type))
        assert (adapter.request.method, adapter.request.url.path) == ("GET", "/api/v1/scan/a-1/report")
        assert adapter.request.url.query == query
        assert adapter.request.headers["accept"] == "application/vnd.security.sbom.report+json; version=1.0"

    @pytest.mark.parametrize("base_url", ["https://adapter/base", "https://adapter/base/"])
    def test_a_base_path_is_kept(self, base_url: str) -> None:
        adapter = Adapter(answer(200, METADATA))
        run(adapter, lambda client: client.metadata(), base_url)
        assert str(adapter.request.url) == "https://adapter/base/api/v1/metadata"

    @pytest.mark.parametrize(
        ("auth", "name", "value"),
        [
            (basic("robot$x+y", "pa:ss é"), "Authorization", "Basic cm9ib3QkeCt5OnBhOnNzIMOp"),
            (bearer("token"), "Authorization", "Bearer token"),
            (api_key("key"), "X-ScannerAdapter-API-Key", "key"),
        ],
    )
    def test_authentication_goes_with_every_call(self, auth: dict[str, str], name: str, value: str) -> None:
        adapter = Adapter(answer(200, METADATA), answer(202, {"id": "1"}), answer(200, REPORT))

        async def all_calls(client: HarborClient) -> None:
            await client.metadata()
            await client.submit(REQUEST)
            await client.report("1")

        run(adapter, all_calls, auth=auth)
        assert [request.headers[name] for request in adapter.requests] == [value] * 3

    def test_cookies_are_not_kept(self) -> None:
        adapter = Adapter(answer(200, METADATA, set_cookie="sticky=1; Path=/"), answer(200, METADATA))

        async def twice(client: HarborClient) -> None:
            await client.metadata()
            await client.metadata()

        run(adapter, twice)
        assert "cookie" not in adapter.requests[1].headers


class TestMetadata:
    def test_what_harbor_registers_is_returned(self) -> None:
        metadata = run(Adapter(answer(200, METADATA)), lambda client: client.metadata())
        assert metadata.scanner.name == "Aqua"
        assert metadata.capabilities[0].produces_mime_types == (media.GENERIC_REPORT,)
        assert metadata.properties == METADATA["properties"]

    def test_fields_that_are_optional_to_harbor_may_be_null_or_absent(self) -> None:
        capability = METADATA["capabilities"][0] | {"type": None, "additional_attributes": None, "new": 1}
        metadata = check_metadata(json.dumps(METADATA | {"capabilities": [capability], "properties": None}).encode())
        assert metadata.capabilities[0].type == "vulnerability"
        assert metadata.properties == {}

    @pytest.mark.parametrize("produced", [media.NATIVE_REPORT, media.SBOM_REPORT])
    def test_one_known_report_type_is_enough(self, produced: str) -> None:
        capability = METADATA["capabilities"][0] | {"produces_mime_types": ["a/b", produced]}
        check_metadata(json.dumps(METADATA | {"capabilities": [capability]}).encode())

    @pytest.mark.parametrize(
        ("changes", "problems"),
        [
            ({"scanner": None}, ["scanner.name is empty", "scanner.vendor is empty", "scanner.version is empty"]),
            ({"scanner": {"name": "A", "vendor": "", "version": "1"}}, ["scanner.vendor is empty"]),
            ({"capabilities": []}, ["capabilities is empty"]),
            ({"capabilities": None}, ["capabilities is empty"]),
            (
                {"capabilities": [*METADATA["capabilities"], {"consumes_mime_types": [media.OCI_MANIFEST]}]},
                ["capabilities[1] does not consume", "capabilities[1] produces none of"],
            ),
            (
                {"capabilities": [METADATA["capabilities"][0] | {"produces_mime_types": ["a/raw"]}]},
                ["capabilities[0] produces none of"],
            ),
            ({"properties": {"a": 1}}, ["Harbor cannot decode it: Expected `str`, got `int` - at `$.properties"]),
            ({"scanner": "Aqua"}, ["Harbor cannot decode it"]),
        ],
    )
    def test_what_harbor_does_not_register_is_refused(self, changes: dict[str, Any], problems: list[str]) -> None:
        with pytest.raises(InvalidAnswerError) as caught:
            run(Adapter(answer(200, METADATA | changes)), lambda client: client.metadata())
        assert len(caught.value.problems) == len(problems)
        for problem, expected in zip(caught.value.problems, problems, strict=True):
            assert problem.startswith(expected)

    @pytest.mark.parametrize("status", [201, 204, 302, 500])
    def test_only_200_will_do(self, status: int) -> None:
        with pytest.raises(UnexpectedStatusError) as caught:
            run(Adapter(answer(status)), lambda client: client.metadata())
        assert caught.value.status == status


class TestSubmit:
    @pytest.mark.parametrize("status", [200, 201, 302, 400, 500])
    def test_only_202_will_do(self, status: int) -> None:
        with pytest.raises(UnexpectedStatusError):
            run(Adapter(answer(status)), lambda client: client.submit(REQUEST))

    @pytest.mark.parametrize("body", [{"id": ""}, {"id": None}, {"id": 7}, {}, b"", b"<html>", b"\xff"])
    def test_an_answer_without_id_is_refused(self, body: Any) -> None:
        with pytest.raises(InvalidAnswerError, match="scan response"):
            run(Adapter(answer(202, body)), lambda client: client.submit(REQUEST))


class TestPoll:
    def test_a_report_comes_as_it_was_sent(self) -> None:
        assert poll(answer(200, b'{"any": "thing"}')) == Ready(b'{"any": "thing"}')

    def test_a_compressed_report_is_decompressed(self) -> None:
        assert poll(answer(200, gzip.compress(b"{}"), Content_Encoding="gzip")) == Ready(b"{}")

    def test_another_compression_is_refused_for_harbor_asks_for_none(self) -> None:
        with pytest.raises(InvalidAnswerError, match="deflate"):
            poll(answer(200, b"", Content_Encoding="deflate"))

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("1", 1),
            ("127", 127),
            ("+7", 7),
            ("0000127", 127),
            ("0", 0),
            ("-1", -1),
            ("-128", -128),
            ("128", 5),
            ("-129", 5),
            ("300", 5),
            ("1.5", 5),
            ("5s", 5),
            ("1_0", 5),
            ("", 5),
            ("٣", 5),
            ("9" * 5000, 5),
            ("Wed, 21 Oct 2026 07:28:00 GMT", 5),
        ],
    )
    def test_refresh_after_is_read_as_go_reads_an_int8(self, value: str, seconds: int) -> None:
        headers = [(b"Refresh-After", value.encode())]
        assert poll(httpx2.Response(302, headers=headers)) == NotReady(seconds)

    def test_without_refresh_after_five_seconds_pass(self) -> None:
        assert poll(answer(302, Retry_After="60")) == NotReady(5)

    def test_of_two_refresh_after_the_first_counts(self) -> None:
        assert poll(httpx2.Response(302, headers=[("Refresh-After", "2"), ("Refresh-After", "9")])) == NotReady(2)

    def test_the_body_of_a_302_is_not_read(self) -> None:
        async def endless() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(3600)

        assert poll(httpx2.Response(302, content=endless())) == NotReady(5)

    def test_redirects_are_not_followed(self) -> None:
        adapter = Adapter(answer(302, Location="https://elsewhere/"), answer(200, REPORT))
        assert run(adapter, lambda client: client.report("1")) == NotReady(5)
        assert len(adapter.requests) == 1

    @pytest.mark.parametrize("location", ["/a%zz", "/a%4", "/a\x7fb"])
    def test_a_location_that_go_cannot_parse_fails_the_scan(self, location: str) -> None:
        with pytest.raises(InvalidAnswerError, match="Location"):
            poll(answer(302, Location=location))

    @pytest.mark.parametrize("status", [201, 202, 204, 301, 304, 307, 400, 401, 404, 429, 500, 501, 503])
    def test_any_other_status_fails_the_scan(self, status: int) -> None:
        with pytest.raises(ScanFailedError) as caught:
            poll(answer(status, {"error": {"message": "[registry] no such image"}}))
        assert caught.value.status == status
        assert caught.value.message == "[registry] no such image"
        assert str(caught.value) == f"[registry] no such image (status {status}, expected 200)"

    @pytest.mark.parametrize(
        "body", [b"", {}, {"detail": "lost"}, {"error": {}}, {"error": {"message": None}}, {"error": {"text": "lost"}}]
    )
    def test_of_an_error_of_another_shape_harbor_shows_no_message(self, body: Any) -> None:
        with pytest.raises(ScanFailedError) as caught:
            poll(answer(500, body))
        assert caught.value.message == ""
        assert "no error message (status 500" in str(caught.value)

    @pytest.mark.parametrize("body", [b"<html>", {"error": "text"}, {"error": {"message": 1}}, [], {"error": None}])
    def test_an_error_that_harbor_cannot_read_is_told_apart(self, body: Any) -> None:
        with pytest.raises(InvalidAnswerError, match="status 500"):
            poll(answer(500, body))


class TestReach:
    def test_a_call_is_limited_as_a_whole_with_the_body(self) -> None:
        async def trickle() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        with pytest.raises(AdapterUnreachableError, match=r"no complete answer in 0\.1 s"):
            run(Adapter(httpx2.Response(200, content=trickle())), lambda client: client.report("1"), call_limit=0.1)

    def test_an_adapter_that_does_not_answer_is_given_up(self) -> None:
        async def never(_request: httpx2.Request) -> httpx2.Response:
            await asyncio.sleep(3600)
            raise AssertionError

        with pytest.raises(AdapterUnreachableError):
            run(never, lambda client: client.metadata(), call_limit=0.05)

    def test_broken_compression_and_broken_connections_are_adapter_errors(self) -> None:
        def refuse(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused", request=request)

        with pytest.raises(AdapterUnreachableError, match="ConnectError refused"):
            run(refuse, lambda client: client.report("1"))

        async def broken() -> AsyncIterator[bytes]:
            yield b"no gzip"

        with pytest.raises(AdapterUnreachableError, match="DecodingError"):
            poll(httpx2.Response(200, headers={"Content-Encoding": "gzip"}, content=broken()))

    def test_an_id_that_makes_no_url_is_an_adapter_error(self) -> None:
        with pytest.raises(AdapterUnreachableError, match="InvalidURL"):
            run(Adapter(), lambda client: client.report("a\nb"))

    def test_the_own_machine_is_asked_without_proxy_over_one_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, "http://127.0.0.1:1")
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        connections = 0
        body = gzip.compress(json.dumps(METADATA).encode())
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()

        async def main() -> None:
            closed = asyncio.Event()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal connections
                connections += 1
                with contextlib.suppress(asyncio.IncompleteReadError):
                    while True:
                        await reader.readuntil(b"\r\n\r\n")
                        writer.write(head + body)
                writer.close()
                closed.set()

            async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                async with HarborClient(f"http://127.0.0.1:{port}") as client:
                    await client.metadata()
                    await client.metadata()
                await closed.wait()

        asyncio.run(main())
        assert connections == 1


class TestWaiting:
    def wait(self, *answers: httpx2.Response, **options: Any) -> tuple[Any, Clock]:
        clock = Clock()
        fetched = run(
            Adapter(*answers),
            lambda client: client.wait_for_report("1", **options),
            clock=clock,
            sleep=clock.sleep,
        )
        return fetched, clock

    def test_the_first_look_comes_after_two_seconds_and_the_next_as_the_adapter_says(self) -> None:
        fetched, clock = self.wait(
            answer(302, Refresh_After="1"), answer(302), answer(302, Refresh_After="-3"), answer(200, REPORT)
        )
        assert clock.pauses == [2, 1, 5, 0]
        assert json.loads(fetched.document) == REPORT
        assert fetched.content.vulnerabilities[0].key == ("CVE-2026-1", "openssl", "1.0")

    def test_an_error_ends_the_scan_at_once(self) -> None:
        with pytest.raises(ScanFailedError, match="404"):
            self.wait(answer(302), answer(404), answer(200, REPORT))

    def test_a_report_that_harbor_cannot_store_is_refused(self) -> None:
        with pytest.raises(InvalidAnswerError, match="no id"):
            self.wait(answer(200, {"vulnerabilities": [{"severity": "Low"}]}))

    def test_after_half_an_hour_the_wait_is_over(self) -> None:
        clock = Clock()
        with pytest.raises(ScanTimeoutError, match="1800 seconds"):
            run(
                lambda _request: answer(302, Refresh_After="100"),
                lambda client: client.wait_for_report("1"),
                clock=clock,
                sleep=clock.sleep,
            )
        assert clock.now == 1000 + 2 + 17 * 100

    def test_the_limit_can_be_shorter_and_the_media_type_another(self) -> None:
        adapter, clock = Adapter(answer(302), answer(302)), Clock()
        with pytest.raises(ScanTimeoutError):
            run(
                adapter,
                lambda client: client.wait_for_report("1", media.NATIVE_REPORT, limit=10),
                clock=clock,
                sleep=clock.sleep,
            )
        assert [request.headers["accept"] for request in adapter.requests] == [media.NATIVE_REPORT] * 2


SBOM: dict[str, Any] = {
    "generated_at": "2026-11-22T12:00:00Z",
    "artifact": {"repository": "library/mongo", "digest": "sha256:1"},
    "scanner": METADATA["scanner"],
    "media_type": media.SPDX,
    "sbom": {"spdxVersion": "SPDX-2.3", "packages": []},
}


class TestWaitingForAnSbom:
    def test_it_is_asked_for_as_harbor_does_until_it_is_there(self) -> None:
        adapter, clock = Adapter(answer(302, Refresh_After="1"), answer(200, SBOM)), Clock()
        fetched = run(adapter, lambda client: client.wait_for_sbom("1"), clock=clock, sleep=clock.sleep)
        assert clock.pauses == [2, 1]
        assert {request.url.query for request in adapter.requests} == {b"sbom_media_type=application%2Fspdx%2Bjson"}
        assert {request.headers["accept"] for request in adapter.requests} == {media.SBOM_REPORT}
        assert json.loads(fetched.document) == SBOM
        assert fetched.content.sbom == SBOM["sbom"]

    def test_another_format_must_be_the_one_that_comes(self) -> None:
        document = SBOM | {"media_type": media.CYCLONEDX, "sbom": {"bomFormat": "CycloneDX"}}
        clock = Clock()

        def wait(name: str) -> Any:
            adapter = Adapter(answer(200, document))
            return run(adapter, lambda client: client.wait_for_sbom("1", name), clock=clock, sleep=clock.sleep)

        assert wait(media.CYCLONEDX).content.media_type == media.CYCLONEDX
        with pytest.raises(InvalidAnswerError, match="was asked for"):
            wait(media.SPDX)

    def test_the_limit_holds(self) -> None:
        clock = Clock()
        with pytest.raises(ScanTimeoutError, match="7 seconds"):
            run(
                lambda _request: answer(302, Refresh_After="3"),
                lambda client: client.wait_for_sbom("1", limit=7),
                clock=clock,
                sleep=clock.sleep,
            )


class TestCheckSbom:
    @pytest.mark.parametrize(
        ("changes", "media_type"),
        [
            ({}, media.SPDX),
            ({"media_type": "Application/SPDX+JSON"}, media.SPDX),
            ({"sbom": {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}}, media.SPDX),
            ({"generated_at": None, "artifact": None, "scanner": None, "new": 1}, media.SPDX),
            ({"media_type": media.CYCLONEDX, "sbom": {"bomFormat": "CycloneDX"}}, media.CYCLONEDX),
        ],
    )
    def test_an_sbom_is_returned(self, changes: dict[str, Any], media_type: str) -> None:
        report = check_sbom(json.dumps(SBOM | changes).encode(), media_type)
        assert report.sbom == (SBOM | changes)["sbom"]

    @pytest.mark.parametrize(
        ("changes", "problems"),
        [
            ({"sbom": None}, ["there is no SBOM"]),
            ({"sbom": {}}, ["there is no SBOM"]),
            ({"sbom": "{}"}, ["Harbor cannot decode it"]),
            ({"sbom": [1]}, ["Harbor cannot decode it"]),
            ({"generated_at": 5}, ["Harbor cannot decode it"]),
            ({"scanner": "Aqua"}, ["Harbor cannot decode it"]),
            ({"sbom": {"bomFormat": "CycloneDX"}}, ["sbom is no document in the format application/spdx+json"]),
            ({"media_type": None}, ["media_type is None; application/spdx+json was asked for"]),
            (
                {"media_type": media.CYCLONEDX, "sbom": None},
                ["media_type is 'application/vnd.cyclonedx+json'", "there is no SBOM"],
            ),
        ],
    )
    def test_what_is_no_sbom_is_refused(self, changes: dict[str, Any], problems: list[str]) -> None:
        with pytest.raises(InvalidAnswerError, match="SBOM report: ") as caught:
            check_sbom(json.dumps(SBOM | changes).encode())
        assert len(caught.value.problems) == len(problems)
        for problem, expected in zip(caught.value.problems, problems, strict=True):
            assert problem.startswith(expected)

    @pytest.mark.parametrize("document", [b"", b"[]", b"null", b"{}", json.dumps(REPORT).encode()])
    def test_what_is_no_sbom_report_is_refused(self, document: bytes) -> None:
        with pytest.raises(InvalidAnswerError):
            check_sbom(document)


def report_with(**changes: Any) -> bytes:
    return json.dumps(REPORT | {"vulnerabilities": [ITEM | changes]}).encode()


class TestCheckReport:
    @pytest.mark.parametrize(
        "document",
        [
            report_with(),
            b'{"vulnerabilities": []}',
            report_with(links=None, description=None, preferred_cvss=None, vendor_attributes=None, cwe_ids=None),
            report_with(severity="None", new_field=1, status="under_investigation"),
            report_with(severity="critical"),
            report_with(description="a | b \\u0000 \\\\u0000", links=["https://a.example/"], cwe_ids=["CWE-1"]),
            report_with(vendor_attributes={"CVSS": {"nvd": {"V3Score": 9.8, "V2Score": "x"}}}),
            report_with(vendor_attributes={"CVSS": ["V3Score"]}),
            report_with(package="p" * 2580),
        ],
    )
    def test_what_harbor_stores_is_returned(self, document: bytes) -> None:
        report = check_report(document)
        assert len(report.vulnerabilities) == document.count(b'"id"')

    @pytest.mark.parametrize(
        ("document", "problem"),
        [
            (b"", "cannot decode"),
            (b"[]", "cannot decode"),
            (b"\xff", "cannot decode"),
            (b'{"vulnerabilities": null}', "cannot decode"),
            (b'{"vulnerabilities": [null]}', "cannot decode"),
            (b'{"vulnerabilities": [{"id": "\xff"}]}', "cannot decode"),
            (b'{"vulnerabilities": [{"vendor_attributes": {"a": ' + b"[" * 100_000, "cannot decode"),
            (b'{"generated_at": "yesterday", "vulnerabilities": []}', "cannot decode"),
            (report_with(links="https://a.example/"), "cannot decode"),
            (report_with(preferred_cvss={"score_v3": "9.8"}), "cannot decode"),
            (json.dumps(REPORT | {"severity": "Bad"}).encode(), "severity 'Bad' is unknown"),
            (report_with(id=""), "has no id"),
            (report_with(id=None), "has no id"),
            (report_with(severity="HIGH"), "vulnerabilities[0] (CVE-2026-1) has the severity 'HIGH'"),
            (report_with(severity=None), "has the severity None"),
            (report_with(description="a\0"), "NUL"),
            (report_with(description="\\\0"), "NUL"),
            (report_with(vendor_attributes={"a": {"\0": 1}}), "NUL"),
            (report_with(package="p" * 2600), "PostgreSQL refuses"),
            (report_with(version="é" * 1300), "PostgreSQL refuses"),
            (report_with(links=["https://a.example/|"]), "'|'"),
            (report_with(cwe_ids=["CWE-1,CWE-2"]), "','"),
            (report_with(vendor_attributes={"CVSS": {"nvd": {"V3Score": "9.8"}}}), "crashes"),
            (report_with(vendor_attributes={"CVSS": {"nvd": {"V3Score": None}}}), "crashes"),
            (json.dumps({"vulnerabilities": [ITEM, ITEM | {"severity": "Low"}]}).encode(), "is there 2 times"),
            (report_with() + b" " * 100 * 1024 * 1024, "passes over"),
        ],
    )
    def test_what_harbor_cannot_store_is_refused(self, document: bytes, problem: str) -> None:
        with pytest.raises(InvalidAnswerError) as caught:
            check_report(document)
        assert isinstance(caught.value, AdapterError)
        (told,) = caught.value.problems
        assert problem in told
        assert str(caught.value) == f"report: {told}"

    def test_all_problems_are_kept_but_not_all_are_shown(self) -> None:
        document = json.dumps({"vulnerabilities": [ITEM | {"id": "", "version": str(n)} for n in range(30)]}).encode()
        with pytest.raises(InvalidAnswerError) as caught:
            check_report(document)
        assert len(caught.value.problems) == 30
        assert str(caught.value).endswith("and 10 more")
