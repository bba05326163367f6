"""`harbor-scanner register` as an operator runs it: beside a running service, whose settings it shares."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from standins.harbor.model import Registration
from standins.harbor.server import Harbor
from support import pages
from support.harbor import harbor_running
from support.pages import Block
from support.stage import Stage

HERE = "tests/e2e/test_register.py"
PASSWORD = "Harbor12345"
TOKEN = "t0ken-of-the-service"
BLOCKS = [block for block in pages.blocks() if block.what == HERE]
COMMAND = [sys.executable, "-m", "harbor_scanner", "register"]


@pytest.fixture
def harbor() -> Harbor:
    return Harbor()


@pytest.fixture
def address(harbor: Harbor) -> Iterator[str]:
    with harbor_running(harbor) as url:
        yield url


def environment(stage: Stage, **settings: str) -> dict[str, str]:
    """Return what the service and the command have in common."""
    found = stage.environment(**settings)
    return {**found, "HOME": str(stage.directory), "PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}


def done(arguments: list[str], env: Mapping[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_documented_commands_register_a_running_service(
    block: Block, stage: Stage, harbor: Harbor, address: str, tmp_path: Path
) -> None:
    stage.use_quick_scanner()
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    settings = {"API_AUTH_TOKENS": TOKEN}
    with stage.service(**settings) as service:
        text = re.sub(r"https://harbor\.example[\w.]*", address, block.text)
        text = re.sub(r"http://[\w.-]+:8080", service.url, text).replace("/run/secrets/harbor-admin", str(file))
        assert address in text
        assert service.url in text
        env = {**environment(stage, **settings), "HARBOR_PASSWORD_FILE": str(file)}
        ended = done(["sh", "-e", "-c", text], env)
        again = done(["sh", "-e", "-c", text], env)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Harbor sees Aqua " in ended.stdout
    assert again.stdout.count("already so") == text.count("harbor-scanner register")
    (row,) = harbor.table.listed()
    assert (row.name, row.url, row.auth, row.access_credential, row.is_default) == (
        "Aqua Enterprise", service.url, "Bearer", TOKEN, True,
    )  # fmt: skip
    assert harbor.changes() == ["POST"]
    for secret in (TOKEN, PASSWORD):
        assert secret not in ended.stdout + again.stdout


def test_there_are_such_commands() -> None:
    assert "docs/register.md" in {block.page for block in BLOCKS}


def test_each_scanner_of_a_service_answers_harbor_where_it_is_registered(
    stage: Stage, harbor: Harbor, address: str
) -> None:
    stage.use_quick_scanner()
    settings = {"ENABLED": "aqua,osv", "OSV_UPDATE_EVERY": "0"}
    with stage.service(**settings) as service:
        ended = done(
            [*COMMAND, "--harbor", address, "--url", service.url, "--password-file", "-", "--json"],
            environment(stage, **settings), f"{PASSWORD}\n",
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)["registrations"]
    assert [(one["name"], one["url"], one["sees"]["name"]) for one in told] == [
        ("Aqua Enterprise", f"{service.url}/aqua", "Aqua"),
        ("OSV", f"{service.url}/osv", "OSV"),
    ]
    assert {row.uuid for row in harbor.table.listed()} == {one["id"] for one in told}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_stdout_has_no_letters_for_stops_nothing(
    stage: Stage, harbor: Harbor, address: str, encoding: str
) -> None:
    stage.use_quick_scanner()
    with stage.service() as service:
        harbor.table.insert(Registration("Sc\u00e4nner \u2603", service.url))
        env = {**environment(stage), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "HARBOR_PASSWORD": PASSWORD}
        ended = done([*COMMAND, "--harbor", address, "--url", service.url, "--name", "Aqua"], env)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert harbor.table.named("Aqua").url == service.url


def test_without_a_terminal_a_missing_password_is_an_error_and_no_question(stage: Stage, address: str) -> None:
    ended = done([*COMMAND, "--harbor", address, "--url", "http://127.0.0.1:9"], environment(stage))
    assert ended.returncode == 2
    assert "there is no password" in ended.stderr


def test_at_a_terminal_the_password_is_asked_for_and_not_shown(stage: Stage, address: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--harbor", address, "--url", "http://127.0.0.1:9"],
        env={**environment(stage), "NO_COLOR": "1"}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while b"Harbor's password: " not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, f"{PASSWORD}\n".encode())
        while True:
            try:
                seen += os.read(ours, 1024)
            except OSError:  # the other side has ended
                break
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Harbor cannot use the adapter" in seen
    assert PASSWORD.encode() not in seen
