"""What no scanner gives away: its own secrets, those of the registry, and those of the service."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from harbor_scanner import log
from harbor_scanner.errors import RegistryError, ScanError
from harbor_scanner.harbor.models import ScanRequest
from harbor_scanner.redact import MASK, Redactor
from support.registry import ROBOT
from support.scanners import (
    BEARER,
    MADE_UP,
    MADE_UP_FINDINGS,
    SUBJECTS,
    VARIANTS,
    Place,
    Subject,
    Watched,
    leaks,
    with_authorization,
)

pytestmark = pytest.mark.parametrize("subject", [*SUBJECTS, *VARIANTS], indirect=True)

OF_THE_SERVICE = {
    "SCANNER_STORE_KEY": "store-Marked-key-6",
    "SCANNER_REDIS_URL": "redis://:redis-Marked-pw-7@redis.example:6379",
    "SCANNER_API_AUTH_TOKENS": "api-Marked-token-8",
    "SCANNER_AQUA_PASSWORD": "aqua-Marked-pw-9",
    "QUALYS_ACCESS_TOKEN": "qualys-Marked-token-10",
    "TRIVY_PASSWORD": "trivy-Marked-pw-11",
    "AWS_SECRET_ACCESS_KEY": "aws-Marked-key-12",
}


@pytest.fixture
def logged(subject: Subject) -> Iterator[io.StringIO]:
    """All that the service would log at its most verbose, when it knows of no secret but those that a scan tells."""
    root, own = logging.getLogger(), logging.getLogger("harbor_scanner")
    before = root.handlers, root.level, own.level
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        log.configure("trace")
        yield stream
    root.handlers, level, threshold = before
    root.setLevel(level)
    own.setLevel(threshold)
    structlog.reset_defaults()
    log._Service.redactor = Redactor()


def all_text(directory: Path) -> str:
    """Return the names and the content of all files below a directory."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_bytes().decode('latin-1')}" for path in files)


REQUESTS = {"basic": MADE_UP, "bearer": with_authorization(f"Bearer {BEARER}")}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    "ending", [{}, {"exit": 1}, {"signal": 9}, {"report": "not-json"}], ids=["works", "fails", "dies", "no-report"]
)
def test_a_program_that_prints_its_secrets_gives_none_away(
    subject: Subject, logged: io.StringIO, request_: ScanRequest, ending: dict[str, Any]
) -> None:
    subject.force(**{"findings": MADE_UP_FINDINGS, "print_arguments": True, **ending})

    async def work(place: Place) -> tuple[list[str], str]:
        async with place.area.workspace() as workspace:
            watched = Watched(workspace)
            try:
                told = repr(await place.scanner.scan(request_, watched))
            except ScanError as error:
                told = "".join(traceback.format_exception(error))
        left = map(all_text, (place.scratch, *place.scanner.directories))
        return [told, *left, logged.getvalue()], repr(watched.outcomes)

    told, printed = subject.run(work)
    secrets = subject.secrets | {ROBOT.password, BEARER}
    assert leaks(printed + "".join(told), secrets) == set()
    # Or else nothing was there to be taken out.
    given = [run for run in subject.program.scans() if leaks(repr((run.argv, run.environment)), secrets)]
    assert (MASK in printed) == bool(given)


def test_no_secret_stands_on_a_command_line_unless_the_program_takes_it_in_no_other_way(subject: Subject) -> None:
    subject.scan()
    (run,) = subject.program.scans()
    assert leaks("\0".join(run.argv), subject.secrets | {ROBOT.password}) == subject.shown


def test_the_program_s_environment_holds_nothing_of_the_service(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OF_THE_SERVICE.items():
        monkeypatch.setenv(name, value)

    async def work(place: Place) -> None:
        await place.version()
        await place.scan()

    subject.run(work)
    (run,) = subject.program.scans()
    assert "PATH" in run.environment
    assert leaks(repr(run.environment), OF_THE_SERVICE.values()) == set()
    assert not [name for name in run.environment if name.startswith("SCANNER_")]


def test_the_program_s_home_and_temporary_files_are_the_scan_s_own(subject: Subject) -> None:
    async def work(place: Place) -> None:
        await asyncio.gather(place.scan(), place.scan())

    subject.run(work)
    first, second = (run.environment for run in subject.program.scans())
    for name in ("HOME", "TMPDIR"):
        assert first[name] != second[name]
        assert all(Path(run[name]).is_relative_to(subject.data) for run in (first, second))


def test_a_request_without_credentials_is_no_defect(subject: Subject) -> None:
    """A registry may be open to all; if the scanner needs credentials nevertheless, it says so."""
    with contextlib.suppress(RegistryError):
        assert len(subject.scan(with_authorization(None)).findings) == MADE_UP_FINDINGS
