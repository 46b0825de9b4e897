"""Runs a recipe from a terminal, or explains what a run would do."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from typing import Any, TextIO

from prefect.logging.configuration import ensure_logging_setup

from flows.run.prefect_api import no_heartbeats, prefect_server, run_beside_prefect
from flows.run.result import Result, listening
from flows.terminal.display import progress_bars, show_forecasts, show_result
from flows.terminal.drawing import console
from flows.terminal.exits import EXIT_USER_ERROR, say_error, say_warning
from flows.terminal.program import Program, Recipe
from flows.terminal.published import BookLog, replay
from flows.terminal.say import say
from flows.use_cases.use_case import UseCase
from tasks.engine.runner import Explainer
from tasks.engine.step import Run

# Prefect's own threads, which send logs and events to its server, and what they are called as loggers.
INTERNAL = ("prefect._internal", "prefect.events", "prefect.concurrency", "EventsWorker", "APILogWorker")
# A copy of what the store has: see `tasks.engine.prefect_cache`.
UNNEEDED = "Failed to write result"


def run(recipe: Recipe, program: Program[Recipe], *, as_json: bool, log_format: str) -> int:
    """Runs the recipe and shows what came of it; returns the exit status."""
    recipe.require_extras()
    keep_errors_off_the_terminal()
    with prefect_server(), no_heartbeats():
        if log_format == "book":
            printed = _run_as_the_book(recipe, program, sys.stderr if as_json else sys.stdout)
        else:
            with progress_bars(console(stderr=True)):
                use_case: UseCase = program.use_case()
                printed = run_beside_prefect(lambda: program.run(use_case, recipe), say_warning)
    result = Result.model_validate(printed)
    if as_json:
        print(json.dumps(printed))  # noqa: T201
    else:
        show_result(console(), result, recipe, program)
    if result.waits:
        say_warning(result.waits)
    failed = [outcome.reason for outcome in result.steps if outcome.state == "failed"]
    if failed:
        sys.stdout.flush()  # so that the reasons come last where both streams go to one place
    for reason in failed:
        say_error(reason)
    return EXIT_USER_ERROR if failed else 0


def _run_as_the_book(recipe: Recipe, program: Program[Recipe], stream: TextIO) -> dict[str, Any]:
    """The flow's result; `stream` gets the published procedure's lines, also of a training that was not repeated."""
    log = BookLog(lambda line: say(line, lines=True, file=stream), recipe.training.evaluate_every)
    use_case: UseCase = program.use_case()
    with listening(log.listener):
        result = run_beside_prefect(lambda: program.run(use_case, recipe), say_warning)
    done, training = Result.model_validate(result), use_case.trains.name
    if {outcome.step: outcome.state for outcome in done.steps}[training] == "cached":
        replay(done.artifacts()[training], log.listener)
    log.end()
    return result


def explain(recipe: Recipe, program: Program[Recipe], *, as_json: bool) -> int:
    """Shows what a run would do; returns the exit status."""
    explainer = Explainer(Run(recipe))
    for step in program.use_case().all_steps:
        explainer(step)
    if as_json:
        steps = [asdict(forecast) for forecast in explainer.forecasts]
        print(json.dumps({"recipe": recipe.name, "steps": steps}))  # noqa: T201
    else:
        show_forecasts(console(), explainer.forecasts)
    return 0


def keep_errors_off_the_terminal() -> None:
    """Keeps what nobody at a terminal can act upon out of it.

    Prefect's logs of a failure repeat, with a traceback, what `main` says in one sentence; its pages keep them. Its
    services say by themselves that they lost their server. MLflow says of every long parameter that it is cut.
    """

    def is_for_people(record: logging.LogRecord) -> bool:
        of_a_run = record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
        if of_a_run and record.levelno >= logging.ERROR:
            return False
        return not record.name.startswith(INTERNAL) and not record.getMessage().startswith(UNNEEDED)

    ensure_logging_setup()  # later calls of Prefect's keep the handlers, and so the filter
    for name in (None, "prefect", "prefect._internal"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(is_for_people)
    logging.raiseExceptions = False  # otherwise Prefect writes that a log was not sent past all handlers
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its errors are raised, too
    logging.getLogger("mlflow.utils.validation").addFilter(lambda record: "is truncated to" not in record.getMessage())
