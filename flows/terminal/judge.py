"""`finetune instruct judge`: an earlier run's answers, scored by another model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from prefect import flow

from flows.run.names import named_by_recipe
from flows.run.prefect_api import no_heartbeats, prefect_server, run_beside_prefect
from flows.run.result import LISTENER, PROGRESS
from flows.terminal.display import progress_bars
from flows.terminal.drawing import console
from flows.terminal.exits import say_warning
from flows.terminal.runs import keep_errors_off_the_terminal
from flows.terminal.say import say
from flows.use_cases.facts import judged_in_words
from flows.use_cases.instruct import INSTRUCT, judged, judges_metrics
from lib.errors import RecipeError
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.pageless import noted
from tasks.engine.runner import Explainer, Performer
from tasks.engine.step import Run
from tasks.record.instruct import run_to_judge, track_judge
from tasks.secrets import secrets_kept
from tasks.temporary import temporary_files


@flow(name="judge-answers", description="Scores the answers of an earlier run", flow_run_name=named_by_recipe("judge"))
def judge_answers(recipe: InstructRecipe, run_id: str, made: dict[str, Artifact]) -> dict[str, Any]:
    """Lets the recipe's judge score the answers that are among the artifacts `made`, and logs that to the MLflow run.
    Raises JudgeError if the judge cannot be asked."""
    return noted(lambda: score_answers(recipe, run_id, made))


@secrets_kept()
@temporary_files()
def score_answers(recipe: InstructRecipe, run_id: str, made: dict[str, Artifact]) -> dict[str, Any]:
    """Does what `judge_answers` says, inside the present flow run."""
    perform = Performer(Run(recipe, run_id, listener=LISTENER.get()), PROGRESS.get(), made)
    verdicts = judged(perform)
    metrics = judges_metrics(perform.made)
    if metrics:
        track_judge(run_id, verdicts, made["respond"], made["evaluate_answers"])
    steps = [outcome.model_dump(mode="json") for outcome in perform.outcomes]
    return {"mlflow_run": run_id, "steps": steps, "metrics": metrics}


def judge(options: argparse.Namespace, recipe: InstructRecipe) -> int:
    """Scores the answers of the run that the command line describes; returns the exit status. Raises RecipeError if
    nobody is to judge or there is no such run."""
    if options.explain or options.log_format != "bars":
        raise RecipeError("judge only asks the judge: leave --explain and --log-format out")
    if recipe.judge.provider == "off":
        raise RecipeError("judge.provider is 'off': say who judges, such as --judge.provider ollama")
    recipe.require_extras()
    explain = Explainer(Run(recipe))
    for step in INSTRUCT.steps:
        explain(step)
    missing = [step.name for step in INSTRUCT.steps if step.name not in explain.found]
    if missing:
        raise RecipeError(
            f"there are no answers of this recipe to judge ({', '.join(missing)} would run): run `finetune instruct`"
            " with the same flags first, or see with --explain what differs"
        )
    keep_errors_off_the_terminal()
    with prefect_server(), no_heartbeats(), progress_bars(console(stderr=True)):
        run_id = run_to_judge(INSTRUCT.flow, explain.found["respond"], recipe.judge.model)
        result = run_beside_prefect(lambda: judge_answers(recipe, run_id, explain.found), say_warning)
    shown = json.dumps(result) if options.json else judged_in_words(result["metrics"], recipe)
    say(shown, lines=True)
    return 0
