"""Logs one JSON object a line: no texts, no headers, no query of an address."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

LOG = logging.getLogger("finetune.serve")
LOGGERS = ("finetune.serve", "uvicorn.error")


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: `time` in UTC, `level`, `event`, the fields of `log`, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log(level: int, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """Logs an event with its fields, and the traceback of `error`."""
    LOG.log(level, event, extra={"fields": fields}, exc_info=error)


def log_as_json(stream: TextIO) -> None:
    """Sets up where this process logs to."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
