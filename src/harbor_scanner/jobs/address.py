"""Addresses of a Redis or Valkey deployment: standalone, Unix socket, TLS, Sentinel."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

ALLOWED = (
    "redis://[[user]:password@]host[:port][/database], rediss://… with TLS, unix:///path, or "
    "redis+sentinel://[[user]:password@]host[:port],host[:port],…/master-name[/database] (rediss+sentinel:// with TLS)"
)
_URL = re.compile(
    r"(?P<scheme>redis|rediss|redis\+sentinel|rediss\+sentinel)://"
    r"(?:(?P<username>[^:@/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?P<hosts>[^/@?#]+)"
    r"(?P<path>(?:/[^/?#]*)*)"
    r"(?:\?idle_timeout_seconds=\d+)?",  # in Harbor's own URLs; here SCANNER_REDIS_POOL_IDLE_TIMEOUT says it
    re.ASCII,
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]\s]+))(?::(?P<port>\d{1,5}))?", re.ASCII)
_REDIS_PORT = 6379
_SENTINEL_PORT = 26379


class RedisAddress(msgspec.Struct, frozen=True):
    """Where the store is, and how to log in."""

    hosts: tuple[tuple[str, int], ...] = ()
    """Host and port; with `master_name` these are Sentinels."""
    master_name: str = ""
    """Name of the master that the Sentinels watch; empty for a standalone server."""
    database: int = 0
    username: str = ""
    """User of the data nodes (an ACL user); empty for the default user."""
    password: str = ""
    """Password of the data nodes."""
    tls: bool = False
    socket: Path | None = None
    """Unix socket, instead of hosts."""

    def __str__(self) -> str:
        """Return the address without user and password, for logs."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        scheme = ("rediss" if self.tls else "redis") + ("+sentinel" if self.master_name else "")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        path = f"/{quote(self.master_name, safe='')}" if self.master_name else ""
        return f"{scheme}://{hosts}{path}/{self.database}"


def parse_redis_url(url: str) -> RedisAddress:
    """Read a Redis URI of the forms that the Aqua adapter's README gives, and their TLS variants.

    Raises ValueError with what is wrong, without the URL itself, which may hold a password.
    """
    if url.startswith("unix://"):
        socket = url.removeprefix("unix://")
        if not socket.startswith("/") or "?" in socket:
            raise ValueError("after unix:// it must have an absolute path and nothing else")
        return RedisAddress(socket=Path(socket))
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError("it is not such a URL")
    sentinel = match["scheme"].endswith("+sentinel")
    path = [unquote(part) for part in match["path"].split("/")[1:]]
    while path and not path[-1]:
        path.pop()
    master_name = path.pop(0) if sentinel and path else ""
    if sentinel and not master_name:
        raise ValueError("the name of the Sentinel master is missing from its path")
    if len(path) > 1 or (path and not re.fullmatch(r"\d{1,5}", path[0], re.ASCII)):
        raise ValueError("its database is not a number")
    hosts = tuple(
        _host(part, _SENTINEL_PORT if sentinel else _REDIS_PORT) for part in match["hosts"].split(",") if part.strip()
    )
    if not hosts:
        raise ValueError("it names no host")
    if len(hosts) > 1 and not sentinel:
        raise ValueError("it names several hosts, which only redis+sentinel:// may")
    return RedisAddress(
        hosts=hosts,
        master_name=master_name,
        database=int(path[0]) if path else 0,
        username=unquote(match["username"] or ""),
        password=unquote(match["password"] or ""),
        tls=match["scheme"].startswith("rediss"),
    )


def mask_redis_url(url: str) -> str:
    """Return `url` with its password, if it has one, replaced."""
    return re.sub(r"(?<=://)([^:@/]*):[^@]*@", r"\1:********@", url)


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text.strip())
    if not match:
        raise ValueError("one of its hosts is not host:port")
    port = int(match["port"] or default_port)
    if not 0 < port < 2**16:
        raise ValueError("one of its ports is not a port")
    return match["v6"] or match["name"], port
