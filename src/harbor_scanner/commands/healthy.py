"""`harbor-scanner healthy`: ask the running service whether it is, for health checks without a shell or curl."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from typing import NoReturn

import typer

from harbor_scanner.commands.common import ConfigOption
from harbor_scanner.config import read_values
from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.groups import WorkerSettings
from harbor_scanner.layers import Loader
from harbor_scanner.presence import Presence, services
from harbor_scanner.settings import settings_of

EXIT_UNHEALTHY = 1
"""The only other code that Docker knows for a health check."""

_PROBE = "/probe/healthy"
_PATIENCE = 4.0
"""Seconds for each step of a request."""


def healthy(*, path: ConfigOption = None) -> None:
    """Ask the service that runs here whether it is healthy: 0 if it answers, else 1.

    For the health check of a container, or a probe of Kubernetes that runs a command. The service is found by its data
    directory, with the port and TLS that it was started with.
    """
    data_dir = _data_dir(path)
    try:
        found = services(data_dir)
    except OSError as error:
        _fail(f"{error.filename} cannot be looked into: {error.strerror}. Ask as the user that runs the service.")
    if not found:
        _fail(f"no harbor-scanner runs here on the data directory {data_dir}.")
    for service in found:
        if problem := _ask(service):
            _fail(f"{service.address} does not answer as it should: {problem}.")
    typer.echo(f"healthy: {', '.join(service.address for service in found)}")


def _data_dir(path: Path | None) -> Path:
    """Return where the service keeps its data; a file that became unreadable does not concern a running one."""
    files = Files()
    overrides = {"SCANNER_CONFIG": str(path)} if path is not None else {}
    try:
        values = read_values(files, Loader(os.environ, overrides=overrides, files=files))
    except SettingsError:
        values = None
    loader = Loader(os.environ, overrides=overrides, files=files, values=values)
    data_dir = loader.read(settings_of(WorkerSettings)["data_dir"])
    if not isinstance(data_dir, Path):
        _fail(" ".join(loader.problems))
    return data_dir


def _ask(service: Presence) -> str:
    """Return what is wrong with the service, or nothing."""
    connection = _connection(service)
    try:
        connection.connect()
        if service.asks_certificate:
            return ""  # whoever has none gets no further than through the handshake, but that needs a service at work
        connection.request("GET", _PROBE)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"{_PROBE} has status {status}"


def _connection(service: Presence) -> http.client.HTTPConnection:
    if not service.tls:
        return http.client.HTTPConnection(service.address, timeout=_PATIENCE)
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - one's own service, under a name of no certificate
    return http.client.HTTPSConnection(service.address, timeout=_PATIENCE, context=context)


def _fail(line: str) -> NoReturn:
    typer.echo(f"not healthy: {line}", err=True)
    raise typer.Exit(EXIT_UNHEALTHY)
