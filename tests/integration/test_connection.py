"""Connections to every kind of deployment, within the limits of the settings."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from harbor_scanner.errors import StoreUnavailableError
from harbor_scanner.harbor.media import CYCLONEDX, SPDX
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.jobs.address import RedisAddress, parse_redis_url
from harbor_scanner.jobs.connection import Connections
from harbor_scanner.jobs.model import JobState
from harbor_scanner.jobs.store import Store
from support.jobs import KEEP, PATIENCE, Station, connected, scan_request, station, until, vulnerabilities
from support.redis_servers import (
    MASTER,
    Account,
    RedisServer,
    SentinelDeployment,
    Tls,
    free_port,
    program,
    serving,
    under_sentinels,
)

LONG = 60.0
"""Seconds of a limit that must not be the one that strikes."""
PASSWORD = "p@ss:w/ord%20?#é"
NAMESPACE = "harbor.scanner:store"
ADMIN = Account("admin", "admin-password")
CONFINED = Account("scanner", PASSWORD, (f"~{NAMESPACE}:*", "resetchannels", f"&{NAMESPACE}:*", "+@all", "-@dangerous"))
"""May use the keys and channels of one namespace, and no dangerous command."""
WATCHER = Account("watcher", "another password")
LOGIN = f"{CONFINED.name}:{quote(PASSWORD, safe='')}"


async def lives_through_a_job(here: Station) -> None:
    """Have one job accepted, heard of, leased, prolonged, tried again, finished and found."""
    async with here.events.open() as events:
        await until(events.queued.is_set, "subscribed")
        events.queued.clear()
        await here.queue.accept("job", scan_request(), PATIENCE)
        await until(events.queued.is_set, "the job was heard of")
        await here.store.announce("worker-1", 1, "1.0", PATIENCE)
        (lease,) = await here.queue.lease(1)
        assert await here.queue.prolong([lease]) == set()
        assert await here.queue.retry(lease, 0, "unreachable")
        assert await here.queue.promote() == 1
        (lease,) = await here.queue.lease(1)
        assert await here.queue.give_back(lease)
        (lease,) = await here.queue.reclaim(1)
        with events.watch("job") as ended:
            assert await here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)
            await until(ended.is_set, "the end was heard of")
        status = await here.store.find("job", VULNERABILITY, PATIENCE)
        assert status is not None
        assert (status.state, status.report) == (JobState.FINISHED, b"report")
        assert (await here.store.snapshot(PATIENCE)).slots == 1
        await here.store.shared_secret("secret", PATIENCE)
        await here.store.retract("worker-1", PATIENCE)


async def shares_a_run(here: Station) -> None:
    """Have a job joined by others, of which one is sent away, one is ended with it, and the last is left by it."""
    kinds = (VULNERABILITY, SPDX, CYCLONEDX)
    for kind in kinds:
        await here.queue.accept(f"with {kind}", scan_request(2).asking_for([kind]), PATIENCE)
    (lease,) = await here.queue.lease(9)
    sent, kept = await here.queue.gather(lease)
    assert await here.queue.part(lease, sent)
    (own,) = await here.queue.lease(9)
    assert own.job_id == sent.job_id
    assert await here.queue.finish(lease, {lease.job_id: {}, kept.job_id: {CYCLONEDX: b"sbom"}}, KEEP, 1.0)
    status = await here.store.find(kept.job_id, CYCLONEDX, PATIENCE)
    assert status is not None
    assert status.report == b"sbom"

    for kind in (SPDX, CYCLONEDX):
        await here.queue.accept(f"left with {kind}", scan_request(2).asking_for([kind]), PATIENCE)
    (lease,) = await here.queue.lease(9)
    assert await here.queue.fail(lease, "broken", KEEP)
    (own,) = await here.queue.lease(9)
    assert own.job_id == f"left with {CYCLONEDX}"
    assert (await here.store.snapshot(PATIENCE)).joined == 0


async def problem_with(address: RedisAddress, **settings: Any) -> str:
    """Return what an operator would read of a store that cannot be reached."""
    problem = ""
    async with connected(address, **settings) as connections:
        for patience in (0.3, 3.0, 30.0):
            with pytest.raises(StoreUnavailableError) as caught:
                await Store(connections, NAMESPACE).ping(patience)
            problem = str(caught.value)
            if f"did not answer in {patience:g} seconds: " in problem:
                break
    return problem


@pytest.fixture(scope="module")
def guarded(short_dirs: Path) -> Iterator[RedisServer]:
    """A server that lets nobody in without a password."""
    accounts = [CONFINED, Account("default", PASSWORD)]
    with serving(program("valkey"), short_dirs / "guarded", tcp=True, admin=ADMIN, accounts=accounts) as server:
        yield server


@pytest.mark.parametrize(
    ("login", "database"),
    [(f":{quote(PASSWORD, safe='')}", 0), (f":{quote(PASSWORD, safe='')}", 5), (LOGIN, 0), (LOGIN, 3)],
    ids=["password", "password and database", "ACL user", "ACL user and database"],
)
def test_a_redis_url_with_a_password_reaches_its_database(guarded: RedisServer, login: str, database: int) -> None:
    guarded.ask("FLUSHALL")

    async def scenario() -> None:
        address = parse_redis_url(f"redis://{login}@127.0.0.1:{guarded.port}/{database}")
        async with station(address, NAMESPACE, joining=True) as here:
            await lives_through_a_job(here)
            await shares_a_run(here)
            assert guarded.ask("EXISTS", here.store.job("job"), database=database) == 1
            assert guarded.ask("EXISTS", here.store.job("job"), database=database + 1) == 0

    asyncio.run(scenario())


def test_a_wrong_password_is_told_without_the_password(guarded: RedisServer) -> None:
    address = parse_redis_url(f"redis://scanner:a-wrong-password@127.0.0.1:{guarded.port}/0")
    problem = asyncio.run(problem_with(address))
    assert "WRONGPASS" in problem or "invalid username-password" in problem
    assert f"127.0.0.1:{guarded.port}" in problem
    assert "a-wrong-password" not in problem


def test_a_missing_password_is_told(guarded: RedisServer) -> None:
    assert "uthentication required" in asyncio.run(problem_with(guarded.address))


def test_a_unix_socket_is_reached(engine: RedisServer, namespace: str) -> None:
    async def scenario() -> None:
        async with station(parse_redis_url(f"unix://{engine.socket}"), namespace) as here:
            await lives_through_a_job(here)

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_told() -> None:
    port = free_port()
    problem = asyncio.run(problem_with(RedisAddress(hosts=(("127.0.0.1", port),))))
    assert f"redis://127.0.0.1:{port}/0 did not answer in" in problem
    assert "onnect" in problem


@pytest.fixture(scope="module")
def encrypted(short_dirs: Path, redis_program: Path, tls: Tls) -> Iterator[RedisServer]:
    """A Redis that speaks TLS only."""
    with serving(redis_program, short_dirs / "encrypted", tls=tls, admin=ADMIN, accounts=[CONFINED]) as server:
        yield server


@pytest.mark.redis
def test_a_rediss_url_with_its_own_ca_is_reached(encrypted: RedisServer, tls: Tls) -> None:
    async def scenario() -> None:
        for host in ("127.0.0.1", "localhost"):
            address = parse_redis_url(f"rediss://{LOGIN}@{host}:{encrypted.port}/2")
            async with station(address, NAMESPACE, ca_file=tls.ca) as here:
                await lives_through_a_job(here)
            encrypted.ask("FLUSHALL")

    asyncio.run(scenario())


@pytest.mark.redis
def test_a_server_whose_certificate_nobody_vouches_for_is_not_trusted(encrypted: RedisServer, short_dirs: Path) -> None:
    stranger = Tls.made_in(short_dirs / "stranger")
    address = parse_redis_url(f"rediss://{LOGIN}@127.0.0.1:{encrypted.port}/0")
    for ca_file in (stranger.ca, None):
        assert "certificate verify failed" in asyncio.run(problem_with(address, ca_file=ca_file))


@pytest.mark.redis
def test_a_certificate_for_another_host_is_not_trusted(short_dir: Path, redis_program: Path) -> None:
    tls = Tls.made_in(short_dir / "tls", "registry.example")
    with serving(redis_program, short_dir / "misnamed", tls=tls) as server:
        problem = asyncio.run(problem_with(server.address, ca_file=tls.ca))
    assert "IP address mismatch" in problem


@pytest.fixture(scope="module", params=["plain", pytest.param("TLS", marks=pytest.mark.redis)])
def watched(request: pytest.FixtureRequest, short_dirs: Path) -> Iterator[SentinelDeployment]:
    """A master under three Sentinels; nodes and Sentinels each want credentials of their own."""
    arguments: dict[str, Any] = {"admin": ADMIN, "accounts": [CONFINED], "sentinel_account": WATCHER}
    engine = program("valkey")
    if request.param == "TLS":
        engine = request.getfixturevalue("redis_program")
        arguments["tls"] = request.getfixturevalue("tls")
    with under_sentinels(engine, short_dirs / f"watched-{request.param}", **arguments) as deployment:
        yield deployment


def sentinel_url(deployment: SentinelDeployment, login: str = LOGIN, database: str = "/4") -> RedisAddress:
    scheme = "rediss+sentinel" if deployment.tls else "redis+sentinel"
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in deployment.sentinels)
    return parse_redis_url(f"{scheme}://{login}@{hosts}/{MASTER}{database}")


def sentinel_settings(deployment: SentinelDeployment, password: str = WATCHER.password) -> dict[str, Any]:
    return {
        "sentinel_username": WATCHER.name,
        "sentinel_password": password,
        "ca_file": deployment.tls.ca if deployment.tls else None,
    }


def test_a_master_under_sentinels_is_reached_with_credentials_for_both(watched: SentinelDeployment) -> None:
    async def scenario() -> None:
        async with station(sentinel_url(watched), NAMESPACE, **sentinel_settings(watched)) as here:
            await lives_through_a_job(here)
            assert watched.master.ask("EXISTS", here.store.job("job"), database=4) == 1

    asyncio.run(scenario())


def test_wrong_credentials_are_told_apart_under_sentinels(watched: SentinelDeployment) -> None:
    wrong_sentinel = asyncio.run(problem_with(sentinel_url(watched), **sentinel_settings(watched, "a-wrong-password")))
    wrong_node = asyncio.run(
        problem_with(sentinel_url(watched, "scanner:a-wrong-password"), **sentinel_settings(watched))
    )
    assert "Sentinel" in wrong_sentinel
    assert "Sentinel" not in wrong_node
    for problem in (wrong_sentinel, wrong_node):
        assert "WRONGPASS" in problem or "invalid username-password" in problem
        assert "a-wrong-password" not in problem
        assert WATCHER.password not in problem
        assert PASSWORD not in problem


def test_a_master_that_no_sentinel_knows_is_told(watched: SentinelDeployment) -> None:
    address = parse_redis_url(str(sentinel_url(watched)).replace(f"/{MASTER}/", "/another/"))
    problem = asyncio.run(problem_with(address, **sentinel_settings(watched)))
    assert "another" in problem
    assert "master" in problem


def test_sentinels_out_of_reach_do_not_keep_the_others_from_being_asked(watched: SentinelDeployment) -> None:
    async def scenario() -> None:
        with silent_port() as first, silent_port() as second:
            address = sentinel_url(watched)
            hosts = (("127.0.0.1", first), ("127.0.0.1", second), *address.hosts)
            unlucky = RedisAddress(
                hosts=hosts, master_name=MASTER, username=address.username, password=address.password, tls=address.tls
            )
            settings = {**sentinel_settings(watched), "connection_timeout": 1.0}
            async with connected(unlucky, **settings) as connections:
                # As much patience as the queue has.
                await Store(connections, NAMESPACE).ping(2.0)

    asyncio.run(scenario())


def test_sentinels_are_all_remembered_whoever_answers_first(watched: SentinelDeployment) -> None:
    async def scenario() -> None:
        address = sentinel_url(watched)
        gone = ("127.0.0.1", free_port())
        unlucky = RedisAddress(
            hosts=(gone, *address.hosts), master_name=MASTER,
            username=address.username, password=address.password, tls=address.tls,
        )  # fmt: skip
        async with connected(unlucky, pool_max_active=9, **sentinel_settings(watched)) as connections:
            await asyncio.gather(*(connections.client.ping() for _ in range(8)))
            assert connections._sentinels is not None
            known = {
                sentinel.connection_pool.connection_kwargs["port"] for sentinel in connections._sentinels.sentinels
            }
            assert known == {port for _, port in unlucky.hosts}

    asyncio.run(scenario())


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port where nobody ever answers to a request for a connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The queue of connections that nobody accepts is full with these.
        for _ in range(4):
            caller = stack.enter_context(contextlib.closing(socket.socket()))
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                caller.connect(listener.getsockname())
        yield listener.getsockname()[1]


def on_database(server: RedisServer, database: int) -> list[dict[str, str]]:
    return [client for client in server.clients() if client["db"] == str(database)]


@contextlib.asynccontextmanager
async def on_its_own(server: RedisServer, database: int, **settings: Any) -> AsyncIterator[Connections]:
    """Open connections that CLIENT LIST tells from those of others by their database."""
    assert on_database(server, database) == []
    async with connected(RedisAddress(hosts=_hosts(server), database=database, socket=None), **settings) as connections:
        yield connections
    await until(lambda: on_database(server, database) == [], "all connections are closed")


def _hosts(server: RedisServer) -> tuple[tuple[str, int], ...]:
    return (("127.0.0.1", server.port),)


@pytest.fixture(scope="module")
def listening(short_dirs: Path) -> Iterator[RedisServer]:
    """A server on a loopback port."""
    with serving(program("valkey"), short_dirs / "listening", tcp=True) as server:
        yield server


@pytest.mark.parametrize("max_idle", [5, 1, 0])
def test_there_are_never_more_connections_than_allowed(listening: RedisServer, max_idle: int) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 7, pool_max_active=5, pool_max_idle=max_idle) as connections:
            counts = []
            done = asyncio.Event()

            async def count() -> None:
                while not done.is_set():
                    counts.append(len(await asyncio.to_thread(on_database, listening, 7)))

            async def call(number: int) -> None:
                for turn in range(5):
                    await connections.client.set(f"{number}-{turn}", "x" * 1000)

            counting = asyncio.create_task(count())
            async with connections.subscriber.pubsub() as subscription:
                await subscription.subscribe("channel")
                async with asyncio.timeout(LONG):
                    await asyncio.gather(*(call(number) for number in range(200)))
                done.set()
                await counting
            assert max(counts) <= 5
            if max_idle:
                assert max(counts) > 1
            assert listening.ask("DBSIZE", database=7) == 1000
            listening.ask("FLUSHALL")

    asyncio.run(scenario())


async def burst(server: RedisServer, connections: Connections, callers: int = 8) -> None:
    """Use eight connections at once, then none."""
    database = connections.address.database
    calls = [asyncio.create_task(_waiting(connections)) for _ in range(callers)]
    await until(lambda: len(on_database(server, database)) == callers, "all connections are in use")
    server.ask("RPUSH", "turns", *("turn" for _ in calls), database=database)
    await asyncio.gather(*calls)


async def _waiting(connections: Connections) -> None:
    await connections.client.blpop(["turns"], timeout=0)


@pytest.mark.parametrize("max_idle", [0, 1, 3])
def test_idle_connections_beyond_the_limit_are_closed(listening: RedisServer, max_idle: int) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 8, pool_max_active=9, pool_max_idle=max_idle) as connections:
            await burst(listening, connections)
            await until(lambda: len(on_database(listening, 8)) == max_idle, "the idle ones are closed")
            assert await connections.client.ping()

    asyncio.run(scenario())


def test_connections_idle_for_too_long_are_closed_while_others_are_used(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 9, pool_max_active=9, pool_max_idle=9, pool_idle_timeout=0.5) as connections:
            await burst(listening, connections)

            async def one_is_left() -> bool:
                await connections.client.ping()
                return len(on_database(listening, 9)) == 1

            await until(one_is_left, "only the one in use is open")

    asyncio.run(scenario())


def test_connections_idle_for_too_long_are_closed_without_any_use(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 10, pool_max_active=9, pool_max_idle=9, pool_idle_timeout=0.5) as connections:
            await burst(listening, connections)

            async def none_is_left() -> bool:
                await connections.close_idle()
                return on_database(listening, 10) == []

            await until(none_is_left, "all are closed")
            assert await connections.client.ping()

    asyncio.run(scenario())


def test_an_idle_timeout_of_zero_closes_nothing(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 11, pool_max_active=9, pool_max_idle=9, pool_idle_timeout=0.0) as connections:
            await burst(listening, connections)
            await connections.close_idle()
            await connections.client.ping()
            assert len(on_database(listening, 11)) == 8

    asyncio.run(scenario())


def test_a_caller_that_gives_up_in_the_moment_of_its_turn_passes_the_turn_on(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 12, pool_max_active=2) as connections:
            pool: Any = connections.client.connection_pool
            held = await pool.get_connection()
            first = asyncio.create_task(pool.get_connection())
            second = asyncio.create_task(pool.get_connection())
            await asyncio.sleep(0.05)
            await pool.release(held)
            first.cancel()
            async with asyncio.timeout(30):
                await pool.release(await second)

    asyncio.run(scenario())


def test_who_waits_for_a_connection_is_not_overtaken(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 14, pool_max_active=2) as connections:
            pool: Any = connections.client.connection_pool
            served = []

            async def take(name: str) -> None:
                connection = await pool.get_connection()
                served.append(name)
                await pool.release(connection)

            held = await pool.get_connection()
            waiting = [asyncio.create_task(take(name)) for name in ("first", "second")]
            await asyncio.sleep(0.05)
            await pool.release(held)
            # It comes in the very moment in which a connection is free, before anybody else was woken.
            await take("newcomer")
            await asyncio.gather(*waiting)
            assert served == ["first", "second", "newcomer"]

    asyncio.run(scenario())


def test_callers_that_give_up_leave_the_pool_as_it_was(listening: RedisServer) -> None:
    async def impatient(connections: Connections, number: int) -> None:
        async with asyncio.timeout(0.001 * (number % 50)):
            for turn in range(50):
                await connections.client.set(f"{number}-{turn}", "x")

    async def scenario() -> None:
        async with on_its_own(listening, 13, pool_max_active=5) as connections:
            callers = (impatient(connections, number) for number in range(300))
            results = await asyncio.gather(*callers, return_exceptions=True)
            assert {type(result) for result in results} <= {TimeoutError, type(None)}
            assert TimeoutError in {type(result) for result in results}
            # All four connections for commands can still be had at once.
            await burst(listening, connections, 4)
            listening.ask("FLUSHALL")

    asyncio.run(scenario())


async def _set(connections: Connections) -> None:
    await connections.client.set("key", "value")


def test_a_call_that_is_cancelled_ends_whatever_it_was_about_to_do(listening: RedisServer) -> None:
    async def scenario() -> None:
        async with on_its_own(listening, 14) as connections:
            for steps in range(40):
                for _ in range(5):
                    call: asyncio.Task[Any] = asyncio.create_task(_set(connections))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    if call.cancel():
                        await asyncio.wait([call])
                        assert call.cancelled()
            listening.ask("FLUSHALL")

    asyncio.run(scenario())


async def limited_by(step: Callable[[], Awaitable[Any]], words: str) -> None:
    """Have `step` end with a time limit of redis-py, long before any other."""
    async with asyncio.timeout(LONG / 2):
        with pytest.raises(RedisTimeoutError, match=words):
            await step()


@pytest.mark.parametrize("tls", [False, True])
def test_connecting_takes_no_longer_than_its_limit(tls: bool) -> None:
    async def scenario() -> None:
        limits = {"connection_timeout": 0.2, "read_timeout": LONG, "write_timeout": LONG}
        with silent_port() as port:
            address = RedisAddress(hosts=(("127.0.0.1", port),), tls=tls)
            async with connected(address, **limits) as connections:
                await limited_by(connections.client.ping, "connecting")

    asyncio.run(scenario())


def test_a_tls_handshake_that_nobody_answers_takes_no_longer_than_connecting_may() -> None:
    async def scenario() -> None:
        limits = {"connection_timeout": 0.2, "read_timeout": LONG, "write_timeout": LONG}
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
            address = RedisAddress(hosts=(listener.getsockname(),), tls=True)
            async with connected(address, **limits) as connections:
                await limited_by(connections.client.ping, "connecting")

    asyncio.run(scenario())


@pytest.fixture
def pausable(short_dir: Path) -> Iterator[RedisServer]:
    """A server that a test may pause."""
    with serving(program("valkey"), short_dir / "pausable", tcp=True) as server:
        yield server


def test_waiting_for_a_reply_takes_no_longer_than_its_limit(pausable: RedisServer) -> None:
    async def scenario() -> None:
        limits = {"connection_timeout": LONG, "read_timeout": 0.2, "write_timeout": LONG}
        async with connected(pausable.address, **limits) as connections:
            await connections.client.ping()
            pausable.pause()
            await limited_by(connections.client.ping, "reading")
            # The same for the first exchange of a new connection.
            await limited_by(connections.client.ping, "reading")
            pausable.resume()
            await until(_answers(connections), "it answers again")

    asyncio.run(scenario())


def test_sending_takes_no_longer_than_its_limit(pausable: RedisServer) -> None:
    async def scenario() -> None:
        limits = {"connection_timeout": LONG, "read_timeout": LONG, "write_timeout": 0.2}
        async with connected(pausable.address, **limits) as connections:
            await connections.client.ping()
            pausable.pause()
            before = open_sockets()
            await limited_by(lambda: connections.client.set("key", b"x" * 50_000_000), "writing")
            # What was not sent goes with its connection: else every try of an outage would stay in memory.
            await until(lambda: open_sockets() < before, "the connection is closed")
            pausable.resume()
            await until(_answers(connections), "it answers again")

    asyncio.run(scenario())


def open_sockets() -> int:
    """Return how many sockets this process has."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def _answers(connections: Connections) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        with contextlib.suppress(RedisTimeoutError):
            return bool(await connections.client.ping())
        return False

    return answers


def test_a_reply_may_take_longer_than_sending(pausable: RedisServer) -> None:
    async def scenario() -> None:
        async with connected(pausable.address, write_timeout=0.1, read_timeout=LONG) as connections:
            await connections.client.ping()
            assert await connections.client.blpop(["nothing"], timeout=0.5) is None

    asyncio.run(scenario())


@pytest.mark.redis
def test_connections_to_a_server_that_hangs_can_be_closed(short_dir: Path, redis_program: Path, tls: Tls) -> None:
    async def scenario() -> None:
        limits = {"connection_timeout": 0.2, "read_timeout": 0.2, "write_timeout": 0.2}
        async with connected(server.address, ca_file=tls.ca, **limits) as connections:
            await connections.client.ping()
            await connections.subscriber.ping()
            server.pause()

    with serving(redis_program, short_dir / "hanging", tls=tls) as server:
        asyncio.run(scenario())
