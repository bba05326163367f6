"""The documentation tells the truth: tables are those of the code, and what it names exists."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harbor_scanner import __version__, errors
from harbor_scanner.chart import CHART_KEYS
from harbor_scanner.metrics import Metrics
from support import pages
from support.pages import Block

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages.pages()


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


@pytest.mark.parametrize("name", generate.GENERATED)
def test_generated_tables_are_those_of_the_code(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    assert generate.updated(name) == page, "run `make docs`"


def test_every_setting_stands_in_the_table() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert all(f"`{name}`" in page for name in SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    known = {*SETTINGS, *re.findall(r'Setting\(\s*"(\w+)"', text)}
    named = set(re.findall(r"\b(?:SCANNER|QUALYS)_[A-Z_]*[A-Z]\b", text))
    assert {name for name in named if name not in known and name.removesuffix("_FILE") not in known} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_key_of_values_yaml_that_a_page_names_exists(page: Path) -> None:
    sections = "|".join(sorted({key.partition(".")[0] for key in KEYS if "." in key}))
    named = set(re.findall(rf"`(?:{sections})\.([\w-]+)(?:: [^`]*)?`", page.read_text()))
    chart = yaml.safe_load((ROOT / "deploy/helm/harbor-scanner/values.yaml").read_text())
    assert named <= {key.partition(".")[2] for key in KEYS} | {*chart["service"], *chart["redis"]}


def test_every_key_stands_in_the_table_of_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert {key for key in KEYS if f"`{key}`" not in page} == set()


def test_defaults_in_the_readme_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(SCANNER_\w+)` \| (?:`([^`]*)`)? ?\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) >= 6
    for name, default in rows:
        assert SETTINGS[name].default == default


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def _anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in addresses, by the rule of GitHub."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_heading_find_it(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text())
    lost = {anchor for target, anchor in links if anchor not in _anchors(page.parent / target if target else page)}
    assert lost == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (\w+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_monitoring_page_has_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    table = page[page.index("## Metrics") : page.index("## Alerts")]
    documented = set(re.findall(r"^\| `(harbor_scanner_\w+)", table, re.MULTILINE))
    exposed = set(re.findall(r"^# HELP (\w+)", Metrics().render().decode(), re.MULTILINE))
    assert documented == exposed


def test_the_operations_page_has_every_class_of_failure() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    classes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ScanError)
    }
    assert {code for code in classes if f"`{code}`" not in page} == set()


def _messages() -> str:
    """Return every text of the program, a line each, with … for what is filled in."""
    lines = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                lines.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                lines.append(node.value)
    return "\n".join(lines)


def test_messages_that_troubleshooting_explains_are_those_of_the_program() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    ours = page[page.index("## The service, when it starts") : page.index("## Reports that")]
    explained = re.findall(r"^\| (`.+?) \|", ours, re.MULTILINE)
    assert len(explained) > 30
    known = _messages()
    pieces = {
        piece.strip(" .:") for cell in explained for message in re.findall(r"`([^`]+)`", cell)
        for piece in message.split("…") if len(piece.strip(" .:")) > 3
    }  # fmt: skip
    assert {piece for piece in pieces if piece not in known} == set()


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog


BLOCKS = list(pages.blocks())


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    assert block.mark, "put `<!-- run by: TEST -->` or `<!-- not run: REASON -->` before it"
    if block.mark == "run by":
        test = ROOT / block.what
        assert test.is_file()
        # A test that runs a page's commands takes them from the page.
        assert "pages.blocks" in test.read_text() or Path(block.page).name in test.read_text()
