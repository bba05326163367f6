"""Objects of the Prometheus operator (monitoring.coreos.com/v1), as far as the chart uses them, checked strictly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Duration = Annotated[str, msgspec.Meta(pattern=r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$", min_length=2)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The operator drops fields that it does not know, and nobody notices."""


class Metadata(_Strict):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
    namespace: Text
    labels: dict[str, str]


class Key(_Strict):
    """A key of a Secret or ConfigMap in the namespace of the monitor."""

    name: Text
    key: Text


class SecretOrConfigMap(_Strict):
    secret: Key | None = None
    config_map: Key | None = None


class TlsConfig(_Strict):
    server_name: Text
    ca: SecretOrConfigMap | None = None
    cert: SecretOrConfigMap | None = None
    key_secret: Key | None = None
    insecure_skip_verify: bool = False


class Endpoint(_Strict):
    port: Text
    path: Text
    scheme: Literal["http", "https"]
    interval: Duration | None = None
    scrape_timeout: Duration | None = None
    tls_config: TlsConfig | None = None
    relabelings: list[dict[str, Any]] = []
    metric_relabelings: list[dict[str, Any]] = []


class Selector(_Strict):
    match_labels: dict[str, str]


class Monitor(_Strict):
    selector: Selector
    endpoints: list[Endpoint]


class ServiceMonitor(_Strict, tag_field="kind"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: Metadata
    spec: Monitor


class Alert(_Strict, rename=None):
    alert: Text
    expr: Text
    labels: dict[str, str]
    annotations: dict[str, str]
    duration: Duration | None = msgspec.field(default=None, name="for")


class Group(_Strict):
    name: Text
    rules: list[Alert]


class Rules(_Strict):
    groups: list[Group]


class PrometheusRule(_Strict, tag_field="kind"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: Metadata
    spec: Rules
