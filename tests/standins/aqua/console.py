"""The Aqua console, as scannercli meets it: who may scan, and which registries it knows."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from standins.aqua import log
from standins.aqua.config import Config
from standins.aqua.failure import FailureError
from standins.aqua.flags import Options
from standins.engine.model import Source


def log_in(config: Config, options: Options) -> None:
    """Connect to the console, and check who asks."""
    _connect(options["host"], really=config.check_host)
    if options["token"]:
        known = options["token"] == config.token
    else:
        known = (options["user"], options["password"]) == (config.username, config.password)
    if not known:
        raise FailureError("Failed logging in to server: 401 Unauthorized: wrong user name, password or token")
    log.line("INFO", "Successfully registered", scanner_id=424)


def registry(config: Config, options: Options) -> Source:
    """Return the registry by its name in the console, with the robot's account if one is given."""
    if options["registry"] not in config.registries:
        raise FailureError("Failed scanning image: no such registry")
    known = Source(**config.registries[options["registry"]])
    if options["robot-username"]:
        return known._replace(username=options["robot-username"], password=options["robot-password"])
    if config.robot_required:
        raise FailureError("Failed getting image manifest: 412 Precondition Failed")
    return known


def _connect(host: str, *, really: bool) -> None:
    url = urlsplit(host)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise FailureError("Failed connecting to server: missing or malformed --host")
    if not really:
        return
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname, port), timeout=10).close()
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        raise FailureError(f'Failed connecting to server: Get "{host}/api/v1/scanner": {problem}') from error
