"""Redis and Valkey servers that a test starts, kills, pauses and starts again: alone, or under three Sentinels."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis
import trustme
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from harbor_scanner.jobs.address import RedisAddress
from support.servers import ServerError, environment, find_program, wait_for

MASTER = "harbor"
"""Name under which the Sentinels know the master."""

_READY = "(?i)ready to accept connections|sentinel id is"


class Account(NamedTuple):
    """A user of a server, and what it may do, in the words of `ACL SETUSER`."""

    name: str
    password: str
    rights: Sequence[str] = ("~*", "&*", "+@all")

    @property
    def rule(self) -> list[str]:
        """Return the words of the `user` directive that makes this account."""
        return [self.name, "on", f">{self.password}", *self.rights]


NOBODY = ("default", "off")
"""The words that shut out everybody who does not log in."""


class Tls(NamedTuple):
    """The certificate of servers on this machine, and the CA that signed it."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def made_in(cls, directory: Path, *names: str) -> Tls:
        """Make a CA and a certificate for `names`, or else for this machine."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        tls = cls(directory / "ca.pem", directory / "certificate.pem", directory / "key.pem")
        authority.cert_pem.write_to_path(tls.ca)
        issued.cert_chain_pems[0].write_to_path(tls.certificate)
        issued.private_key_pem.write_to_path(tls.key)
        return tls

    def options(self, port: int) -> list[str]:
        """Return what has a server speak TLS, and nothing else, on `port`."""
        return [
            "--port", "0", "--tls-port", str(port), "--tls-replication", "yes", "--tls-auth-clients", "no",
            "--tls-ca-cert-file", str(self.ca),
            "--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key),
        ]  # fmt: skip


class RedisServer:
    """One server in a directory of its own, always on a Unix socket there, and on a loopback port if asked for."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        *options: str,
        tcp: bool = False,
        tls: Tls | None = None,
        durable: bool = False,
        admin: Account | None = None,
        accounts: Sequence[Account] = (),
    ) -> None:
        """With an `admin`, nobody else gets in but those with `accounts`."""
        directory.mkdir(parents=True, exist_ok=True)
        self.program = program
        self.directory = directory
        self.port = free_port() if tcp or tls else 0
        self.tls = tls
        self._durable = durable
        self._options = options
        self._admin = admin
        users = {account.name: account.rule for account in (admin, *accounts) if account}
        self._users = {"default": NOBODY, **users} if admin else {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.directory / "s"

    @property
    def address(self) -> RedisAddress:
        """Where it is, for our own client."""
        if self.port:
            return RedisAddress(hosts=(("127.0.0.1", self.port),), tls=self.tls is not None)
        return RedisAddress(socket=self.socket)

    @property
    def log(self) -> Path:
        """What it printed since its last start."""
        return self.directory / "log"

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on the data that it finds, and wait until it takes connections."""
        self.socket.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment(self.program), start_new_session=True, cwd=self.directory,
            )  # fmt: skip
        wait_for(_READY, self.log, self._process, 60)

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End it as an operator does; with certainty."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self.kill()

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def slow_down_loading(self, microseconds: int) -> None:
        """Have its next start take so much longer for each command that it kept."""
        self._options = (*self._options, "--key-load-delay", str(microseconds))

    def ask(self, *command: str | bytes | float, database: int = 0, **parsing: Any) -> Any:
        """Return the reply to a command, sent over a connection of its own. Raises RedisError."""
        name, password = self._admin[:2] if self._admin else (None, None)
        client: Any = redis.Redis(
            unix_socket_path=str(self.socket), username=name, password=password, db=database, protocol=2,
            socket_timeout=5, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        with contextlib.closing(client):
            return client.execute_command(*command, **parsing)

    def keys(self, pattern: str) -> set[str]:
        """Return the keys that match."""
        return {key.decode() for key in self.ask("KEYS", pattern)}

    def clients(self) -> list[dict[str, str]]:
        """Return who is connected, apart from the one who asks."""
        everybody: list[dict[str, str]] = self.ask("CLIENT LIST")
        return [client for client in everybody if not client["cmd"].startswith("client")]

    def _command(self) -> list[str]:
        listening = self.tls.options(self.port) if self.tls else ["--port", str(self.port)]
        users = [word for rule in self._users.values() for word in ("--user", *rule)]
        return [
            str(self.program), "--bind", "127.0.0.1", *listening, "--unixsocket", str(self.socket),
            "--dir", str(self.directory), "--save", "", "--appendonly", "yes" if self._durable else "no",
            "--appendfsync", "always", *users, *self._options,
        ]  # fmt: skip

    def _signal(self, number: signal.Signals) -> None:
        if self.runs:
            os.killpg(self.pid, number)


class _SentinelServer(RedisServer):
    """One Sentinel, which keeps what it knows in its configuration file."""

    def __init__(self, program: Path, directory: Path, configuration: Sequence[str], **arguments: Any) -> None:
        super().__init__(program, directory, **arguments)
        self._configuration = configuration

    def _command(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            listening = self.tls.options(self.port) if self.tls else ["--port", str(self.port)]
            lines = [
                *(f"{name.removeprefix('--')} {value}" for name, value in zip(*[iter(listening)] * 2, strict=True)),
                "bind 127.0.0.1",
                f"unixsocket {self.socket}",
                f"dir {self.directory}",
                *("user " + " ".join(f'"{word}"' for word in rule) for rule in self._users.values()),
                *self._configuration,
            ]
            file.write_text("\n".join(lines) + "\n")
        return [str(self.program), str(file), "--sentinel"]


class SentinelDeployment:
    """A master and a replica, watched by three Sentinels, as high availability needs at least."""

    def __init__(
        self,
        program: Path,
        directory: Path,
        *,
        tls: Tls | None = None,
        admin: Account | None = None,
        accounts: Sequence[Account] = (),
        sentinel_account: Account | None = None,
    ) -> None:
        """`accounts` are those of the nodes; `admin` is the one by which the Sentinels know the nodes."""
        self.tls = tls
        login = ["--masteruser", admin.name, "--masterauth", admin.password] if admin else []
        self.nodes = [
            RedisServer(
                program, directory / name, "--repl-diskless-sync-delay", "0", *login,
                tcp=True, tls=tls, admin=admin, accounts=accounts,
            )
            for name in ("a", "b")
        ]  # fmt: skip
        watching = [
            f"sentinel monitor {MASTER} 127.0.0.1 {self.nodes[0].port} 2",
            f"sentinel down-after-milliseconds {MASTER} 400",
            f"sentinel failover-timeout {MASTER} 1000",
        ]
        if admin:
            watching += [f"sentinel auth-user {MASTER} {admin.name}", f"sentinel auth-pass {MASTER} {admin.password}"]
        if sentinel_account:
            watching += [
                f"sentinel sentinel-user {sentinel_account.name}",
                f'sentinel sentinel-pass "{sentinel_account.password}"',
            ]
        self.sentinels = [
            _SentinelServer(program, directory / f"s{number}", watching, tcp=True, tls=tls, admin=sentinel_account)
            for number in range(3)
        ]

    @property
    def address(self) -> RedisAddress:
        """Where the Sentinels are, without the password."""
        hosts = tuple(("127.0.0.1", sentinel.port) for sentinel in self.sentinels)
        return RedisAddress(hosts=hosts, master_name=MASTER, tls=self.tls is not None)

    @property
    def master(self) -> RedisServer:
        """The node that is the master in the eyes of the first Sentinel that answers."""
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisError):
                port = sentinel.ask("SENTINEL MASTER", MASTER)["port"]
                return next(node for node in self.nodes if node.port == port)
        raise ServerError("no Sentinel answers")

    @property
    def replica(self) -> RedisServer:
        """The other node."""
        master = self.master
        return next(node for node in self.nodes if node is not master)

    def start(self) -> None:
        """Start all five, and wait until every Sentinel knows the others and the replica."""
        master, replica = self.nodes
        for server in (master, replica):
            server.start()
        replica.ask("REPLICAOF", "127.0.0.1", str(master.port))
        eventually(lambda: replica.ask("INFO", "replication").get("master_link_status") == "up", "it replicates")
        for sentinel in self.sentinels:
            sentinel.start()
            # Sentinels look around every ten seconds; tests cannot wait that long.
            periods = ("INFO", "300", "PUBLISH", "200", "ASK", "200", "PING", "200")
            sentinel.ask("SENTINEL", "DEBUG", *(f"{word}-PERIOD" if word.isalpha() else word for word in periods))
        eventually(lambda: self.is_whole, "the Sentinels know each other and the replica")

    @property
    def is_whole(self) -> bool:
        """Whether every Sentinel sees the same master, a replica that has its data, and the other Sentinels."""
        try:
            states = [sentinel.ask("SENTINEL MASTER", MASTER) for sentinel in self.sentinels]
            replication = self.replica.ask("INFO", "replication")
        except (RedisError, OSError):
            return False
        return (
            len({state["port"] for state in states}) == 1
            and all(state["flags"] == "master" for state in states)
            and all(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 for state in states)
            and replication["role"] == "slave"
            and replication["master_link_status"] == "up"
        )

    def settle(self, seconds: float = 30) -> None:
        """Wait until the replica has all that the master has now."""
        offset = self.master.ask("INFO", "replication")["master_repl_offset"]
        eventually(
            lambda: self.replica.ask("INFO", "replication")["slave_repl_offset"] >= offset, "replicated", seconds
        )

    def stop(self) -> None:
        """End all of them."""
        for server in (*self.sentinels, *self.nodes):
            server.kill()


@contextlib.contextmanager
def serving(program: Path, directory: Path, *options: str, **arguments: Any) -> Iterator[RedisServer]:
    """Run one server until the block ends."""
    server = RedisServer(program, directory, *options, **arguments)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def under_sentinels(program: Path, directory: Path, **arguments: Any) -> Iterator[SentinelDeployment]:
    """Run a master, a replica and three Sentinels until the block ends."""
    deployment = SentinelDeployment(program, directory, **arguments)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()


def program(name: str) -> Path:
    """Return the server program `valkey` or `redis`. Raises ServerError."""
    if found := find_program(f"{name}-server"):
        return found
    raise ServerError(f"there is no {name}-server")


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} seconds still not so: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a loopback port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
