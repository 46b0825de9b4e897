"""The trainings of a comparison as tasks of a Ray cluster, each with the processors and the card that it needs.

All machines see the run's store: the folder at the same path, or a server that FINETUNE_STORE names.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from lib.cluster.agreement import Agreement, require_agreement
from lib.cluster.joining import joined
from lib.cluster.seen import Note, noted, require_seen
from lib.cluster.workplace import credentials
from lib.errors import FinetuneError
from lib.training.distributed.mailbox import Mailbox
from lib.training.distributed.messages import Message, error_message
from tasks.compare.crew import LAST_WORDS, LOOK_SECONDS
from tasks.compare.job import Job, do
from tasks.store import artifact_store, store_place

CODE = "tasks.steps.classify.validate"  # the module which, with all that it reaches, must be the same everywhere


class RayCrew:
    """A connection to a Ray cluster that is running. To be used in a `with` block, at whose end the trainings that are
    left end.

    Raises ExtraError without the extra `cluster`, and ClusterError if there is no cluster.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._tasks: dict[int, Any] = {}  # by number, what Ray calls the result
        self._membership = ExitStack()

    def __enter__(self) -> Self:
        self._membership.enter_context(joined(self._address))
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        beside: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(num_cpus=0, scheduling_strategy=beside)(Mailbox).remote()
        end: Any = ray.kill
        self._membership.callback(end, self._mailbox)
        store = artifact_store()
        in_a_folder = "://" not in store_place()
        self._note = self._membership.enter_context(noted(store.local)) if in_a_folder else None
        self._environment = {**credentials(), "FINETUNE_STORE": store_place()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._tasks):
            self.drop(number)
        self._membership.close()

    def start(self, number: int, job: Job) -> None:
        """Has a training begin, once the cluster has room for it."""
        import ray

        # A worker for each, which then ends: what it took, it took for this training. Who hears that one is lost begins
        # it again.
        task = ray.remote(max_calls=1, max_retries=0, scheduling_strategy="SPREAD")(_work).options(
            name=job.tracking_run or "training", num_cpus=job.processors or 1, num_gpus=int(job.cards)
        )
        values = {**job.json(), "environment": self._environment}
        self._tasks[number] = task.remote(Agreement.here(CODE), self._note, values, number, self._mailbox)

    def hear(self) -> list[tuple[int, Message]]:
        """Returns what was said since the last time."""
        import ray

        ended, _ = ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=LOOK_SECONDS)
        said = [(each["number"], each["message"]) for each in ray.get(self._mailbox.take.remote())]
        heard = [(number, message) for number, message in said if number in self._tasks]
        for number in [number for number, task in self._tasks.items() if task in ended]:
            task = self._tasks.pop(number)
            try:
                ray.get(task)
            except ray.exceptions.RayError as error:
                heard.append((number, {"lost": f"the Ray cluster lost it ({type(error).__name__})"}))
        return heard

    def drop(self, number: int) -> None:
        """Ends a training at once."""
        import ray

        task = self._tasks.pop(number, None)
        if task is not None:
            with suppress(ray.exceptions.RayError, ValueError):
                ray.cancel(task, force=True)


def _work(agreement: Agreement, note: Note | None, values: dict[str, Any], number: int, mailbox: Any) -> None:
    """Does a job in a worker of Ray's, and says what becomes of it."""
    import ray

    def send(message: Message) -> None:
        sent = mailbox.put.remote({"number": number, "message": message})
        if message.keys() <= LAST_WORDS:
            ray.get(sent)

    try:
        require_agreement(agreement)
        if note is not None:
            require_seen(note)
    except FinetuneError as error:
        send(error_message(error))
        return
    job = Job.of(values)
    os.environ.update(job.environment)
    do(job, send)
