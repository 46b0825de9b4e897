"""A pool of processes of this machine.

Each is a new Python that imports what it is asked to call, so that nothing of this process is in it. It ends when the
pipe to this process closes, however that happens. A part whose worker dies is computed again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from lib.cluster.answers import Answer
from lib.cluster.order import in_order
from lib.errors import ClusterError

Item = TypeVar("Item")
Result = TypeVar("Result")

AGAIN = 2  # times that a part is computed again whose worker died
STOP_SECONDS = 5.0  # from asking a worker to end to killing it
PROJECT = Path(__file__).resolve().parents[2]
MAIN = "from lib.cluster.worker import main; main({descriptor})"


class Pool:
    """So many processes, which are started when they are needed. To be used in a `with` block."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self._died: Counter[int] = Counter()  # how often the worker of a part did

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_busy()  # of a generator that an error's traceback still holds
        for worker in self._idle:
            worker.ask_to_end()
        while self._idle:
            self._idle.pop().end(STOP_SECONDS)

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function(item)` for each item, in order; see `Cluster`."""
        assert not self._busy, "one question at a time"

        def begin(number: int, item: Item) -> None:
            self._begin(number, (function, item))

        try:
            for answer in in_order(items, workers=self.workers, begin=begin, finished=self._finished):
                yield answer.unwrapped()
        finally:
            self._died.clear()
            self._drop_busy()

    def _begin(self, number: int, work: Any) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self.workers)
        worker.number, worker.work = number, work
        self._busy[worker.connection] = worker
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died, which shows when it is heard
            worker.connection.send(work)

    def _drop_busy(self) -> None:
        """Ends the processes whose results nobody wants any more."""
        while self._busy:
            worker = self._busy.popitem()[1]
            worker.ask_to_end()
            worker.end(0)

    def _finished(self) -> list[tuple[int, Answer]]:
        found: list[tuple[int, Answer]] = []
        for connection in wait(list(self._busy)):
            assert isinstance(connection, Connection), "nothing else is waited for"
            worker = self._busy.pop(connection)
            try:
                found.append((worker.number, connection.recv()))
                self._idle.append(worker)
            except (EOFError, ConnectionResetError):
                self._begin_again(worker)
        return found

    def _begin_again(self, worker: _Worker) -> None:
        """Has a part computed whose worker died. Raises ClusterError if too many did."""
        worker.ask_to_end()
        status = worker.end(0)
        self._died[worker.number] += 1
        if self._died[worker.number] > AGAIN:
            raise ClusterError(
                f"{self._died[worker.number]} processes died over the same part (status {status}): most often memory is"
                f" too small for {self.workers} at once, so lower cluster.workers"
            )
        self._begin(worker.number, worker.work)


class _Worker:
    """A process, and what it works on."""

    number = -1
    work: Any = None

    def __init__(self, workers: int) -> None:
        self.connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", MAIN.format(descriptor=theirs.fileno())],
            stdin=subprocess.PIPE,  # which nobody writes to: it closes with this process
            stdout=subprocess.DEVNULL,  # this process's own may be read by a program
            env=_environment(workers),
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for this process
        )
        theirs.close()

    def ask_to_end(self) -> None:
        """Closes the pipes, which ends it."""
        self.connection.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self, seconds: float) -> int:
        """Waits so long until it has ended, and ends it otherwise; returns its status."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        self._process.kill()
        return self._process.wait()


def _environment(workers: int) -> dict[str, str]:
    """Returns that of a worker: it finds this code, and takes its share of the processors."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    share = max(1, (os.cpu_count() or 1) // workers)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAYON_NUM_THREADS": f"{share}"}
