"""A flow run of a use case: its steps in order, its MLflow run around them, its model in the registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prefect import Flow, runtime
from prefect.transactions import transaction

from flows.run.names import name_of_repetition, named_by_recipe, rename_run, run_tags
from flows.run.result import LISTENER, PROGRESS, Result
from lib.store.warnings import warnings_of
from tasks.engine.pageless import noted
from tasks.engine.runner import Performer
from tasks.engine.step import AnyRecipe, Run
from tasks.record.mlflow_run import client, loss_warned, set_tags, tracked_run
from tasks.record.pages import flatten
from tasks.record.track import track
from tasks.record.view import COMPUTED_TAG
from tasks.registry.promote import promote
from tasks.registry.register import Registered, publishing, register
from tasks.report.conclusion import Finished, report
from tasks.secrets import secrets_kept, tell_of_secrets
from tasks.temporary import temporary_files

if TYPE_CHECKING:
    from flows.use_cases.use_case import UseCase


def flow_of(use_case: UseCase) -> Flow[[AnyRecipe], dict[str, Any]]:
    """Prefect's flow of a use case, called with a recipe; returns what `--json` prints."""

    def run(recipe: Any) -> dict[str, Any]:
        return noted(lambda: perform(use_case, recipe))

    return Flow(run, name=use_case.flow, description=use_case.description, flow_run_name=named_by_recipe())


@secrets_kept()
@temporary_files()
def perform(use_case: UseCase, recipe: AnyRecipe) -> dict[str, Any]:
    """Runs the recipe inside the present flow run; steps whose artifacts exist are reused. Returns what `--json`
    prints. How the MLflow run ends is said in `tracked_run`."""
    started = time.monotonic()
    tell_of_secrets(recipe.model_dump())
    params = flatten(recipe.model_dump(mode="json"))
    tags, name = run_tags(recipe.name, f"flows/{use_case.name}.py"), str(runtime.flow_run.name)
    with tracked_run(client(), experiment=use_case.flow, name=name, params=params, tags=tags) as run_id:
        perform = Performer(Run(recipe, run_id, listener=LISTENER.get()), PROGRESS.get())
        for step in use_case.steps:
            perform(step)
        with perform.timing("track"):
            pages = track(run_id, recipe, perform.made, use_case.pages)
        with perform.timing("register") as timed:
            registered = publish(use_case, recipe, perform)
            timed.state = "ran" if registered.new else "cached"
        name = tell_computed(use_case, perform, registered, name)
        finished = Finished(
            recipe=recipe,
            made=dict(perform.made),
            computed=frozenset(perform.computed),
            run=run_id,
            flow_run=str(runtime.flow_run.id),
            name=name,
            registered=registered,
        )
        conclusion = use_case.conclude(finished, pages)
        file = report(finished, pages, conclusion)
        more = use_case.afterwards(perform)
    result = Result(
        recipe=recipe.name,
        flow_run=str(runtime.flow_run.id),
        mlflow_run=run_id,
        steps=perform.outcomes,
        metrics={**pages.metrics, **more},
        registered=registered,
        verdict=list(conclusion.sentences),
        report=file,
        warnings=warnings_of(perform.made.values()),
        seconds=round(time.monotonic() - started, 2),
    )
    return result.model_dump(mode="json")


def tell_computed(use_case: UseCase, performed: Performer, registered: Registered, name: str) -> str:
    """Says in MLflow which steps computed something, and in the name of a run, in Prefect too, that none did. Returns
    the name."""
    published = ["register"] if registered.new else []
    to_come = [step.name for step in use_case.last if not performed.would_reuse(step)]
    computed = [*performed.computed, *published, *to_come]
    name = name if computed else name_of_repetition(name)
    with loss_warned("MLflow and Prefect do not say what this run computed"):
        tracking, run_id = client(), performed.run.tracking_run
        set_tags(tracking, run_id, {COMPUTED_TAG: ", ".join(computed) or "nothing"})
        if not computed:
            tracking.update_run(run_id, name=name)
            rename_run(name)
    return name


def publish(use_case: UseCase, recipe: AnyRecipe, performed: Performer) -> Registered:
    """A version of the run's model, and what was decided about it; all of it or nothing."""
    made, run_id = performed.made, performed.run.tracking_run
    with publishing(recipe.registry.name), transaction():
        candidate = use_case.candidate(recipe, made)
        registered = register(run_id, candidate)
        return promote(registered, use_case.decide(registered, candidate, recipe, made, run_id))
