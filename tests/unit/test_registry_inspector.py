"""The inspector of artifacts: it refuses what is certainly no image, and is silent about all that it cannot tell."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from harbor_scanner import registry
from harbor_scanner.errors import ImageError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import Artifact, Registry, ScanRequest
from harbor_scanner.registry import RegistryInspector

DIGEST = "sha256:" + "0a" * 32
ROBOT = "Basic " + base64.b64encode(b"robot$library+aqua:hunter2").decode()
MANIFEST_PATH = f"/v2/library/mongo/manifests/{DIGEST}"

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Asked(NamedTuple):
    path: str
    authorization: str | None
    accept: str


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


class Server:
    """A registry that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], Answer | None] = lambda _: Answer(404)
        """None: close the connection without an answer."""
        self.stopped = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.handle(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        asked = Asked(handler.path, handler.headers["authorization"], handler.headers["accept"] or "")
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer is None:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        self._thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as running:
        yield running


@pytest.fixture
def other_server() -> Iterator[Server]:
    with Server().running() as running:
        yield running


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def request(url: str, authorization: str | None = ROBOT) -> ScanRequest:
    return ScanRequest(Registry(url, authorization), Artifact("library/mongo", DIGEST, mime_type=media.OCI_MANIFEST))


def inspect(url: str, authorization: str | None = ROBOT, inspector: RegistryInspector | None = None) -> None:
    asyncio.run((inspector or RegistryInspector()).require_image(request(url, authorization)))


def shown(url: str, authorization: str | None = ROBOT, inspector: RegistryInspector | None = None) -> bool:
    return asyncio.run((inspector or RegistryInspector()).shows_image(request(url, authorization)))


def refusal(url: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        inspect(url)
    return caught.value


def shows(manifest: Any) -> Callable[[Asked], Answer]:
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return lambda _: Answer(200, body)


def manifest(config: str = IMAGE_CONFIG, *layers: str) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": config, "digest": DIGEST, "size": 7},
        "layers": [{"mediaType": layer, "digest": DIGEST, "size": 7} for layer in layers],
    }


INDEX = {"schemaVersion": 2, "manifests": [{"mediaType": media.OCI_MANIFEST, "digest": DIGEST, "size": 7}]}


# ---- what is an image, and what is none


@pytest.mark.parametrize(
    "shown",
    [
        manifest(IMAGE_CONFIG, LAYER),
        manifest(IMAGE_CONFIG),
        manifest(IMAGE_CONFIG, "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+zstd"),
        manifest("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        manifest(IMAGE_CONFIG, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        manifest(IMAGE_CONFIG, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        manifest(IMAGE_CONFIG, "application/x-of-somebody", LAYER),
        manifest("application/octet-stream", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        manifest("", LAYER),
        manifest(IMAGE_CONFIG, ""),
    ],
)
def test_an_image_passes(server: Server, shown: dict[str, Any]) -> None:
    server.answer = shows(shown)
    inspect(server.url)
    assert [asked.path for asked in server.asked] == [MANIFEST_PATH]


def test_an_index_is_refused(server: Server) -> None:
    server.answer = shows(INDEX)
    assert "index" in refusal(server.url).message


def test_a_helm_chart_is_refused_with_its_type(server: Server) -> None:
    helm = "application/vnd.cncf.helm.config.v1+json"
    server.answer = shows(manifest(helm, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
    error = refusal(server.url)
    assert helm in error.message
    assert "Charts" in error.advice
    assert not error.retriable


@pytest.mark.parametrize(
    "layer",
    ["application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.in-toto+json", "text/spdx+json"],
)
def test_a_signature_or_attestation_in_the_shape_of_an_image_is_refused_with_its_type(
    server: Server, layer: str
) -> None:
    server.answer = shows(manifest(IMAGE_CONFIG, layer, layer))
    assert refusal(server.url).message.endswith(f"it holds {layer}.")


@pytest.mark.parametrize(
    "shown",
    [
        b"", b"no json", b"[]", b"\xff\xfe", b"{}", b'{"config": "text"}', b'{"layers": [1]}', b'{"manifests": null}',
        b'{"config": null, "layers": null}', b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_an_unclear_manifest_passes(server: Server, shown: bytes) -> None:
    server.answer = shows(shown)
    inspect(server.url)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 429, 500, 503, 204, 301, 307])
def test_a_registry_that_shows_no_manifest_is_no_reason_to_refuse(server: Server, status: int) -> None:
    server.answer = lambda _: Answer(status, b"" if status == 204 else json.dumps(INDEX).encode())
    inspect(server.url)
    assert len(server.asked) == 1


# ---- how the registry is asked


def test_the_registry_is_asked_with_the_request_s_own_credentials_for_images_and_indexes(server: Server) -> None:
    inspect(server.url)
    [asked] = server.asked
    assert asked.authorization == ROBOT
    assert set(asked.accept.split(", ")) == {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }


@pytest.mark.parametrize("base", ["/", "/registry", "/registry/"])
def test_a_registry_may_lie_below_a_path(server: Server, base: str) -> None:
    inspect(server.url + base)
    assert server.asked[0].path == base.rstrip("/") + MANIFEST_PATH


def test_a_registry_without_credentials_is_asked_without_any(server: Server) -> None:
    inspect(server.url, None)
    assert server.asked[0].authorization is None


def bearer_dance(server: Server, shown: Any, token_answer: Answer, realm: str = "") -> Callable[[Asked], Answer]:
    realm = realm or f"{server.url}/service/token"
    challenge = f'Bearer realm="{realm}",service="harbor-registry",scope="repository:library/mongo:pull"'

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/service/token"):
            return token_answer
        if asked.authorization == "Bearer short-lived":
            return Answer(200, json.dumps(shown).encode())
        return Answer(401, b"{}", {"www-authenticate": challenge})

    return answer


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_a_registry_that_wants_a_token_of_its_own_gets_it(server: Server, field: str) -> None:
    server.answer = bearer_dance(server, INDEX, Answer(200, json.dumps({field: "short-lived"}).encode()))
    assert "index" in refusal(server.url).message
    first, token, second = server.asked
    assert first.authorization == token.authorization == ROBOT
    assert second.authorization == "Bearer short-lived"
    parts = urlsplit(token.path)
    assert parts.path == "/service/token"
    assert parse_qs(parts.query) == {"service": ["harbor-registry"], "scope": ["repository:library/mongo:pull"]}


def test_the_token_service_may_have_a_query_and_any_name(server: Server) -> None:
    token = Answer(200, b'{"token": "short-lived"}')

    def answer(asked: Asked) -> Answer:
        challenge = f'Bearer realm="{server.url}/service/token?a=b",service="Docker & Co + #1",error="x"'
        if asked.authorization == ROBOT and asked.path == MANIFEST_PATH:
            return Answer(401, b"", {"www-authenticate": challenge})
        return bearer_dance(server, INDEX, token)(asked)

    server.answer = answer
    assert "index" in refusal(server.url).message
    assert parse_qs(urlsplit(server.asked[1].path).query) == {"a": ["b"], "service": ["Docker & Co + #1"]}


@pytest.mark.parametrize(
    "token_answer",
    [
        Answer(403, b"{}"),
        Answer(200, b"{}"),
        Answer(200, b"[]"),
        Answer(200, b"<html>"),
        Answer(200, b'{"token": "wrong"}'),
        Answer(200, b'{"token": "two\\nlines"}'),
        Answer(200, b"[" * 5000),
        Answer(500, b'{"token": "short-lived"}'),
    ],
)
def test_a_token_that_cannot_be_had_is_no_reason_to_refuse(server: Server, token_answer: Answer) -> None:
    server.answer = bearer_dance(server, INDEX, token_answer)
    inspect(server.url)
    assert server.asked[1].path.startswith("/service/token")


@pytest.mark.parametrize(
    "challenge", ["", 'Basic realm="x"', "Bearer", 'Bearer realm=""', 'Bearer realm="http://[::1"']
)
def test_a_challenge_that_leads_nowhere_is_no_reason_to_refuse(server: Server, challenge: str) -> None:
    server.answer = lambda _: Answer(401, b"{}", {"www-authenticate": challenge})
    inspect(server.url)
    assert len(server.asked) == 1


# ---- credentials stay with the registry


def test_credentials_are_not_taken_to_a_token_service_on_another_host(server: Server, other_server: Server) -> None:
    token = Answer(200, b'{"token": "short-lived"}')
    server.answer = bearer_dance(server, INDEX, token, realm=f"{other_server.url}/service/token")
    other_server.answer = lambda _: token
    inspect(server.url)
    assert len(server.asked) == 1
    assert other_server.asked == []


@pytest.mark.parametrize(
    "realm",
    [
        "https://127.0.0.1:{port}/service/token",
        "http://127.0.0.1:{port}@{other}/service/token",
        "http://localhost:{port}/service/token",
        "//127.0.0.1:{port}/service/token",
        "/service/token",
    ],
)
def test_credentials_are_not_taken_to_an_address_that_only_looks_the_same(
    server: Server, other_server: Server, realm: str
) -> None:
    port, other = urlsplit(server.url).port, urlsplit(other_server.url).netloc
    token = Answer(200, b'{"token": "short-lived"}')
    server.answer = bearer_dance(server, INDEX, token, realm=realm.format(port=port, other=other))
    inspect(server.url)
    assert [asked.path for asked in server.asked] == [MANIFEST_PATH]
    assert other_server.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_credentials_are_not_taken_along_by_redirects(server: Server, other_server: Server, status: int) -> None:
    server.answer = lambda _: Answer(status, b"", {"location": f"{other_server.url}/elsewhere"})
    other_server.answer = shows(INDEX)
    inspect(server.url)
    assert other_server.asked == []


# ---- registries that cannot be asked


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "http://no-such-host.invalid", "http://xn--", "http://%",
        "http://" + "a" * 70 + ".invalid", "http://[::1]:{port}", "http://127.0.0.1:0",
    ],
)  # fmt: skip
def test_a_registry_that_cannot_be_reached_is_no_reason_to_refuse(url: str) -> None:
    inspect(url.format(port=closed_port()))


def test_a_registry_that_speaks_another_protocol_is_no_reason_to_refuse(server: Server) -> None:
    inspect(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("authorization", ["Basic é", "Basic a\nb", "Basic \0"])
def test_credentials_that_cannot_be_sent_are_no_reason_to_refuse(server: Server, authorization: str) -> None:
    inspect(server.url, authorization)
    assert server.asked == []


def test_a_registry_that_does_not_answer_in_time_is_no_reason_to_refuse(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_SECONDS", 0.2)

    def stall(_: Asked) -> None:
        server.stopped.wait(60)

    server.answer = stall
    inspect(server.url)


def endless(server: Server, piece: bytes, pause: float) -> Callable[[BaseHTTPRequestHandler], None]:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        server.asked.append(Asked(handler.path, None, ""))
        handler.send_response(200)
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            while not server.stopped.wait(pause):
                handler.wfile.write(piece)
                handler.wfile.flush()

    return handle


def test_a_registry_that_answers_drop_by_drop_does_not_hold_up_the_scan(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_SECONDS", 0.5)
    monkeypatch.setattr(server, "handle", endless(server, b" ", 0.02))
    inspect(server.url)


def test_no_more_of_an_endless_answer_is_read_than_a_manifest_may_have(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_SECONDS", 600)
    monkeypatch.setattr(server, "handle", endless(server, b" " * 2**16, 0))
    inspect(server.url)
    assert len(server.asked) == 1


def test_a_manifest_beyond_the_limit_is_not_judged(server: Server) -> None:
    server.answer = shows(json.dumps(INDEX).encode() + b" " * registry._LIMIT)
    inspect(server.url)


def test_a_registry_that_could_not_be_asked_is_left_alone_for_a_while(
    server: Server, other_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector = RegistryInspector()
    server.answer = lambda _: None
    for _ in range(3):
        inspect(server.url, inspector=inspector)
        inspect(server.url + "/", inspector=inspector)
    assert len(server.asked) == 1
    for _ in range(2):
        inspect(other_server.url, inspector=inspector)
    assert len(other_server.asked) == 2


def test_a_registry_is_asked_again_when_the_while_is_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SILENCE", 0)
    inspector = RegistryInspector()
    server.answer = lambda _: None
    inspect(server.url, inspector=inspector)
    server.answer = shows(INDEX)
    with pytest.raises(ImageError):
        inspect(server.url, inspector=inspector)


def test_a_registry_that_answers_anything_is_asked_each_time(server: Server) -> None:
    inspector = RegistryInspector()
    server.answer = lambda _: Answer(500)
    for _ in range(3):
        inspect(server.url, inspector=inspector)
    assert len(server.asked) == 3


# ---- whether a request may see the image


def test_the_image_is_shown_to_whom_the_registry_hands_out_the_manifest(server: Server) -> None:
    server.answer = lambda asked: Answer(200, b"{}") if asked.authorization == ROBOT else Answer(403)
    assert shown(server.url)
    assert not shown(server.url, None)
    assert not shown(server.url, "Basic c29tZWJvZHk6ZWxzZQ==")
    assert [asked.path for asked in server.asked] == [MANIFEST_PATH] * 3


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 400, 401, 403, 404, 429, 500, 503])
def test_an_image_that_was_not_shown_is_not_taken_for_shown(server: Server, status: int) -> None:
    server.answer = lambda _: Answer(status, b"", {"location": "/v2/"})
    assert not shown(server.url)


def test_a_registry_that_cannot_be_asked_has_shown_nothing(server: Server) -> None:
    inspector = RegistryInspector()
    server.answer = lambda _: None
    assert not shown(server.url, inspector=inspector)
    # Nor does it while it is left alone.
    server.answer = lambda _: Answer(200, b"{}")
    assert not shown(server.url, inspector=inspector)


def test_one_who_was_shown_the_image_opens_it_for_nobody_else(server: Server) -> None:
    inspector = RegistryInspector()
    server.answer = lambda asked: Answer(200, b"{}") if asked.authorization == ROBOT else Answer(401)
    assert shown(server.url, inspector=inspector)
    assert not shown(server.url, None, inspector)


def test_a_proxy_that_cannot_be_used_fails_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    request = ScanRequest(Registry("https://core.harbor.domain"), Artifact("library/mongo", "sha256:" + "6c" * 32))
    asyncio.run(RegistryInspector().require_image(request))
