"""Logs as text or as JSON lines; every line of a round bears its project and its number."""

from __future__ import annotations

import json
import logging
import re
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
_about: ContextVar[Mapping[str, int]] = ContextVar("context", default=MappingProxyType({}))
# How the messages of this project name theirs where no context says it (web process, commands).
_NAMED = re.compile(r"project (\d+): ")
# Their lines say too much: addresses with every call, headers with session cookies.
_TOO_TALKATIVE = ("httpx", "httpcore")


@contextmanager
def context(**fields: int) -> Iterator[None]:
    """Say what the lines logged in this block are context, such as ``project=3``."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def bind(**fields: int) -> None:
    """Say more of what the rest of the surrounding `context` block is context."""
    _about.set({**_about.get(), **fields})


def _read(record: logging.LogRecord) -> tuple[Mapping[str, int], str]:
    """Give what a line is context, and its message without what that says already."""
    message = record.getMessage()
    fields = _about.get()
    named = _NAMED.match(message)
    if named:
        fields = {"project": int(named[1]), **fields}
        if fields["project"] == int(named[1]):
            message = message[named.end() :]
    return fields, message


class TextFormatter(logging.Formatter):
    """``2026-11-22 07:05:43,492 INFO name: project 3, round 7: message``, one line each."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Write one line; a line break in a message starts no line of its own."""
        fields, message = _read(record)
        names = ", ".join(f"{name} {value}" for name, value in fields.items())
        words = f"{names}: {message}" if names else message
        escaped = words.replace("\r", "\\r").replace("\n", "\\n")
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {escaped}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, process, message, project, round."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a traceback is a field of it."""
        fields, message = _read(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            **fields,
            "message": message,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(settings: Settings) -> None:
    """Log to standard error, unless who hosts us has set up logs of its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.captureWarnings(True)
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


class WebLogger(gunicorn.glogging.Logger):
    """Lets gunicorn write its log as we write ours."""

    def setup(self, cfg: Any) -> None:
        """Take gunicorn's handlers away; its lines go the common way."""
        super().setup(cfg)
        set_up(load_settings())
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
