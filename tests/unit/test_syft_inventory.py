"""What is read of Syft's own document. Its members are those that syft 1.18 writes."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.errors import BadReportError
from harbor_scanner.syft.document import decode_document
from harbor_scanner.syft.inventory import Installed, Inventory, System, inventory_of

UNPACKED = ("sha256:" + "aa" * 32, "sha256:" + "bb" * 32)
PACKED = ("sha256:" + "11" * 32, "sha256:" + "22" * 32)


def artifact(kind: str, name: str, version: str, path: str = "/somewhere", layer: int = 0, **fields: Any) -> Any:
    return {
        "id": f"{kind}:{name}:{version}",
        "name": name,
        "version": version,
        "type": kind,
        "foundBy": "a-cataloger",
        "locations": [{"path": path, "layerID": UNPACKED[layer], "accessPath": path, "annotations": {}}],
        "licenses": [],
        "language": "",
        "cpes": [],
        "purl": f"pkg:{kind}/{name}@{version}",
        **fields,
    }


def encoded(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def document(*artifacts: Any, **members: Any) -> bytes:
    source = {
        "id": "x",
        "type": "image",
        "metadata": {
            "manifest": encoded({"layers": [{"digest": digest} for digest in PACKED]}),
            "config": encoded({"rootfs": {"type": "layers", "diff_ids": UNPACKED}}),
        },
    }
    whole = {"artifacts": artifacts, "artifactRelationships": [], "source": source, "distro": {}, "descriptor": {}}
    return json.dumps({**whole, **members}).encode()


def take(*artifacts: Any, **members: Any) -> Inventory:
    return inventory_of(decode_document(document(*artifacts, **members)))


def only(*artifacts: Any, **members: Any) -> Installed:
    [package] = take(*artifacts, **members).packages
    return package


def test_a_debian_package_is_known_by_its_source() -> None:
    metadata = {"package": "bash", "source": "bash-src", "version": "5.2-2+b2", "sourceVersion": "5.2-2"}
    package = only(artifact("deb", "bash", "5.2-2+b2", metadata=metadata))
    assert (package.name, package.version) == ("bash", "5.2-2+b2")
    assert (package.source, package.source_version) == ("bash-src", "5.2-2")
    assert package.of_system


def test_a_debian_package_that_names_no_source_is_its_own() -> None:
    package = only(artifact("deb", "tar", "1.34", metadata={"source": "", "sourceVersion": ""}))
    assert (package.source, package.source_version) == ("tar", "1.34")


def test_an_alpine_package_is_known_by_its_origin() -> None:
    package = only(artifact("apk", "musl-utils", "1.1.20-r4", metadata={"originPackage": "musl"}))
    assert (package.source, package.source_version) == ("musl", "1.1.20-r4")


@pytest.mark.parametrize(
    ("version", "source_rpm", "source", "source_version"),
    [
        ("1:3.0.7-25.el9", "openssl-3.0.7-25.el9.src.rpm", "openssl", "1:3.0.7-25.el9"),
        ("2.34-60.el9", "glibc-2.34-60.el9.src.rpm", "glibc", "2.34-60.el9"),
        ("2.0-1.el9", "python-pip-tools-21.2-1.el9.nosrc.rpm", "python-pip-tools", "21.2-1.el9"),
        ("2.0-1", "", "some", "2.0-1"),
        ("2.0-1", "nonsense", "some", "2.0-1"),
    ],
)
def test_an_rpm_is_known_by_its_source_with_its_own_epoch(
    version: str, source_rpm: str, source: str, source_version: str
) -> None:
    metadata = {"name": "some", "epoch": None, "sourceRpm": source_rpm, "modularityLabel": "nodejs:18:8090020231"}
    package = only(artifact("rpm", "some", version, metadata=metadata))
    assert (package.source, package.source_version) == (source, source_version)
    assert package.modularity == "nodejs:18:8090020231"


@pytest.mark.parametrize("version", ["", "UNKNOWN", "(devel)"])
def test_what_stands_for_no_version_is_none(version: str) -> None:
    assert only(artifact("go-module", "example.com/x", version)).version == ""


def test_layers_are_named_as_the_registry_does() -> None:
    packages = take(artifact("npm", "a", "1"), artifact("npm", "b", "1", layer=1)).packages
    assert [package.layer for package in packages] == list(PACKED)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"manifest": "?", "config": "?"}, {"manifest": encoded([]), "config": encoded({})},
     {"manifest": encoded({"layers": []}), "config": encoded({"rootfs": {"diff_ids": UNPACKED}})}],
)  # fmt: skip
def test_without_a_manifest_the_layer_is_not_known(metadata: Any) -> None:
    package = only(artifact("npm", "a", "1"), source={"type": "image", "metadata": metadata})
    assert package.layer == ""


def test_debian_s_status_tells_the_layer_of_the_version() -> None:
    places = [
        {"path": "/var/lib/dpkg/info/tar.list", "layerID": UNPACKED[0]},
        {"path": "/var/lib/dpkg/status", "layerID": UNPACKED[1]},
    ]
    assert only(artifact("deb", "tar", "1.34", locations=places)).layer == PACKED[1]


STATUS = """\
Package: tar
Status: install ok installed
Version: 1.34

Package: gone
Status: deinstall ok config-files
Version: 2.0
Description: it left its settings behind
 Status: install ok installed

Package: half
Status: install reinstreq half-installed
Version: 3.0

Package: plain
Version: 4.0
"""


def test_what_was_removed_from_a_debian_is_not_installed() -> None:
    content = base64.b64encode(STATUS.encode()).decode()
    names = [("tar", "1.34"), ("gone", "2.0"), ("gone", "2.1"), ("half", "3.0"), ("plain", "4.0")]
    found = take(
        *(artifact("deb", name, version) for name, version in names),
        artifact("npm", "gone", "2.0"),
        files=[{"id": "1", "location": {"path": "/var/lib/dpkg/status"}, "contents": content}],
    )
    assert [(package.kind, package.name, package.version) for package in found.packages] == [
        ("deb", "tar", "1.34"), ("deb", "gone", "2.1"), ("deb", "half", "3.0"), ("deb", "plain", "4.0"),
        ("npm", "gone", "2.0"),
    ]  # fmt: skip


def test_what_a_distribution_s_package_brought_knows_its_owner() -> None:
    deb, wheel, other = artifact("deb", "python3-x", "1"), artifact("python", "x", "1"), artifact("npm", "y", "1")
    links = [
        {"parent": deb["id"], "child": wheel["id"], "type": "ownership-by-file-overlap", "metadata": {"files": []}},
        {"parent": wheel["id"], "child": other["id"], "type": "ownership-by-file-overlap"},
        {"parent": deb["id"], "child": other["id"], "type": "dependency-of"},
    ]
    found = {package.name: package.owner for package in take(deb, wheel, other, artifactRelationships=links).packages}
    assert found == {"python3-x": "", "x": "python3-x", "y": ""}


@pytest.mark.parametrize(
    ("distro", "system"),
    [
        ({"id": "debian", "versionID": "12", "prettyName": "Debian 12"}, System("debian", "12", "Debian 12")),
        ({"id": "debian", "versionCodename": "trixie", "name": "Debian"}, System("debian", "trixie", "Debian")),
        ({"id": "alpine"}, System("alpine", "", "alpine")),
        ({}, System()),
        (None, System()),
    ],
)
def test_the_system_is_that_of_os_release(distro: Any, system: System) -> None:
    assert take(distro=distro).system == system


def test_what_could_not_be_read_is_known_but_not_what_every_program_is_tried_for() -> None:
    files = [
        {"location": {"path": "/var/lib/dpkg/status"}, "unknowns": ["dpkg-db-cataloger: unable to determine packages"]},
        {
            "location": {"path": "/app/x.jar"},
            "unknowns": ["java-archive-cataloger: zip: not a valid zip file", "cargo-auditable-binary-cataloger: no"],
        },
        {"location": {"path": "/hello"}, "unknowns": ["file-executable-cataloger: unknown format"]},
    ]
    found = [(one.path, one.of_system, one.reason) for one in take(files=files).unread]
    assert found == [
        ("/var/lib/dpkg/status", True, "unable to determine packages"),
        ("/app/x.jar", False, "zip: not a valid zip file"),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"artifacts": []}', b'{"artifacts": null, "source": {}}', b"\xff"]
)
def test_what_is_no_document_of_syft_is_refused(content: bytes) -> None:
    with pytest.raises(BadReportError) as caught:
        decode_document(content)
    assert caught.value.advice


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.sampled_from(["deb", "apk", "rpm", "npm"]), max_size=3), JSON,
    st.dictionaries(st.sampled_from(["files", "distro", "source", "artifactRelationships", "artifacts"]), JSON),
)  # fmt: skip
def test_any_document_is_read_or_refused(kinds: list[str], metadata: Any, members: dict[str, Any]) -> None:
    content = document(*(artifact(kind, "x", "1", metadata=metadata) for kind in kinds), **members)
    try:
        found = inventory_of(decode_document(content))
    except BadReportError:
        return
    assert "artifacts" in members or len(found.packages) == len(kinds)
    msgspec.json.encode(found)
