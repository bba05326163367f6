"""The documentation tells the truth: tables are those of the code, and what it names exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner import __version__, errors
from harbor_scanner.chart import CHART_KEYS
from harbor_scanner.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
SETTINGS = {setting.name: setting for _, settings in generate.sections() for setting in settings}
KEYS = {key for setting in SETTINGS.values() for key in setting.keys} | {key.path for key in CHART_KEYS}


def test_the_table_of_settings_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert generate.updated(page) == page, "run `make docs`"
    assert all(f"`{name}`" in page for name in SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    known = {*SETTINGS, *re.findall(r'Setting\(\s*"(\w+)"', text)}
    named = set(re.findall(r"\b(?:SCANNER|QUALYS)_[A-Z_]*[A-Z]\b", text))
    assert {name for name in named if name not in known and name.removesuffix("_FILE") not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_of_values_yaml_that_a_page_names_exists(page: Path) -> None:
    sections = "|".join(sorted({key.partition(".")[0] for key in KEYS if "." in key}))
    named = set(re.findall(rf"`(?:{sections})\.([\w-]+)(?:: [^`]*)?`", page.read_text()))
    assert named <= {key.partition(".")[2] for key in KEYS}


def test_every_key_stands_in_the_table_of_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert {key for key in KEYS if f"`{key}`" not in page} == set()


def test_defaults_in_the_readme_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(SCANNER_\w+)` \| (?:`([^`]*)`)? ?\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) >= 6
    for name, default in rows:
        assert SETTINGS[name].default == default


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (\w+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_operations_page_has_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("## Metrics") : page.index("Worth an alert")]
    documented = set(re.findall(r"^\| `(harbor_scanner_\w+)", table, re.MULTILINE))
    exposed = set(re.findall(r"^# HELP (\w+)", Metrics().render().decode(), re.MULTILINE))
    assert documented == exposed


def test_the_operations_page_has_every_class_of_failure() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    classes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ScanError)
    }
    assert {code for code in classes if f"`{code}`" not in page} == set()


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog
