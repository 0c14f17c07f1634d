"""Logs as text or as JSON lines; every line about a project bears its number, and its round's."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import gunicorn.glogging

from .settings import Settings, load_settings

__all__ = ["JsonFormatter", "TextFormatter", "WebLogger", "bind", "context", "set_up"]

# Each thread has its own: rounds of several projects run side by side.
_context: ContextVar[Mapping[str, int]] = ContextVar("context", default=MappingProxyType({}))
# They log too much: addresses with every call, headers with session cookies.
_TOO_TALKATIVE = ("httpx", "httpcore")


@contextmanager
def context(**fields: int) -> Iterator[None]:
    """Add fields, such as ``project=3``, to every line that is logged inside the block.

    A new thread starts without them, unless it runs in a copy of this context.
    """
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def bind(**fields: int) -> None:
    """Add fields to the lines that are logged in the rest of the surrounding `context` block."""
    _context.set({**_context.get(), **fields})


class TextFormatter(logging.Formatter):
    """``2026-11-22 07:05:43,492 INFO name: project 3, round 7: message``, one line each."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write one line; line breaks in the message are escaped."""
        fields = ", ".join(f"{name} {value}" for name, value in _context.get().items())
        message = f"{fields}: {record.getMessage()}" if fields else record.getMessage()
        escaped = message.replace("\r", "\\r").replace("\n", "\\n")
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {escaped}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, process, project, round, message.

    Ten lines of our own: python-json-logger and structlog would add what other libraries pass as
    ``extra``, which may be a secret, and need as much code to keep these fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a traceback is a field of it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            **_context.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(settings: Settings) -> None:
    """Log to standard error, unless the process that hosts us has set up logging already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.captureWarnings(True)
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class WebLogger(gunicorn.glogging.Logger):
    """Write gunicorn's log in the format of ours."""

    def setup(self, cfg: Any) -> None:
        """Remove gunicorn's handlers, so that its lines go to the root logger's."""
        super().setup(cfg)
        set_up(load_settings())
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
