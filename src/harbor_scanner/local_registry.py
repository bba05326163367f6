"""A small registry on this machine's loopback interface: what lies in memory or in files, for programs that pull.

It keeps to the OCI distribution specification as far as it takes to push an image whole and to pull it. Nobody gets
anything without the account: other users of this machine reach the port as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
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
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qs, urlsplit

_PLACE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>blobs|manifests)/(?P<name>uploads/[^/]*|[^/]+)")
_CHUNK = 1024 * 1024


class Content(NamedTuple):
    """Bytes in memory, or a section of a file, which is read only when somebody pulls it."""

    data: bytes | Path
    size: int
    offset: int = 0

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return what lies in memory."""
        return cls(data, len(data))

    def open(self) -> BinaryIO:
        """Return a file that begins where the content does, and may go on after it. Raises OSError."""
        if isinstance(self.data, bytes):
            return io.BytesIO(self.data)
        file = self.data.open("rb")
        file.seek(self.offset)
        return file

    def chunks(self) -> Iterator[bytes]:
        """Yield the content piece by piece; less of it than `size` if the file has become shorter. Raises OSError."""
        left = self.size
        with self.open() as file:
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk

    def digest(self) -> str:
        """Return the name that follows from the content. Raises OSError."""
        sha256 = hashlib.sha256()
        for chunk in self.chunks():
            sha256.update(chunk)
        return f"sha256:{sha256.hexdigest()}"


class Place(NamedTuple):
    """Where something lies: blobs by digest, manifests by digest and by tag."""

    repository: str
    kind: str
    name: str


class Stored(NamedTuple):
    """A blob or a manifest."""

    content: Content
    digest: str
    media_type: str = "application/octet-stream"


class LocalRegistry:
    """What a running registry holds, and where it runs."""

    def __init__(self, url: str, stored: dict[Place, Stored]) -> None:
        self.url = url
        """`http://127.0.0.1:` and a port."""
        self._stored = stored

    def add_blob(self, repository: str, digest: str, content: Content) -> None:
        """Hold a configuration or a layer. Whether the digest is true is for those who pull to see."""
        self._stored[Place(repository, "blobs", digest)] = Stored(content, digest)

    def add_manifest(self, repository: str, manifest: bytes, media_type: str) -> str:
        """Hold a manifest, and return its digest."""
        content = Content.of(manifest)
        digest = content.digest()
        self._stored[Place(repository, "manifests", digest)] = Stored(content, digest, media_type)
        return digest


@contextmanager
def local_registry(accounts: Mapping[str, str], *, host: str = "127.0.0.1", port: int = 0) -> Iterator[LocalRegistry]:
    """Run an empty registry until the block ends, for `accounts`: passwords by user name.

    Port 0 lets the kernel choose one.
    """
    with _Server((host, port), accounts) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield LocalRegistry(f"http://{host}:{server.server_port}", server.stored)
        finally:
            server.shutdown()
            thread.join()


class _RefusedError(Exception):
    """A request cannot be met. The code is one of the specification."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Server(ThreadingHTTPServer):
    """The registry's content, and who may see it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], accounts: Mapping[str, str]) -> None:
        super().__init__(address, _Handler)
        words = (f"{username}:{password}".encode() for username, password in accounts.items())
        self.authorizations = [b"Basic " + base64.b64encode(word) for word in words]
        self.stored: dict[Place, Stored] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone: a scanner that was ended does that."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


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
        except _RefusedError as error:
            answer = {"errors": [{"code": error.code, "message": error.code.replace("_", " ").lower()}]}
            content = Content.of(json.dumps(answer).encode())
            self._answer(error.status, content, {"Content-Type": "application/json"})

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing: whoever starts the registry says what there is to say."""

    def _authorize(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        if not any(hmac.compare_digest(given, known) for known in self.server.authorizations):
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED")

    def _place(self) -> Place:
        match = _PLACE.fullmatch(urlsplit(self.path).path)
        if not match:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN")
        return Place(**match.groupdict())

    def _start_upload(self, place: Place) -> None:
        location = f"/v2/{place.repository}/blobs/uploads/{uuid.uuid4()}"
        self._answer(HTTPStatus.ACCEPTED, headers={"Location": location})

    def _store(self, place: Place, body: bytes) -> None:
        content = Content.of(body)
        digest = content.digest()
        if place.kind == "blobs":
            expected = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
        else:
            expected = place.name if place.name.startswith("sha256:") else digest
            self._require_blobs(place.repository, json.loads(body))
        if digest != expected:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID")
        stored = Stored(content, digest, self.headers.get("Content-Type") or "application/octet-stream")
        self.server.stored[place._replace(name=digest)] = stored
        if place.kind == "manifests":
            self.server.stored[place] = stored
        location = f"/v2/{place.repository}/{place.kind}/{digest}"
        self._answer(HTTPStatus.CREATED, headers={"Location": location, "Docker-Content-Digest": digest})

    def _require_blobs(self, repository: str, manifest: dict[str, Any]) -> None:
        for descriptor in [manifest["config"], *manifest["layers"]] if "config" in manifest else []:
            if Place(repository, "blobs", descriptor["digest"]) not in self.server.stored:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN")

    def _send(self, place: Place) -> None:
        stored = self.server.stored.get(place)
        if stored is None:
            code = "BLOB_UNKNOWN" if place.kind == "blobs" else "MANIFEST_UNKNOWN"
            raise _RefusedError(HTTPStatus.NOT_FOUND, code)
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": stored.digest}
        self._answer(HTTPStatus.OK, stored.content, headers)

    def _answer(
        self, status: HTTPStatus, content: Content | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        content = content or Content.of(b"")
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="harbor"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(content.size))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        for chunk in content.chunks():
            self.wfile.write(chunk)
            sent += len(chunk)
        # A file that has become shorter: what was announced cannot be sent any more.
        self.close_connection = self.close_connection or sent < content.size
