"""What tests of `harbor-scanner doctor` share: verdicts by name, settings, and servers that answer as a test says."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import trustme
import uvloop

from harbor_scanner.config import Config, Role, load_config
from harbor_scanner.doctor.check import Check, Verdict

Reply = tuple[int, Mapping[str, str], bytes]


class Request(NamedTuple):
    """What a server was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Server:
    """A server on the loopback interface. With a certificate it speaks TLS."""

    def __init__(self, answer: Callable[[Request], Reply], certificate: trustme.LeafCert | None) -> None:
        self.requests: list[Request] = []
        self.scheme = "https" if certificate else "http"
        here = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Request(self.command, self.path, headers, self.rfile.read(length))
                here.requests.append(asked)
                status, more, body = answer(asked)
                if "Date" in more:
                    self.send_response_only(status)
                else:
                    self.send_response(status)
                for name, value in {**more, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = do_CONNECT = handle_any  # noqa: N815 - as the library has it

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # clients that trust no certificate end the connection

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Server]:
        """Answer until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def answering(
    answer: Callable[[Request], Reply] | Reply = (200, {}, b""), certificate: trustme.LeafCert | None = None
) -> contextlib.AbstractContextManager[Server]:
    """Serve what `answer` says, or always the same, until the block ends."""
    return Server(answer if callable(answer) else lambda _: answer, certificate).open()


def settings(directory: Path, role: Role = Role.ALL, /, **environment: str) -> Config:
    """Return the settings of a service with its data in a directory of the test."""
    return load_config({"SCANNER_DATA_DIR": str(directory / "data"), **environment}, role)


def found(look: AsyncIterator[Verdict]) -> list[Verdict]:
    """Return what a check finds out."""

    async def gather() -> list[Verdict]:
        return [verdict async for verdict in look]

    return uvloop.run(gather())


def outcomes(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Return the outcome of each verdict by its name; of several with one name all that differ."""
    gathered: dict[str, str] = {}
    for verdict in verdicts:
        before = gathered.get(verdict.name, "").split("+") if verdict.name in gathered else []
        gathered[verdict.name] = "+".join(dict.fromkeys([*before, str(verdict.outcome)]))
    return gathered


def look_at(checks: Iterable[Check]) -> list[Verdict]:
    """Return what all checks find out, one after the other."""
    return [verdict for check in checks for verdict in found(check.look())]


def told(verdicts: Iterable[Verdict], name: str) -> str:
    """Return all that is said under a name, with the advice."""
    return "\n".join(f"{verdict.what} {verdict.advice}" for verdict in verdicts if verdict.name == name)
