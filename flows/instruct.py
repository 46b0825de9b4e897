"""Teach a GPT to follow instructions, let it answer and have its answers judged: `python -m flows.instruct`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import flow
from prefect.transactions import transaction
from rich.console import Console

from flows.run.names import run_name
from flows.run.prefect_api import find_or_start_prefect, no_heartbeats
from flows.run.recorded import recorded
from flows.run.result import PROGRESS
from flows.terminal.answer import answer_command
from flows.terminal.champion import promote_follower_command, rollback_follower_command
from flows.terminal.command_line import keep_errors_off_the_terminal, main, parse
from flows.terminal.display import progress_bars
from flows.terminal.facts import instruct_facts, judged_in_words
from flows.terminal.program import Program
from lib.errors import JudgeError, RecipeError
from lib.files.jsonfile import load_json
from lib.recipes.instruct import InstructRecipe
from lib.store.artifacts import Artifact
from tasks.engine.runner import Explainer, Performer
from tasks.engine.step import Run
from tasks.record.instruct import FAILED, JUDGE_TAG, headline, run_to_judge, track, track_judge
from tasks.record.mlflow_run import client, set_tags
from tasks.registry.candidates import instructions_candidate
from tasks.registry.promote import promote
from tasks.registry.register import publishing, register
from tasks.steps.backbone import backbone
from tasks.steps.instruct.download import download
from tasks.steps.instruct.entries import entries
from tasks.steps.instruct.evaluate import evaluate_answers
from tasks.steps.instruct.finetune import finetune_instructions as finetune
from tasks.steps.instruct.judge import judge
from tasks.steps.instruct.respond import respond
from tasks.steps.instruct.split import split_entries
from tasks.steps.instruct.tokenize import tokenize_entries

NAME = "finetune-instructions"
COMMAND = "python -m flows.instruct"


def steps(do: Callable[..., Any]) -> dict[str, Any]:
    """Every step that makes an artifact, in order; `do` performs or explains each. By step name."""
    made = answered(do)
    made["judge"] = do(judge, respond=made["respond"])
    return made


def answered(do: Callable[..., Any]) -> dict[str, Any]:
    """The steps before the judge, who may be away."""
    made: dict[str, Any] = {}
    made["download"] = do(download)
    made["entries"] = do(entries, download=made["download"])
    made["split_entries"] = do(split_entries, entries=made["entries"])
    made["tokenize_entries"] = do(tokenize_entries, split_entries=made["split_entries"])
    made["backbone"] = do(backbone)
    texts = {name: made[name] for name in ("split_entries", "tokenize_entries")}
    made["finetune_instructions"] = do(finetune, backbone=made["backbone"], **texts)
    model = {"finetune_instructions": made["finetune_instructions"]}
    made["respond"] = do(respond, split_entries=made["split_entries"], **model)
    made["evaluate_answers"] = do(
        evaluate_answers, tokenize_entries=made["tokenize_entries"], **model, respond=made["respond"]
    )
    return made


@flow(
    name=NAME,
    description="From a file of instructions to a registered GPT that follows them, with its answers judged",
    flow_run_name=run_name,
    log_prints=False,
)
def finetune_instructions(recipe: InstructRecipe) -> dict[str, Any]:
    """Runs the recipe; steps whose artifacts exist are reused. Returns what `--json` prints.

    The judge comes last, when everything else is tracked and registered: one that cannot be reached makes its own step
    fail, and nothing else.
    """
    with recorded(NAME, recipe, "flows/instruct.py") as run:
        perform, run_id = run.perform, run.run_id
        made = answered(perform)

        began = time.monotonic()
        metrics = track(run_id, recipe, made, perform.state_of("finetune_instructions"))
        perform.note("track", "ran", began)

        began = time.monotonic()
        candidate = instructions_candidate(recipe, made["finetune_instructions"], headline(recipe, metrics))
        with publishing(recipe.registry.name), transaction():
            registered = promote(register(run_id, candidate))
        perform.note("register", "ran" if registered.new else "cached", began)

        began = time.monotonic()
        try:
            metrics |= judged(run_id, perform, made)
        except JudgeError as error:
            perform.note("judge", "failed", began, reason=f"{error}; `{COMMAND} judge` with the same flags asks again")
            set_tags(client(), run_id, {JUDGE_TAG: f"{FAILED}{error}"})
    return run.result(metrics, registered)


def judged(run_id: str, perform: Performer, made: Mapping[str, Artifact]) -> dict[str, float]:
    """The judge's step, and its figures, which are logged to the MLflow run; none if nobody is to judge.

    Raises JudgeError if the judge cannot be asked.
    """
    verdicts = perform(judge, respond=made["respond"])
    if not load_json(verdicts.file("summary.json"))["judged"]:
        return {}
    return track_judge(run_id, verdicts, made["respond"], made["evaluate_answers"])


@flow(
    name="judge-answers",
    description="Scores the answers of an earlier run",
    flow_run_name=run_name,
    log_prints=False,
)
def judge_answers(recipe: InstructRecipe, run_id: str, made: dict[str, Artifact]) -> dict[str, Any]:
    """Lets the recipe's judge score the answers that are among the artifacts `made`, and logs that to the MLflow run.

    Raises JudgeError if the judge cannot be asked.
    """
    perform = Performer(Run(recipe, run_id), PROGRESS.get())
    metrics = judged(run_id, perform, made)
    return {
        "mlflow_run": run_id,
        "steps": [step.model_dump(mode="json") for step in perform.outcomes],
        "metrics": metrics,
    }


def judge_command(argv: Sequence[str]) -> int:
    """Score the answers of an earlier run; takes the flags of that run.

    Raises RecipeError if nobody is to judge or there is no such run.
    """
    options, recipe = parse(argv, PROGRAM)
    if options.explain or options.log_format != "bars":
        raise RecipeError("judge only asks the judge: leave --explain and --log-format out")
    if recipe.judge.provider == "off":
        raise RecipeError("judge.provider is 'off': say who judges, such as --judge.provider ollama")
    found = answered(Explainer(Run(recipe)))
    missing = [name for name, artifact in found.items() if artifact is None]
    if missing:
        raise RecipeError(
            f"there are no answers of this recipe to judge ({', '.join(missing)} would run): run `{COMMAND}` with the"
            " same flags first, or see with --explain what differs"
        )
    keep_errors_off_the_terminal()
    find_or_start_prefect()
    with no_heartbeats(), progress_bars(Console(stderr=True)):
        result = judge_answers(recipe, run_to_judge(NAME, found["respond"], recipe.judge.model), found)
    shown = json.dumps(result) if options.json else judged_in_words(result["metrics"], recipe)
    print(shown)  # noqa: T201 - this is the program's output
    return 0


PROGRAM = Program(
    module="flows.instruct",
    description="Teach a GPT to follow instructions, let it answer and have its answers judged; or ask one.",
    model=InstructRecipe,
    folder="instruct",
    flow=finetune_instructions,
    steps=steps,
    trains="finetune_instructions",
    facts=instruct_facts,
    commands={
        "answer": answer_command,
        "judge": judge_command,
        "promote": promote_follower_command,
        "rollback": rollback_follower_command,
    },
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PROGRAM))
