"""Writes a run's log, on Prefect's page and in the terminal."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("finetune.store")


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Returns the current Prefect run's logger, or outside of a run the project's own."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return LOG
