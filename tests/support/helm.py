"""The chart, rendered by the real Helm."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, cast

import pytest
import yaml

from support.fetch_helm import find

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "harbor-scanner"
NAMESPACE = "harbor"
KUBERNETES = "1.33.0"
"""The version that is told to Helm, which has no cluster to ask."""

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""


class HelmError(Exception):
    """Helm refused; the message is what it printed."""


@functools.cache
def _program() -> Path | None:
    return find()


def helm_program() -> Path:
    """Return the `helm` to use; skips the test where there is none."""
    found = _program()
    if found is None:
        pytest.skip("there is no helm, and it could not be built (`make servers` tells why)")
    return found


def helm(*arguments: str, values: Mapping[str, Any] | None = None, cwd: Path | None = None) -> str:
    """Run Helm, with `values` as a file of values, and return what it prints. Raises HelmError if it refuses."""
    with NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(values or {}))
        file.flush()
        done = subprocess.run(
            [helm_program(), *arguments, *(["--values", file.name] if values is not None else [])],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode:
        raise HelmError(done.stderr.strip())
    return done.stdout


def render(
    values: Mapping[str, Any] | None = None,
    *flags: str,
    release: str = "harbor-scanner",
    namespace: str = NAMESPACE,
    api_versions: Sequence[str] = (),
) -> list[Object]:
    """Return the objects that `helm install` would create, tests included."""
    versions = [f"--api-versions={version}" for version in api_versions]
    text = helm(
        "template", release, str(CHART), f"--namespace={namespace}", f"--kube-version={KUBERNETES}", *versions, *flags,
        values=values or {},
    )  # fmt: skip
    return documents(text)


def documents(text: str) -> list[Object]:
    """Return the objects of what Helm printed. Raises AssertionError if a key stands twice in one of them."""
    return [cast(Object, document) for document in yaml.load_all(text, Loader=_Loader) if document]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses what YAML parsers take without a word, and API servers do not: a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key is given twice: {sorted(keys)}"
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


def only(objects: Sequence[Object], kind: str, name: str | None = None) -> Object:
    """Return the one object of a kind (and name)."""
    found = of_kind(objects, kind, name)
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def of_kind(objects: Sequence[Object], kind: str, name: str | None = None) -> list[Object]:
    """Return all objects of a kind (and name)."""
    return [each for each in objects if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
