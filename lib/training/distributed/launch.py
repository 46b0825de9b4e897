"""Starts the processes of a training on this machine, listens to them, and starts them again where one was killed."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib.errors import FinetuneError, TrainingError
from lib.model.machine.processor import processors
from lib.processes.kept import Kept
from lib.processes.stopping import Held, signals_held
from lib.training.distributed.job import Job
from lib.training.distributed.messages import Channel, Message, Told, is_for_listeners, known_error
from lib.training.distributed.place import Place

WORKER = "lib.training.distributed.worker"
STARTS = 4  # at most: after so many, whatever kills the processes will do it again
LOOK_SECONDS = 0.2  # between two looks at processes that say nothing
OTHERS_SECONDS = 3.0  # in which the others say why they ended: whoever waits for one that was killed fails, too
LAST_BYTES = 2000  # of what a process printed before it ended without a word


class LostError(Exception):
    """A process was killed."""


def train_together(job: Job, told: Told) -> None:
    """Does the job in `job.size` processes of this machine, which end with this one; passes on what they tell.

    A signal that asks to stop is passed on to them: they end with a checkpoint after their next optimizer step. Where
    one is killed, all begin again, from the last checkpoint, a few times.

    Raises what a process raised, TrainingError where processes are killed again and again.
    """
    for start in range(1, STARTS + 1):
        told.started()
        try:
            with _started(job) as workers, signals_held() as held:
                _listen(workers, told, held)
        except LostError as lost:
            if start == STARTS:
                raise TrainingError(
                    f"{lost}, {STARTS} times; where memory is exhausted, the system kills: lower training.processes,"
                    " training.batch_size or encoding.max_length, and run again, which goes on from the last checkpoint"
                ) from None
            told.listener.warn(f"{lost}: all of them go on from the last checkpoint")
        else:
            return


@dataclass
class Worker:
    """One of the processes, as its launcher sees it."""

    rank: int
    process: Kept
    channel: Channel | None = None  # None: it has not come to the socket yet
    last: Message = field(default_factory=dict)  # how it ended, as it said itself
    silent: bool = True  # whether it has nothing more to say

    @property
    def status(self) -> int | None:
        """Its exit status as a shell gives it; None while it runs."""
        return self.process.process.poll()

    @property
    def over(self) -> bool:
        """Whether it has ended, and all that it said has been heard."""
        return self.status is not None and self.silent

    @property
    def failed(self) -> bool:
        """Whether it has ended otherwise than it should."""
        return "error" in self.last or "failed" in self.last or self.status not in (None, 0)


@dataclass
class Workers:
    """The processes of a training, and what they say: who, and a message or, where its connection ended, None."""

    job: Job
    each: list[Worker]
    said: queue.Queue[tuple[Worker, Message | None]]


@contextmanager
def _started(job: Job) -> Iterator[Workers]:
    """Starts the processes; ends those that are left, and whatever they have started, at the end of the block."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="finetune-train-")))
        listening = ends.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(folder / "socket"))
        listening.listen(job.size)
        environment = {
            "OMP_NUM_THREADS": f"{max(1, processors() // job.size)}",
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",  # nobody else is to reach them
            **os.environ,
        }
        workers = Workers(job, [], queue.Queue())
        for rank in range(job.size):
            command = [sys.executable, "-m", WORKER, str(folder / "socket"), f"{rank}"]
            process = Kept(command, "family", environment, folder / f"{rank}.log")
            ends.callback(process.stop)
            workers.each.append(Worker(rank, process))
        meeting = str(folder / "meeting")  # a file needs no port, which somebody else could take meanwhile
        threading.Thread(target=_welcome, args=(listening, workers, meeting), daemon=True).start()
        yield workers


def _welcome(listening: socket.socket, workers: Workers, meeting: str) -> None:
    """Tells each process that comes to the socket what to do, and has what it says put into the queue."""
    for _ in workers.each:
        try:
            connection, _address = listening.accept()
        except OSError:  # the launcher has ended
            return
        channel = Channel(connection)
        threading.Thread(target=_hear, args=(channel, workers, meeting), daemon=True).start()


def _hear(channel: Channel, workers: Workers, meeting: str) -> None:
    received, job = channel.received(), workers.job
    worker = workers.each[next(received)["rank"]]
    worker.channel, worker.silent = channel, False
    place = Place(worker.rank, job.size, worker.rank, job.size, job.device)
    channel.send({"job": job.json(), "place": asdict(place), "meeting": meeting})
    for message in received:
        workers.said.put((worker, message))
    workers.said.put((worker, None))


def _listen(workers: Workers, told: Told, held: Held) -> None:
    """Passes on what the processes tell until all have ended, or one has failed."""
    asked, late = False, None
    while not all(worker.over for worker in workers.each):
        if held.heard and not asked:
            asked = True
            _ask_to_stop(workers)
        try:
            worker, message = workers.said.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            pass
        else:
            if message is None:
                worker.silent = True
            elif is_for_listeners(message):
                told(message)
            else:
                worker.last = message
        if any(worker.failed for worker in workers.each):
            late = late or time.monotonic() + OTHERS_SECONDS
            if time.monotonic() > late:
                break
    _raise_failure(workers)
    if held.heard or any("stopped" in worker.last for worker in workers.each):
        held.stop()


def _ask_to_stop(workers: Workers) -> None:
    for worker in workers.each:
        if worker.channel is not None:
            try:
                worker.channel.send({"stop": True})
            except OSError:
                continue  # it has ended


def _raise_failure(workers: Workers) -> None:
    """Raises what went wrong first: an error that a user can correct before a killed process, and that before what
    follows from either."""
    for worker in workers.each:
        if "error" in worker.last:
            error: FinetuneError = known_error(worker.last)
            raise error
    name = f"of the {len(workers.each)} that train together"
    for worker in workers.each:
        if not worker.last and (worker.status or 0) > 128:
            kind = signal.Signals((worker.status or 0) - 128).name
            raise LostError(f"Process {worker.rank + 1} {name} was killed ({kind})")
    for worker in workers.each:
        if "failed" in worker.last:
            raise RuntimeError(f"process {worker.rank + 1} {name} failed:\n{worker.last['failed']}")
        if worker.status:
            said = worker.process.log.read_bytes()[-LAST_BYTES:].decode(errors="replace")
            raise RuntimeError(f"process {worker.rank + 1} {name} ended with status {worker.status}: {said}")
