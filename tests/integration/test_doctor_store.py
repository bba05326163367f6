"""The store: real servers that are up, down, refuse, evict, forget; and the embedded one, left in peace."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from harbor_scanner.config import Config, Role
from harbor_scanner.doctor import store
from harbor_scanner.doctor.check import Verdict
from harbor_scanner.doctor.clock import Offset
from harbor_scanner.doctor.workshop import workshop
from support.doctor import outcomes, settings, told
from support.redis_servers import Account, RedisServer, Tls, eventually, free_port, program, serving, under_sentinels
from support.service import serving as serving_service

ADMIN = Account("admin", "adm1n-password")
NAMESPACE = "harbor.scanner.aqua:store"


def url(server: RedisServer, user: str = "", scheme: str = "redis") -> str:
    return f"{scheme}://{user}127.0.0.1:{server.port}/0"


def examined(config: Config, offsets: list[Offset] | None = None) -> list[Verdict]:
    async def work() -> list[Verdict]:
        async with workshop() as place:
            return [verdict async for verdict in store.look(config, place, [] if offsets is None else offsets)]

    return uvloop.run(work())


def look(directory: Path, address: str, **environment: str) -> list[Verdict]:
    return examined(settings(directory, SCANNER_REDIS_URL=address, **environment))


@pytest.fixture
def durable(short_dir: Path) -> Iterator[RedisServer]:
    with serving(program("valkey"), short_dir / "valkey", tcp=True, durable=True) as server:
        yield server


def test_one_that_is_as_it_should_be(durable: RedisServer, tmp_path: Path) -> None:
    offsets: list[Offset] = []
    config = settings(tmp_path, SCANNER_REDIS_URL=url(durable), SCANNER_STORE_KEY="a key of the tests")
    assert outcomes(examined(config, offsets)) == dict.fromkeys(
        ["connection", "latency", "version", "memory", "persistence", "rights", "key"], "ok"
    )
    assert abs(offsets[0].seconds) < 60
    assert durable.keys("*") == set(), "something was left behind"


def test_what_makes_accepted_jobs_vanish_is_told(short_dir: Path, tmp_path: Path) -> None:
    options = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    with serving(program("valkey"), short_dir / "valkey", *options, tcp=True) as server:
        verdicts = look(tmp_path, url(server))
    found = outcomes(verdicts)
    assert (found["memory"], found["persistence"], found["key"]) == ("warning", "warning", "warning")
    assert "noeviction" in told(verdicts, "memory")
    assert "appendonly yes" in told(verdicts, "persistence")


def test_one_that_is_nearly_full_is_told(short_dir: Path, tmp_path: Path) -> None:
    with serving(program("valkey"), short_dir / "valkey", "--maxmemory-policy", "noeviction", tcp=True) as server:
        server.ask("CONFIG", "SET", "maxmemory", int(server.ask("INFO", "memory")["used_memory"] * 1.05))
        assert "MiB are used" in told(look(tmp_path, url(server)), "memory")


def test_one_that_is_away_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        verdicts = look(tmp_path, f"redis://:hunter2@127.0.0.1:{taken.getsockname()[1]}/0")
    assert outcomes(verdicts) == {"connection": "failure"}
    assert "does not answer" in told(verdicts, "connection")
    assert "hunter2" not in told(verdicts, "connection")
    assert "host of redis://nowhere.invalid" in told(look(tmp_path, "redis://nowhere.invalid"), "connection")


def test_one_that_hangs_is_given_up_after_the_limits_of_the_settings(durable: RedisServer, tmp_path: Path) -> None:
    durable.pause()
    try:
        verdicts = look(tmp_path, url(durable), SCANNER_REDIS_POOL_READ_TIMEOUT="200ms")
    finally:
        durable.resume()
    assert outcomes(verdicts) == {"connection": "failure"}


@pytest.mark.parametrize("user", ["", "admin:wrong@", "nobody:adm1n-password@"])
def test_a_login_that_is_refused_is_told(short_dir: Path, tmp_path: Path, user: str) -> None:
    with serving(program("valkey"), short_dir / "valkey", tcp=True, admin=ADMIN) as server:
        verdicts = look(tmp_path, url(server, user))
    assert outcomes(verdicts) == {"connection": "failure"}
    assert "refuses the login" in told(verdicts, "connection")
    assert "adm1n" not in told(verdicts, "connection")


@pytest.mark.parametrize(
    ("rights", "outcome"),
    [
        (("~*", "&*", "+@all"), "ok"),
        ((f"~{NAMESPACE}*", f"&{NAMESPACE}*", "+@all"), "ok"),
        (("~other:*", "&*", "+@all"), "failure"),
        (("~*", "resetchannels", "+@all"), "failure"),
        (("~*", "&*", "+@all", "-eval"), "failure"),
        (("~*", "&*", "+@all", "-@write"), "failure"),
        (("~*", "&*", "+@all", "-@blocking"), "failure"),
        (("~*", "&*", "+@all", "-xautoclaim"), "failure"),
    ],
)
def test_a_user_who_may_not_do_enough_is_told(
    short_dir: Path, tmp_path: Path, rights: tuple[str, ...], outcome: str
) -> None:
    limited = Account("scanner", "l1mited-password", rights)
    with serving(program("valkey"), short_dir / "valkey", tcp=True, admin=ADMIN, accounts=[limited]) as server:
        verdicts = look(tmp_path, url(server, f"{limited.name}:{limited.password}@"))
        assert server.keys("*") == set()
    assert outcomes(verdicts)["rights"] == outcome
    if outcome == "failure":
        assert "SCANNER_STORE_REDIS_NAMESPACE" in told(verdicts, "rights")


@pytest.mark.parametrize(
    "rights", [("+@read", "+@write", "+@scripting", "+@pubsub"), ("+@all", "-time"), ("+@all", "-ping")]
)
def test_a_user_who_may_not_even_ask_for_the_time_is_told(
    short_dir: Path, tmp_path: Path, rights: tuple[str, ...]
) -> None:
    limited = Account("scanner", "l1mited-password", ("~*", "&*", *rights))
    with serving(program("valkey"), short_dir / "valkey", tcp=True, admin=ADMIN, accounts=[limited]) as server:
        verdicts = look(tmp_path, url(server, f"{limited.name}:{limited.password}@"))
    assert [verdict.what for verdict in verdicts if verdict.outcome == "failure"] != []
    assert "PING, TIME" in verdicts[-1].advice


def test_a_database_that_is_not_there_is_not_taken_for_a_server_that_is_away(
    durable: RedisServer, tmp_path: Path
) -> None:
    verdicts = look(tmp_path, f"redis://127.0.0.1:{durable.port}/99")
    assert outcomes(verdicts) == {"connection": "failure"}
    assert "number of a database" in told(verdicts, "connection")


def test_a_failed_snapshot_is_a_failure_only_where_writes_are_refused(short_dir: Path, tmp_path: Path) -> None:
    with serving(program("valkey"), short_dir / "valkey", tcp=True, durable=True) as server:
        (server.directory / "dump.rdb" / "in-the-way").mkdir(parents=True)
        server.ask("BGSAVE")
        eventually(lambda: server.ask("INFO", "persistence")["rdb_last_bgsave_status"] == "err", "a failed snapshot")
        found = outcomes(look(tmp_path, url(server)))
        assert (found["persistence"], found["rights"]) == ("warning", "ok")
        server.ask("CONFIG", "SET", "save", "3600 1")
        refusing = look(tmp_path, url(server))
        assert "failure" in outcomes(refusing).values()
        assert "MISCONF" in f"{refusing}"


def test_a_user_who_may_not_ask_about_the_server_leaves_that_unknown(short_dir: Path, tmp_path: Path) -> None:
    limited = Account("scanner", "l1mited-password", ("~*", "&*", "+@all", "-info"))
    with serving(program("valkey"), short_dir / "valkey", tcp=True, admin=ADMIN, accounts=[limited]) as server:
        found = outcomes(look(tmp_path, url(server, f"{limited.name}:{limited.password}@")))
    assert (found["connection"], found["server"], found["rights"]) == ("ok", "unknown", "ok")


def test_a_replica_is_told(durable: RedisServer, short_dir: Path, tmp_path: Path) -> None:
    options = ("--replicaof", "127.0.0.1", str(durable.port))
    with serving(program("valkey"), short_dir / "replica", *options, tcp=True) as replica:
        found = outcomes(look(tmp_path, url(replica)))
    assert (found["role"], found["rights"]) == ("failure", "failure")


def test_a_cluster_is_told(short_dir: Path, tmp_path: Path) -> None:
    # The port of the cluster's own talk is 10,000 above the other, if nobody names it, and may not be there.
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with serving(program("valkey"), short_dir / "cluster", *options, tcp=True) as server:
        assert outcomes(look(tmp_path, url(server)))["role"] == "failure"


def test_an_account_of_itself_decides_what_is_too_old_or_broken() -> None:
    old = store._qualities({"redis_version": "6.0.16", "aof_enabled": 1})
    assert outcomes(old)["version"] == "failure"
    broken = store._qualities({"redis_version": "7.0.0", "aof_enabled": 1, "aof_last_write_status": "err"})
    assert outcomes(broken) == {"version": "ok", "memory": "ok", "persistence": "failure"}


@pytest.mark.redis
class TestTls:
    """Servers that speak TLS."""

    def test_one_that_is_trusted_by_its_file(
        self, redis_program: Path, tls: Tls, short_dir: Path, tmp_path: Path
    ) -> None:
        with serving(redis_program, short_dir / "redis", tls=tls) as server:
            trusted = look(tmp_path, url(server, scheme="rediss"), SCANNER_REDIS_TLS_CA=str(tls.ca))
            assert outcomes(trusted)["connection"] == "ok"
            untrusted = look(tmp_path, url(server, scheme="rediss"))
            assert "not trusted here" in told(untrusted, "connection")
            assert "SCANNER_REDIS_TLS_CA" in told(untrusted, "connection")
            plain = look(tmp_path, url(server))
            assert "rediss://" in told(plain, "connection")

    def test_one_with_another_name(self, redis_program: Path, short_dir: Path, tmp_path: Path) -> None:
        other = Tls.made_in(short_dir / "other", "redis.corp")
        with serving(redis_program, short_dir / "redis", tls=other) as server:
            verdicts = look(tmp_path, url(server, scheme="rediss"), SCANNER_REDIS_TLS_CA=str(other.ca))
        assert "it is for redis.corp" in told(verdicts, "connection")

    def test_one_that_does_not_speak_it(self, durable: RedisServer, tmp_path: Path) -> None:
        # Such a server waits for more of what it takes for a command.
        limit = {"SCANNER_REDIS_POOL_CONNECTION_TIMEOUT": "200ms"}
        assert "redis://, if it does not" in told(look(tmp_path, url(durable, scheme="rediss"), **limit), "connection")


def test_sentinels_lead_to_the_master_and_are_told_when_they_do_not(short_dir: Path, tmp_path: Path) -> None:
    with under_sentinels(program("valkey"), short_dir / "s") as deployment:
        address = str(deployment.address)
        assert outcomes(look(tmp_path, address))["rights"] == "ok"
        assert "knows no master" in told(look(tmp_path, address.replace("/harbor/", "/other/")), "connection")


class TestEmbedded:
    """The store that comes with the service."""

    @pytest.fixture
    def here(self, short_dir: Path) -> Path:
        return short_dir / "embedded"

    def test_it_is_tried_elsewhere_when_it_does_not_run(self, here: Path) -> None:
        config = settings(here)
        verdicts = examined(config)
        assert outcomes(verdicts) == {"embedded": "ok"}
        assert "for a try" in told(verdicts, "embedded")
        assert not config.worker.data_dir.exists()

    def test_a_running_one_is_asked_and_left_in_peace(self, here: Path) -> None:
        with serving_service(here, {}) as service:
            config = settings(here, Role.ALL)
            assert config.worker.data_dir == service.data
            before = sorted((service.data / "store").iterdir())
            verdicts = examined(config)
            assert outcomes(verdicts) == {"embedded": "ok", "persistence": "ok"}
            assert "runs, and answers" in told(verdicts, "embedded")
            assert sorted((service.data / "store").iterdir()) == before
            assert service.probe()[1]["status"] in {"ready", "degraded"}
            assert "started again" not in service.log()

    def test_one_that_does_not_answer_is_a_failure(self, here: Path) -> None:
        config = settings(here, SCANNER_REDIS_POOL_READ_TIMEOUT="200ms")
        (config.worker.data_dir / "store").mkdir(parents=True)
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as silent:
            silent.bind(str(config.worker.data_dir / "store" / "store.sock"))
            silent.listen()
            assert outcomes(examined(config)) == {"embedded": "failure"}

    def test_a_path_that_is_too_long_is_a_failure(self, here: Path) -> None:
        verdicts = examined(settings(here / ("x" * 100)))
        assert outcomes(verdicts) == {"embedded": "failure"}
        assert "SCANNER_DATA_DIR" in told(verdicts, "embedded")

    def test_without_a_program_it_is_a_failure(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        monkeypatch.setenv("PATH", str(here))
        verdicts = examined(settings(here))
        assert outcomes(verdicts) == {"embedded": "failure"}
        assert "SCANNER_REDIS_URL" in told(verdicts, "embedded")
