"""The HTTP server against peers that are slow, silent, greedy or rude: real sockets, the event loop of the service."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any, Protocol

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harbor_scanner.errors import StartError
from harbor_scanner.harbor import media
from harbor_scanner.http import server as module
from harbor_scanner.http.routes import BODY_LIMIT
from harbor_scanner.http.server import Timeouts, listen, serving
from harbor_scanner.jobs.model import JobState, JobStatus
from support.api import MemoryStore
from support.jobs import until
from support.wire import LONGER, SHORT, SOON, Clock, Peer, Server, Watched, in_background, request, run, server

METADATA = "/api/v1/metadata"
SCAN = "/api/v1/scan"
REPORT = "/api/v1/scan/job/report"
GET = request("GET", METADATA)
ENOUGH = 4 * 1024 * 1024
"""Bytes that no peer gets rid of when the other side has stopped reading."""

BIG = b"0123456789abcdef" * (24 * 65536)
"""A report larger than all the buffers on its way; it is sent as it is stored, so it need not be one."""

SMALL_UNTIL_UNPACKED = gzip.compress(bytes(2 * len(BIG)), 1)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server with the API and limits that no test reaches."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[ASGIApp]:
        yield api()

    with in_background(opened) as port:
        yield port


class Attack(Protocol):
    """What a peer does to the server; it may go on for ever."""

    __name__: str

    def __call__(self, peer: Peer, /) -> Coroutine[Any, Any, None]:
        """Raises OSError."""
        ...


def has_been_cut_off(peer: Peer) -> bool:
    """Tell whether the other side has ended the connection by now; what it sent before is thrown away."""
    try:
        while peer.connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def api(report: bytes = BIG) -> ASGIApp:
    """Return the API, with one report."""
    return MemoryStore(job=JobStatus(JobState.FINISHED, report=report)).api().app


@contextlib.asynccontextmanager
async def under_attack(
    here: Server, attacks: Iterable[Attack], *, kept: bool = False
) -> AsyncIterator[dict[str, Peer]]:
    """Have one peer each attack the server in these ways; on a `kept` connection, after an honest request."""
    peers = {attack.__name__: await here.peer() for attack in attacks}

    async def go_on(attack: Attack) -> None:
        with contextlib.suppress(OSError):
            await attack(peers[attack.__name__])

    for peer in peers.values() if kept else ():
        assert (await peer.ask("GET", METADATA)).status == 200
    attacking = [asyncio.create_task(go_on(attack)) for attack in attacks]
    try:
        yield peers
    finally:
        for task in attacking:
            task.cancel()
        await asyncio.gather(*attacking, return_exceptions=True)


def still_connected(peers: dict[str, Peer]) -> list[str]:
    return [name for name, peer in peers.items() if not has_been_cut_off(peer)]


async def silence(_peer: Peer) -> None:
    """A connection that says nothing."""


async def half_a_head(peer: Peer) -> None:
    await peer.send(GET[:-10])


async def slow_head(peer: Peer) -> None:
    await peer.send(GET[:-2])
    await peer.drip(b"X-Drip: x\r\n")


async def half_a_body(peer: Peer) -> None:
    await peer.send(request("POST", SCAN, "Content-Length: 100") + b'{"registry":')


async def slow_body(peer: Peer) -> None:
    await peer.send(request("POST", SCAN, "Content-Length: 100000"))
    await peer.drip(b" ")


async def slow_chunks(peer: Peer) -> None:
    await peer.send(request("POST", SCAN, "Transfer-Encoding: chunked"))
    await peer.drip(b"1\r\n \r\n")


async def slow_body_of_a_refused_request(peer: Peer) -> None:
    await peer.send(request("POST", METADATA, "Content-Length: 100000"))
    await peer.drip(b"\r\n")


async def blank_lines(peer: Peer) -> None:
    await peer.drip(b"\r\n")


async def slow_line(peer: Peer) -> None:
    await peer.drip(b"GET /" + b"a" * 10_000)


SLOW_HEADS_AND_BODIES: list[Attack] = [
    half_a_head, slow_line, slow_head, half_a_body, slow_body, slow_chunks, slow_body_of_a_refused_request,
]  # fmt: skip
SLOW_SENDERS: list[Attack] = [silence, blank_lines, *SLOW_HEADS_AND_BODIES]


# Reading


def test_who_sends_too_slowly_is_cut_off() -> None:
    async def work() -> None:
        async with server(api(), read=SHORT) as here, under_attack(here, SLOW_SENDERS) as peers:
            results = await asyncio.gather(*(peer.is_cut_off() for peer in peers.values()))
            assert dict(zip(peers, results, strict=True)) == dict.fromkeys(peers, True)

    run(work())


@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
def test_who_sends_too_slowly_is_cut_off_at_the_read_limit(kept: bool) -> None:
    clock = Clock()

    async def work() -> None:
        attacks = SLOW_HEADS_AND_BODIES if kept else SLOW_SENDERS
        async with server(api(), read=100, idle=0) as here, under_attack(here, attacks, kept=kept) as peers:
            await clock.advance(50)
            assert still_connected(peers) == list(peers)
            await clock.advance(100)
            assert still_connected(peers) == []

    clock.run(work())


@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
def test_without_a_read_limit_nobody_is_cut_off_for_slowness(kept: bool) -> None:
    clock = Clock()

    async def work() -> None:
        async with server(api(), read=0, idle=0) as here, under_attack(here, SLOW_SENDERS, kept=kept) as peers:
            for _ in range(3):
                await clock.advance(100_000)
            assert still_connected(peers) == list(peers)

    clock.run(work())


@pytest.mark.parametrize("target", [SCAN, METADATA], ids=["read", "refused"])
def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_no_job_and_no_trace_in_the_log(
    caplog: pytest.LogCaptureFixture, target: str
) -> None:
    async def work() -> None:
        store = MemoryStore()
        watched = Watched(store.api().app)
        async with server(watched) as here:
            peer = await here.peer()
            await peer.send(request("POST", target, "Content-Length: 1000") + b'{"registry": {}}')
            if target == METADATA:
                assert (await peer.response()).status == 405
            else:
                await until(lambda: watched.running, "the request is being read")
            peer.connection.close()
            await until(lambda: not watched.running, "the request is given up")
            assert not store.accepted

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize("expects", [False, True], ids=["pushed", "asked-first"])
def test_who_sends_too_much_gets_to_read_why_it_is_refused(port: int, expects: bool) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            body = b" " * (BODY_LIMIT * 8)
            if expects:
                await peer.send(
                    request("POST", SCAN, "Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
                )
            else:
                # Nothing is read before all is sent, as simple clients do.
                await peer.send(request("POST", SCAN, body=body))
            answer = await peer.response()
            assert answer.status == 413
            assert answer.headers["content-type"] == media.ERROR
            assert json.loads(answer.body)["error"]["message"]
            if not expects:
                assert (await peer.ask("GET", METADATA)).status == 200

    run(work())


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (GET[:-2], b"X-More: " + b"x" * 1000 + b"\r\n"),
        (GET[:-2] + b"X-More: ", b"x" * 1000),
        (b"GET /", b"x" * 1000),
        (
            request("POST", SCAN, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n",
            b"X-More: " + b"x" * 1000 + b"\r\n",
        ),
        (request("POST", SCAN, "Transfer-Encoding: chunked") + b"2;", b"x" * 1000),
    ],
    ids=["headers", "header", "path", "trailers", "chunk-extension"],
)
def test_headers_and_the_like_without_an_end_are_cut_off(port: int, start: bytes, more: bytes) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer(send_buffer=16 * 1024)
            await peer.send(start)
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < ENOUGH:
                    await peer.send(more * 16)
                    sent += len(more) * 16
            assert sent < ENOUGH

    run(work())


def test_headers_and_bodies_of_a_generous_size_are_read(port: int) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            assert (await peer.ask("GET", METADATA, *(f"X-{n}: {'x' * 1000}" for n in range(40)))).status == 200
            chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
            await peer.send(request("POST", SCAN, "Transfer-Encoding: chunked") + chunk * 1000 + b"0\r\n\r\n")
            assert (await peer.response()).status == 400
            await peer.send(request("POST", SCAN, "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 50_000 + b"0\r\n\r\n")
            assert (await peer.response()).status == 400

    run(work())


# Writing


async def reads_nothing(peer: Peer, watched: Watched) -> bytes:
    await until(lambda: not watched.running, "the response is given up", SOON)
    return b""


async def reads_a_trickle(peer: Peer, watched: Watched) -> bytes:
    received = b""
    while watched.running:
        received += await peer.receive(16)
        await asyncio.sleep(0.02)
    return received


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("reads", [reads_nothing, reads_a_trickle])
def test_who_reads_too_slowly_is_cut_off(
    reads: Callable[[Peer, Watched], Awaitable[bytes]], encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        watched = Watched(api(BIG if encoding == "gzip" else SMALL_UNTIL_UNPACKED))
        async with server(watched, write=SHORT) as here:
            peer = await here.peer(receive_buffer=4096)
            await peer.send(request("GET", REPORT, f"Accept-Encoding: {encoding}"))
            await until(lambda: watched.begun, "the response has begun")
            received = await asyncio.wait_for(reads(peer, watched), SOON)
            received += await asyncio.wait_for(peer.rest(), SOON)
            assert len(received) < len(BIG)

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.exc_info]


def test_without_a_write_limit_who_reads_slowly_gets_everything() -> None:
    async def work() -> None:
        watched = Watched(api())
        async with server(watched, write=0) as here:
            peer = await here.peer(receive_buffer=4096)
            await peer.send(request("GET", REPORT, "Accept-Encoding: gzip"))
            await asyncio.sleep(LONGER)
            assert watched.running
            assert (await asyncio.wait_for(peer.response(), SOON)).body == BIG

    run(work())


def test_an_answer_that_takes_longer_than_the_write_limit_is_given_up() -> None:
    clock = Clock()

    async def work() -> None:
        release = asyncio.Event()
        async with (
            server(answers_after(release), write=100) as limited,
            server(answers_after(release), write=0) as free,
        ):
            peers = {"limited": await limited.peer(), "free": await free.peer()}
            for peer in peers.values():
                await peer.send(GET)
            await clock.advance(50)
            assert still_connected(peers) == ["limited", "free"]
            await clock.advance(100)
            assert still_connected(peers) == ["free"]
            release.set()
            assert (await peers["free"].response()).body == b"done"

    clock.run(work())


def test_an_answer_that_is_complete_here_but_not_read_there_is_given_up() -> None:
    clock = Clock()

    async def at_once(_scope: Scope, _receive: Receive, send: Send) -> None:
        head = [(b"content-length", str(len(BIG)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": BIG})

    async def work() -> None:
        watched = Watched(at_once)
        async with server(watched, write=100, read=0, idle=0) as here:
            peer = await here.peer(receive_buffer=4096)
            await peer.send(GET)
            await until(lambda: watched.begun and not watched.running, "the application has done its part")
            await clock.advance(150)
            assert len(await asyncio.wait_for(peer.rest(), SOON)) < len(BIG)

    clock.run(work())


# Idle connections


def test_idle_connections_are_closed_at_the_idle_limit_whatever_the_others_are() -> None:
    clock = Clock()

    async def work() -> None:
        async with server(api(), read=100, write=100, idle=1000) as here:
            peer = await here.peer()
            for _ in range(3):
                assert (await peer.ask("GET", METADATA)).status == 200
                await clock.advance(500)
                assert not has_been_cut_off(peer)
            await clock.advance(600)
            assert has_been_cut_off(peer)

    clock.run(work())


def test_idle_connections_are_closed_at_an_idle_limit_below_the_others() -> None:
    async def work() -> None:
        async with server(api(), idle=SHORT) as here:
            peer = await here.peer()
            assert (await peer.ask("GET", METADATA)).status == 200
            assert await peer.rest() == b""

    run(work())


def test_an_idle_limit_of_zero_means_the_read_limit_and_both_zero_no_limit() -> None:
    clock = Clock()

    async def work() -> None:
        async with (
            server(api(), read=100, idle=0) as limited,
            server(api(), read=0, idle=0, write=10) as free,
        ):
            peers = {"limited": await limited.peer(), "free": await free.peer()}
            for peer in peers.values():
                assert (await peer.ask("GET", METADATA)).status == 200
            await clock.advance(50)
            assert still_connected(peers) == ["limited", "free"]
            await clock.advance(100_000)
            assert still_connected(peers) == ["free"]
            assert (await peers["free"].ask("GET", METADATA)).status == 200

    clock.run(work())


def test_blank_lines_on_an_idle_connection_prolong_nothing() -> None:
    async def work() -> None:
        async with server(api(), idle=SHORT) as here, under_attack(here, [blank_lines], kept=True) as peers:
            assert await peers["blank_lines"].is_cut_off()

    run(work())


def test_a_connection_is_kept_when_a_request_is_refused_before_its_body_has_come() -> None:
    clock = Clock()

    async def work() -> None:
        async with server(api(), read=100, write=100, idle=1000) as here:
            peer = await here.peer()
            await peer.send(request("POST", METADATA, "Content-Length: 10"))
            assert (await peer.response()).status == 405
            await peer.send(b"\r\n" * 5)
            await clock.advance(0)  # it is read before time flies
            await clock.advance(500)
            assert not has_been_cut_off(peer)
            assert (await peer.ask("GET", METADATA)).status == 200
            await peer.send(request("POST", METADATA, "Content-Length: 10"))
            assert (await peer.response()).status == 405
            await peer.send(b"\r\n" * 5)
            await clock.advance(0)  # it is read before time flies
            await clock.advance(1500)
            assert has_been_cut_off(peer)

    clock.run(work())


def test_the_idle_limit_says_nothing_of_a_request_that_came_with_the_end_of_a_refused_one() -> None:
    clock = Clock()

    async def work() -> None:
        release = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await (api() if scope["method"] == "POST" else answers_after(release))(scope, receive, send)

        async with server(app, read=1000, write=1000, idle=100) as here:
            peer = await here.peer()
            await peer.send(request("POST", METADATA, "Content-Length: 10") + b"12345")
            assert (await peer.response()).status == 405
            await peer.send(b"67890" + GET)
            await clock.advance(0)
            await clock.advance(500)
            release.set()
            assert (await peer.response()).body == b"done"

    clock.run(work())


# What is served meanwhile, and how


def test_slow_peers_cost_the_others_nothing() -> None:
    async def work() -> None:
        watched = Watched(api())
        async with server(watched) as here:
            senders = [await here.peer() for _ in range(45)]
            readers = [await here.peer(receive_buffer=4096) for _ in range(15)]
            for peer, data in zip(
                senders, [b"", GET[:-5], request("POST", SCAN, "Content-Length: 9")] * 15, strict=True
            ):
                await peer.send(data)
            for peer in readers:
                await peer.send(request("GET", REPORT, "Accept-Encoding: gzip"))
            await until(lambda: watched.running == 30, "all of them are busy")
            for _ in range(20):
                peer = await here.peer()
                answers = [await asyncio.wait_for(peer.ask("GET", METADATA), SOON / 10) for _ in range(10)]
                assert [answer.status for answer in answers] == [200] * 10
            assert watched.running == 30
            assert not any(map(has_been_cut_off, senders))

    run(work())


def test_a_connection_is_used_for_many_requests(port: int) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            for _ in range(5):
                assert (await peer.ask("GET", METADATA)).status == 200
                assert (await peer.ask("POST", SCAN, body=b"{")).status == 400
            last = await peer.ask("GET", METADATA, "Connection: close")
            assert last.headers["connection"] == "close"
            assert await peer.rest() == b""

    run(work())


def test_pipelined_requests_are_answered_in_their_order(port: int) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            await peer.send((GET + request("POST", SCAN, body=b"{") + request("GET", "/nowhere")) * 20)
            statuses = [(await peer.response()).status for _ in range(60)]
            assert statuses == [200, 400, 404] * 20

    run(work())


def test_a_connection_that_is_cut_off_leaves_no_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        release = asyncio.Event()
        watched = Watched(answers_after(release))
        async with server(watched, write=SHORT) as here:
            peer = await here.peer()
            await peer.send(GET * 3)
            assert await peer.is_cut_off()
            assert watched.running == 1
            release.set()
            await until(lambda: not watched.running, "it is given up")
            # The others were queued behind it, and nobody waits for them any more.
            assert watched.begun == 1

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize("target", [METADATA, REPORT, "/nowhere", "/probe/ready"])
def test_head_is_answered_as_get_is_but_without_a_body(port: int, target: str) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            head = await peer.ask("HEAD", target, "Accept-Encoding: gzip")
            # A body would now be taken for the start of this response.
            get = await peer.ask("GET", target, "Accept-Encoding: gzip")
            for answer in (head, get):
                del answer.headers["date"]
            assert (head.status, head.headers) == (get.status, get.headers)

    run(work())


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"hello\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        GET + b"hello\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_400_in_the_shape_of_the_api(port: int, garbage: bytes) -> None:
    async def work() -> None:
        async with Server(port) as here:
            peer = await here.peer()
            await peer.send(garbage)
            answer = await peer.response()
            while answer.status != 400:
                answer = await peer.response()
            assert answer.headers["content-type"] == media.ERROR
            assert json.loads(answer.body)["error"]["message"]
            assert await peer.rest() == b""

    run(work())


def test_an_offer_of_another_protocol_is_answered_in_this_one(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with server(api()) as here:
            peer = await here.peer()
            answer = await peer.ask("GET", METADATA, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
            assert answer.status == 200
            # What comes now could be of the other protocol, so the connection ends.
            assert answer.headers["connection"] == "close"
            assert await peer.rest() == b""

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_pipelined_answer_has_a_write_limit_of_its_own() -> None:
    clock = Clock()

    async def takes_its_time(_scope: Scope, _receive: Receive, send: Send) -> None:
        await clock.advance(100)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def work() -> None:
        async with server(takes_its_time, write=150) as here:
            peer = await here.peer()
            await peer.send(GET * 4)
            assert [(await peer.response()).status for _ in range(4)] == [200] * 4

    clock.run(work())


# Beginning and end


def test_an_empty_host_means_every_address_of_ipv4_and_ipv6() -> None:
    async def work() -> None:
        async with server(api(), host="") as here:
            for host in ["127.0.0.1", "127.0.0.2"] + (["::1"] if socket.has_dualstack_ipv6() else []):
                assert (await (await here.peer(host=host)).ask("GET", METADATA)).status == 200, host

    run(work())


def test_a_named_host_means_that_address_alone() -> None:
    async def work() -> None:
        async with server(api(), host="127.0.0.1") as here:
            assert (await (await here.peer()).ask("GET", METADATA)).status == 200
            with pytest.raises(ConnectionRefusedError):
                await here.peer(host="127.0.0.2")

    run(work())


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_that_is_taken_is_told_with_advice(host: str) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"(?s){host}:{port}.*SCANNER_API_ADDR"):
            listen(host, port)
    # It is free again at once, also for a service that is restarted.
    listen(host, port).close()


def test_an_address_of_another_machine_is_told_with_advice() -> None:
    with pytest.raises(StartError, match=r"(?s)192\.0\.2\.1:0.*SCANNER_API_ADDR"):
        listen("192.0.2.1", 0)


def test_a_server_that_cannot_start_says_so_at_once() -> None:
    async def work() -> None:
        listener = listen("127.0.0.1", 0)
        listener.close()
        with pytest.raises(OSError, match="file descriptor"):
            async with serving(api(), listener, Timeouts(1, 1, 1)):
                raise AssertionError

    run(work())


def answers_after(release: asyncio.Event) -> ASGIApp:
    """Return an application that keeps its answer back."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await release.wait()
        start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
        await send(start)
        await send({"type": "http.response.body", "body": b"done"})

    return app


@contextlib.asynccontextmanager
async def ending(app: ASGIApp, **limits: float) -> AsyncIterator[tuple[Server, Callable[[], asyncio.Task[None]]]]:
    """Serve until the second value is called, which returns the task that ends the server."""
    end = asyncio.Event()
    started: asyncio.Future[Server] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        with contextlib.closing(listen("127.0.0.1", 0)) as listener:
            async with serving(app, listener, Timeouts(**{"read": SOON, "write": SOON, "idle": SOON, **limits})):
                started.set_result(Server(listener.getsockname()[1]))
                await end.wait()

    task = asyncio.create_task(serve())

    def begin_end() -> asyncio.Task[None]:
        end.set()
        return task

    async with await started as here:
        yield here, begin_end
    await begin_end()


def test_the_end_finishes_running_requests_and_takes_no_new_ones() -> None:
    async def work() -> None:
        release = asyncio.Event()
        watched = Watched(answers_after(release))
        async with ending(watched) as (here, end):
            busy, idle = await here.peer(), await here.peer()
            await busy.send(GET)
            await until(lambda: watched.running, "the request runs")
            ended = end()
            assert await idle.is_cut_off()
            with pytest.raises(ConnectionError):
                await (await here.peer()).ask("GET", METADATA)
            assert not ended.done()
            release.set()
            answer = await busy.response()
            assert answer.body == b"done"
            assert answer.headers["connection"] == "close"
            await asyncio.wait_for(ended, SOON)

    run(work())


def test_the_end_does_not_wait_for_who_never_reads(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLOSE_SECONDS", SHORT)

    async def work() -> None:
        watched = Watched(api())
        async with ending(watched, read=0, write=0, idle=0) as (here, end):
            peer = await here.peer(receive_buffer=4096)
            await peer.send(request("GET", REPORT, "Accept-Encoding: gzip"))
            await until(lambda: watched.running, "the response has begun")
            await asyncio.wait_for(end(), SOON)
            assert not watched.running
            assert len(await peer.rest()) < len(BIG)

    with caplog.at_level(logging.INFO):
        run(work())
    assert not [record for record in caplog.records if record.exc_info]
