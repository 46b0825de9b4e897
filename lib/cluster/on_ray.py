"""A Ray cluster that is running: parts are its plain tasks, whose workers it replaces where they die.

What a task returns is small; what it writes lies in folders that all machines share, or in the run's store.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from lib.cluster.agreement import Agreement, require_agreement
from lib.cluster.answers import Answer
from lib.cluster.order import in_order
from lib.cluster.workplace import Done, Workplace
from lib.errors import ClusterError, FinetuneError
from lib.extras import require
from lib.store.store import Making

Item = TypeVar("Item")
Result = TypeVar("Result")

LOGGER = logging.getLogger(__name__)
CONNECT_SECONDS = 10.0
SAID_CHARACTERS = 200  # at most, of a warning by Ray
AGAIN = 2  # times that Ray computes a part again whose worker died
ENVIRONMENT = {  # before Ray is imported
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing phones home
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else a cluster on the loopback address is never found
}


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
        require("ray", "cluster", "cluster.kind ray")
        self.workers = workers
        self._workplace, self._making, self._cards = workplace, making, cards
        self._address = address
        self._waiting: dict[Any, int] = {}  # tasks, with the number of each one's part
        self._connected = False

    def __enter__(self) -> Self:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            return self
        before = signal.getsignal(signal.SIGTERM)
        try:
            _require_open(self._address)
            ray._private.worker.print_to_stdstream = _warn
            ray.init(address=self._address or "auto", log_to_driver=False, configure_logging=False)
            self._connected = True
        except Exception as error:  # of many classes, and with words for developers of Ray
            self._not_there(error)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's would end the process without a word
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        self._drop_waiting()  # of a generator that an error's traceback still holds
        if self._connected:
            ray.shutdown()

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
        """Ends the tasks whose results nobody wants any more."""
        import ray

        while self._waiting:
            with suppress(Exception):  # it has ended, or its machine has
                ray.cancel(self._waiting.popitem()[0], force=True)

    def _finished(self) -> list[tuple[int, Done]]:
        import ray

        ready, _ = ray.wait(list(self._waiting), num_returns=1)
        try:
            return [(self._waiting.pop(task), ray.get(task)) for task in ready]
        except (ray.exceptions.RayError, ImportError) as error:
            self._lost(error)

    def _not_there(self, error: Exception) -> NoReturn:
        where = f"at {self._address}" if self._address else "on this machine"
        if "ersion mismatch" in f"{error}":
            raise ClusterError(
                f"the Ray cluster {where} has another version of Ray or Python than this machine: install the versions"
                " of requirements.lock on all machines"
            ) from error
        raise ClusterError(
            f"there is no Ray cluster {where} that this machine can join: start one with `ray start --head`, or let"
            " cluster.address name one, as host:port on one of its machines and as ray://host:port elsewhere"
        ) from error

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


def _require_open(address: str | None) -> None:
    """Raises OSError at once if nobody listens there: Ray itself would try for minutes."""
    if address is not None:
        place = urlsplit(address if "://" in address else f"ray://{address}")
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_SECONDS).close()


def _warn(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001 - as Ray calls it
    """Warns of what Ray would print to standard output, which a program may read: its first line, as the rest is for
    Ray's developers."""
    words = " ".join(data["lines"]).strip().partition("\n")[0]
    LOGGER.warning("the Ray cluster says: %s", words.strip()[:SAID_CHARACTERS])


def _done(agreement: Agreement, workplace: Workplace, function: Callable[[Any], Any], item: Any) -> Done:
    """Computes a part on a machine of the cluster."""
    try:
        require_agreement(agreement)
    except FinetuneError as error:
        return Done(Answer(error=error))
    return workplace.done(function, item)
