"""Whether Prefect shows what is done here: within a flow run it does, and elsewhere the same is done without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")


def has_page() -> bool:
    """Whether this is a flow run, which has a page."""
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def shown(task: Task[P, R]) -> Callable[P, R]:
    """Returns the task in a flow run, whose page shows it; elsewhere its function, which needs no server."""
    return task if has_page() else task.fn
