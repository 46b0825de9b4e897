"""A flow run of a use case: its steps in order, its record around them, its model in the registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prefect import Flow, runtime

from flows.run.delivery import deliver_older, deliver_others
from flows.run.names import named_by_recipe, rename_run, run_tags
from flows.run.result import LISTENER, PROGRESS, Result
from flows.run.telling import Telling
from lib.store.warnings import warnings_of
from tasks.engine.log import run_log
from tasks.engine.pageless import noted
from tasks.engine.runner import Performer
from tasks.engine.step import AnyRecipe, Run
from tasks.record.curves import LiveCurves
from tasks.record.live import with_curves
from tasks.record.mlflow_run import loss_warned
from tasks.record.outbox import made_of, new_record, now
from tasks.record.pages import flatten, page_in_mlflow
from tasks.record.recording import recorded, tell_what_waits
from tasks.record.track import show_tables
from tasks.report.conclusion import show_report
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
    prints. How the MLflow run ends, and what becomes of what MLflow does not take, is said in `recorded`."""
    started = time.monotonic()
    tell_of_secrets(recipe.model_dump())
    values = recipe.model_dump(mode="json")
    record = new_record(
        experiment=use_case.flow,
        name=str(runtime.flow_run.name),
        params=flatten(values),
        tags=run_tags(recipe.name, f"flows/{use_case.name}.py"),
        recipe=values,
    )
    with recorded(record) as recording:
        curves = LiveCurves(recording.open, record.started, run_log().warning)
        run = Run(recipe, recording.record.shown_id, listener=with_curves(LISTENER.get(), curves))
        perform = Performer(run, PROGRESS.get())
        for step in use_case.steps:
            perform(step)
        to_come = [step.name for step in use_case.last if not perform.would_reuse(step)]
        recording.note(made=made_of(perform.made.values()), computed=[*perform.computed, *to_come], measured=now())
        deliver_older(record)
        telling = Telling(use_case, recipe, recording, perform.made)
        with perform.timing("track") as timed:
            timed.state = "ran" if telling.track() else "waits"
        with perform.timing("register") as timed:
            timed.state = "waits" if not telling.publish() else "ran" if telling.new else "cached"
        telling.conclude()
        show(telling, renamed=recording.record.name != record.name)
        told = use_case.afterwards(perform)
        recording.note(made=made_of(perform.made.values()), told=recording.record.told | told)
        recording.tell = telling.rest
    waits = tell_what_waits(recording)
    if not waits:
        deliver_others(record)
    result = Result(
        recipe=recipe.name,
        flow_run=str(runtime.flow_run.id),
        mlflow_run=recording.record.run,
        steps=perform.outcomes,
        metrics={**telling.pages.metrics, **use_case.last_metrics(perform.made)},
        registered=telling.registered,
        verdict=list(telling.conclusion.sentences),
        report=telling.report,
        warnings=warnings_of(perform.made.values()),
        waits=waits,
        seconds=round(time.monotonic() - started, 2),
    )
    return result.model_dump(mode="json")


def show(telling: Telling, *, renamed: bool) -> None:
    """Shows on Prefect's page what the run comes to. renamed: whether that is also in its name."""
    with loss_warned("Prefect does not show all that this run comes to"):
        if renamed:
            rename_run(telling.recording.record.name)
        show_tables(telling.recipe, telling.pages)
        show_report(page_in_mlflow(telling.recording), telling.finished, telling.pages, telling.conclusion)
