"""The schemas of Kubernetes, strict: no field that a version does not know."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Object = dict[str, Any]

OLDEST, NEWEST = "1.25", "1.37"
"""The oldest is that of Chart.yaml, the newest what the package of schemas has."""
NOT_OURS = {("cert-manager.io/v1", "Certificate"), ("monitoring.coreos.com/v1", "ServiceMonitor"),
            ("monitoring.coreos.com/v1", "PrometheusRule")}  # fmt: skip
"""Kinds that Kubernetes itself does not have."""


def problems(item: Object, version: str) -> Iterator[str]:
    """Yield what a version of Kubernetes would not take of an object."""
    name = f"{item['kind']} {item['metadata']['name']}"
    for error in _validator(item["apiVersion"], item["kind"], version).iter_errors(item):
        path = ".".join(str(part) for part in error.absolute_path)
        yield f"Kubernetes {version}: {name}: {path}: {error.message}"


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_text())
    registry: Registry[Any] = Registry().with_resource("_definitions.json", _definitions(version))
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(version: str) -> Resource[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return Resource.from_contents(
        json.loads((folder / "_definitions.json").read_text()), default_specification=DRAFT202012
    )
