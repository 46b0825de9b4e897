"""The processes of this machine in which the trainings of a comparison run, each in its own.

They are forked from one that has imported what all of them need, so that a short training is not mostly imports.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import TracebackType
from typing import Any, Protocol, Self

from lib.processes.asked import heed_only
from lib.processes.stopping import HOLD_SECONDS, Stopped
from lib.training.distributed.messages import Message
from tasks.compare.job import Job, do

IMPORTED = ["tasks.compare.imported"]  # before a process is forked
LAST_WORDS = frozenset({"done", "error", "failed", "stopped"})  # of a process, by what they are about
LOOK_SECONDS = 0.5  # at most between two looks at what the processes say
STARTS = 3  # of a training whose process is killed: what killed it will do it again


class Crew(Protocol):
    """Those who train. Each training has a number, which nobody gives twice at the same time."""

    def start(self, number: int, job: Job) -> None:
        """Has a training begin, in a process of its own."""

    def hear(self) -> list[tuple[int, Message]]:
        """Returns what the processes have said since the last time, or nothing after a moment. The last word of each is
        `done`, `error`, `failed`, `stopped`, or `lost` with the reason if it was killed."""

    def drop(self, number: int) -> None:
        """Ends a training that nobody wants any more; nothing is heard of it after this."""


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    ended: bool = False  # whether it has said its last word


class LocalCrew:
    """Processes of this machine. To be used in a `with` block, at whose end those that are left stop: a training with a
    checkpoint after its next step."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(IMPORTED)
        self._workers: dict[int, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            with suppress(OSError):
                worker.connection.send_bytes(json.dumps({"stop": True}).encode())
        until = time.monotonic() + HOLD_SECONDS
        for number in list(self._workers):
            self._end(number, max(0.0, until - time.monotonic()))

    def start(self, number: int, job: Job) -> None:
        """Has a training begin."""
        _start_server()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(job.json(), theirs, dict(os.environ)))
        process.start()
        theirs.close()
        self._workers[number] = _Worker(process, ours)

    def hear(self) -> list[tuple[int, Message]]:
        """Returns what was said since the last time."""
        numbers: dict[Any, int] = {worker.connection: number for number, worker in self._workers.items()}
        said: list[tuple[int, Message]] = []
        for connection in wait(list(numbers), LOOK_SECONDS):
            said += self._said(numbers[connection])
        return said

    def drop(self, number: int) -> None:
        """Ends a training at once."""
        self._end(number, 0.0)

    def _said(self, number: int) -> Iterator[tuple[int, Message]]:
        worker = self._workers[number]
        try:
            while worker.connection.poll():
                message: Message = json.loads(worker.connection.recv_bytes())
                yield number, message
                worker.ended |= message.keys() <= LAST_WORDS
        except (EOFError, OSError):
            status = self._end(number, 1.0)
            if not worker.ended:
                yield number, {"lost": f"its process was killed (status {status})"}

    def _end(self, number: int, seconds: float) -> int | None:
        """Waits so long until a process has ended, and kills it otherwise; returns its status."""
        worker = self._workers.pop(number)
        worker.process.join(seconds)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.connection.close()
        return worker.process.exitcode


def _start_server() -> None:
    """Starts the process that others are forked from, if it does not run; its socket outlives this run's folder of
    temporary files."""
    before, tempfile.tempdir = tempfile.tempdir, None
    try:
        forkserver.ensure_running()
    finally:
        tempfile.tempdir = before


def work(values: dict[str, Any], connection: Connection, environment: dict[str, str]) -> None:
    """Does a job in a process of its own, and ends it."""
    os.setsid()  # Ctrl-C is for the process that started this one
    os.environ.clear()
    os.environ.update(environment)
    lock = threading.Lock()

    def send(message: Message) -> None:
        with lock:
            connection.send_bytes(json.dumps(message).encode())

    done = False
    try:
        heed_only(_received(connection))
        job = Job.of(values)
        os.environ.update(job.environment)
        done = do(job, send)
    except Stopped:
        pass  # before there was anything to stop
    finally:
        os._exit(0 if done else 1)  # threads may wait


def _received(connection: Connection) -> Iterator[Message]:
    with suppress(EOFError, OSError):
        while True:
            yield json.loads(connection.recv_bytes())
