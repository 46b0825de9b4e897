"""Has a training done by as many processes as the recipe says: each computes the same step, and the first keeps it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from lib.model.machine.memory import memory_suffices
from lib.progress import Listener
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.step import AnyRecipe, DeclaredFields, Step, Work
from tasks.record.live import watched
from tasks.store import store_at, store_place

if TYPE_CHECKING:
    from lib.training.team import Team

LOG = logging.getLogger("finetune.training")
RECIPES: dict[str, type[AnyRecipe]] = {"ClassifyRecipe": ClassifyRecipe, "InstructRecipe": InstructRecipe}
TOGETHER = ("cluster.kind", "cluster.address")  # the fields that say where, which belong to the step's `unkeyed`
Compute = Callable[..., None]


def together(recipe: type[AnyRecipe]) -> Callable[[Compute], Compute]:
    """Returns a decorator of a step's function that trains.

    The function is called with a listener that is followed live: in this process, or in each of `training.processes`,
    where `work.team` says which one it is in.
    """

    def decorate(compute: Compute) -> Compute:
        @wraps(compute)
        def computed(work: Work[Any], **inputs: Artifact) -> None:
            with watched(work, compute.__name__) as listener:
                here = replace(work, listener=listener)
                if work.recipe.training.processes == 1:
                    compute(here, **inputs)
                else:
                    _start(here, compute, recipe.__name__, inputs)

        return computed

    return decorate


def _start(work: Work[Any], compute: Compute, recipe: str, inputs: dict[str, Artifact]) -> None:
    """Has the processes of a training do the step: those that this one was started with, or new ones."""
    from lib.training.distributed.job import Job
    from lib.training.distributed.launch import train_together
    from lib.training.distributed.launched import launched, team_of
    from lib.training.distributed.messages import Told

    name = f"{compute.__module__}:{compute.__name__}"
    step: Step = resolve_name(name)
    arguments = {
        "step": name,
        "code": dict(step.code),
        "recipe": [recipe, dict(work.whole_recipe)],
        "inputs": {name: artifact.model_dump() for name, artifact in inputs.items()},
        "store": store_place(),
        "folder": str(work.folder),
        "scratch": str(work.scratch),
        "identity": dict(work.identity),
    }
    job = Job(f"{__name__}:do_part", arguments, work.recipe.training.processes, work.identity["device"])
    start, cluster, told = launched(), work.recipe.cluster, Told(work.listener, work.log.log)
    if start is not None:
        with team_of(job, start) as team:
            compute(replace(work, team=team), **inputs)
    elif cluster.kind == "ray":
        from lib.cluster.agreement import Agreement
        from lib.cluster.opening import workplace_of
        from lib.training.distributed.on_ray import train_on_ray

        with workplace_of(work.scratch, work.making, list(inputs.values())) as workplace:
            train_on_ray(
                job,
                told,
                address=cluster.address,
                agreement=Agreement.here(compute.__module__),
                workplace=workplace,
                making=work.making,
            )
    else:
        train_together(job, told)


def do_part(arguments: dict[str, Any], team: Team, listener: Listener) -> None:
    """Does this process's part of a step, of which the first one fills the folder."""
    step: Step = resolve_name(arguments["step"])
    step.load_code(arguments["code"])
    kind, values = arguments["recipe"]
    fields: Any = DeclaredFields(RECIPES[kind].model_validate(values), step.reads + step.unkeyed, step.name)
    log = LOG if team.rank == 0 else LOG.getChild("others")
    log.disabled = team.rank > 0  # they would all say the same
    store = store_at(arguments["store"], log.warning)
    inputs = {each: store.bound(Artifact.model_validate(made)) for each, made in arguments["inputs"].items()}
    with ExitStack() as ends:
        folder = Path(arguments["folder"])
        if team.rank > 0:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="finetune-train-")))
        work: Work[Any] = Work(
            recipe=fields,
            whole_recipe=values,
            folder=folder,
            scratch=Path(arguments["scratch"]),
            log=log,
            progress=listener.progress,
            tracking_run="",
            identity=arguments["identity"],
            listener=listener,
            team=team,
        )
        ends.enter_context(memory_suffices(f"the step {step.name}"))
        step.alone(work, **inputs)
