"""How a command ends: its exit status, and one sentence for every error that a user can cause."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from flows.terminal.limits import sentence_of_machine
from lib.errors import FinetuneError, ServiceError
from lib.secrets import redacted
from lib.visible import visible
from tasks.environment import tracking_uri, unusable_home_is_clear

EXIT_NOBODY_READS = 1  # what rich, which prints the tables, ends with
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


def exit_status_of(work: Callable[[], int], *, kept: str = "nothing was left half done") -> int:
    """What `work` returns, or the exit status of how it failed: one sentence on standard error, and no traceback.

    `kept`: what is told after Ctrl-C.
    """
    try:
        with unusable_home_is_clear():
            status = work()
            sys.stdout.flush()  # here rather than when Python ends, so that a closed pipe is noticed here
            return status
    except FinetuneError as error:
        say_error(sentence_of_machine(error) or error)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        # Whoever read the output, `head` for example, has enough. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NOBODY_READS
    except KeyboardInterrupt:
        print(f"interrupted: {kept}", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED
    except Exception as error:
        sentence = sentence_of_machine(error) or _sentence_of_mlflow(error)
        if sentence is None:
            raise
        say_error(sentence)
        return EXIT_USER_ERROR


def announce(sentence: str) -> None:
    """Says on standard error what is about to happen, before the imports that take seconds."""
    print(visible(redacted(sentence)), file=sys.stderr, flush=True)  # noqa: T201 - this is the program's output


def say_error(what: object) -> None:
    """Prints one sentence to standard error."""
    print(visible(redacted(f"error: {what}")), file=sys.stderr)  # noqa: T201 - this is the program's output


def _sentence_of_mlflow(error: Exception) -> ServiceError | None:
    """What MLflow raised in the middle of a run, a full database or a lost server, as one sentence."""
    mlflow = sys.modules.get("mlflow.exceptions")  # where it was not imported, nothing was raised by it
    if mlflow is None or not isinstance(error, mlflow.MlflowException):
        return None
    from tasks.record.mlflow_run import reason_of

    return ServiceError(
        f"MLflow at {tracking_uri()} failed ({reason_of(error)}): see that it"
        " works and run again, which goes on from what is in the store"
    )
