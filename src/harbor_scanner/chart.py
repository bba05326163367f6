"""Keys of values.yaml that only the Helm chart of Qualys' deployment guide uses, and what the guide says of values.

This service takes them without using them, so that one file serves both.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harbor_scanner.settings import BOOLEAN, TEXT, Kind, integer, size
from harbor_scanner.values import Values, as_helm


class ChartKey(msgspec.Struct, frozen=True):
    """A key that means nothing to this service."""

    path: str
    default: str
    kind: Kind
    meaning: str


CHART_KEYS = (
    ChartKey("fullnameOverride", "qualys-scanner", TEXT, "Name of the service; a certificate must have it"),
    ChartKey("helmInstallationPath", "", TEXT, "Path of the chart's installation"),
    ChartKey("persistence.storageClass", "manual", TEXT, "Storage class of the persistent cache"),
    ChartKey("persistence.accessMode", "ReadWriteMany", TEXT, "Access mode of the persistent cache"),
    ChartKey("persistence.size", "3Gi", size(), "Size of the persistent cache, 3Gi at least"),
    ChartKey("service.replicaCount", "1", integer(0), "Number of replicas"),
    ChartKey("service.disable-qualys-tls", "true", BOOLEAN, "Whether no certificates of the platform are mounted"),
)

_LEAST: dict[str, tuple[str, Kind]] = {
    "service.workerThreads": ("2", integer(0)),
    "redis.maxActiveConnections": ("5", integer(0)),
    "redis.maxIdleConnections": ("5", integer(0)),
    "service.replicaCount": ("1", integer(0)),
    "persistence.size": ("3Gi", size()),
}
"""The least values that the guide names. Smaller ones work here."""


def warnings(values: Values) -> Iterator[str]:
    """Yield what the chart would not take, or the guide advises against."""
    for key in CHART_KEYS:
        text = values.get(key.path)
        if text and not _is(key.kind, text):
            yield (
                f"{key.path} (in {values.path}): {text!r} is no value for the chart; it must be {key.kind.allowed}. "
                "This service does not use it"
            )
    for path, (least, kind) in _LEAST.items():
        text = values.get(path)
        if text and _is(kind, text) and kind.parse(text) < kind.parse(least):
            yield f"{path} (in {values.path}): {text} is less than Qualys' deployment guide allows, which is {least}"


def _is(kind: Kind, text: str) -> bool:
    try:
        kind.parse(as_helm(kind, text))
    except ValueError:
        return False
    return True
