"""Images in files can be pulled by their digests from a registry on this machine, and by nobody else."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from harbor_scanner.errors import DiskError, ImageError
from harbor_scanner.local_registry import Content, LocalRegistry, local_registry
from harbor_scanner.scanning.layouts import Found, find_path, put, repository_of
from harbor_scanner.scanning.platform import Platform
from support import images
from support.images import Image, digest
from support.layouts import docker_save, entry, pack, write_layout
from support.oci import Registry

AMD64 = Platform("linux", "amd64")
ACCOUNT = ("me", "pass")

Write = Callable[[Path, dict[str, Image]], Path]


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with local_registry(dict([ACCOUNT])) as running:
        yield running


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def pulled(registry: LocalRegistry, found: Found) -> Image:
    return Registry(registry.url, *ACCOUNT).pull(found.artifact.repository, found.artifact.digest)


LAYOUTS: dict[str, Write] = {
    "directory": lambda path, named: write_layout(path / "layout", named),
    "tar": lambda path, named: pack(write_layout(path / "layout", named), path / "layout.tar"),
    "tar.gz": lambda path, named: pack(write_layout(path / "layout", named), path / "layout.tar.gz", "w:gz"),
    "tar.xz": lambda path, named: pack(write_layout(path / "layout", named), path / "layout.tar.xz", "w:xz"),
}
SAVED: dict[str, Write] = {
    "tar": lambda path, named: docker_save(path / "saved.tar", named),
    "tar.bz2": lambda path, named: docker_save(path / "saved.tar.bz2", named, "w:bz2"),
    "with links": lambda path, named: docker_save(path / "saved.tar", named, linked=True),
}


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("image", [images.debian(), images.alpine().as_docker()], ids=["oci", "docker"])
def test_a_layout_is_pulled_as_it_is(
    tmp_path: Path, scratch: Path, registry: LocalRegistry, write: Write, image: Image
) -> None:
    path = write(tmp_path, {"": image})
    found = put(path, "", AMD64, registry, scratch)
    assert pulled(registry, found) == image
    assert (found.artifact.digest, found.artifact.mime_type) == (image.digest, image.media_type)
    assert found.artifact.repository == "local/layout"
    assert found.size == sum(map(len, image.blobs))


@pytest.mark.parametrize("write", SAVED.values(), ids=SAVED)
def test_what_docker_saves_is_pulled_layer_by_layer(
    tmp_path: Path, scratch: Path, registry: LocalRegistry, write: Write
) -> None:
    image = images.debian()
    found = put(write(tmp_path, {"debian:12": image}), "", AMD64, registry, scratch)
    saved = pulled(registry, found)
    assert saved.config == image.config
    assert saved.layers == tuple(map(gzip.decompress, image.layers))
    assert saved.layer_type == "application/vnd.docker.image.rootfs.diff.tar"
    assert saved.media_type == found.artifact.mime_type == images.DOCKER_MANIFEST


@pytest.mark.parametrize("write", [LAYOUTS["directory"], SAVED["tar"]], ids=["layout", "saved"])
def test_of_several_images_one_must_be_named(
    tmp_path: Path, scratch: Path, registry: LocalRegistry, write: Write
) -> None:
    path = write(tmp_path, {"debian:12": images.debian(), "alpine:3": images.alpine()})
    for name, image in (("debian:12", images.debian()), ("alpine:3", images.alpine())):
        assert pulled(registry, put(path, name, AMD64, registry, scratch)).config == image.config
    for name in ("", "busybox"):
        with pytest.raises(ImageError, match=r"it has debian:12, alpine:3\.") as caught:
            put(path, name, AMD64, registry, scratch)
        assert f"{path}:NAME" in caught.value.advice


def test_of_an_index_the_image_for_the_platform_is_taken(
    tmp_path: Path, scratch: Path, registry: LocalRegistry
) -> None:
    both = {"amd64": images.debian(), "arm64": images.alpine()}
    entries = [entry(image, platform={"os": "linux", "architecture": name}) for name, image in both.items()]
    path = write_layout(tmp_path / "l", both, index=json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    for name, image in both.items():
        found = put(path, "", Platform("linux", name), registry, scratch)
        assert (found.artifact.digest, found.platform) == (image.digest, f"linux/{name}")
    with pytest.raises(ImageError, match="no image for linux/s390x; it has linux/amd64, linux/arm64"):
        put(path, "", Platform("linux", "s390x"), registry, scratch)


def without_a_layer(path: Path) -> Path:
    layout = write_layout(path / "x", {"": images.debian()})
    (layout / "blobs" / "sha256" / digest(images.debian().layers[0])[7:]).unlink()
    return layout


def with_another_manifest(path: Path) -> Path:
    layout = write_layout(path / "x", {"": images.debian()})
    (layout / "blobs" / "sha256" / images.debian().digest[7:]).write_bytes(images.alpine().manifest)
    return layout


def outside(path: Path) -> Path:
    layout = write_layout(path / "x", {"": images.debian()})
    index = {"manifests": [{**entry(images.debian()), "digest": "sha256:../../../../etc/passwd"}]}
    (layout / "index.json").write_text(json.dumps(index))
    return layout


def a_file(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        (path / "x.tar").write_bytes(content)
        return path / "x.tar"

    return write


def an_empty_archive(path: Path) -> Path:
    (path / "empty").mkdir()
    return pack(path / "empty", path / "x.tar")


def a_chart(path: Path) -> Path:
    return write_layout(path / "x", {"": images.helm_chart()})


def cut_off(path: Path) -> Path:
    whole = docker_save(path / "x.tar.gz", {"": images.debian()}, "w:gz")
    whole.write_bytes(whole.read_bytes()[:-1000])
    return whole


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (without_a_layer, "is not complete: sha256:"),
        (with_another_manifest, "is damaged"),
        (outside, "is no digest"),
        (a_chart, "is not an image"),
        (a_file(b"no archive"), "is no archive of an image"),
        (a_file(b""), "x.tar is no archive of an image"),
        (a_file(b"\x1f\x8bno gzip"), "cannot be read|is no archive"),
        (a_file(b"\x28\xb5\x2f\xfd...."), "compressed with zstd"),
        (an_empty_archive, "holds no image"),
        (cut_off, "is no archive of an image"),
        (lambda path: path / "nothing.tar", "cannot be read: No such file"),
    ],
)
def test_what_holds_no_whole_image_is_refused(
    tmp_path: Path, scratch: Path, registry: LocalRegistry, write: Callable[[Path], Path], told: str
) -> None:
    with pytest.raises(ImageError, match=told):
        put(write(tmp_path), "", AMD64, registry, scratch)


def test_an_archive_for_which_there_is_no_room_is_told_as_that(tmp_path: Path, registry: LocalRegistry) -> None:
    path = docker_save(tmp_path / "x.tar.gz", {"": images.debian()}, "w:gz")
    full = tmp_path / "full"
    full.mkdir()
    (full / "archive.tar").symlink_to("/dev/full")
    with pytest.raises(DiskError, match="no room"):
        put(path, "", AMD64, registry, full)


def test_paths_are_told_from_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_layout(tmp_path / "layout", {"": images.debian()})
    (tmp_path / "debian").mkdir()
    (tmp_path / "image").touch()
    assert find_path("layout") == (Path("layout"), "")
    assert find_path("layout:debian:12") == (Path("layout"), "debian:12")
    assert find_path("image") == (Path("image"), "")
    assert find_path("nothing.tar") == (Path("nothing.tar"), "")
    assert find_path("./nothing") == (Path("nothing"), "")
    # A directory that holds no image does not stand in the way of a name.
    assert find_path("debian") is None
    assert find_path("ghcr.io/a/b:1") is None


@pytest.mark.parametrize(
    ("name", "repository"), [("My App_1.tar.gz", "local/my-app-1"), ("x", "local/x"), ("Ünï.tar", "local/n"),
                             ("ß", "local/image")]
)  # fmt: skip
def test_a_file_has_the_name_of_a_repository(tmp_path: Path, name: str, repository: str) -> None:
    assert repository_of(tmp_path / name) == repository


def test_nobody_else_on_this_machine_may_pull(registry: LocalRegistry) -> None:
    found = registry.add_manifest("x", images.debian().manifest, images.OCI_MANIFEST)
    url = f"{registry.url}/v2/x/manifests/{found}"
    for auth in (None, ("me", "wrong"), ("", "")):
        answer = httpx2.get(url, auth=auth, trust_env=False)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert httpx2.get(url, auth=ACCOUNT, trust_env=False).content == images.debian().manifest
    assert httpx2.head(url, auth=ACCOUNT, trust_env=False).headers["docker-content-digest"] == found
    assert registry.url.startswith("http://127.0.0.1:")


def test_an_image_can_be_pushed_and_pulled(registry: LocalRegistry) -> None:
    client = Registry(registry.url, *ACCOUNT)
    pushed = client.push(images.debian(), "library/debian", "12")
    assert pushed == images.debian().digest
    assert client.pull("library/debian", "12") == client.pull("library/debian", pushed) == images.debian()
    with pytest.raises(httpx2.HTTPStatusError):
        client.pull("library/debian", "13")


def test_a_file_that_became_shorter_is_no_whole_answer(tmp_path: Path, registry: LocalRegistry) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 100)
    name = digest(b"x" * 100)
    registry.add_blob("x", name, Content(path, 100))
    path.write_bytes(b"x" * 50)
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{registry.url}/v2/x/blobs/{name}", auth=ACCOUNT, trust_env=False, timeout=10)


def test_a_section_of_an_archive_is_sent_alone(tmp_path: Path, registry: LocalRegistry) -> None:
    path = docker_save(tmp_path / "x.tar", {"": images.alpine()})
    with tarfile.open(path) as archive:
        member = archive.getmember("0.json")
    content = Content(path, member.size, member.offset_data)
    registry.add_blob("x", content.digest(), content)
    assert content.digest() == digest(images.alpine().config)
    answer = httpx2.get(f"{registry.url}/v2/x/blobs/{content.digest()}", auth=ACCOUNT, trust_env=False)
    assert answer.content == images.alpine().config
