"""Debian's docker-registry, started for the tests: a real registry with Basic authentication."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support.oci import Registry
from support.servers import find_program, running, wait_for


class Account(NamedTuple):
    """A user. The registry takes only bcrypt hashes, which Python cannot make: hence fixed passwords."""

    username: str
    password: str
    bcrypt: str


ADMIN = Account("admin", "Harbor12345", "$2b$04$UQov.ghuu4F71kGTg/j3fue8WLFjw082zD0wB3v1qXEKW8Zj0AYnO")
"""Pushes the images."""
CONSOLE = Account("aqua_scanner", "c0nsole-pulls!", "$2b$04$Bwxww7rUBvEhjaMlv1tUs.bCIBsvPaIDge4Rpa5rzrGyPTRh9CsyS")
"""Known to the Aqua console, under the registry's name."""
ROBOT = Account(
    "robot$library+scanner-8f2a",
    "5Jw7kq2mBzXh9RtL4vYdN8sPfGcA3eUu",
    "$2b$04$P1YEMHvjSJs5sOzkB.awleS.9i9lytoQt0hSspqvF7Q421gRIckY2",
)
"""Made by Harbor for one scan, and sent with it."""


@contextmanager
def docker_registry(
    folder: Path, *, certificate: Path | None = None, key: Path | None = None, ca_file: Path | None = None
) -> Iterator[Registry]:
    """Run an empty registry, with its files and its log (`registry.log`) in `folder`, until the block ends.

    With `certificate` and `key` it speaks TLS; clients then trust `ca_file`.
    """
    program = find_program("docker-registry")
    assert program, "ask support.servers.missing first"
    log, settings = folder / "registry.log", folder / "registry.json"
    settings.write_text(json.dumps(_settings(folder, certificate, key)))
    with running([program, "serve", settings], log) as process:
        # Port 0 lets the kernel choose, and the log tells: no other program can take the port in between.
        port = wait_for(r"listening on 127\.0\.0\.1:(\d+)", log, process)[1]
        scheme = "https" if certificate else "http"
        yield Registry(f"{scheme}://127.0.0.1:{port}", ADMIN.username, ADMIN.password, ca_file)


def _settings(folder: Path, certificate: Path | None, key: Path | None) -> dict[str, object]:
    users = folder / "htpasswd"
    users.write_text("".join(f"{user.username}:{user.bcrypt}\n" for user in (ADMIN, CONSOLE, ROBOT)))
    tls = {"certificate": str(certificate), "key": str(key)} if certificate else {}
    return {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "auth": {"htpasswd": {"realm": "harbor", "path": str(users)}},
        "http": {"addr": "127.0.0.1:0", "secret": "only for tests", "tls": tls},
    }
