"""The embedded store: durable, restarted when it ends, never two on one directory, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harbor_scanner import embedded
from harbor_scanner.embedded import EmbeddedStore, stored_secret
from harbor_scanner.errors import StartError, StoreUnavailableError
from harbor_scanner.harbor.models import VULNERABILITY
from harbor_scanner.jobs.address import RedisAddress
from support.jobs import KEEP, PATIENCE, Station, scan_request, station, vulnerabilities

LONG = 60.0
NAMESPACE = "harbor.scanner:store"


class Running(NamedTuple):
    """An embedded store and one process that uses it."""

    here: Station
    pids: list[int]
    """Of its server, the present one last."""


@contextlib.asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[Running]:
    pids: list[int] = []

    @contextlib.asynccontextmanager
    async def adopt(pid: int) -> AsyncIterator[None]:
        pids.append(pid)
        yield

    async with EmbeddedStore.open(data_dir, adopt) as store, station(store.address, NAMESPACE) as here:
        yield Running(here, pids)


def runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def leased(running: Running) -> list[str]:
    return [lease.job_id for lease in await running.here.queue.lease(99)]


def test_what_was_accepted_survives_the_kill_of_the_server_at_once(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir) as running:
            for number in range(4):
                await running.here.queue.accept(f"job-{number}", scan_request(number), LONG)
                os.kill(running.pids[-1], signal.SIGKILL)
            leases = await running.here.queue.lease(9)
            assert [running.here.queue.open_request(lease) for lease in leases] == list(map(scan_request, range(4)))
            assert len(set(running.pids)) == 5

    asyncio.run(scenario())


def test_every_change_is_synced_to_the_disk_before_it_is_answered(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir) as running:
            redis: Any = running.here.connections.client
            settings = await redis.config_get("append*")
            assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")

    asyncio.run(scenario())


def test_the_server_ends_with_the_store_and_its_data_are_there_the_next_time(short_dir: Path) -> None:
    async def scenario() -> None:
        for number in range(2):
            async with opened(short_dir) as running:
                await running.here.queue.accept(f"job-{number}", scan_request(), LONG)
            assert not runs(running.pids[-1])
        async with opened(short_dir) as running:
            assert await leased(running) == ["job-0", "job-1"]

    asyncio.run(scenario())


def test_nobody_else_may_read_the_store(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir / "data"):
            directory = short_dir / "data" / "store"
            for path in (directory, directory / "store.sock"):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["with a blank", "with 'quotes\"", "ünïcode"])
def test_the_data_directory_may_have_any_name(short_dir: Path, name: str) -> None:
    async def scenario() -> None:
        async with opened(short_dir / name) as running:
            await running.here.queue.accept("job-1", scan_request(), LONG)
        async with opened(short_dir / name) as running:
            assert await leased(running) == ["job-1"]

    asyncio.run(scenario())


SERVICE = f"""
import asyncio, contextlib, sys
from pathlib import Path
from harbor_scanner.embedded import EmbeddedStore
from support.jobs import scan_request, station

@contextlib.asynccontextmanager
async def adopt(pid):
    print(pid, flush=True)
    yield

async def main():
    async with EmbeddedStore.open(Path(sys.argv[1]), adopt) as store, station(store.address, {NAMESPACE!r}) as here:
        await here.queue.accept("of-the-service", scan_request(), 30)
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def another_service(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a service on `data_dir`; yield its process and the id of its server's."""
    paths = os.pathsep.join(str(Path(__file__).parents[1] / part) for part in ("", "../src"))
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(data_dir)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    server = 0
    try:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        yield process, server
    finally:
        process.kill()
        process.communicate()
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def test_two_services_on_one_directory_are_refused_and_the_first_is_named(short_dir: Path) -> None:
    async def second() -> None:
        async with opened(short_dir):
            pytest.fail("it started")

    with another_service(short_dir) as (service, server):
        with pytest.raises(StartError, match=rf"process {service.pid}\b.*{short_dir}") as caught:
            asyncio.run(second())
        assert "SCANNER_DATA_DIR" in str(caught.value)
        assert runs(server)
        assert service.poll() is None


@pytest.mark.parametrize("hangs", [False, True])
def test_a_server_left_behind_is_ended_and_its_data_are_served(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    async def scenario(left_behind: int) -> None:
        async with opened(short_dir) as running:
            assert not runs(left_behind)
            assert running.pids != [left_behind]
            assert await leased(running) == ["of-the-service"]

    with another_service(short_dir) as (service, server):
        service.kill()
        service.wait()
        assert runs(server)
        if hangs:
            monkeypatch.setattr(embedded, "_STOP_SECONDS", 0.5)
            os.kill(server, signal.SIGSTOP)
        asyncio.run(scenario(server))


def test_a_server_elsewhere_is_none_of_its_business(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir / "one") as one, opened(short_dir / "another") as another:
            assert runs(one.pids[-1])
            await one.here.store.ping(PATIENCE)
            assert await leased(another) == []

    asyncio.run(scenario())


def test_a_path_too_long_for_a_socket_is_told_with_what_to_do(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir / ("x" * 100)):
            pytest.fail("it started")

    with pytest.raises(StartError, match="too long for a Unix socket") as caught:
        asyncio.run(scenario())
    assert "SCANNER_DATA_DIR" in str(caught.value)
    assert list(short_dir.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_told(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir / "file" / "data"):
            pytest.fail("it started")

    (short_dir / "file").touch()
    with pytest.raises(StartError, match="SCANNER_DATA_DIR"):
        asyncio.run(scenario())


def test_a_damaged_file_stops_the_start_with_the_servers_own_words(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir) as running:
            await running.here.queue.accept("job-1", scan_request(), LONG)
        (changes,) = (short_dir / "store" / "appendonlydir").glob("*.incr.*")
        changes.write_bytes(b"what no server wrote\r\n" + changes.read_bytes())
        async with opened(short_dir):
            pytest.fail("it started")

    with pytest.raises(StartError, match="damaged append-only file") as caught:
        asyncio.run(scenario())
    assert str(short_dir) in str(caught.value)
    assert "Bad file format" in str(caught.value)


def test_an_append_only_file_cut_short_by_a_crash_is_no_obstacle(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir) as running:
            for number in range(3):
                await running.here.queue.accept(f"job-{number}", scan_request(), LONG)
        (changes,) = (short_dir / "store" / "appendonlydir").glob("*.incr.*")
        with changes.open("r+b") as file:
            file.truncate(changes.stat().st_size - 5)
        async with opened(short_dir) as running:
            assert await leased(running) == ["job-0", "job-1"]

    asyncio.run(scenario())


@pytest.mark.parametrize("program", ["missing", "not executable", "ends at once", "never answers"])
def test_a_server_that_does_not_start_is_told(short_dir: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    scripts = {
        "ends at once": "#!/bin/sh\nexit 3\n",
        "never answers": f"#!{sys.executable}\nimport socket, sys, time\nlistener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[sys.argv.index('--unixsocket') + 1])\nlistener.listen()\ntime.sleep(600)\n",
    }  # fmt: skip
    file = short_dir / "valkey-server"
    if program == "missing":
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        monkeypatch.setenv("PATH", str(short_dir))
    else:
        file.write_text(scripts.get(program, ""))
        file.chmod(0o755 if program in scripts else 0o644)
        monkeypatch.setattr(embedded, "_find_program", lambda: file)
    monkeypatch.setattr(embedded, "_START_SECONDS", 1.0)

    async def scenario() -> None:
        async with asyncio.timeout(LONG):
            async with opened(short_dir / "data"):
                pytest.fail("it started")

    with pytest.raises(StartError, match="SCANNER_REDIS_URL"):
        asyncio.run(scenario())


def test_a_server_that_still_loads_its_data_is_given_the_time(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        async with opened(short_dir / "data") as running:
            pipeline = running.here.connections.client.pipeline(transaction=False)
            for number in range(10_000):
                pipeline.set(str(number), "x")
            await pipeline.execute()

    async def read() -> float:
        began = time.monotonic()
        async with opened(short_dir / "data") as running:
            seconds = time.monotonic() - began
            assert await running.here.connections.client.get("9999") == b"x"
        return seconds

    asyncio.run(fill())
    slow = short_dir / "slow"
    slow.write_text(f'#!/bin/sh\nexec "{embedded._find_program()}" "$@" --key-load-delay 200\n')
    slow.chmod(0o755)
    monkeypatch.setattr(embedded, "_find_program", lambda: slow)
    monkeypatch.setattr(embedded, "_START_SECONDS", 1.0)
    assert asyncio.run(read()) > 1.0


def test_a_server_that_cannot_be_started_again_at_first_is_tried_again(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = asyncio.create_subprocess_exec
    refused = 0

    async def refusing(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise BlockingIOError("Resource temporarily unavailable")
        return await start(*arguments, **options)

    async def scenario() -> None:
        async with opened(short_dir) as running:
            await running.here.queue.accept("job-1", scan_request(), LONG)
            monkeypatch.setattr(asyncio, "create_subprocess_exec", refusing)
            os.kill(running.pids[-1], signal.SIGKILL)
            await running.here.store.ping(LONG)
            assert refused == 2
            assert await leased(running) == ["job-1"]

    asyncio.run(scenario())


@pytest.fixture
def small_disk(short_dir: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    directory = short_dir / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_full_disk_loses_nothing_and_all_goes_on_when_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"

    async def scenario() -> None:
        accepted: list[str] = []

        async def accept(patience: float) -> None:
            job_id = f"job-{len(accepted)}"
            await running.here.queue.accept(job_id, scan_request(), patience)
            accepted.append(job_id)

        async with opened(small_disk) as running:
            await accept(LONG)
            (lease,) = await running.here.queue.lease(1)
            with filler.open("wb") as file, contextlib.suppress(OSError):
                # The last pages are left to the store, which has to notice by itself.
                while _free(small_disk) > 40_000:
                    file.write(b"x" * 4096)
                    file.flush()
            with contextlib.suppress(StoreUnavailableError):
                while len(accepted) < 1000:
                    await accept(0.5)
            assert 1 < len(accepted) < 1000

            # What is there can still be asked for, if not at every moment.
            status = await running.here.store.find("job-0", VULNERABILITY, LONG)
            assert status is not None
            waiting = asyncio.create_task(accept(LONG))
            await asyncio.sleep(0.5)
            filler.unlink()
            await waiting
            await accept(LONG)

            assert await running.here.queue.finish(lease, vulnerabilities(lease, b"report"), KEEP, 1.0)
            survivors = set(await leased(running))
            assert survivors >= set(accepted[1:])
            # One that was refused may be there as well: nobody can tell whether it had reached the disk.
            assert len(survivors) <= len(accepted)
        async with opened(small_disk) as running:
            for job_id in accepted:
                assert await running.here.store.find(job_id, VULNERABILITY, PATIENCE) is not None

    asyncio.run(scenario())


def _free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def test_the_secret_is_readable_by_its_owner_only_and_stays_the_same(short_dir: Path) -> None:
    secret = stored_secret(short_dir)
    assert len(secret) >= 40
    assert stored_secret(short_dir) == secret
    assert stat.S_IMODE((short_dir / "store.key").stat().st_mode) == 0o600
    assert [path.name for path in short_dir.iterdir()] == ["store.key"]

    other = short_dir / "other"
    other.mkdir()
    assert stored_secret(other) != secret


def test_a_half_written_secret_of_a_crash_is_not_used(short_dir: Path) -> None:
    (short_dir / f"store.key.{os.getpid()}").write_text("half")
    secret = stored_secret(short_dir)
    assert len(secret) >= 40
    assert "half" not in secret
    assert stat.S_IMODE((short_dir / "store.key").stat().st_mode) == 0o600


def test_a_secret_that_cannot_be_kept_is_told(short_dir: Path) -> None:
    (short_dir / "file").touch()
    with pytest.raises(StartError, match="SCANNER_STORE_KEY"):
        stored_secret(short_dir / "file")


def test_the_address_is_the_socket_in_the_data_directory(short_dir: Path) -> None:
    async def scenario() -> None:
        async with opened(short_dir) as running:
            assert running.here.connections.address == RedisAddress(socket=short_dir / "store" / "store.sock")

    asyncio.run(scenario())
