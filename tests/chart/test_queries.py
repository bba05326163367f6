"""Alerts and dashboard ask for what the service really tells, and as Prometheus understands it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import advisories
from support.prometheus import (
    DASHBOARD_FILE,
    alerts,
    check_expressions,
    expressions_of_the_dashboard,
    panels,
    selectors,
)
from support.service import serving
from support.stage import Stage, ends, request_for, submit
from support.standin import install_scannercli

OF_THE_SCRAPE = {"job", "namespace", "instance"}
"""Labels that Prometheus adds."""

Labels = Mapping[str, str]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Labels]]:
    """The labels of each series of a service with two scanners, after a scan."""
    directory = Path(tempfile.mkdtemp(prefix="hm-"))
    stage = Stage(directory, install_scannercli(tmp_path_factory.mktemp("scannercli")))
    stage.use_quick_scanner()
    advisories.install(directory / "service" / "data")
    environment = stage.environment(ENABLED="aqua,osv", OSV_UPDATE_EVERY="0")
    try:
        with serving(directory / "service", environment) as service:
            assert set(ends(service, submit(service, [request_for("library/a")]))) == {"report"}
            page = service.metrics()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    found: dict[str, list[Labels]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def told(exposed: Mapping[str, list[Labels]], metric: str, matchers: Labels) -> bool:
    """Tell whether a service exposes a series that a selector asks for."""
    asked = {label: value for label, value in matchers.items() if label not in OF_THE_SCRAPE and value != ".*"}
    return any(
        all(re.fullmatch(value, labels.get(label, "")) for label, value in asked.items())
        for labels in exposed.get(metric, ())
    )


def test_alerts_ask_for_series_that_there_are(exposed: dict[str, list[Labels]]) -> None:
    asked = [each for rule in alerts() for each in selectors(rule["expr"]) if each[0] != "up"]
    # Each alternative must be one that there is: a class that nobody ever counts would never fire.
    single = [
        (metric, {**matchers, label: one})
        for metric, matchers in asked
        for label, value in (matchers or {"": ""}).items()
        for one in value.split("|")
    ]
    assert len(single) > 30
    assert [each for each in single if not told(exposed, *each)] == []


def test_the_dashboard_asks_for_series_that_there_are(exposed: dict[str, list[Labels]]) -> None:
    asked = [each for expression in expressions_of_the_dashboard() for each in selectors(expression)]
    ours = [(metric, labels) for metric, labels in asked if metric != "up"]
    assert len(ours) > 30
    assert [each for each in ours if not told(exposed, *each)] == []


def test_the_dashboard_shows_every_metric(exposed: dict[str, list[Labels]]) -> None:
    shown = {metric for expression in expressions_of_the_dashboard() for metric, _ in selectors(expression)}
    # Of a histogram, one of its three is enough.
    families = {re.sub("_(bucket|count|sum)$", "", metric) for metric in exposed}
    assert families - {re.sub("_(bucket|count|sum)$", "", metric) for metric in shown} == set()


# The dashboard


def test_prometheus_can_parse_what_the_dashboard_asks(tmp_path: Path) -> None:
    check_expressions(expressions_of_the_dashboard(), tmp_path)


def test_panels_stand_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_query_goes_to_the_chosen_prometheus_and_heeds_the_chosen_scanner() -> None:
    dashboard = json.loads(DASHBOARD_FILE.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert set(variables) == {"datasource", "namespace", "job", "scanner"}
    for name in ("namespace", "job", "scanner"):
        # Where there are no namespaces, as without Kubernetes, `All` must match series without the label.
        assert (variables[name]["includeAll"], variables[name]["allValue"]) == (True, ".*")
    for panel in panels():
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            for metric, matchers in selectors(target["expr"]):
                assert {"namespace": "$namespace", "job": "$job"}.items() <= matchers.items()
                of_the_process = metric in {"up", "harbor_scanner_store_up"} or "certificate" in metric
                assert of_the_process or matchers["scanner"] == "$scanner"


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel.get("targets", ()):
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {label for each in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in each.split(", ")}
            assert named <= kept, panel["title"]
