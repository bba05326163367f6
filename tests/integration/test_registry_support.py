"""The registries that tests push to, and the one that the demo and scans of files run, behave as registries."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from harbor_scanner.local_registry import local_registry
from support import images
from support.oci import Registry, basic
from support.registry import ADMIN, CONSOLE, ROBOT, Account, docker_registry
from support.servers import ServerError, missing, running, wait_for


@pytest.fixture(params=[pytest.param("docker-registry", marks=pytest.mark.registry), "in memory"], scope="module")
def any_registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "docker-registry":
        yield request.getfixturevalue("registry")
    else:
        accounts = {user.username: user.password for user in (ADMIN, CONSOLE, ROBOT)}
        with local_registry(accounts) as held:
            yield Registry(held.url, ADMIN.username, ADMIN.password)


@pytest.mark.parametrize("make", [images.debian, images.alpine, images.helm_chart, images.cosign_signature])
@pytest.mark.parametrize("docker", [False, True])
def test_what_was_pushed_can_be_pulled(any_registry: Registry, make: Callable[[], images.Image], docker: bool) -> None:
    image = make().as_docker() if docker else make()
    digest = any_registry.push(image, "support/round-trip", "1.0")
    assert digest == image.digest
    assert any_registry.pull("support/round-trip", "1.0") == image
    assert any_registry.pull("support/round-trip", digest) == image


def test_without_a_tag_there_is_only_the_digest(any_registry: Registry) -> None:
    image = images.without_packages()
    digest = any_registry.push(image, "support/untagged")
    assert any_registry.pull("support/untagged", digest) == image
    with pytest.raises(httpx2.HTTPStatusError, match="404"):
        any_registry.pull("support/untagged", "latest")


@pytest.mark.parametrize("account", [ADMIN, CONSOLE, ROBOT], ids=lambda account: account.username)
def test_accounts(any_registry: Registry, account: Account) -> None:
    good = basic(account.username, account.password)
    bad = basic(account.username, "wrong")
    answers = [httpx2.get(f"{any_registry.url}/v2/", headers={"Authorization": value}) for value in (good, bad)]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[1].headers["WWW-Authenticate"].startswith("Basic ")
    assert httpx2.get(f"{any_registry.url}/v2/").status_code == 401


def test_a_manifest_must_not_name_what_is_not_there(any_registry: Registry) -> None:
    image = images.alpine()
    answer = httpx2.put(
        f"{any_registry.url}/v2/support/empty/manifests/1.0",
        content=image.manifest,
        headers={"Content-Type": image.media_type, "Authorization": any_registry.authorization},
    )
    assert answer.status_code == 400
    assert {error["code"] for error in answer.json()["errors"]} == {"MANIFEST_BLOB_UNKNOWN"}


def test_a_blob_must_be_what_its_digest_says(any_registry: Registry) -> None:
    headers = {"Authorization": any_registry.authorization}
    with httpx2.Client(base_url=any_registry.url, headers=headers) as client:
        location = httpx2.URL(client.post("/v2/support/empty/blobs/uploads/").headers["Location"])
        answer = client.put(location.copy_merge_params({"digest": images.digest(b"one")}), content=b"another")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"


def test_head_tells_size_and_digest(any_registry: Registry) -> None:
    image = images.debian()
    any_registry.push(image, "support/head", "1.0")
    headers = {"Authorization": any_registry.authorization, "Accept": image.media_type}
    answer = httpx2.head(f"{any_registry.url}/v2/support/head/manifests/1.0", headers=headers)
    assert int(answer.headers["Content-Length"]) == len(image.manifest)
    assert answer.headers["Docker-Content-Digest"] == image.digest
    assert answer.headers["Content-Type"] == image.media_type


@pytest.mark.registry
@pytest.mark.skipif(missing("docker-registry") != "", reason=missing("docker-registry"))
def test_a_registry_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with docker_registry(tmp_path) as registry:
        assert httpx2.get(f"{registry.url}/v2/").status_code == 401
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{registry.url}/v2/")


def test_a_server_that_does_not_start_tells_why(tmp_path: Path) -> None:
    with (
        running(["/bin/sh", "-c", "echo no room; exit 3"], tmp_path / "log") as process,
        pytest.raises(ServerError, match=r"ended with 3:\nno room"),
    ):
        wait_for("listening", tmp_path / "log", process)


def test_a_server_that_ignores_its_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo child $!; wait"
    with running(["/bin/sh", "-c", script], tmp_path / "log", grace=0.2) as process:
        child = int(wait_for(r"child (\d+)", tmp_path / "log", process)[1])
    assert process.returncode is not None
    state = subprocess.run(["ps", "-o", "stat=", str(child)], capture_output=True, text=True, check=False).stdout
    assert state.strip()[:1] in {"", "Z"}
