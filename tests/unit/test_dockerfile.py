"""What the image is built from, as far as that can be told without building it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harbor_scanner import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def locked(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return version and hashes of each distribution, by its name."""
    entries = re.findall(r"^([\w.-]+)==(\S+)([^\n]*(?:\n {4}--hash=\S+[^\n]*)+)", path.read_text(), re.MULTILINE)
    return {name: (version, frozenset(re.findall(r"sha256:\w{64}", rest))) for name, version, rest in entries}


def test_the_image_gets_what_the_tests_ran_with() -> None:
    everything = locked(ROOT / "requirements.lock")
    for name in ("runtime.lock", "build.lock"):
        entries = locked(DOCKER / name)
        assert entries
        assert {name: entry for name, entry in entries.items() if everything.get(name) != entry} == {}, (
            "run `make lock`"
        )
        assert all(hashes for _, hashes in entries.values())


def test_the_image_gets_all_dependencies_and_no_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = {re.split(r"[<>=\[]", line)[0] for line in project["project"]["dependencies"]}
    runtime = locked(DOCKER / "runtime.lock").keys()
    assert named <= runtime, "run `make lock`"
    assert runtime.isdisjoint({"pytest", "ruff", "mypy", "hatchling", "pip", "uv"})
    assert "hatchling" in locked(DOCKER / "build.lock")


def test_versions_are_those_of_the_project() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f'description="{project["description"]}"' in DOCKERFILE
    for name in ("Dockerfile.aqua", "Dockerfile.qualys", "README.md"):
        named = set(re.findall(r"harbor-scanner(?:-\w+)?:(\d[\w.]*)", (DOCKER / name).read_text()))
        assert named == {__version__}, name


def test_the_base_is_pinned_by_its_digest() -> None:
    assert re.search(r"^ARG BASE_DIGEST=sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert "ARG BASE=${BASE_NAME}@${BASE_DIGEST}" in DOCKERFILE


def test_what_is_copied_from_here_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    copied = {source for line in lines for source in line.split()[:-1]}
    copied |= set(re.findall(r"type=bind,source=([^,]+)", DOCKERFILE))
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert {source, str(Path(source).parent)} & sent, source
