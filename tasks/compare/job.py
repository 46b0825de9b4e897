"""What one training of a comparison does, in whichever process: the steps that no other variant shares."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pkgutil import resolve_name
from typing import Any

from lib.processes.stopping import Stopped
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from lib.training.distributed.messages import Relay, Send, error_message, told_to
from tasks.engine.step import Run, Step
from tasks.store import artifact_store

TRAINS = ("tasks.steps.classify.finetune:finetune", "tasks.steps.classify.validate:validate")
TRAINS_ON_FOLDS = ("tasks.steps.classify.validate:validate_folds",)
BASELINE = ("tasks.steps.classify.validate:validate_baseline",)
LOG = logging.getLogger("finetune")


@dataclass(frozen=True)
class Job:
    """Steps to perform, as plain values that reach any machine.

    steps: as `module:name`, in order. recipe: as JSON. made: the artifacts that they read and that are there, by step.
    tracking_run: what the manifests note as the run that made them. processors: how many to compute with (None: as many
    as the process is given). cards: whether a GPU is needed.
    """

    steps: tuple[str, ...]
    recipe: dict[str, Any]
    made: dict[str, dict[str, str]]
    tracking_run: str = ""
    processors: int | None = None
    cards: bool = False
    environment: dict[str, str] = field(default_factory=dict, repr=False)  # to set first; secrets may be in it

    def json(self) -> dict[str, Any]:
        """The job as JSON holds it."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Job:
        """The job that `json` wrote."""
        return cls(**{**values, "steps": tuple(values["steps"])})


def steps_of(names: tuple[str, ...]) -> tuple[Step, ...]:
    """Returns the steps of a job."""
    return tuple(resolve_name(name) for name in names)


def do(job: Job, send: Send) -> bool:
    """Performs a job's steps, or finds their artifacts, and tells all of it: what a listener hears and what is logged,
    and at last `made` and `computed`, `error`, `failed` or `stopped`. Returns whether it was done."""
    LOG.addHandler(Relay(send))
    LOG.setLevel(logging.INFO)
    try:
        if job.processors is not None:
            _compute_with(job.processors)
        send(_performed(job, send))
    except Stopped:
        send({"stopped": True})
    except BaseException as error:
        send(error_message(error))
    else:
        return True
    return False


def _performed(job: Job, send: Send) -> dict[str, Any]:
    recipe, store, computed = ClassifyRecipe.model_validate(job.recipe), artifact_store(), list[str]()
    listener = told_to(send, first=True)
    run = Run(recipe, job.tracking_run, progress=listener.progress, listener=listener, computed=computed.append)
    made = {name: store.bound(Artifact.model_validate(each)) for name, each in job.made.items()}
    new: dict[str, dict[str, str]] = {}
    for step in steps_of(job.steps):
        made[step.name] = step.without_prefect(run, {name: made[name] for name in step.inputs})
        new[step.name] = made[step.name].model_dump()
    return {"done": {"made": new, "computed": computed}}


def _compute_with(processors: int) -> None:
    import torch

    torch.set_num_threads(processors)
