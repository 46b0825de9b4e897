"""The log of a run: Prefect's page and the terminal get what steps say."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("finetune.store")


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The log of the present Prefect run, or outside of one the project's own."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return LOG
