"""Fine-tune, evaluate and register a text classifier: `python -m flows.classify --recipe quickstart`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from prefect import flow, runtime
from prefect.transactions import transaction

from flows.command_line import main
from flows.terminal import LISTENER, PROGRESS, Result
from lib.recipe import ClassifyRecipe
from tasks.backbone import backbone
from tasks.balance import balance
from tasks.download import download
from tasks.evaluate import evaluate
from tasks.features import features
from tasks.finetune import finetune
from tasks.messages import messages
from tasks.register import promote, publishing, register
from tasks.runner import Performer
from tasks.services import PREFECT_PORT, without_password
from tasks.split import split
from tasks.step import Run
from tasks.tokenize import tokenize
from tasks.track import flatten, git_commit, headline, track
from tasks.tracking import client, tracked_run

NAME = "finetune-classifier"


def steps(do: Callable[..., Any]) -> dict[str, Any]:
    """Every step that makes an artifact, in order; `do` performs or explains each. By step name."""
    made: dict[str, Any] = {}
    made["download"] = do(download)
    made["messages"] = do(messages, download=made["download"])
    made["balance"] = do(balance, messages=made["messages"])
    made["split"] = do(split, balance=made["balance"])
    made["tokenize"] = do(tokenize, balance=made["balance"], split=made["split"])
    made["backbone"] = do(backbone)
    made["features"] = do(features, backbone=made["backbone"], tokenize=made["tokenize"])
    made["finetune"] = do(finetune, **{name: made[name] for name in ("backbone", "tokenize", "features")})
    made["evaluate"] = do(
        evaluate, **{name: made[name] for name in ("messages", "balance", "split", "tokenize", "features", "finetune")}
    )
    return made


def run_name() -> str:
    """What Prefect's and MLflow's pages call a run: its recipe and when it began, on the clock of this machine.

    Without the year, which the pages say elsewhere, it fits into their columns.
    """
    return f"{runtime.flow_run.parameters['recipe'].name} {datetime.now():%m-%d %H:%M:%S}"


def run_page() -> str:
    """Where Prefect shows the present run, or will once `make ui` runs."""
    if os.environ.get("PREFECT_API_URL"):
        return without_password(str(runtime.flow_run.ui_url))
    return f"http://127.0.0.1:{PREFECT_PORT}/runs/flow-run/{runtime.flow_run.id}"


@flow(
    name=NAME,
    description="From a labelled text file to a registered classifier",
    flow_run_name=run_name,
    log_prints=False,
)
def finetune_classifier(recipe: ClassifyRecipe) -> dict[str, Any]:
    """Runs the recipe; steps whose artifacts exist are reused. Returns what `--json` prints."""
    started = time.monotonic()
    tags = {
        "recipe": recipe.name,
        "prefect.flow_run_id": str(runtime.flow_run.id),
        "prefect.flow_run_url": run_page(),
        "mlflow.source.name": "flows/classify.py",
        "mlflow.source.type": "LOCAL",
        **git_commit(),
    }
    params = flatten(recipe.model_dump(mode="json"))
    tracking = client()
    with tracked_run(tracking, experiment=NAME, name=str(runtime.flow_run.name), params=params, tags=tags) as run_id:
        perform = Performer(Run(recipe, run_id, listener=LISTENER.get()), PROGRESS.get())
        made = steps(perform)

        began = time.monotonic()
        metrics = track(run_id, recipe, made, perform.state_of("finetune"))
        perform.note("track", "ran", began)

        began = time.monotonic()
        with publishing(recipe.registry.name), transaction():
            registered = promote(register(run_id, recipe, made["finetune"], headline(recipe, metrics)))
        perform.note("register", "ran" if registered.new else "cached", began)
    result = Result(
        recipe=recipe.name,
        flow_run=str(runtime.flow_run.id),
        mlflow_run=run_id,
        steps=perform.outcomes,
        metrics=metrics,
        registered=registered,
        seconds=round(time.monotonic() - started, 2),
    )
    return result.model_dump(mode="json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], finetune_classifier, steps))
