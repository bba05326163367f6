"""Advisories of our own, archives of them, and a server that publishes these as osv.dev does."""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


def advisory(
    number: str = "PYSEC-2018-32", name: str = "jinja2", ecosystem: str = "PyPI", **more: Any
) -> dict[str, Any]:
    """An advisory about one package."""
    return {
        "id": number,
        "modified": "2026-10-01T10:00:00Z",
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": name},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.8.1"}]}],
            }
        ],
        **more,
    }


def archive(*advisories: dict[str, Any], **others: bytes) -> bytes:
    """A zip archive of advisories, and of other members by their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for document in advisories:
            file.writestr(f"{document['id']}.json", json.dumps(document))
        for name, content in others.items():
            file.writestr(name, content)
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    """Write a file and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


Answer = Callable[[BaseHTTPRequestHandler], None]


class Exports:
    """What a server has, and what it was asked. `faults` are answers that come first, for a path, each once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.url = ""

    def put(self, ecosystem: str, content: bytes) -> None:
        self.files[f"/{ecosystem}/all.zip"] = content

    def fail(self, ecosystem: str, *answers: Answer) -> None:
        self.faults.setdefault(f"/{ecosystem}/all.zip", []).extend(answers)

    @property
    def ranges(self) -> list[str]:
        return [headers["range"] for _, headers in self.asked if "range" in headers]


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def cut(content: bytes, length: int) -> Answer:
    """The content, whose transfer breaks after some bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, content, len(content))
        handler.end_headers()
        handler.wfile.write(content[:length])
        handler.close_connection = True

    return answer


def stalled(content: bytes, length: int, end: threading.Event) -> Answer:
    """The content, of which nothing comes after some bytes until the `end`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, content, len(content))
        handler.end_headers()
        handler.wfile.write(content[:length])
        end.wait()
        handler.close_connection = True

    return answer


def _tag(content: bytes) -> str:
    return f'"{sha256(content).hexdigest()[:16]}"'


def _head(handler: BaseHTTPRequestHandler, code: int, content: bytes, length: int) -> None:
    handler.send_response(code)
    handler.send_header("ETag", _tag(content))
    handler.send_header("Last-Modified", "Thu, 01 Oct 2026 10:00:00 GMT")
    handler.send_header("Content-Length", str(length))


@contextlib.contextmanager
def serving() -> Iterator[Exports]:
    """Serve on a free port of this machine."""
    exports = Exports()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(self.path)
            exports.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
            if exports.faults.get(path):
                exports.faults[path].pop(0)(self)
            elif path not in exports.files:
                status(404)(self)
            else:
                self.give(exports.files[path])

        def give(self, content: bytes) -> None:
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and self.headers.get("If-Range", _tag(content)) == _tag(content):
                start = int(wanted[1])
            if self.headers.get("If-None-Match") == _tag(content):
                return status(304)(self)
            if start >= len(content):
                return status(416, Content_Range=f"bytes */{len(content)}")(self)
            _head(self, 206 if start else 200, content, len(content) - start)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:])
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    exports.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield exports
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
