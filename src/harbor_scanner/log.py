"""Logging: JSON lines on stderr (or readable ones on a terminal) and in a file, with every secret taken out."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import structlog

from harbor_scanner.redact import Redactor

log = structlog.get_logger("harbor_scanner")

FILE_BYTES = 10 * 2**20
FILES = 5
"""How large a log file may become, and how many there are at most."""

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
    redactor = _redactor.get()
    if redactor is None:
        return _Service.redactor
    if not _Service.redactor.secrets <= redactor.secrets:
        # The service has learnt of more secrets since this block began.
        redactor = redactor.adding(_Service.redactor.secrets)
        _redactor.set(redactor)
    return redactor


def add_secrets(secrets: Iterable[str]) -> None:
    """Take `secrets` out of all that this process logs from now on."""
    more = frozenset(secret for secret in secrets if secret)
    if not more <= _Service.redactor.secrets:
        _Service.redactor = _Service.redactor.adding(more)


def configure(level: str, secrets: Iterable[str] = (), *, file: Path | None = None) -> None:
    """Set up logging for this process. `level` is one of the words of SCANNER_LOG_LEVEL.

    With `file` JSON lines are also written there, to at most five files of 10 MiB that only this user may read. A file
    that cannot be written to is told on stderr, and the service goes on without it.
    """
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
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(_formatter(shared, renderer))
    if file is not None:
        handlers.append(LogFile(file))
        handlers[1].setFormatter(_formatter(shared, structlog.processors.JSONRenderer(default=str)))
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, LogFile):
            handler.close()
    root.handlers = handlers
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("harbor_scanner").setLevel(threshold)
    logging.getLogger("uvicorn").handlers = []
    logging.getLogger("uvicorn.error").setLevel(max(threshold, logging.WARNING))


class LogFile(logging.handlers.RotatingFileHandler):
    """Writes logs to a file and its predecessors. No trouble with it becomes one of the service."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8", delay=True)
        self._told = ""
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._failed = False
        super().emit(record)
        if not self._failed:
            self._told = ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as the library has it
        """Tell of trouble on stderr, once for each kind, and begin anew with the next line."""
        self._failed = True
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        error = sys.exc_info()[1]
        reason = (error.strerror if isinstance(error, OSError) else "") or repr(error)
        if reason != self._told:
            self._told = reason
            log.warning("the log file cannot be written to", path=self.baseFilename, reason=reason)

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))


def _formatter(
    shared: list[structlog.typing.Processor], renderer: structlog.typing.Processor
) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


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
