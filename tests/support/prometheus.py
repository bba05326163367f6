"""Prometheus' own tools: are rules and expressions sound, and which alerts fire on which series?"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.servers import environment, find_program, missing

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "deploy" / "helm" / "harbor-scanner" / "files"
ALERTS_FILE = FILES / "alerts.yaml"
DASHBOARD_FILE = FILES / "dashboard.json"

Rule = dict[str, Any]
Series = Mapping[str, str]
"""Values by series, in promtool's notation: `0+1x60` is 0 at first, and one more each minute for an hour."""


def alerts() -> list[Rule]:
    """Return the alerts of the file, in its order."""
    return [rule for group in yaml.safe_load(ALERTS_FILE.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return what it prints. Raises AssertionError with that if it finds fault; skips without it."""
    program = find_program("promtool")
    if program is None:
        pytest.skip(missing("promtool"))
    done = subprocess.run(
        [program, *arguments],
        env=environment(program),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def check_expressions(expressions: Iterable[str], directory: Path) -> None:
    """Raise AssertionError unless Prometheus can parse each expression."""
    rules = [{"record": f"checked:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = directory / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}))
    promtool("check", "rules", file)


def check_firing(series: Series, minutes: int, expected: Iterable[str], directory: Path) -> None:
    """Raise AssertionError unless just these alerts fire after so many minutes: `Name`, or `Name scanner`."""
    names = [each.partition(" ") for each in expected]
    by_scanner = any(scanner for _, _, scanner in names)
    labels = [
        f'alertname="{alert}", scanner="{scanner}"' if by_scanner else f'alertname="{alert}"'
        for alert, _, scanner in names
    ]
    grouping = "alertname, scanner" if by_scanner else "alertname"
    test = {
        "rule_files": [str(ALERTS_FILE)],
        # Days are looked at less closely, which is much quicker.
        "evaluation_interval": "2m" if minutes < 500 else "20m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'group by ({grouping}) (ALERTS{{alertstate="firing"}})',
                        "eval_time": f"{minutes}m",
                        "exp_samples": [{"labels": f"{{{each}}}", "value": 1} for each in labels],
                    }
                ],
            }
        ],
    }
    file = directory / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    promtool("test", "rules", file)


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard, rows among them."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD_FILE.read_text())
    found: list[dict[str, Any]] = dashboard["panels"]
    return found


def expressions_of_the_dashboard() -> list[str]:
    """Return what the dashboard asks Prometheus, with a value in place of each variable."""
    dashboard = json.loads(DASHBOARD_FILE.read_text())
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    asked += [each["expr"] for each in dashboard["annotations"]["list"] if "expr" in each]
    return [resolved(each) for each in asked]


def resolved(expression: str) -> str:
    """Return an expression with a value in place of each of Grafana's variables."""
    durations = expression.replace("$__rate_interval", "5m").replace("$__range", "6h")
    return re.sub(r"\$\{?(namespace|job|scanner)\b\}?", ".*", durations)


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Return the metrics that an expression names, each with its matchers for equality (`=` or `=~`) by label."""
    found = []
    for name, braces in re.findall(r"\b(harbor_scanner_\w+|up)\b(?:\{([^}]*)\})?", expression):
        matchers = re.findall(r'(\w+)=~?"([^"]*)"', braces)
        found.append((name, dict(matchers)))
    return found
