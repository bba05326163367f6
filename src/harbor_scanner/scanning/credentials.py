"""Accounts at registries: of the command line, the environment, or docker's configuration.

The configuration is read as docker documents it for `docker login`: `auths`, `credHelpers` and `credsStore`.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harbor_scanner.errors import RegistryError
from harbor_scanner.scanning.reference import DOCKER_HUB

USERNAME = "HARBOR_SCANNER_REGISTRY_USERNAME"
PASSWORD = "HARBOR_SCANNER_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable
"""Variables of the environment, which go before docker's configuration."""

_HUB_KEY = "https://index.docker.io/v1/"
"""Under which docker keeps the account of Docker Hub."""
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers say in place of a user name
_HELPER_SECONDS = 30.0
_NOT_FOUND = "credentials not found"
"""What a helper prints that has no account there."""


class Account(msgspec.Struct, frozen=True):
    """How a registry is told who asks."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """Is exchanged for a token at the registry's own authority."""
    registry_token: str = ""
    """Goes to the registry as it is."""

    @property
    def authorization(self) -> str | None:
        """The header that needs no exchange; None without one."""
        if self.registry_token:
            return f"Bearer {self.registry_token}"
        if self.username or self.password:
            return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"
        return None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be seen nowhere."""
        header = (self.authorization or "").partition(" ")[2]
        return tuple(filter(None, (self.password, self.identity_token, self.registry_token, header)))


NOBODY = Account()


def find_account(host: str, environment: Mapping[str, str]) -> Account:
    """Return the account for a registry: of the environment, or else of docker's configuration.

    Raises RegistryError if docker's configuration, or a helper that it names, cannot be used.
    """
    username, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if username or password:
        if not (username and password):
            raise RegistryError(f"Of {USERNAME} and {PASSWORD} only one is set.", "Set both, or none of them.")
        return Account(username, password)
    path = _configuration(environment)
    return _from_docker(path, host, environment) if path is not None else NOBODY


def _configuration(environment: Mapping[str, str]) -> Path | None:
    if directory := environment.get("DOCKER_CONFIG"):
        return Path(directory) / "config.json"
    home = environment.get("HOME", "")
    return Path(home) / ".docker" / "config.json" if home else None


def _from_docker(path: Path, host: str, environment: Mapping[str, str]) -> Account:
    try:
        document = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return NOBODY
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or "it is no JSON"
        raise RegistryError(
            f"Docker's configuration {path} cannot be read: {reason}.",
            f"Correct it, or set {USERNAME} and {PASSWORD}, or DOCKER_CONFIG.",
        ) from None
    keys = _keys(host)
    helpers, auths = _table(document, "credHelpers"), _table(document, "auths")
    for key in keys:
        if helper := helpers.get(key):
            return _from_helper(str(helper), key, environment)
    store = document.get("credsStore") if isinstance(document, dict) else None
    if store:
        for key in keys:
            account = _from_helper(str(store), key, environment)
            if account != NOBODY:
                return account
    known = {_normal(key): value for key, value in auths.items()}
    for key in keys:
        if isinstance(entry := known.get(_normal(key)), dict):
            return _from_entry(entry, path, key)
    return NOBODY


def _table(document: Any, name: str) -> Mapping[str, Any]:
    table = document.get(name) if isinstance(document, dict) else None
    return table if isinstance(table, dict) else {}


def _keys(host: str) -> tuple[str, ...]:
    return (_HUB_KEY, DOCKER_HUB, "index.docker.io") if host == DOCKER_HUB else (host, f"https://{host}")


def _normal(key: str) -> str:
    """Return the host of a key: old versions of docker wrote URLs."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _from_entry(entry: Mapping[str, Any], path: Path, key: str) -> Account:
    text = {name: value for name, value in entry.items() if isinstance(value, str)}
    username, password = text.get("username", ""), text.get("password", "")
    if text.get("auth"):
        try:
            decoded = base64.b64decode(text["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise RegistryError(
                f"Docker's configuration {path} has an account for {key} that cannot be read: its auth is no Base64.",
                f"Log in again with `docker login {key}`.",
            ) from None
        username, _, password = decoded.rstrip("\0").partition(":")
    return Account(username if password else "", password, text.get("identitytoken", ""), text.get("registrytoken", ""))


def _from_helper(name: str, key: str, environment: Mapping[str, str]) -> Account:
    """Ask `docker-credential-NAME`, as docker does: the registry on stdin, an answer in JSON."""
    program = f"docker-credential-{name}"
    advice = f"Repair it, or set {USERNAME} and {PASSWORD}."
    try:
        asked = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False,
            env=dict(environment),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"it did not answer in {_HELPER_SECONDS:g} seconds"
        reason = str(error.strerror) if isinstance(error, OSError) else reason
        raise RegistryError(
            f"{program}, which docker's configuration names, cannot be asked: {reason}.", advice
        ) from None
    if asked.returncode:
        printed = (asked.stdout or asked.stderr).decode(errors="replace").strip()
        if _NOT_FOUND in printed.lower():
            return NOBODY
        raise RegistryError(f"{program} gives no account for {key}: {printed[:500]}", advice)
    try:
        answer = msgspec.json.decode(asked.stdout, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RegistryError(f"{program} gives no account for {key}: its answer is no JSON.", advice) from None
    username, secret = str(answer.get("Username") or ""), str(answer.get("Secret") or "")
    return Account(identity_token=secret) if username == _TOKEN_USER else Account(username, secret)
