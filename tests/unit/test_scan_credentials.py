"""Accounts at registries come from the environment, or as docker keeps them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import RegistryError
from harbor_scanner.scanning.credentials import NOBODY, Account, find_account

HELPER = """#!/bin/sh
read -r server
echo "$server" >> {asked}
case "$server" in
  known.example) echo '{{"ServerURL":"x","Username":"me","Secret":"from-helper"}}';;
  token.example) echo '{{"Username":"<token>","Secret":"identity"}}';;
  https://index.docker.io/v1/) echo '{{"Username":"hub","Secret":"of-hub"}}';;
  broken.example) echo "the keyring is locked"; exit 1;;
  odd.example) echo "no json";;
  *) echo "credentials not found in native keychain"; exit 1;;
esac
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with docker's configuration and a helper."""
    (tmp_path / ".docker").mkdir()
    program = tmp_path / "docker-credential-test"
    program.write_text(HELPER.format(asked=tmp_path / "asked"))
    program.chmod(0o755)
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def configure(home: dict[str, str], document: Any) -> None:
    (Path(home["HOME"]) / ".docker" / "config.json").write_text(json.dumps(document))


def test_nobody_is_known_without_a_configuration(home: dict[str, str]) -> None:
    assert find_account("ghcr.io", home) == NOBODY
    assert find_account("ghcr.io", {}) == NOBODY
    assert NOBODY.authorization is None


def test_the_environment_goes_first(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home, {"auths": {"ghcr.io": {"auth": encoded("me:old")}}})
    given = {"HARBOR_SCANNER_REGISTRY_USERNAME": "you", "HARBOR_SCANNER_REGISTRY_PASSWORD": "new"}
    account = find_account("ghcr.io", {**home, **given})
    assert account.authorization == f"Basic {encoded('you:new')}"
    with pytest.raises(RegistryError, match="only one is set"):
        find_account("ghcr.io", {**home, "HARBOR_SCANNER_REGISTRY_USERNAME": "you"})


@pytest.mark.parametrize(
    ("host", "key", "entry", "expected"),
    [
        ("ghcr.io", "ghcr.io", {"auth": encoded("me:pass:word")}, Account("me", "pass:word")),
        ("ghcr.io", "https://ghcr.io/v2/", {"auth": encoded("me:x")}, Account("me", "x")),
        ("ghcr.io", "ghcr.io", {"username": "me", "password": "x"}, Account("me", "x")),
        ("docker.io", "https://index.docker.io/v1/", {"auth": encoded("hub:x")}, Account("hub", "x")),
        ("localhost:5000", "localhost:5000", {"auth": encoded("me:x")}, Account("me", "x")),
        ("acr.example", "acr.example", {"auth": encoded("0000:"), "identitytoken": "t"}, Account(identity_token="t")),
        ("r.example", "r.example", {"registrytoken": "t"}, Account(registry_token="t")),
        ("other.example", "ghcr.io", {"auth": encoded("me:x")}, NOBODY),
        ("ghcr.io:8443", "ghcr.io", {"auth": encoded("me:x")}, NOBODY),
        ("ghcr.io", "ghcr.io", {}, NOBODY),
    ],
)
def test_what_docker_login_has_written(
    home: dict[str, str], host: str, key: str, entry: dict[str, str], expected: Account
) -> None:
    configure(home, {"auths": {key: entry}})
    assert find_account(host, home) == expected


def test_docker_config_names_another_directory(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": encoded("me:x")}}}))
    assert find_account("ghcr.io", {"DOCKER_CONFIG": str(tmp_path)}) == Account("me", "x")


@pytest.mark.parametrize("way", ["credsStore", "credHelpers"])
def test_helpers_are_asked_as_docker_asks_them(home: dict[str, str], way: str) -> None:
    hosts = ("known.example", "token.example", "https://index.docker.io/v1/", "unknown.example")
    configure(home, {way: "test" if way == "credsStore" else dict.fromkeys(hosts, "test")})
    assert find_account("known.example", home) == Account("me", "from-helper")
    assert find_account("token.example", home) == Account(identity_token="identity")
    assert find_account("docker.io", home) == Account("hub", "of-hub")
    assert find_account("unknown.example", home) == NOBODY


def test_only_the_helper_of_this_registry_is_asked(home: dict[str, str]) -> None:
    configure(home, {"credHelpers": {"known.example": "test"}, "auths": {"ghcr.io": {"auth": encoded("me:x")}}})
    assert find_account("ghcr.io", home) == Account("me", "x")
    assert not (Path(home["HOME"]) / "asked").exists()


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"credsStore": "missing"}, "docker-credential-missing, .* cannot be asked: No such file"),
        ({"credHelpers": {"broken.example": "test"}}, "the keyring is locked"),
        ({"credHelpers": {"broken.example": "test-none"}}, "cannot be asked"),
        ({"auths": {"broken.example": {"auth": "!!"}}}, "its auth is no Base64"),
    ],
)
def test_what_cannot_be_used_is_told(home: dict[str, str], document: Any, told: str) -> None:
    configure(home, document)
    with pytest.raises(RegistryError, match=told):
        find_account("broken.example", home)


def test_answers_and_files_that_are_no_json_are_told(home: dict[str, str]) -> None:
    configure(home, {"credsStore": "test"})
    with pytest.raises(RegistryError, match="its answer is no JSON"):
        find_account("odd.example", home)
    (Path(home["HOME"]) / ".docker" / "config.json").write_text("{")
    with pytest.raises(RegistryError, match=r"config\.json cannot be read: it is no JSON"):
        find_account("ghcr.io", home)


def test_secrets_are_known() -> None:
    secrets = Account("me", "pass").secrets
    assert {"pass", encoded("me:pass")} <= set(secrets)
    assert Account(identity_token="t").secrets == ("t",)
