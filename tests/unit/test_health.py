"""Readiness: refused until the first start and while draining, and kept in later trouble."""

from __future__ import annotations

import json
from typing import Any

from harbor_scanner.health import Check, CheckState, Health


def report(health: Health) -> tuple[int, dict[str, Any]]:
    status, body = health.report()
    return status, json.loads(body)


def test_a_service_that_has_not_started_is_not_ready() -> None:
    assert report(Health()) == (503, {"status": "starting", "checks": {}})


def test_a_started_service_is_ready_and_names_each_check() -> None:
    health = Health()
    health.add("store", lambda: Check(CheckState.OK))
    health.add("scanner", lambda: Check(CheckState.OK))
    health.started = True
    assert report(health) == (
        200,
        {"status": "ready", "checks": {"store": {"state": "ok"}, "scanner": {"state": "ok"}}},
    )


def test_an_outage_after_the_start_keeps_the_service_ready_and_says_what_is_wrong() -> None:
    health = Health()
    health.started = True
    store = Check(CheckState.OK)
    health.add("store", lambda: store)
    health.add("disk", lambda: Check(CheckState.WAITING, "no room"))
    store = Check(CheckState.DEGRADED, "redis://redis does not answer")
    status, body = report(health)
    assert status == 200
    assert body["status"] == "degraded"
    assert body["checks"] == {
        "store": {"state": "degraded", "message": "redis://redis does not answer"},
        "disk": {"state": "waiting", "message": "no room"},
    }


def test_trouble_before_the_start_is_told_but_does_not_make_the_service_ready() -> None:
    health = Health()
    health.add("store", lambda: Check(CheckState.DEGRADED, "no answer"))
    status, body = report(health)
    assert status == 503
    assert body["status"] == "starting"
    assert body["checks"]["store"]["message"] == "no answer"


def test_a_service_that_drains_is_not_ready_whatever_else_holds() -> None:
    health = Health()
    health.started = True
    health.draining = True
    status, body = report(health)
    assert (status, body["status"]) == (503, "draining")
    health.started = False
    assert report(health)[0] == 503


def test_the_checks_are_asked_anew_at_each_probe() -> None:
    health = Health()
    health.started = True
    answers = [Check(CheckState.OK), Check(CheckState.DEGRADED, "x"), Check(CheckState.OK)]
    health.add("store", lambda: answers.pop(0))
    assert [report(health)[1]["status"] for _ in range(3)] == ["ready", "degraded", "ready"]
