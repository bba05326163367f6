"""Servers that many integration tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.redis_servers import RedisServer, Tls, program, serving
from support.servers import missing


@pytest.fixture(scope="session")
def short_dirs() -> Iterator[Path]:
    """A directory for the whole session whose path leaves room for Unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="hs-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def short_dir(short_dirs: Path) -> Path:
    """A directory of this test's own whose path leaves room for Unix sockets."""
    return Path(tempfile.mkdtemp(dir=short_dirs))


@pytest.fixture(scope="session")
def valkey(short_dirs: Path) -> Iterator[RedisServer]:
    """The bundled Valkey, on a Unix socket, shared by all tests: use a namespace of your own."""
    with serving(program("valkey"), short_dirs / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def redis_program() -> Path:
    """Debian's Redis 7, which can do TLS."""
    if reason := missing("redis-server"):
        pytest.skip(reason)
    return program("redis")


@pytest.fixture(scope="session")
def redis(short_dirs: Path, redis_program: Path) -> Iterator[RedisServer]:
    """Debian's Redis 7, on a Unix socket, shared by all tests: use a namespace of your own."""
    with serving(redis_program, short_dirs / "redis") as server:
        yield server


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.redis)])
def engine(request: pytest.FixtureRequest) -> RedisServer:
    """Each engine in turn."""
    server: RedisServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def namespace() -> str:
    """Where nobody else keeps anything."""
    return f"test-{os.urandom(6).hex()}"


@pytest.fixture(scope="session")
def tls(short_dirs: Path) -> Tls:
    """A certificate for servers on this machine."""
    return Tls.made_in(short_dirs / "tls")
