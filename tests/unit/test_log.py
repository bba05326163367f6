"""Logs: JSON lines on stderr, and no secret in any of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner import log as service_log
from harbor_scanner.groups import LogLevel
from harbor_scanner.log import LogFile, add_secrets, configure, current_redactor, log, redacting
from harbor_scanner.redact import MASK, Redactor

RELAXED = settings(deadline=None)

SECRET = "hunter2$ecret\\word"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def logging_to(
    stream: io.StringIO, level: str = "debug", secrets: tuple[str, ...] = (SECRET,), file: Path | None = None
) -> Iterator[None]:
    """Log to `stream`, and leave logging as it was."""
    loggers = [logging.getLogger(name) for name in (None, "harbor_scanner", "uvicorn", "uvicorn.error")]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    try:
        with contextlib.redirect_stderr(stream):
            configure(level, secrets, file=file)
            yield
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
        for logger, handlers, threshold in before:
            logger.handlers = handlers
            logger.setLevel(threshold)
        structlog.reset_defaults()
        service_log._Service.redactor = Redactor()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_one_line_of_json_with_level_and_time() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.info("scan\nfinished", seconds=1.5, findings=3, partial=False, note=None, tags=["a", "b"])
    [entry] = entries(stream)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "scan\nfinished", "level": "info", "seconds": 1.5, "findings": 3, "partial": False, "note": None,
        "tags": ["a", "b"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("trace", ["debug", "info", "warning", "error", "critical"]),
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warn", ["warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("fatal", ["critical"]),
        ("panic", ["critical"]),
    ],
)
def test_events_of_the_level_or_above_are_logged(level: str, shown: list[str]) -> None:
    stream = io.StringIO()
    with logging_to(stream, level):
        for name in ("debug", "info", "warning", "error", "critical"):
            getattr(structlog.get_logger("harbor_scanner.jobs.worker"), name)(name)
    assert [entry["event"] for entry in entries(stream)] == shown


def test_every_level_of_the_settings_can_be_configured() -> None:
    for level in LogLevel:
        with logging_to(io.StringIO(), level):
            pass


def test_other_libraries_are_heard_only_with_warnings_and_in_the_same_form() -> None:
    stream = io.StringIO()
    with logging_to(stream, "debug"):
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("port %d is %s", 80, "taken")
    [entry] = entries(stream)
    assert (entry["event"], entry["level"]) == ("port 80 is taken", "warning")


class Unprintable:
    def __repr__(self) -> str:
        return f"<thing {SECRET}>"


class Request(msgspec.Struct):
    authorization: str


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"Authorization: {SECRET}!",
        {"a": {"b": [SECRET, ("x", {"c": SECRET})]}},
        {SECRET: 1},
        {("tuple", SECRET): 1},
        {1: SECRET},
        {SECRET, "other"},
        frozenset([SECRET]),
        SECRET.encode(),
        [bytearray(SECRET.encode())],
        ValueError(SECRET),
        [OSError(2, SECRET)],
        Unprintable(),
        {"deep": [Unprintable()]},
        Request(SECRET),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        json.dumps({"password": SECRET}),
        repr({"password": SECRET}),
    ],
    ids=lambda value: repr(value) if not isinstance(value, set) else "set",
)
def test_secrets_are_taken_out_of_every_kind_of_value(value: object) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.warning("something", value=value)
        logging.getLogger("some.library").error("got %s", value)
    first, second = entries(stream)
    assert first["event"] == "something"
    assert second["event"].startswith("got ")
    for text in (stream.getvalue(), json.dumps([first, second], ensure_ascii=False)):
        assert "hunter2" not in text
        assert MASK in text


def test_secrets_are_taken_out_of_the_event_and_its_arguments() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.warning(f"the password is {SECRET}")
        log.warning("the password is %s", SECRET)
    assert len(entries(stream)) == 2
    assert "hunter2" not in stream.getvalue()


def fail() -> None:
    nothing: dict[str, str] = {}
    try:
        nothing[SECRET]
    except KeyError as error:
        raise RuntimeError(f"cannot log in with {SECRET}") from error


def test_secrets_are_taken_out_of_exceptions_with_their_causes() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        for logger in (log, logging.getLogger("some.library")):
            try:
                fail()
            except RuntimeError:
                logger.exception("it failed")
    for entry in entries(stream):
        assert entry["event"] == "it failed"
        assert "RuntimeError" in entry["exception"]
        assert "KeyError" in entry["exception"]
        assert MASK in entry["exception"]
    assert "hunter2" not in stream.getvalue()


def test_secrets_are_taken_out_on_a_terminal_too() -> None:
    stream = Terminal()
    with logging_to(stream):
        log.warning("something", value={"a": [SECRET]})
        try:
            fail()
        except RuntimeError:
            log.exception("it failed")
    assert "it failed" in stream.getvalue()
    assert "KeyError" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_secrets_are_taken_out_of_bound_context() -> None:
    stream = io.StringIO()
    with logging_to(stream), structlog.contextvars.bound_contextvars(job="7", header=f"Basic {SECRET}"):
        log.warning("something")
    [entry] = entries(stream)
    assert (entry["job"], entry["header"]) == ("7", f"Basic {MASK}")


def test_the_service_s_secrets_are_taken_out_in_every_thread() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        thread = threading.Thread(target=lambda: log.warning("something", value=SECRET))
        thread.start()
        thread.join()
    [entry] = entries(stream)
    assert entry["value"] == MASK


def test_secrets_of_a_block_are_taken_out_in_it_and_in_the_tasks_that_it_starts() -> None:
    stream = io.StringIO()

    async def scan(password: str, others: str) -> None:
        with redacting([password]) as redact:
            assert redact is current_redactor()
            await asyncio.create_task(speak(password, others))
            await asyncio.to_thread(log.warning, "in a thread", own=password, others=others, service=SECRET)

    async def speak(password: str, others: str) -> None:
        log.warning("in a task", own=password, others=others, service=SECRET)

    async def both() -> None:
        await asyncio.gather(scan("swordfish", "tortoise"), scan("tortoise", "swordfish"))

    with logging_to(stream):
        asyncio.run(both())
        log.warning("after", own="swordfish", others="tortoise", service=SECRET)
    *during, after = entries(stream)
    assert len(during) == 4
    assert all((entry["own"], entry["service"]) == (MASK, MASK) for entry in during)
    assert {entry["others"] for entry in during} == {"swordfish", "tortoise"}
    assert (after["own"], after["others"], after["service"]) == ("swordfish", "tortoise", MASK)


def test_blocks_within_blocks_know_the_secrets_of_both() -> None:
    with redacting(["swordfish"]):
        with redacting(["tortoise"]) as redact:
            assert redact("swordfish and tortoise") == f"{MASK} and {MASK}"
        assert current_redactor()("swordfish and tortoise") == f"{MASK} and tortoise"
    assert current_redactor()("swordfish and tortoise") == "swordfish and tortoise"


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8),
    st.sampled_from([SECRET, f"<{SECRET}>", ValueError(SECRET)]),
)  # fmt: skip
KEYS = st.one_of(st.text(max_size=5), st.integers(), st.just(SECRET))
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=6
)


@RELAXED
@given(VALUES)
def test_any_value_becomes_one_line_of_json_without_secrets(value: Any) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log.warning("something", value=value)
    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "something"
    assert "hunter2" not in line


def test_secrets_learnt_later_are_taken_out_from_then_on_also_in_blocks_that_began_before() -> None:
    stream = io.StringIO()

    async def scan(learnt: asyncio.Event) -> None:
        with redacting(["swordfish"]):
            await learnt.wait()
            log.warning("scan", own="swordfish", token="t0ken-new", service=SECRET)

    async def both() -> None:
        learnt = asyncio.Event()
        running = asyncio.create_task(scan(learnt))
        await asyncio.sleep(0)
        log.warning("before", token="t0ken-new")
        add_secrets(["t0ken-new", ""])
        learnt.set()
        await running
        log.warning("after", token="t0ken-new", service=SECRET)

    with logging_to(stream):
        asyncio.run(both())
    before, during, after = entries(stream)
    assert before["token"] == "t0ken-new"
    assert {during["own"], during["token"], during["service"]} == {MASK}
    assert {after["token"], after["service"]} == {MASK}


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_the_log_file_has_the_same_events_as_json_without_secrets(tmp_path: Path, stream: io.StringIO) -> None:
    file = tmp_path / "data" / "log" / "harbor-scanner.log"
    with logging_to(stream, file=file):
        log.info("scan", value=SECRET)
        logging.getLogger("some.library").warning("got %s", SECRET)
        log.debug("detail")
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(entry["event"], entry["level"]) for entry in found] == [
        ("scan", "info"), (f"got {MASK}", "warning"), ("detail", "debug"),
    ]  # fmt: skip
    assert "hunter2" not in file.read_text()
    assert "scan" in stream.getvalue()


def test_the_log_file_is_for_this_user_only(tmp_path: Path) -> None:
    file = tmp_path / "data" / "log" / "harbor-scanner.log"
    before = os.umask(0)
    try:
        with logging_to(io.StringIO(), file=file):
            log.info("scan")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [stat.S_IMODE(place.stat().st_mode) for place in (file.parent, file.parent.parent)] == [0o700, 0o700]


def test_log_files_are_kept_to_their_number_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_log, "FILE_BYTES", 1000)
    file = tmp_path / "log" / "harbor-scanner.log"
    with logging_to(io.StringIO(), file=file):
        for number in range(200):
            log.info("scan", number=number)
    files = list(file.parent.iterdir())
    assert len(files) == service_log.FILES
    assert all(0 < path.stat().st_size <= 1000 for path in files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert '"number": 199' in file.read_text()


def test_a_log_file_that_cannot_be_written_is_told_once_and_taken_up_again(tmp_path: Path) -> None:
    stream = io.StringIO()
    file = tmp_path / "log" / "harbor-scanner.log"
    file.parent.write_text("in the way")
    with logging_to(stream, file=file):
        log.info("first")
        log.info("second")
        file.parent.unlink()
        log.info("third")
    told = [entry for entry in entries(stream) if entry["event"] == "the log file cannot be written to"]
    assert [entry["path"] for entry in told] == [str(file)]
    assert [entry["event"] for entry in entries(stream) if entry not in told] == ["first", "second", "third"]
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["third"]


def test_a_full_disk_does_not_stop_the_service_s_other_logs(tmp_path: Path) -> None:
    stream = io.StringIO()
    file = tmp_path / "log" / "harbor-scanner.log"
    file.parent.mkdir()
    file.symlink_to("/dev/full")
    with logging_to(stream, file=file):
        for number in range(300):
            log.info("scan", number=number)
    told = [entry for entry in entries(stream) if entry["event"] == "the log file cannot be written to"]
    assert [entry["reason"] for entry in told] == ["No space left on device"]
    assert sum(entry["event"] == "scan" for entry in entries(stream)) == 300


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    with logging_to(io.StringIO()):
        assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, LogFile)]
