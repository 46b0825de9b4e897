"""Has a training done by processes of a Ray cluster that is running, by Ray Train.

The step's process listens on one of the cluster's machines. Inputs and results go the way of all that the cluster
computes (`lib.cluster.workplace`); checkpoints lie where the step's process keeps them, and are carried there where no
folder is shared.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.cluster.agreement import Agreement, require_agreement
from lib.cluster.joining import joined as cluster_joined
from lib.cluster.workplace import SharedFolders, Workplace
from lib.errors import ClusterError, FinetuneError
from lib.processes.stopping import Held, Stopped, signals_held
from lib.store.store import Making
from lib.training.distributed.carried import Receiver, fetch, send
from lib.training.distributed.job import Job
from lib.training.distributed.launch import STARTS
from lib.training.distributed.mailbox import Mailbox
from lib.training.distributed.messages import Message, Told, error_message, is_for_listeners, known_error, told_to
from lib.training.distributed.place import Place

LOOK_SECONDS = 0.1
FOLDER, SCRATCH = "folder", "scratch"  # the arguments of a job that name folders of the step's process
ASSIGNMENT, OVER, STOP = "assignment", "over", "stop"  # what is said to all processes
TRAIN = {"RAY_CHDIR_TO_TRIAL_DIR": "0"}  # before Ray is imported: paths are of the folder that it was started in


@dataclass(frozen=True)
class Assignment:
    """What each process gets, by the mailbox: Ray's dashboard shows what Ray Train is told. threads: of each."""

    job: Job
    agreement: Agreement
    workplace: Workplace
    arguments: Any  # the job's, as they travel
    threads: int | None

    @property
    def carries(self) -> bool:
        """Whether checkpoints have to be carried."""
        return not isinstance(self.workplace, SharedFolders)


def train_on_ray(
    job: Job, told: Told, *, address: str | None, agreement: Agreement, workplace: Workplace, making: Making | None
) -> None:
    """Does the job in `job.size` processes of the cluster, with the folders `folder` and `scratch` that its arguments
    name on this machine; passes on what the processes tell.

    A signal that asks to stop lets them end with a checkpoint after their next optimizer step. Where one is lost, or
    its machine, all begin again from the last checkpoint, a few times, on the machines that are there then.

    making: the artifact that they fill. Raises what a process raised, and ClusterError where there is no such cluster,
    its machines differ or processes are lost again and again.
    """
    for name, value in TRAIN.items():
        os.environ.setdefault(name, value)
    with cluster_joined(address):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Beside the step's process, so that no other machine's end is the training's.
        beside: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        mailbox: Any = ray.remote(num_cpus=0, scheduling_strategy=beside)(Mailbox).remote()
        folders = {name: Path(job.arguments[name]) for name in (FOLDER, SCRATCH)}
        arguments = workplace.packed({**job.arguments, **folders})
        assignment = Assignment(job, agreement, workplace, arguments, _threads(job))
        ray.get(mailbox.say.remote(ASSIGNMENT, assignment))
        run = _Run(job, mailbox)
        thread = threading.Thread(target=run, name="ray-train", daemon=True)
        try:
            with signals_held() as held:
                thread.start()
                _listen(run, thread, told, Receiver(mailbox, folders[SCRATCH]), making, held)
        finally:
            ray.kill(mailbox)


@dataclass
class _Run:
    """Ray Train's run of a job, in a thread of its own; `error` is what ended it."""

    job: Job
    mailbox: Any
    error: BaseException | None = None

    def __call__(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        cards = self.job.device == "cuda"
        try:
            TorchTrainer(
                _part,
                train_loop_config={"mailbox": self.mailbox},
                torch_config=TorchConfig(backend="nccl" if cards else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=self.job.size,
                    use_gpu=cards,
                    # One processor each, however many they use, so that the machines that are left are enough.
                    resources_per_worker={"CPU": 1.0} | ({"GPU": 1.0} if cards else {}),
                    placement_strategy="PACK" if cards else "SPREAD",
                ),
                run_config=RunConfig(
                    name=f"finetune-{uuid.uuid4().hex}",
                    # Ray Train's own checkpoints are not used: they need a folder that all machines share.
                    storage_path=str(Path(tempfile.gettempdir()) / "ray" / "finetune-train"),
                    failure_config=FailureConfig(max_failures=STARTS - 1),
                ),
            ).fit()
        except BaseException as error:
            self.error = error


def _listen(
    run: _Run, thread: threading.Thread, told: Told, receive: Receiver, making: Making | None, held: Held
) -> None:
    """Passes on what the processes tell until Ray Train has ended."""
    import ray

    last: Message = {}
    starts, asked = 0, False
    while True:
        alive = thread.is_alive()
        messages: list[Message] = ray.get(run.mailbox.take.remote())
        for message in messages:
            if "started" in message:
                starts += 1
                told.started()
                if starts > 1:
                    told.listener.warn("A process that trains was lost: all of them go on from the last checkpoint")
            elif receive(message):
                continue
            elif is_for_listeners(message):
                told(message)
            elif "files" in message:
                if making is not None:
                    making.add(message["files"])
            elif "error" not in last:
                last = message
        if not (alive or messages):
            break
        if held.heard and not asked:
            asked = True
            run.mailbox.say.remote(STOP, True)
        time.sleep(LOOK_SECONDS)
    if "error" in last:
        error: FinetuneError = known_error(last)
        raise error
    if held.heard or "stopped" in last:
        held.stop()
    if run.error is not None:
        failures: dict[int, Exception] = getattr(run.error, "worker_failures", {})
        if "failed" in last and not any(isinstance(each, ray.exceptions.RayError) for each in failures.values()):
            raise RuntimeError(f"a process that trains failed:\n{last['failed']}") from run.error
        raise ClusterError(
            f"the Ray cluster lost processes of this training {starts} times ({type(run.error).__name__}): see its"
            " dashboard for the reason, most often too little memory, and run again, which goes on from the last"
            " checkpoint"
        ) from run.error


def _threads(job: Job) -> int | None:
    """Returns how many processors each process may use, of as many as find room at once; None: as many as it has beside
    its card. Raises ClusterError where the cluster has too few of either."""
    import ray

    kind = "GPU" if job.device == "cuda" else "CPU"
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [int(node["Resources"].get(kind, 0)) for node in known if node["Alive"]]
    if sum(nodes) < job.size:
        raise ClusterError(
            f"training.processes is {job.size}, and the Ray cluster has {sum(nodes)}"
            f" {'cards' if kind == 'GPU' else 'processors'}, of which each process needs one: lower it, or add machines"
        )
    if kind == "GPU":
        return None
    return max(many for many in range(1, max(nodes) + 1) if sum(node // many for node in nodes) >= job.size)


def _part(config: dict[str, Any]) -> None:
    """Does one process's part, in Ray Train's worker."""
    import ray
    from ray.train import get_context

    mailbox, context = config["mailbox"], get_context()
    if ray.get(mailbox.said.remote(OVER)):
        return
    assignment: Assignment = ray.get(mailbox.said.remote(ASSIGNMENT))
    rank = context.get_world_rank()
    place = Place(
        rank, context.get_world_size(), context.get_local_rank(), context.get_local_world_size(), assignment.job.device
    )
    if rank == 0:
        ray.get(mailbox.put.remote({"started": True}))
    try:
        require_agreement(assignment.agreement)
        done = assignment.workplace.done(_Part(assignment, place, mailbox), assignment.arguments)
        if done.answer.error is not None:
            raise done.answer.error
        if done.answer.words:
            ray.get(mailbox.put.remote({"failed": done.answer.trace}))
            raise RuntimeError(done.answer.words)
        if rank == 0:
            ray.get(mailbox.put.remote({"files": done.files}))
    except Stopped:
        ray.get(mailbox.put.remote({"stopped": True}))
    except FinetuneError as error:
        ray.get([mailbox.put.remote(error_message(error)), mailbox.say.remote(OVER, True)])
        raise


@dataclass(frozen=True)
class _Part:
    """One process's part of a job, as a function of its arguments on this machine."""

    assignment: Assignment
    place: Place
    mailbox: Any

    def __call__(self, arguments: dict[str, Any]) -> None:
        import logging

        import torch

        from lib.training.distributed.group import joined
        from lib.training.distributed.messages import Relay

        if self.assignment.threads is not None:
            torch.set_num_threads(self.assignment.threads)
        first, carries = self.place.rank == 0, self.assignment.carries
        if first and carries:
            fetch(self.mailbox, arguments[SCRATCH])
        relay, log = Relay(self._put), logging.getLogger("finetune")
        log.addHandler(relay)
        log.setLevel(logging.INFO)
        try:
            with joined(self.place, asked=self._asked, saved=self._saved) as team:
                replace(self.assignment.job, arguments=arguments).do(team, told_to(self._put, first=first))
        finally:
            log.removeHandler(relay)

    def _put(self, message: Message) -> None:
        self.mailbox.put.remote(message)

    def _saved(self, folder: Path) -> None:
        if self.assignment.carries:
            send(self.mailbox, folder)

    @contextmanager
    def _asked(self) -> Iterator[Held]:
        """Looks whether the step's process asks to stop; ends this process when there is no step any more."""
        import ray

        held, over = Held(), threading.Event()

        def look() -> None:
            while not over.wait(5 * LOOK_SECONDS):
                try:
                    held.heard = bool(ray.get(self.mailbox.said.remote(STOP)))
                except ray.exceptions.RayError:
                    if not over.is_set():
                        os._exit(1)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            over.set()
            with suppress(RuntimeError):
                thread.join()
