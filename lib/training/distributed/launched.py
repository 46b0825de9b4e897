"""Trains in processes that `torchrun` or `accelerate launch` started: the first runs the flow, the others wait for it.

They meet at the launcher's store of keys (torch's TCPStore), where the first process says what is to be done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from lib.errors import RecipeError
from lib.progress import NOBODY
from lib.training.distributed.job import Job
from lib.training.distributed.place import Place

if TYPE_CHECKING:
    from torch.distributed import PrefixStore

    from lib.training.team import Team

SIGN = "TORCHELASTIC_RUN_ID"  # torchrun sets it, and accelerate launch starts torchrun's agent
LOOK_SECONDS = 0.5
MOST_SECONDS = 600.0  # to reach the store
END_SECONDS = 5.0  # the same, when all is done
END = "end"


@dataclass(frozen=True)
class Launched:
    """This process among those that were started together.

    local_rank, local_size: the same among those of this machine. host, port: the store's. restart: how often the
    launcher has started them again.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str
    port: int
    restart: int

    def store(self, seconds: float = MOST_SECONDS) -> PrefixStore:
        """Connects to the store, where each start has keys of its own; tries for so long."""
        from torch.distributed import PrefixStore, TCPStore

        keys = TCPStore(self.host, self.port, is_master=False, timeout=timedelta(seconds=seconds))
        return PrefixStore(f"finetune/{self.restart}", keys)

    def place(self, device: str) -> Place:
        """Where this process stands in a training."""
        return Place(self.rank, self.size, self.local_rank, self.local_size, device)


@cache
def launched() -> Launched | None:
    """Returns this process's place, if a launcher started it, and takes it out of the environment: what is computed
    before and after the training is computed by one process, as the recipe says and not as Accelerate's own settings
    do."""
    if os.environ.pop(SIGN, None) is None:
        return None
    taken = os.environ.pop
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        taken(name)
    return Launched(
        rank=int(taken("RANK")),
        size=int(taken("WORLD_SIZE")),
        local_rank=int(taken("LOCAL_RANK")),
        local_size=int(taken("LOCAL_WORLD_SIZE")),
        host=os.environ["MASTER_ADDR"],
        port=int(os.environ["MASTER_PORT"]),
        restart=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
    )


def require_processes(processes: int, start: Launched) -> None:
    """Raises RecipeError unless as many processes were started as shall train together."""
    if processes != start.size:
        raise RecipeError(
            f"training.processes is {processes}, and {start.size} processes were started: set --training.processes"
            f" {start.size}, or start that many"
        )


@contextmanager
def leading(start: Launched) -> Iterator[None]:
    """Lets the other processes end at the end of the block, in the first one."""
    try:
        yield
    finally:
        if start.size > 1:
            with suppress(RuntimeError):  # the launcher has ended, and with it the others
                start.store(END_SECONDS).set(END, "1")


@contextmanager
def team_of(job: Job, start: Launched) -> Iterator[Team]:
    """Tells the others to do the job, and joins them, in the first process."""
    from lib.training.distributed.group import joined

    store = start.store()
    number = store.add("jobs", 1)
    store.set(f"job {number}", json.dumps(job.json()))
    with joined(start.place(job.device), store=_meeting(store, number)) as team:
        yield team


def follow(start: Launched) -> None:
    """Does what the first process says, until that has ended."""
    from lib.training.distributed.group import joined

    store, number = start.store(), 1
    while True:
        if store.check([f"job {number}"]):
            job = Job(**json.loads(store.get(f"job {number}")))
            with joined(start.place(job.device), store=_meeting(store, number)) as team:
                job.do(team, NOBODY)
            number += 1
        elif store.check([END]):
            return
        else:
            time.sleep(LOOK_SECONDS)


def _meeting(store: PrefixStore, number: int) -> PrefixStore:
    from torch.distributed import PrefixStore

    return PrefixStore(f"group {number}", store)
