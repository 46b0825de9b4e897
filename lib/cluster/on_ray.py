"""A Ray cluster that is running: parts are its plain tasks, whose workers it replaces where they die.

What a task returns is small; what it writes lies in folders that all machines share, or in the run's store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from lib.cluster.agreement import Agreement, require_agreement
from lib.cluster.answers import Answer
from lib.cluster.joining import joined
from lib.cluster.order import in_order
from lib.cluster.workplace import Done, Workplace
from lib.errors import ClusterError, FinetuneError
from lib.store.store import Making

Item = TypeVar("Item")
Result = TypeVar("Result")

STOP_SECONDS = 3.0  # in which a task must have ended that is not wanted any more
AGAIN = 2  # times that Ray computes a part again whose worker died


class RayCluster:
    """A connection to a Ray cluster, made at once. To be used in a `with` block.

    Raises ExtraError without the extra `cluster`, and ClusterError if there is no cluster.
    """

    def __init__(
        self,
        address: str | None,
        *,
        workers: int,
        workplace: Workplace,
        making: Making | None = None,
        cards: int = 0,
    ) -> None:
        """making: the artifact that workers may add files to. cards: that each part needs."""
        self.workers = workers
        self._workplace, self._making, self._cards = workplace, making, cards
        self._address = address
        self._waiting: dict[Any, int] = {}  # tasks, with the number of each one's part
        self._membership = ExitStack()

    def __enter__(self) -> Self:
        self._membership.enter_context(joined(self._address))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_waiting()  # of a generator that an error's traceback still holds
        self._membership.close()

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function(item)` for each item, in order; see `Cluster`."""
        import ray

        part = ray.remote(max_retries=AGAIN, num_cpus=1, num_gpus=self._cards, scheduling_strategy="SPREAD")(_done)
        task = part.options(name=function.__name__)  # by which Ray tells of it
        agreement = Agreement.here(function.__module__)

        def begin(number: int, item: Item) -> None:
            self._waiting[task.remote(agreement, self._workplace, function, self._workplace.packed(item))] = number

        try:
            for done in in_order(items, workers=self.workers, begin=begin, finished=self._finished):
                result = done.answer.unwrapped()
                if self._making is not None:
                    self._making.add(done.files)
                yield result
        finally:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        """Ends the tasks whose results nobody wants any more, and waits until their machines know."""
        import ray

        tasks, self._waiting = list(self._waiting), {}
        for task in tasks:
            with suppress(Exception):  # it has ended, or its machine has
                ray.cancel(task, force=True)
        if tasks:
            with suppress(Exception):
                ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)

    def _finished(self) -> list[tuple[int, Done]]:
        import ray

        ready, _ = ray.wait(list(self._waiting), num_returns=1)
        try:
            return [(self._waiting.pop(task), ray.get(task)) for task in ready]
        except (ray.exceptions.RayError, ImportError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> NoReturn:
        if isinstance(error, ImportError) or "ModuleNotFoundError" in f"{error}":
            raise ClusterError(
                "a machine of the Ray cluster cannot import this program: install finetune-flows and its packages on"
                " all of them, in the same versions"
            ) from error
        raise ClusterError(
            f"the Ray cluster lost a part {AGAIN + 1} times ({type(error).__name__}): most often memory is too small"
            f" for so many at once, so lower cluster.workers ({self.workers}), or see Ray's dashboard"
        ) from error


def _done(agreement: Agreement, workplace: Workplace, function: Callable[[Any], Any], item: Any) -> Done:
    """Computes a part on a machine of the cluster."""
    try:
        require_agreement(agreement)
    except FinetuneError as error:
        return Done(Answer(error=error))
    return workplace.done(function, item)
