"""Logging: JSON lines on stderr (or readable ones on a terminal), with every secret taken out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog

from harbor_scanner.redact import Redactor

log = structlog.get_logger("harbor_scanner")

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}

_redactor: ContextVar[Redactor | None] = ContextVar("redactor", default=None)


class _Service:
    """What holds for the whole process, also in threads that begin with an empty context."""

    redactor = Redactor()


@contextmanager
def redacting(secrets: Iterable[str]) -> Iterator[Redactor]:
    """Take `secrets` out of all that is logged in this block and in the tasks that it starts."""
    redactor = current_redactor().adding(secrets)
    token = _redactor.set(redactor)
    try:
        yield redactor
    finally:
        _redactor.reset(token)


def current_redactor() -> Redactor:
    """Return the redactor of this block."""
    return _redactor.get() or _Service.redactor


def configure(level: str, secrets: Iterable[str] = ()) -> None:
    """Set up logging for this process. `level` is one of the words of SCANNER_LOG_LEVEL."""
    _Service.redactor = Redactor(secrets)
    threshold = _LEVELS[level]
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _take_out_secrets,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("harbor_scanner").setLevel(threshold)
    logging.getLogger("uvicorn").handlers = []
    logging.getLogger("uvicorn.error").setLevel(max(threshold, logging.WARNING))


def _take_out_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    redact = current_redactor()
    # The record of a foreign logger is only passed on to structlog's formatter, which takes it out.
    return {key: value if key == "_record" else _clean(redact, value) for key, value in event.items()}


def _clean(redact: Redactor, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return redact(value.decode(errors="replace"))
    if isinstance(value, Mapping):
        return {redact(str(key)): _clean(redact, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(redact, item) for item in value]
    return redact(str(value))
