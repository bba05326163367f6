"""How scans end that find nothing: in an error of the right class, and with no program left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import pytest

from harbor_scanner.errors import (
    BadReportError,
    MemoryLimitError,
    RegistryError,
    ScanError,
    ScannerConfigurationError,
    TimeLimitError,
)
from support import images
from support.oci import Registry, basic
from support.programs import alive, wait_until
from support.registry import ROBOT
from support.scanners import MADE_UP, MADE_UP_FINDINGS, Place, Subject, Watched, with_authorization
from support.stage import push


def failure(subject: Subject) -> ScanError:
    with pytest.raises(ScanError) as caught:
        subject.scan()
    assert caught.value.message
    return caught.value


def running(subject: Subject) -> list[int]:
    """Return the processes of scans that still run."""
    return [pid for run in subject.program.scans() for pid in (run.pid, *run.orphans) if alive(pid)]


@pytest.mark.parametrize("orphan", ["group", "session"])
def test_the_time_limit_ends_the_whole_process_tree(subject: Subject, orphan: str) -> None:
    subject.force(hang=True, orphan=orphan)

    async def work(place: Place) -> None:
        # On a busy machine the program may be ended before it has got as far as to hang.
        for patience in (1, 5, 25):
            with pytest.raises(TimeLimitError) as caught:
                async with place.area.workspace() as workspace:
                    await place.scanner.scan(MADE_UP, Watched(workspace, patience))
            assert caught.value.message
            assert caught.value.advice
            assert running(subject) == []
            if subject.program.scans()[-1].orphans:
                return
        raise AssertionError("the program never began to hang")

    subject.run(work)


def test_a_program_that_the_kernel_killed_lacked_memory(subject: Subject) -> None:
    subject.force(signal=signal.SIGKILL)
    error = failure(subject)
    assert type(error) is MemoryLimitError
    assert error.advice


@pytest.mark.parametrize("orphan", ["group", "session"])
def test_what_a_program_leaves_running_is_ended_and_does_not_hold_up_the_scan(subject: Subject, orphan: str) -> None:
    subject.force(findings=MADE_UP_FINDINGS, orphan=orphan)

    async def work(place: Place) -> None:
        assert len((await place.scan()).findings) == MADE_UP_FINDINGS
        assert running(subject) == []

    subject.run(work)
    (run,) = subject.program.scans()
    assert len(run.orphans) == 1


def test_a_scan_that_is_cancelled_ends_its_program_and_leaves_nothing(subject: Subject) -> None:
    subject.force(hang=True)

    async def work(place: Place) -> set[Path]:
        scan = asyncio.create_task(place.scan())
        await asyncio.to_thread(wait_until, subject.program.scans, "a scan")
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        assert running(subject) == []
        return {path for path in place.files() if place.area.directory not in {path, *path.parents}}

    assert subject.run(work) == set()


def test_a_scan_after_one_that_was_ended_is_not_held_up(subject: Subject) -> None:
    async def work(place: Place) -> int:
        subject.force(hang=True)
        scan = asyncio.create_task(place.scan())
        await asyncio.to_thread(wait_until, subject.program.scans, "a scan")
        scan.cancel()
        await asyncio.wait([scan])
        subject.force(findings=MADE_UP_FINDINGS)
        return len((await place.scan()).findings)

    assert subject.run(work) == MADE_UP_FINDINGS


def test_a_missing_program_is_a_matter_of_configuration(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(subject.data))
    if subject.bundle:
        monkeypatch.setitem(sys.modules, subject.bundle, None)
    for act in (subject.scan, lambda: subject.run(Place.version)):
        with pytest.raises(ScannerConfigurationError) as caught:
            act()
        assert subject.program.path.name in caught.value.message
        assert caught.value.advice


@pytest.mark.parametrize("spoilt", ["missing", "empty", "truncated", "not-json"])
def test_what_is_no_report_is_never_a_clean_image(subject: Subject, spoilt: str) -> None:
    subject.force(findings=MADE_UP_FINDINGS, report=spoilt)
    assert type(failure(subject)) is BadReportError


def test_a_report_that_is_not_utf_8_is_taken_as_a_whole_or_not_at_all(subject: Subject) -> None:
    subject.force(findings=MADE_UP_FINDINGS, report="not-utf8")
    with contextlib.suppress(BadReportError):
        assert len(subject.scan().findings) == MADE_UP_FINDINGS


def test_no_exit_code_makes_a_report_of_none(subject: Subject) -> None:
    """Also those after which a report is to be expected."""

    codes = (1, 2, 4, 5, 40, 42, 127, 255)

    async def scans(place: Place) -> list[object]:
        return await asyncio.gather(*(place.scan() for _ in codes), return_exceptions=True)

    for code in codes:
        subject.force(exit=code, times=1)
    for error in subject.run(scans):
        assert isinstance(error, ScanError)
        assert error.message


def test_a_program_s_last_words_are_in_the_error(subject: Subject) -> None:
    subject.force(exit=1, message="thingummy: no such whatnot")
    assert "no such whatnot" in failure(subject).message


def test_a_wrong_registry_password_is_told_as_such(subject: Subject, registry: Registry) -> None:
    subject.program.reset()
    subject.connect(registry)
    request = push(registry, images.alpine(), "contract/refused")
    with pytest.raises(RegistryError) as caught:
        subject.scan(with_authorization(basic(ROBOT.username, "wrong"), request))
    assert not caught.value.retriable
    assert caught.value.message
    assert caught.value.advice


def test_what_is_no_image_is_never_a_clean_one(subject: Subject, registry: Registry) -> None:
    subject.program.reset()
    subject.connect(registry)
    with pytest.raises(ScanError) as caught:
        subject.scan(push(registry, images.helm_chart(), "contract/chart"))
    assert caught.value.message
