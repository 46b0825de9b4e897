"""Writes a run's log, on Prefect's page and in the terminal."""

from __future__ import annotations

import logging
from typing import Any

from lib.visible import visible

LOG = logging.getLogger("finetune.store")


class _ShownNotObeyed(logging.Filter):
    """Makes visible what a record quotes of data and names: a terminal would obey some of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        record.msg, record.args = visible(record.getMessage(), lines=True), ()
        return True


_SHOWN = _ShownNotObeyed()


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Returns the current Prefect run's logger, or outside of a run the project's own."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        log = get_run_logger()
    except MissingContextError:
        log = LOG
    (log if isinstance(log, logging.Logger) else log.logger).addFilter(_SHOWN)  # once: it is the same each time
    return log
