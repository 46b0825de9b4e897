"""Fine-tune, evaluate and register a text classifier: `python -m flows.classify --recipe quickstart`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from prefect import flow
from prefect.transactions import transaction

from flows.run.names import run_name
from flows.run.recorded import recorded
from flows.terminal.champion import promote_command, rollback_command
from flows.terminal.command_line import main
from flows.terminal.facts import classifier_facts
from flows.terminal.predict import predict_command
from flows.terminal.program import Program
from lib.recipes.classify import ClassifyRecipe
from tasks.record.classify import headline, track
from tasks.registry.candidates import classifier_candidate
from tasks.registry.decide import decide
from tasks.registry.promote import promote
from tasks.registry.register import publishing, register
from tasks.steps.backbone import backbone
from tasks.steps.classify.balance import balance
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.features import choice, features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.holdout import holdout
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.download import download

NAME = "finetune-classifier"


def steps(do: Callable[..., Any]) -> dict[str, Any]:
    """Every step that makes an artifact, in order; `do` performs or explains each. By step name."""
    made: dict[str, Any] = {}
    made["download"] = do(download)
    made["messages"] = do(messages, download=made["download"])
    made["balance"] = do(balance, messages=made["messages"])
    made["split"] = do(split, balance=made["balance"])
    made["holdout"] = do(holdout, split=made["split"])
    made["tokenize"] = do(tokenize, balance=made["balance"], holdout=made["holdout"])
    made["backbone"] = do(backbone)
    made["features"] = do(features, backbone=made["backbone"], tokenize=made["tokenize"])
    made["finetune"] = do(finetune, **{name: made[name] for name in ("backbone", "tokenize", "features")})
    made["evaluate"] = do(
        evaluate,
        **{name: made[name] for name in ("messages", "balance", "holdout", "tokenize", "features", "finetune")},
    )
    return made


@flow(
    name=NAME,
    description="From a labelled text file to a registered classifier",
    flow_run_name=run_name,
    log_prints=False,
)
def finetune_classifier(recipe: ClassifyRecipe) -> dict[str, Any]:
    """Runs the recipe; steps whose artifacts exist are reused. Returns what `--json` prints."""
    with recorded(NAME, recipe, "flows/classify.py") as run:
        perform, run_id = run.perform, run.run_id
        made = steps(perform)

        began = time.monotonic()
        metrics = track(run_id, recipe, made, perform.state_of("finetune"), f"{choice(recipe, made)}")
        perform.note("track", "ran", began)

        began = time.monotonic()
        with publishing(recipe.registry.name), transaction():
            candidate = classifier_candidate(recipe, made, headline(recipe, metrics))
            registered = register(run_id, candidate)
            registered = promote(registered, decide(registered, candidate, recipe, made, run_id))
        perform.note("register", "ran" if registered.new else "cached", began)
    return run.result(metrics, registered)


PROGRAM = Program(
    module="flows.classify",
    description="Fine-tune, evaluate and register a text classifier, or label texts with one.",
    model=ClassifyRecipe,
    folder="classify",
    flow=finetune_classifier,
    steps=steps,
    trains="finetune",
    facts=classifier_facts,
    commands={"predict": predict_command, "promote": promote_command, "rollback": rollback_command},
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PROGRAM))
