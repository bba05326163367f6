"""Logs: JSON lines on stderr, and no secret in any of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from harbor_scanner import log as service_log
from harbor_scanner.config import LogLevel
from harbor_scanner.log import configure, current_redactor, log, redacting
from harbor_scanner.redact import MASK, Redactor

RELAXED = settings(deadline=None)

SECRET = "hunter2$ecret\\word"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def logging_to(stream: io.StringIO, level: str = "debug", secrets: tuple[str, ...] = (SECRET,)) -> Iterator[None]:
    """Log to `stream`, and leave logging as it was."""
    loggers = [logging.getLogger(name) for name in (None, "harbor_scanner", "uvicorn", "uvicorn.error")]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    try:
        with contextlib.redirect_stderr(stream):
            configure(level, secrets)
            yield
    finally:
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
    ids=repr,
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
