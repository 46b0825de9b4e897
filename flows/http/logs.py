"""Logs one JSON object a line, without headers and the query of an address, and unless that is asked for without texts
and the words of exceptions, which may quote one."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

LOG = logging.getLogger("finetune.serve")
MOST_LINKS = 10  # of a chain of exceptions
LOGGERS = ("finetune", "uvicorn.error")


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: `time` in UTC, `level`, `event`, the fields of `log`, and a traceback. That
    has the words of exceptions only where `texts` are logged."""

    def __init__(self, *, texts: bool = False) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["traceback"] = self.formatException(record.exc_info) if self._texts else without_words(error)
        return json.dumps(line)


def log(level: int, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """Logs an event with its fields, and the traceback of `error`."""
    LOG.log(level, event, extra={"fields": fields}, exc_info=error)


def without_words(error: BaseException) -> str:
    """Returns the traceback of an exception and of what led to it, each with its kind alone."""
    told: list[str] = []
    link: BaseException | None = error
    while link is not None and len(told) < MOST_LINKS:
        frames = "".join(traceback.format_tb(link.__traceback__))
        told.append(f"{frames}{type(link).__module__}.{type(link).__qualname__}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nled to\n".join(reversed(told))


def log_as_json(stream: TextIO, *, texts: bool = False) -> None:
    """Sets up where this process logs to, and whether texts are logged."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(texts=texts))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
