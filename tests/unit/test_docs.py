"""The documentation tells the truth: tables are those of the code, and what it names exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from harbor_scanner import __version__, errors
from harbor_scanner.config import GROUPS
from harbor_scanner.metrics import Metrics
from harbor_scanner.settings import settings_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SETTINGS = {setting.name: setting for group in GROUPS for setting in settings_of(group).values()}


def test_the_table_of_settings_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert generate.updated(page) == page, "run `make docs`"
    assert all(f"`{name}`" in page for name in SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\bSCANNER_[A-Z_]*[A-Z]\b", page.read_text()))
    unknown = {name for name in named if name.removesuffix("_FILE") not in SETTINGS}
    assert unknown <= {"SCANNER"}


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
    exposed = set(re.findall(r"^# HELP (\w+)", Metrics("x").render().decode(), re.MULTILINE))
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
