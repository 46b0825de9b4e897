"""Keeps secrets out of what this process logs, prints and tells Prefect, and asks Prefect for those that it keeps.

`lib.secrets` takes them out where they enter. This is the second line of defence, for the words of other programs: an
error of a client that quotes its address, a traceback.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from lib.errors import ServiceError, listed
from lib.secrets import addresses_with_secrets, block_name, look_also, redact_error, redacted

LOG = logging.getLogger("finetune.secrets")
SECRET_BLOCK = "secret"  # what Prefect calls the type of a block


def guard() -> None:
    """Redacts every log record and traceback of this process from now on, and has `${NAME}` looked up in Prefect."""
    look_also(secret_in_prefect)
    if logging.getLogRecordFactory() is not _record:
        logging.setLogRecordFactory(_record)
        sys.excepthook = _print_traceback
        threading.excepthook = lambda told: _print_traceback(told.exc_type, told.exc_value, told.exc_traceback)


@contextmanager
def secrets_kept() -> Iterator[None]:
    """Takes known secrets out of the words of an exception that leaves the block: Prefect keeps them with its state."""
    try:
        yield
    except BaseException as error:
        redact_error(error)
        raise


def tell_of_secrets(recipe: dict[str, Any]) -> None:
    """Warns if a secret is written into an address of a recipe, given as nested values."""
    if fields := list(addresses_with_secrets(recipe)):
        LOG.warning(
            "%s %s a secret, which is kept out of all that this run records: write ${NAME} in its place, where NAME is"
            " a variable of the environment, or a Secret block of Prefect",
            listed(dict.fromkeys(fields)),
            "have" if len(set(fields)) > 1 else "has",
        )


def secret_in_prefect(name: str) -> str | None:
    """Returns the value of Prefect's Secret block for a reference; None if there is none, or no server to ask. Raises
    ServiceError if the server fails."""
    if not _has_server():
        return None
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as prefect:
            block = prefect.read_block_document_by_name(block_name(name), SECRET_BLOCK)
    except ObjectNotFound:
        return None
    except httpx.HTTPError as error:
        raise ServiceError(
            f"Prefect cannot be asked for the Secret block {block_name(name)!r} ({type(error).__name__}): see that its"
            f" server works, or set the variable {name}"
        ) from None
    value = block.data.get("value")
    return value if isinstance(value, str) else None


def _has_server() -> bool:
    """Whether a Prefect server is named, or the one of the present flow run answers: one is not started for this."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    if "prefect.context" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def _record(*fields: Any, **more: Any) -> logging.LogRecord:
    """Makes a record without the secrets that this process knows, whichever logger and handlers it goes to."""
    record = logging.LogRecord(*fields, **more)
    try:
        said = record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit; the handler tells
        return record
    if (clean := redacted(said)) != said:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[1] is not None:
        redact_error(record.exc_info[1])
        told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        if (clean := redacted(told)) != told:
            record.exc_text = clean  # which formatters take as it is
    return record


def _print_traceback(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit):
        print(redacted("".join(traceback.format_exception(kind, error, where))), file=sys.stderr, end="")  # noqa: T201
