"""How a command ends: its exit status, and one sentence for every error that a user can cause."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from flows.terminal.limits import sentence_of_machine
from lib.errors import FinetuneError, ServiceError
from lib.processes.stopping import STOP_SECONDS, Heard, stoppable
from lib.secrets import redacted
from lib.visible import visible
from tasks.environment import tracking_uri, unusable_home_is_clear

EXIT_NOBODY_READS = 1  # what rich, which prints the tables, ends with
EXIT_USER_ERROR = 2
SHOW_CURSOR = "\x1b[?25h"  # which progress bars hide


def exit_status_of(
    work: Callable[[], int], *, kept: str = "nothing was left half done", seconds: float | None = STOP_SECONDS
) -> int:
    """What `work` returns, or the exit status of how it failed: one sentence on standard error, and no traceback.

    A signal that asks to stop ends it with 128 and the signal's number.

    Args:
        kept: what is told then.
        seconds: within which it has then ended; None: once everything has been done that is to be done.
    """

    told: list[signal.Signals] = []

    def tell(kind: signal.Signals) -> None:
        if not told:
            told.append(kind)
            with suppress(OSError):  # the terminal has gone
                _tell_stopped(kind, kept)

    heard = Heard()
    # It logs what a stop in the middle of a query leaves open, with a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        with stoppable(heard, tell, seconds=seconds), unusable_home_is_clear():
            status = work()
            sys.stdout.flush()  # here rather than when Python ends, so that a closed pipe is noticed here
            return status
    except (Exception, KeyboardInterrupt) as error:
        kind = signal.SIGINT if isinstance(error, KeyboardInterrupt) and heard.kind is None else heard.kind
        if kind is None:
            return _status_of(error)
        tell(kind)
        return 128 + kind  # what a shell reports for a program that the signal ended


def _status_of(error: BaseException) -> int:
    """Says what a user can do about the error; returns the exit status. Raises an error that no user can cause."""
    if isinstance(error, BrokenPipeError):
        # Whoever read the output, `head` for example, has enough. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOBODY_READS
    said = error if isinstance(error, FinetuneError) else _sentence_of_mlflow(error)
    sentence = sentence_of_machine(error) or said
    if sentence is None:
        raise error
    say_error(sentence)
    return EXIT_USER_ERROR


def _tell_stopped(kind: signal.Signals, kept: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)
    announce(f"{'interrupted' if kind == signal.SIGINT else f'stopped by {kind.name}'}: {kept}")


def announce(sentence: str) -> None:
    """Says something on standard error at once, such as what is about to happen, before the imports take seconds."""
    print(visible(redacted(sentence)), file=sys.stderr, flush=True)  # noqa: T201 - this is the program's output


def say_warning(what: str) -> None:
    """Prints what did not go as it should, though the command does what was asked."""
    announce(f"warning: {what}")


def say_error(what: object) -> None:
    """Prints one sentence to standard error."""
    print(visible(redacted(f"error: {what}")), file=sys.stderr)  # noqa: T201 - this is the program's output


def _sentence_of_mlflow(error: BaseException) -> ServiceError | None:
    """What MLflow raised in the middle of a run, a full database or a lost server, as one sentence."""
    mlflow = sys.modules.get("mlflow.exceptions")  # where it was not imported, nothing was raised by it
    if mlflow is None or not isinstance(error, mlflow.MlflowException):
        return None
    from tasks.record.mlflow_run import reason_of

    return ServiceError(
        f"MLflow at {tracking_uri()} failed ({reason_of(error)}): see that it"
        " works and run again, which goes on from what is in the store"
    )
