"""The alerts: each fires when it should, alone, and none does while all is well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from support.prometheus import ALERTS_FILE, ROOT, Rule, alerts, check_firing, promtool

HOUR = 60
DAY = 24 * HOUR
LONG = 5 * DAY
"""Minutes that series last."""
FAR = "1000000000"
"""A time, in seconds, that no test reaches."""


def named(metric: str, scanner: str = "osv", instance: str = "a", **labels: str) -> str:
    """Return a series of the service."""
    told = {"job": "harbor-scanner", "namespace": "harbor", "instance": instance, "scanner": scanner, **labels}
    prefix = "" if metric == "up" else "harbor_scanner_"
    matchers = ",".join(f'{name}="{value}"' for name, value in told.items() if value)
    return f"{prefix}{metric}{{{matchers}}}"


def failures(failure_class: str, retried: str = "false", scanner: str = "osv") -> str:
    return named("scan_failures_total", scanner, **{"class": failure_class}, retried=retried)


def waits(seconds: float) -> dict[str, str]:
    """Return the histogram of scans, one a minute, that all wait so long."""
    bounds = (30, 60, 300, 600, 1200, 1800, 3600)
    counts = {str(bound): f"0+1x{LONG}" if seconds <= bound else f"0x{LONG}" for bound in bounds}
    counts["+Inf"] = f"0+1x{LONG}"
    return {named("queue_wait_seconds_bucket", le=le): values for le, values in counts.items()}


UP = named("up", "")
UP_TOO = named("up", "", "b")
STORE = named("store_up", "")
READY = named("scanner_ready")
QUEUED = named("jobs", state="queued")
RUNNING = named("jobs", state="running")
DISK = named("waiting_for_disk")
ACCEPTED = named("accepted_total")
FINISHED = named("scan_duration_seconds_count", result="finished")
DATABASE = named("database_updated_timestamp_seconds")
CERTIFICATE = named("certificate_expires_timestamp_seconds", "")
FORGOTTEN = named("report_polls_total", status="404")

WELL = {
    UP: f"1x{LONG}",
    STORE: f"1x{LONG}",
    READY: f"1x{LONG}",
    QUEUED: f"3x{LONG}",
    RUNNING: f"2x{LONG}",
    DISK: f"0x{LONG}",
    ACCEPTED: f"0+0.1x{LONG}",
    FINISHED: f"0+0.1x{LONG}",
    DATABASE: f"{FAR}x{LONG}",
    CERTIFICATE: f"{FAR}x{LONG}",
    FORGOTTEN: f"0x{LONG}",
    **waits(20),
}
"""One instance that scans six images an hour."""


class Case(NamedTuple):
    """What is different from a service that does well, and which alerts fire after so many minutes."""

    what: str
    changes: Mapping[str, str]
    minutes: int
    alerts: tuple[str, ...] = ()


def once(minutes: int, count: int = 1) -> str:
    """Return a counter that rises by `count` after so many minutes."""
    return f"0x{minutes - 1} {count}x{LONG}"


def always(value: float, minutes: int) -> str:
    """Return a gauge that changes from 1 to 0, or from 0 to 1, after so many minutes."""
    return f"{1 - value:g}x{minutes - 1} {value:g}x{LONG}"


CASES = (
    Case("all is well", {}, 6 * HOUR),
    Case("nobody asks for scans", {ACCEPTED: f"0x{LONG}", FINISHED: f"0x{LONG}", QUEUED: f"0x{LONG}"}, 6 * HOUR),
    Case("it is down", {UP: always(0, HOUR)}, HOUR + 6, ("HarborScannerDown",)),
    Case("it is started anew", {UP: always(0, HOUR)}, HOUR + 3),
    Case("nobody scrapes it", dict.fromkeys(WELL, "_x100"), HOUR, ("HarborScannerDown",)),
    Case("one of two is down", {UP_TOO: always(0, HOUR)}, HOUR + 11, ("HarborScannerInstanceDown",)),
    Case("one of two is started anew", {UP_TOO: always(0, HOUR)}, HOUR + 8),
    Case("both are down", {UP: always(0, HOUR), UP_TOO: always(0, HOUR)}, HOUR + 11, ("HarborScannerDown",)),
    Case("the store is away", {STORE: always(0, HOUR)}, HOUR + 6, ("HarborScannerStoreAway",)),
    Case("the store is away for a moment", {STORE: always(0, HOUR)}, HOUR + 3),
    Case("the scanner is broken", {READY: always(0, HOUR)}, HOUR + 16, ("HarborScannerNotReady",)),
    Case("the first database is fetched", {READY: f"0x{LONG}"}, 14),
    Case("no worker takes jobs", {RUNNING: f"0x{LONG}"}, HOUR, ("HarborScannerStalled",)),
    Case("jobs wait for a moment", {RUNNING: f"2x59 0x{LONG}"}, HOUR + 8),
    Case("the disk is full", {RUNNING: f"0x{LONG}", DISK: f"1x{LONG}"}, HOUR, ("HarborScannerWaitingForDisk",)),
    Case("the disk is full for a moment", {DISK: always(1, HOUR)}, HOUR + 3),
    Case("the store is away, so none runs", {RUNNING: f"0x{LONG}", STORE: f"0x{LONG}"}, HOUR,
         ("HarborScannerStoreAway",)),
    Case("scans wait for long", waits(1700), HOUR, ("HarborScannerQueueSlow",)),
    Case("scans begin to wait for long", waits(1700), 14),
    Case("scans wait for minutes", waits(500), HOUR),
    Case("most scans fail", {failures("registry"): f"0+0.2x{LONG}"}, 2 * HOUR, ("HarborScannerScansFailing",)),
    Case("all scans fail", {failures("registry"): f"0+0.2x{LONG}", FINISHED: f"0x{LONG}"}, 4 * HOUR,
         ("HarborScannerScansFailing", "HarborScannerNoScanFinishes")),
    Case("some scans fail", {failures("registry"): f"0+0.05x{LONG}"}, 2 * HOUR),
    Case("the only two scans fail", {failures("registry"): once(60, 2), FINISHED: f"0x{LONG}", ACCEPTED: once(60, 2)},
         HOUR + 30),
    Case("many scans fail at one moment", {failures("registry"): once(60, 20)}, HOUR + 3),
    Case("tries fail that are repeated", {failures("registry", "true"): f"0+0.5x{LONG}"}, 2 * HOUR),
    Case("artifacts are no images", {failures("image"): f"0+0.5x{LONG}"}, 2 * HOUR),
    Case("none finishes", {FINISHED: f"5x{LONG}"}, 4 * HOUR, ("HarborScannerNoScanFinishes",)),
    Case("the first scans run", {FINISHED: f"5x{LONG}", ACCEPTED: once(3 * HOUR, 10)}, 3 * HOUR + 30),
    Case("a password is wrong", {failures("scanner-configuration"): once(60)}, HOUR + 2,
         ("HarborScannerMisconfigured",)),
    Case("a password was wrong", {failures("scanner-configuration"): once(60)}, HOUR + 40),
    Case("the vendor is away", {failures("scanner-unreachable", "true"): f"0+0.2x{LONG}"}, HOUR,
         ("HarborScannerVendorUnreachable",)),
    Case("the vendor was away", {failures("scanner-unreachable", "true"): once(60)}, HOUR + 14),
    Case("a scan took too long", {failures("time-limit"): once(60)}, HOUR + 2, ("HarborScannerTimeLimit",)),
    Case("too little memory", {failures("memory", "true"): once(60)}, HOUR + 2, ("HarborScannerOutOfResources",)),
    Case("too little disk", {failures("disk", "true"): once(60)}, HOUR + 2, ("HarborScannerOutOfResources",)),
    Case("workers die", {failures("worker-died"): once(60)}, HOUR + 2, ("HarborScannerOutOfResources",)),
    Case("a defect", {failures("internal"): once(60)}, HOUR + 2, ("HarborScannerDefect",)),
    Case("a bad report", {failures("bad-report"): once(60)}, HOUR + 2, ("HarborScannerDefect",)),
    Case("the store was emptied", {FORGOTTEN: once(60, 5)}, HOUR + 2, ("HarborScannerJobsForgotten",)),
    Case("somebody asks for no scan", {FORGOTTEN: once(60, 1)}, HOUR + 2),
    Case("old advisories", {DATABASE: f"1x{LONG}"}, 3 * DAY + 2 * HOUR, ("HarborScannerDatabaseOld",)),
    Case("advisories of three days", {DATABASE: f"1x{LONG}"}, 3 * DAY + 40),
    Case("one of two databases is old", {named("database_updated_timestamp_seconds", "osv", "b"): f"1x{LONG}"},
         3 * DAY + 2 * HOUR, ("HarborScannerDatabaseOld",)),
    Case("no advisories", {DATABASE: f"0x{LONG}", READY: f"0x{LONG}"}, 3 * DAY + 2 * HOUR, ("HarborScannerNotReady",)),
    Case("the certificate expires", {CERTIFICATE: f"{15 * DAY * 60}x{LONG}"}, DAY + 2 * HOUR,
         ("HarborScannerCertificateExpires",)),
    Case("the certificate has expired", {CERTIFICATE: f"60x{LONG}"}, 2 * HOUR, ("HarborScannerCertificateExpires",)),
    Case("the certificate is fresh", {CERTIFICATE: f"{15 * DAY * 60}x{LONG}"}, DAY + 40),
    Case("there is no TLS", {CERTIFICATE: f"0x{LONG}"}, 2 * HOUR),
    Case("one of two scanners fails", {failures("time-limit", scanner="aqua"): once(60)}, HOUR + 2,
         ("HarborScannerTimeLimit aqua",)),
)  # fmt: skip
ALERTS = {rule["alert"]: rule for rule in alerts()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_an_alert_fires_when_it_should_and_no_other_does(case: Case, tmp_path: Path) -> None:
    # No longer than needed: promtool is slow at reading them.
    series = {
        name: values.replace(f"x{LONG}", f"x{case.minutes}") for name, values in {**WELL, **case.changes}.items()
    }  # fmt: skip
    check_firing(series, case.minutes, case.alerts, tmp_path)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_fires_in_some_case(name: str) -> None:
    assert name in {alert.partition(" ")[0] for case in CASES for alert in case.alerts}


def test_prometheus_takes_the_file() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", ALERTS_FILE)


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_tells_what_is_wrong_and_what_to_do(rule: Rule) -> None:
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["summary"].endswith(".")
    assert len(annotations["description"]) > 150
    assert annotations["runbook_url"] == f"docs/monitoring.md#{rule['alert'].lower()}"


def test_the_page_has_every_alert_as_it_is() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    told = re.findall(r"^### (\w+)\n\n`(\w+)` (?:at (once)|after `(\w+)`): ", page, re.MULTILINE)
    assert told == [
        (rule["alert"], rule["labels"]["severity"], "" if "for" in rule else "once", rule.get("for", ""))
        for rule in ALERTS.values()
    ]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_names_only_labels_that_it_has(rule: Rule) -> None:
    kept = re.findall(r"by \(([^)]*)\)", rule["expr"])
    labels = {label for each in kept for label in each.split(", ")} if kept else {"job", "instance", "scanner"}
    labels |= {"instance"} if rule["expr"].startswith("up{") else set()
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_every_selector_of_an_alert_names_the_job(rule: Rule) -> None:
    selectors = re.findall(r"\b(?:harbor_scanner_\w+|up)\b(\{job=\"harbor-scanner\")?", rule["expr"])
    assert selectors
    assert all(selectors)
