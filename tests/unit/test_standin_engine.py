"""What the stand-ins know and how they compare versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cvss import CVSS2, CVSS3

from standins.engine import inventory
from standins.engine.model import Layer
from standins.engine.versions import older
from support import images, packages

FACTS: list[dict[str, Any]] = json.loads((Path(inventory.__file__).parent / "facts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["name"])
def test_scores_are_those_of_their_vectors(fact: dict[str, Any]) -> None:
    for key, calculate in (("v2", CVSS2), ("v3", CVSS3)):
        if key in fact:
            assert float(calculate(fact[key]["vector"]).scores()[0]) == fact[key]["score"]


def test_facts_are_of_packages_in_the_images() -> None:
    debs = {deb.source.partition(" ")[0] or deb.name for deb in packages.DEBIAN_BASE + packages.DEBIAN_WEB}
    apks = {apk.origin for apk in packages.ALPINE}
    known = {(fact["format"], fact["source"]) for fact in FACTS}
    assert {source for kind, source in known if kind == "deb"} <= debs
    assert {source for kind, source in known if kind == "apk"} <= apks
    assert len(FACTS) == len({fact["name"] for fact in FACTS}) > 25


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("1.0~rc1-1", "1.0-1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.0-1", "1.0.1-1"),
        ("1.9-1", "1.10-1"),
        ("9:1.0", "10:0.1"),
        ("2:9.0-1", "10:0.1-1"),
        ("1.0a", "1.0+"),
        ("2.36-9+deb12u1", "2.36-9+deb12u3"),
        ("252.12-1~deb12u1", "252.21-1~deb12u1"),
        ("3.0.9-1", "3.0.11-1~deb12u2"),
        ("3.0.11-1~deb12u2", "3.0.11-1"),
        ("1.1.20-r4", "1.1.20-r5"),
        ("1.1.1b-r1", "1.1.1d-r0"),
        ("4.13-r0", "4.14-r0"),
        ("3.3.2", "4.1.3"),
    ],
)
def test_versions_are_ordered(version: str, newer: str) -> None:
    assert older(version, newer)
    assert not older(newer, version)
    assert not older(version, version)


def test_a_whiteout_hides_only_what_lies_below() -> None:
    def layer(files: images.Files) -> Layer:
        blob = images.layer(files).blob
        return Layer(images.digest(blob), "", blob)

    npm = packages.npm
    found = inventory.take(
        [
            layer({
                "app/node_modules/a/package.json": npm("a", "1.0.0", "MIT"),
                "app/node_modules/b/package.json": npm("b", "1.0.0", "MIT"),
                "app/node_modules/bb/package.json": npm("bb", "1.0.0", "MIT"),
            }),
            layer({
                "app/node_modules/c/package.json": npm("c", "1.0.0", "MIT"),
                "app/node_modules/.wh.b": "",
                "app/node_modules/c/.wh..wh..opq": "",
                "app/node_modules/a/package.json": npm("a", "2.0.0", "MIT"),
            }),
        ]
    )  # fmt: skip
    assert {(package.name, package.version) for package in found.packages} == {
        ("a", "2.0.0"),
        ("bb", "1.0.0"),
        ("c", "1.0.0"),
    }


def test_images_are_the_same_every_time() -> None:
    first = images.debian()
    images.debian.cache_clear()
    assert images.debian() == first
    assert images.debian().digest == first.digest
    assert images.debian().as_docker().digest != first.digest
