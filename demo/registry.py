"""A small registry in memory, for machines without a real one: push and pull over HTTP with Basic authentication.

It keeps to the OCI distribution specification as far as it takes to push an image whole and to pull it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

# The demo and the tests push in the same way.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.oci import Registry, basic

_PLACE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>blobs|manifests)/(?P<name>uploads/[^/]*|[^/]+)")


class Place(NamedTuple):
    """Where something lies: blobs by digest, manifests by digest and by tag."""

    repository: str
    kind: str
    name: str


class Stored(NamedTuple):
    """A blob or a manifest."""

    content: bytes
    media_type: str = "application/octet-stream"

    @property
    def digest(self) -> str:
        """The name that follows from the content."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


class RefusedError(Exception):
    """A request cannot be met. The code is one of the specification."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@contextmanager
def memory_registry(accounts: Mapping[str, str], *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Registry]:
    """Run an empty registry until the block ends, for `accounts`: passwords by user name, the pusher's first.

    Port 0 lets the kernel choose one.
    """
    with _Server((host, port), accounts) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        username, password = next(iter(accounts.items()))
        try:
            yield Registry(f"http://{host}:{server.server_port}", username, password)
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    """The registry's content, and who may see it."""

    def __init__(self, address: tuple[str, int], accounts: Mapping[str, str]) -> None:
        super().__init__(address, _Handler)
        self.authorizations = {basic(username, password) for username, password in accounts.items()}
        self.content: dict[Place, Stored] = {}


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body are written apart: Nagle's algorithm would hold back the body.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer any request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            self._authorize()
            if self.path == "/v2/":
                self._answer(HTTPStatus.OK)
            elif self.command == "POST":
                self._start_upload(self._place())
            elif self.command == "PUT":
                self._store(self._place(), body)
            else:
                self._send(self._place())
        except RefusedError as error:
            answer = {"errors": [{"code": error.code, "message": error.code.replace("_", " ").lower()}]}
            self._answer(error.status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing: whoever starts the registry says what there is to say."""

    def _authorize(self) -> None:
        if self.headers.get("Authorization") not in self.server.authorizations:
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED")

    def _place(self) -> Place:
        match = _PLACE.fullmatch(urlsplit(self.path).path)
        if not match:
            raise RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN")
        return Place(**match.groupdict())

    def _start_upload(self, place: Place) -> None:
        location = f"/v2/{place.repository}/blobs/uploads/{uuid.uuid4()}"
        self._answer(HTTPStatus.ACCEPTED, headers={"Location": location})

    def _store(self, place: Place, body: bytes) -> None:
        stored = Stored(body, self.headers.get("Content-Type") or "application/octet-stream")
        if place.kind == "blobs":
            expected = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
        else:
            expected = place.name if place.name.startswith("sha256:") else stored.digest
            self._require_blobs(place.repository, json.loads(body))
        if stored.digest != expected:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID")
        self.server.content[place._replace(name=stored.digest)] = stored
        if place.kind == "manifests":
            self.server.content[place] = stored
        location = f"/v2/{place.repository}/{place.kind}/{stored.digest}"
        self._answer(HTTPStatus.CREATED, headers={"Location": location, "Docker-Content-Digest": stored.digest})

    def _require_blobs(self, repository: str, manifest: dict[str, Any]) -> None:
        for descriptor in [manifest["config"], *manifest["layers"]]:
            if Place(repository, "blobs", descriptor["digest"]) not in self.server.content:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN")

    def _send(self, place: Place) -> None:
        if place not in self.server.content:
            code = "BLOB_UNKNOWN" if place.kind == "blobs" else "MANIFEST_UNKNOWN"
            raise RefusedError(HTTPStatus.NOT_FOUND, code)
        stored = self.server.content[place]
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": stored.digest}
        self._answer(HTTPStatus.OK, stored.content, headers)

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="harbor"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
