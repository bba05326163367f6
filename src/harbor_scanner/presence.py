"""Where a running service listens: a note that other commands find, whatever the service was started with.

It lies in the service's own scratch directory, and so goes with it, or at the next start if the service was killed.
"""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import structlog

from harbor_scanner.http.settings import ListenAddress

log = structlog.get_logger(__name__)

_NOTE = "listening.json"


class Presence(msgspec.Struct, frozen=True):
    """A service that listens."""

    machine: str
    """Host name: containers may share a data directory, but not their loopback interface."""
    address: str
    """Such as `127.0.0.1:8080`, to be connected to from this machine."""
    tls: bool
    asks_certificate: bool
    """Whether clients must show a certificate."""


def announce(scratch: Path, address: ListenAddress, *, tls: bool, asks_certificate: bool) -> None:
    """Note in the scratch directory of this process where it listens."""
    presence = Presence(socket.gethostname(), str(address.from_here), tls, asks_certificate)
    draft = scratch / f"{_NOTE}.new"
    try:
        draft.write_bytes(msgspec.json.encode(presence))
        draft.rename(scratch / _NOTE)
    except OSError as error:
        log.warning("`harbor-scanner healthy` will not find this service", directory=str(scratch), error=str(error))


def services(data_dir: Path) -> list[Presence]:
    """Return the services of this machine that use the data directory, with those that were killed since.

    Raises OSError if they cannot be looked for.
    """
    found = []
    try:
        directories = sorted((data_dir / "scratch").iterdir())
    except FileNotFoundError:
        return []
    for directory in directories:
        try:
            found.append(msgspec.json.decode((directory / _NOTE).read_bytes(), type=Presence))
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            continue  # it is about to start, or to end
    return [presence for presence in found if presence.machine == socket.gethostname()]
