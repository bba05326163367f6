"""Scanners are found by entry points: ours cannot be taken over, and a broken one stops only who enables it."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

from harbor_scanner.config import load_config
from harbor_scanner.errors import SettingsError
from harbor_scanner.plugins import GROUP, find_plugins
from harbor_scanner.scanners import aqua, osv, qualys
from harbor_scanner.scanners.base import ScannerPlugin
from harbor_scanner.settings import TEXT, Setting

HERE = "plugins_of_this_test"


class ThirdSettings(msgspec.Struct, frozen=True):
    """A third scanner."""

    token: Annotated[str, Setting("SCANNER_THIRD_TOKEN", "", TEXT, "A token", secret=True)] = ""


THIRD = ScannerPlugin(ThirdSettings, lambda _premises: SimpleNamespace())


class Installed(Distribution):
    """A distribution as its metadata tells of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        return f"Name: {self._name}\n" if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> Path:
        return Path(path)


def entry(name: str, value: str, distribution: str) -> EntryPoint:
    found = EntryPoint(name, value, GROUP)
    vars(found)["dist"] = Installed(distribution)
    return found


OWN = [
    entry("osv", "harbor_scanner.scanners.osv:PLUGIN", "harbor-scanner"),
    entry("qualys", "harbor_scanner.scanners.qualys:PLUGIN", "harbor-scanner"),
    entry("aqua", "harbor_scanner.scanners.aqua:PLUGIN", "harbor_scanner"),
]


@pytest.fixture(autouse=True)
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = SimpleNamespace(THIRD=THIRD, NUMBER=7)
    monkeypatch.setitem(__import__("sys").modules, HERE, module)


def test_the_scanners_of_this_package_are_installed() -> None:
    found = find_plugins()
    assert list(found.found)[:3] == ["aqua", "qualys", "osv"]
    assert [found.found[name] for name in ("aqua", "qualys", "osv")] == [aqua.PLUGIN, qualys.PLUGIN, osv.PLUGIN]
    assert found.warnings == ()


def test_others_come_after_ours_in_the_order_of_their_names() -> None:
    entries = [entry("zoo", f"{HERE}:THIRD", "z"), entry("abc", f"{HERE}:THIRD", "a"), *OWN]
    assert list(find_plugins(entries).found) == ["aqua", "qualys", "osv", "abc", "zoo"]


def test_a_third_scanner_is_configured_like_ours() -> None:
    plugins = find_plugins([*OWN, entry("third", f"{HERE}:THIRD", "third-scanner")])
    config = load_config({"SCANNER_THIRD_TOKEN": "hunter2", "SCANNER_THIRD_WORKERS": "4"}, plugins=plugins)
    [enabled] = config.scanners
    assert (enabled.name, enabled.workers, enabled.settings.current()) == ("third", 4, ThirdSettings("hunter2"))
    assert config.secrets() == ["hunter2"]
    assert config.unknown == ()


def test_nobody_takes_the_name_of_one_of_ours() -> None:
    found = find_plugins([entry("aqua", f"{HERE}:THIRD", "evil"), *OWN])
    assert found.found["aqua"] is aqua.PLUGIN
    [line] = found.warnings
    assert "aqua" in line
    assert "evil" in line
    assert find_plugins([entry("aqua", f"{HERE}:THIRD", "evil")]).found == {}


def test_of_two_others_with_one_name_the_first_distribution_has_it() -> None:
    found = find_plugins([entry("third", f"{HERE}:NUMBER", "b"), entry("third", f"{HERE}:THIRD", "a")])
    assert found.found == {"third": THIRD}
    assert len(found.warnings) == 1


def test_a_distribution_that_is_seen_twice_is_one() -> None:
    assert find_plugins([*OWN, *OWN]).warnings == ()


@pytest.mark.parametrize("value", ["no_such_module_at_all:PLUGIN", f"{HERE}:NUMBER", f"{HERE}:NONE", f"{HERE}"])
def test_a_scanner_that_cannot_be_imported_stops_only_who_enables_it(value: str) -> None:
    plugins = find_plugins([*OWN, entry("third", value, "third-scanner")])
    assert list(plugins.broken) == ["third"]
    config = load_config({"SCANNER_AQUA_TOKEN": "t0ken"}, plugins=plugins)
    assert [enabled.name for enabled in config.scanners] == ["aqua"]
    assert any("third-scanner cannot be used" in line for line in config.warnings)
    with pytest.raises(SettingsError, match=r"SCANNER_ENABLED: the scanner third of third-scanner cannot be used"):
        load_config({"SCANNER_AQUA_TOKEN": "t0ken", "SCANNER_ENABLED": "aqua,third"}, plugins=plugins)


@pytest.mark.parametrize("name", ["Third", "a b", "a/b", "1st", "ä"])
def test_names_that_no_url_can_have_are_refused(name: str) -> None:
    assert list(find_plugins([entry(name, f"{HERE}:THIRD", "x")]).broken) == [name]
