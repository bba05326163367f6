"""prepare.sh, and the commands of the page on Docker, as an administrator of Harbor runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import compose, pages
from support.compose import DEPLOY, SERVICES, Authority, Harbor, content, mode, stub

MAKE_CERTS, PREPARE = DEPLOY / "make-certs.sh", DEPLOY / "prepare.sh"
HERE = "tests/integration/test_compose_prepare.py"
is_root = os.geteuid() == 0


@pytest.fixture
def harbor(tmp_path: Path) -> Harbor:
    """A Harbor with its internal CA."""
    harbor = Harbor.installed(tmp_path)
    Authority.made().write(harbor.pki)
    return harbor


@pytest.mark.parametrize("scanner", list(SERVICES))
def test_the_scanner_owns_what_it_writes_and_can_read_its_secrets(scanner: str, harbor: Harbor) -> None:
    settings = harbor.filled(scanner)
    data = harbor.data / SERVICES[scanner]
    secrets = [path for path in settings.rglob("*") if path.is_file() and path.name not in {"env", "scannercli"}]
    assert [mode(path) for path in secrets] == [0o600] * len(secrets)
    if (settings / "env").exists():
        assert (mode(settings / "env"), (settings / "env").stat().st_uid) == (0o600, os.geteuid())
    directories = [data, *(path for path in data.rglob("*"))]
    assert {mode(path) for path in directories} == {0o700}
    if is_root:
        owned = [*directories, *secrets]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in owned} == {(1000, 1000)}
        closed = [settings, *(path for path in settings.rglob("*") if path.is_dir())]
        assert {path.stat().st_uid for path in closed} == {0}, "nobody else puts anything there"


def test_a_scannercli_from_a_download_becomes_a_program(harbor: Harbor) -> None:
    program = harbor.filled("aqua") / "scannercli"
    assert mode(program) == 0o755


@pytest.mark.parametrize("scanner", list(SERVICES))
def test_a_second_run_changes_nothing(scanner: str, harbor: Harbor) -> None:
    harbor.filled(scanner)
    before = {**content(harbor.home), **content(harbor.data)}
    assert "made" not in harbor.prepare(scanner)
    assert {**content(harbor.home), **content(harbor.data)} == before


def test_what_is_left_to_do_is_told(harbor: Harbor) -> None:
    told = harbor.prepare("aqua")
    for thing in ("scannercli at", "make-certs.sh", "SCANNER_AQUA_USERNAME", "aqua-password"):
        assert thing in told.partition("Left to do:")[2]
    told = harbor.prepare("qualys")
    for thing in ("docker-compose.override.yml", "pod", "access token"):
        assert thing in told.partition("Left to do:")[2]


def test_a_file_of_somebody_else_is_kept_and_told_of(harbor: Harbor) -> None:
    theirs = "services:\n  core:\n    mem_limit: 2g\n"
    harbor.override.write_text(theirs)
    told = harbor.prepare("osv")
    assert harbor.override.read_text() == theirs
    assert f"add to its services the one of {DEPLOY / 'osv' / 'docker-compose.override.yml'}" in told
    harbor.override.write_text(
        theirs + (DEPLOY / "osv" / "docker-compose.override.yml").read_text().partition("services:\n")[2]
    )
    assert compose.complete(harbor.prepare("osv"))


def test_another_image_is_kept_and_told_of(harbor: Harbor) -> None:
    harbor.filled("osv")
    harbor.override.write_text(
        harbor.override.read_text().replace("harbor-scanner:", "registry.example.com/harbor-scanner:")
    )
    assert compose.complete(harbor.prepare("osv")), "the same under the name of one's own registry"
    harbor.override.write_text(harbor.override.read_text().replace("harbor-scanner:", "harbor-scanner:0.0."))
    assert "with another image: change it to harbor-scanner:" in harbor.prepare("osv")


def test_lines_of_others_in_the_file_of_variables_stay(harbor: Harbor) -> None:
    variables = harbor.home / ".env"
    variables.write_text("COMPOSE_PROJECT_NAME=harbor")
    harbor.prepare("aqua")
    assert variables.read_text().splitlines() == [
        "COMPOSE_PROJECT_NAME=harbor", f"HARBOR_DATA={harbor.data}", f"HARBOR_PKI_DIR={harbor.pki}",
    ]  # fmt: skip


def test_a_link_in_the_data_is_not_followed(harbor: Harbor, tmp_path: Path) -> None:
    """User 1000 may be a person on this machine who would like to own a file of root."""
    harbor.prepare("aqua")
    victim = tmp_path / "victim"
    victim.mkdir()
    reports = harbor.data / "aqua-adapter" / "reports"
    reports.rmdir()
    reports.symlink_to(victim)
    harbor.prepare("aqua")
    assert victim.stat().st_uid == os.geteuid()


def test_who_is_not_root_is_told_what_root_must_do(harbor: Harbor, tmp_path: Path) -> None:
    told = harbor.prepare("osv", PATH=stub(tmp_path / "bin", "id", "echo 1001; exit"))
    assert f"chown -h 1000:1000 '{harbor.data / 'osv-adapter'}'" in told
    assert (harbor.data / "osv-adapter").stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HARBOR_HOME": ""}, "HARBOR_HOME is not set"),
        ({"HARBOR_DATA": ""}, "HARBOR_DATA is not set"),
        ({"HARBOR_PKI_DIR": "/nonexistent"}, "HARBOR_PKI_DIR is /nonexistent, which is no directory"),
        ({"HARBOR_DATA": "data"}, "HARBOR_DATA must be an absolute path"),
        ({"HARBOR_DATA": "/nonexistent/data"}, "HARBOR_DATA is /nonexistent/data, which is no directory"),
        ({"HARBOR_DATA": "/$HOME"}, "Compose would read more into"),
        ({"HARBOR_HOME": "/"}, "There is no docker-compose.yml in /"),
    ],
)
def test_paths_that_are_no_harbor_are_refused(variables: dict[str, str], message: str, harbor: Harbor) -> None:
    before = {**content(harbor.home), **content(harbor.data)}
    done = harbor.run("/bin/sh", PREPARE, "aqua", **variables)
    assert done.returncode == 1
    assert message in done.stderr
    assert {**content(harbor.home), **content(harbor.data)} == before


def test_paths_that_contradict_the_file_of_variables_are_refused(harbor: Harbor) -> None:
    (harbor.home / ".env").write_text("HARBOR_DATA=/mnt/other\n")
    done = harbor.run("/bin/sh", PREPARE, "osv")
    assert done.returncode == 1
    assert f"says HARBOR_DATA=/mnt/other, but here HARBOR_DATA is {harbor.data}" in done.stderr


@pytest.mark.parametrize("script", [MAKE_CERTS, PREPARE], ids=lambda path: path.name)
def test_help_is_shown_and_unknown_options_are_not_taken(script: Path, harbor: Harbor) -> None:
    shown = harbor.run("/bin/sh", script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: ")
    wrong = harbor.run("/bin/sh", script, "--unknown")
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", shown.stdout)
    assert os.access(script, os.X_OK)


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl on PATH")
def test_the_commands_of_the_page_work_one_after_the_other(harbor: Harbor) -> None:
    blocks = [block.text for block in pages.blocks() if block.page == "docs/docker.md" and block.what == HERE]
    assert len(blocks) == 3
    text = "\n".join(blocks)
    for name, path in (("HOME", harbor.home), ("DATA", harbor.data), ("PKI_DIR", harbor.pki)):
        example = {"HOME": "/opt/harbor", "DATA": "/data", "PKI_DIR": "/etc/harbor/pki/internal"}[name]
        line = f'export HARBOR_{name}="{example}"\n'
        assert line in text
        text = text.replace(line, f'export HARBOR_{name}="{path}"\n')
    done = subprocess.run(
        ["bash", "-euc", text], cwd=pages.ROOT, env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    old, new = harbor.pki / "old" / "aqua_adapter.crt", harbor.pki / "aqua_adapter.crt"
    assert old.read_bytes() != new.read_bytes()
    assert (harbor.home / "aqua-adapter" / "env").exists()
