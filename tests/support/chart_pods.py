"""What the program finds in a pod of the chart: its environment, and its files at their paths."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from support.helm import Object, of_kind

OTHERS = "from-elsewhere"
"""What Secrets and ConfigMaps hold that the chart only names."""


def workload(objects: Sequence[Object]) -> Object:
    """Return the one StatefulSet or Deployment."""
    [found] = [*of_kind(objects, "StatefulSet"), *of_kind(objects, "Deployment")]
    return found


def pod(objects: Sequence[Object]) -> Object:
    """Return the spec of the workload's pods."""
    return dict(workload(objects)["spec"]["template"]["spec"])


def main(objects: Sequence[Object]) -> Object:
    """Return the container of the service."""
    [container] = pod(objects)["containers"]
    return dict(container)


def environment(objects: Sequence[Object], others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of the service, those from Secrets included."""
    found = {}
    for entry in main(objects)["env"]:
        source = entry.get("valueFrom", {}).get("secretKeyRef")
        found[entry["name"]] = (
            entry["value"] if source is None else _content(objects, "Secret", source["name"], source["key"], others)
        )
    return found


def files(objects: Sequence[Object], spec: Object, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the files that Secrets and ConfigMaps put into the last container of a pod, by path.

    `others` are the contents of what the chart does not make itself, by `<name>/<key>`.
    """
    mounts = {mount["name"]: mount for mount in spec["containers"][-1].get("volumeMounts", ())}
    found = {}
    for volume in spec.get("volumes", ()):
        for kind, name, key, path in _items(volume):
            found[f"{mounts[volume['name']]['mountPath']}/{path}"] = _content(objects, kind, name, key, others)
    return found


def _items(volume: Object) -> Iterator[tuple[str, str, str, str]]:
    """Yield kind and name of what a volume takes its files from, the key and the path of each."""
    for source in volume.get("projected", {}).get("sources", [volume]):
        for kind, field in (("Secret", "secret"), ("ConfigMap", "configMap")):
            if field in source:
                of: dict[str, Any] = source[field]
                name = of.get("secretName") or of["name"]
                # The only volume without a list of files is that of TLS.
                for item in of.get("items", [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]):
                    yield kind, name, item["key"], item["path"]


def _content(objects: Sequence[Object], kind: str, name: str, key: str, others: Mapping[str, str] | None) -> str:
    for each in of_kind(objects, kind, name):
        text = str(each["data"][key])
        return base64.b64decode(text).decode() if kind == "Secret" else text
    return (others or {}).get(f"{name}/{key}", OTHERS)
