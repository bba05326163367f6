"""All checks at once: none stops another, none holds up the end, and nothing shows a secret."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from harbor_scanner.config import Config, Role
from harbor_scanner.doctor import examination
from harbor_scanner.doctor.check import Area, Check, Verdict
from harbor_scanner.doctor.examination import Wanted, examine
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.scanners.base import ScannerPlugin
from support.doctor import outcomes, settings, told

AREA = Area("osv")
PASSWORD = "m4rked$ecret"


async def fine() -> AsyncIterator[Verdict]:
    yield AREA.ok("fine", f"The password is {PASSWORD}\x1b[2J.")


async def crashing() -> AsyncIterator[Verdict]:
    yield AREA.ok("before", "This was found before.")
    raise ZeroDivisionError("what nobody thought of")


async def slow() -> AsyncIterator[Verdict]:
    yield AREA.ok("so far", "This was found in time.")
    await asyncio.sleep(3600)


class Deaf:
    """A check that does not hear that its time is over."""

    __name__ = "deaf"

    def __init__(self) -> None:
        self.hears = False

    async def __call__(self) -> AsyncIterator[Verdict]:
        while not self.hears:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.02)
        yield AREA.ok("deaf", "It heard at last.")


def with_checks(config: Config, *looks: Any, seconds: float = 30) -> Config:
    """Return the settings with a scanner `osv` that brings these checks."""

    def checks(_: Any, __: Surroundings) -> Iterable[Check]:
        return [Check(AREA, look.__name__, look, "Do this.", seconds) for look in looks]

    return with_plugin(config, checks=checks)


def with_plugin(config: Config, **changes: Any) -> Config:
    [enabled] = config.scanners
    plugin: ScannerPlugin = msgspec.structs.replace(enabled.plugin, **changes)
    return msgspec.structs.replace(config, scanners=(msgspec.structs.replace(enabled, plugin=plugin),))


def examined(config: Config, wanted: Wanted | None = None) -> list[Verdict]:
    return uvloop.run(examine(config, wanted or Wanted(), lambda _: None))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return settings(tmp_path, SCANNER_ENABLED="osv", SCANNER_STORE_KEY=PASSWORD, SCANNER_API_ADDR="127.0.0.1:1")


def test_one_check_s_crash_stops_no_other(config: Config) -> None:
    verdicts = examined(with_checks(config, crashing, fine))
    found_here = outcomes(verdicts)
    assert (found_here["before"], found_here["crashing"], found_here["fine"]) == ("ok", "failure", "ok")
    assert "what nobody thought of (ZeroDivisionError)" in told(verdicts, "crashing")


def test_what_takes_too_long_is_a_failure_with_what_was_found_before(config: Config) -> None:
    verdicts = examined(with_checks(config, slow, fine, seconds=0.05))
    assert outcomes(verdicts)["so far"] == "ok"
    assert outcomes(verdicts)["slow"] == "failure"
    assert "Do this." in told(verdicts, "slow")


def test_what_does_not_even_hear_that_its_time_is_over_is_left_behind(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "_IN_ALL", 2.0)
    deaf = Deaf()

    async def work() -> list[Verdict]:
        verdicts = await examine(with_checks(config, deaf, seconds=0.05), Wanted(), lambda _: None)
        deaf.hears = True
        return verdicts

    verdicts = uvloop.run(work())
    assert outcomes(verdicts)["deaf"] == "failure"
    assert "hangs" in told(verdicts, "deaf")
    assert outcomes(verdicts)["values"] == "ok"


def test_who_stops_it_has_every_check_end_first_what_it_has_started(config: Config) -> None:
    ended: list[bool] = []

    async def work() -> None:
        started = asyncio.Event()

        async def starting() -> AsyncIterator[Verdict]:
            started.set()
            try:
                await asyncio.sleep(3600)
                yield AREA.ok("never", "This is never found.")
            finally:
                await asyncio.sleep(0.05)
                ended.append(True)

        task = asyncio.create_task(examine(with_checks(config, starting), Wanted(), lambda _: None))
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert ended

    uvloop.run(work())
    assert ended == [True]


def test_a_plugin_that_cannot_even_say_what_to_check_is_a_failure_of_its_own(config: Config) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a foreign module")

    for changes in ({"checks": broken}, {"make": broken}):
        verdicts = examined(with_plugin(config, **changes))
        assert outcomes(verdicts)["checks"] == "failure"
        assert outcomes(verdicts)["embedded"] == "ok"


def test_nothing_shows_secrets_or_moves_the_cursor(config: Config) -> None:
    verdicts = examined(with_checks(config, fine))
    assert "The password is [redacted] [2J." in told(verdicts, "fine")
    assert all(PASSWORD not in f"{verdict}" for verdict in verdicts)


def test_areas_stand_together_in_the_order_of_the_documentation(config: Config) -> None:
    areas = [verdict.area for verdict in examined(config)]
    assert list(dict.fromkeys(areas)) == [
        "settings", "store", "disk", "limits", "api", "osv", "registry", "proxies", "clock",
    ]  # fmt: skip
    assert areas == sorted(areas, key=list(dict.fromkeys(areas)).index)


def test_an_api_without_scanners_needs_no_program(tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        Role.API,
        SCANNER_ENABLED="aqua",
        SCANNER_REDIS_URL="redis://127.0.0.1:1",
        SCANNER_API_ADDR="127.0.0.1:1",
    )
    assert {verdict.area for verdict in examined(config)}.isdisjoint({"aqua"})


def test_nothing_is_left_in_the_data_directory(config: Config) -> None:
    examined(config)
    assert not config.worker.data_dir.exists()


def test_without_a_place_for_trials_everything_else_is_looked_at(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    verdicts = examined(config)
    assert outcomes(verdicts)["temporary"] == "failure"
    assert "TMPDIR" in told(verdicts, "temporary")
    assert outcomes(verdicts)["values"] == "ok"
