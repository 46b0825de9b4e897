"""When a network step tries again, and how long it waits before that."""

from typing import Any

from lib.errors import SourceError

RETRY_SECONDS = [1, 5, 25]


def another_try_can_help(task: Any, task_run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether another try can end differently: after a time-out it can, after a 404 or a bad checksum it cannot."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SourceError) and error.temporary
