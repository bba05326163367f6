"""A scanner of another package may be broken; what the service tells of it must not be."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from harbor_scanner.adapter import Adapter
from harbor_scanner.health import Health


class Broken:
    """A scanner whose properties raise."""

    @property
    def problem(self) -> str:
        raise ZeroDivisionError

    @property
    def database_updated_at(self) -> float:
        raise ZeroDivisionError


def adapter_of(scanner: Any) -> Adapter:
    """Return an adapter of which nothing but the scanner is there."""
    adapter = Adapter.__new__(Adapter)
    vars(adapter).update(
        name="broken", scanner=scanner, metadata=SimpleNamespace(problem=""),
        worker=SimpleNamespace(waiting_for_disk=False),
    )  # fmt: skip
    return adapter


def test_a_scanner_that_cannot_tell_its_state_is_degraded_and_breaks_no_probe() -> None:
    adapter, health = adapter_of(Broken()), Health()
    health.started = True
    adapter.add_checks(health)
    with capture_logs() as logs:
        status, body = health.report()
    assert (status, json.loads(body)["checks"]["broken"]["state"]) == (200, "degraded")
    assert [entry["scanner"] for entry in logs] == ["broken"]


def test_a_database_that_cannot_tell_its_age_is_logged() -> None:
    with capture_logs() as logs:
        assert adapter_of(Broken())._database_updated_at() is None
    assert [entry["scanner"] for entry in logs] == ["broken"]
