"""API and workers apart, over a Redis that comes and goes."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from standins.aqua.behaviour import Behaviour
from support.redis_servers import MASTER, RedisServer, SentinelDeployment, program, serving, under_sentinels
from support.servers import missing
from support.service import Service
from support.service import serving as serving_service
from support.stage import Stage, ends, request_for, submit

PASSWORD = "r3dis-secret"


@pytest.fixture
def redis(stage: Stage) -> Iterator[RedisServer]:
    """A durable server that asks for a password."""
    with serving(program("valkey"), stage.directory / "redis", "--requirepass", PASSWORD, tcp=True, durable=True) as up:
        yield up


def url(server: RedisServer) -> str:
    return f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"


@contextlib.contextmanager
def apart(stage: Stage, redis_url: str, workers: int = 1, **settings: str) -> Iterator[tuple[Service, list[Service]]]:
    """Run one API and some workers."""
    with contextlib.ExitStack() as stack:
        common = stage.environment(REDIS_URL=redis_url, STORE_KEY="shared", **settings)
        api = stack.enter_context(serving_service(stage.directory / "api", common, "--role", "api"))
        running = [
            stack.enter_context(serving_service(stage.directory / f"worker{number}", common, "--role", "worker"))
            for number in range(workers)
        ]
        yield api, running


def scans_of(stage: Stage) -> Counter[str]:
    return Counter(scan.image for scan in stage.scannercli.scans())


def test_api_and_worker_scale_apart_and_share_the_scanner_version(stage: Stage, redis: RedisServer) -> None:
    stage.scannercli.force(Behaviour(findings=2))
    with apart(stage, url(redis)) as (api, (worker,)):
        assert ends(api, submit(api, [request_for("apart/one")])) == {"report": 1}
        # The API's machine may have no scannercli: it tells the version that the workers report.
        api.wait_for(lambda: '"version": "6.5.22034"' in api.log(), "told the version")
        assert worker.probe()[0] == 200
        assert PASSWORD not in api.log() + worker.log()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
def test_one_of_two_workers_may_go(stage: Stage, redis: RedisServer, kill: bool) -> None:
    stage.scannercli.force(Behaviour(sleep=0.1, findings=1))
    with apart(stage, url(redis), workers=2, SHUTDOWN_GRACE="0s") as (api, (first, _)):
        job_ids = submit(api, [request_for(f"two/{number}") for number in range(30)])
        api.wait_for(lambda: len(stage.scannercli.scans()) >= 6, "in the middle")
        if kill:
            first.kill()
        else:
            assert first.stop() == 0
        assert ends(api, job_ids) == {"report": 30}
    scans = scans_of(stage)
    assert len(scans) == 30
    # Two slots were lost at the most.
    assert sum(scans.values()) <= 32


def test_a_redis_that_is_killed_under_load_loses_nothing(stage: Stage, redis: RedisServer) -> None:
    stage.scannercli.force(Behaviour(sleep=0.2, findings=1))
    with apart(stage, url(redis), workers=1) as (api, (worker,)):
        job_ids = submit(api, [request_for(f"outage/{number}") for number in range(20)])
        api.wait_for(lambda: len(stage.scannercli.scans()) >= 4, "in the middle")
        redis.kill()
        api.wait_for(lambda: api.probe()[1]["status"] == "degraded", "degraded")
        assert api.probe()[0] == 200
        # Harbor is told to come back, never that a scan failed.
        assert ends(api, job_ids[:3], seconds=0.5) == {"never": 3}
        # Scans end while the store is away.
        ended = len(stage.scannercli.scans())
        worker.wait_for(lambda: all(scan.ended for scan in stage.scannercli.scans()), "ended")
        assert len(stage.scannercli.scans()) == ended
        redis.start()
        assert ends(api, job_ids) == {"report": 20}
        api.wait_for(lambda: api.probe()[1]["status"] == "ready", "ready again")
    assert set(scans_of(stage).values()) == {1}


def test_requests_are_accepted_across_a_short_outage(stage: Stage, redis: RedisServer) -> None:
    stage.scannercli.force(Behaviour(findings=1))
    with apart(stage, url(redis)) as (api, _):
        redis.kill()
        began = time.monotonic()
        redis.start()
        # The request was on its way while nobody listened: it waits for the store instead of failing.
        assert ends(api, submit(api, [request_for("outage/submit")])) == {"report": 1}
        assert time.monotonic() - began < 60


def test_a_redis_that_lost_its_data_gets_the_key_of_the_running_processes_back(stage: Stage) -> None:
    stage.scannercli.force(Behaviour(findings=1))
    key = "harbor.scanner.aqua:store:key"
    with serving(program("valkey"), stage.directory / "redis", tcp=True) as redis:
        settings = stage.environment(REDIS_URL=f"redis://127.0.0.1:{redis.port}/0")
        with (
            serving_service(stage.directory / "api", settings, "--role", "api") as api,
            serving_service(stage.directory / "old", settings, "--role", "worker") as old,
        ):
            assert redis.keys(key) == {key}
            old.stop()
            redis.ask("FLUSHALL")
            api.wait_for(lambda: redis.keys(key), "agreed again")
            with serving_service(stage.directory / "new", settings, "--role", "worker"):
                assert ends(api, submit(api, [request_for("lost/key")])) == {"report": 1}


def test_a_sentinel_failover_is_ridden_out(stage: Stage) -> None:
    for name in ("redis-server", "redis-sentinel"):
        if reason := missing(name):
            pytest.skip(reason)
    stage.scannercli.force(Behaviour(sleep=0.1, findings=1))
    sentinels = under_sentinels(program("redis"), stage.directory / "sentinels")
    with sentinels as deployment, apart(stage, sentinel_url(deployment)) as (api, _):
        job_ids = submit(api, [request_for(f"failover/{number}") for number in range(20)])
        api.wait_for(lambda: len(stage.scannercli.scans()) >= 4, "in the middle")
        # What a master acknowledged and had not yet replicated is lost with it: that is Redis, not the service.
        old = deployment.master
        assert old.ask("WAIT", 1, 5000) == 1
        old.kill()
        assert ends(api, job_ids) == {"report": 20}
        assert deployment.master is not old


def sentinel_url(deployment: SentinelDeployment) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in deployment.address.hosts)
    return f"redis+sentinel://{hosts}/{MASTER}/0"
