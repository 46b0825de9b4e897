"""Says when a network step is retried, and after how long: `@step(..., **RETRIES)`."""

from typing import Any

from lib.errors import SourceError

RETRY_SECONDS = [1, 5, 25]


def another_try_can_help(task: Any, task_run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether a retry can help: after a timeout it can, after a 404 or a bad checksum it cannot."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SourceError) and error.temporary


RETRIES: dict[str, Any] = {
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": RETRY_SECONDS,
    "retry_condition_fn": another_try_can_help,
}
