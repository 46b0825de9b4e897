"""Labels for single texts, from a registered champion or from a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from lib.errors import ServiceError
from tasks.register import CHAMPION
from tasks.tracking import client, reason_of


def predict(texts: Sequence[str], *, name: str | None = None, run: str | None = None) -> list[dict[str, Any]]:
    """For each text its label and, for each class, `probability_<class>`.

    `name`: a registered model, whose champion answers (None: the only one that has a champion); `run`: an MLflow run,
    whose own classifier answers. Raises ServiceError if there is no such model or run.
    """
    tracking = client()
    uri = _of_run(tracking, run) if run else f"models:/{_registered_name(tracking, name)}@{CHAMPION}"
    import mlflow

    mlflow.set_tracking_uri(tracking.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = mlflow.pyfunc.load_model(uri)
        except (MlflowException, OSError) as error:
            raise ServiceError(
                f"the classifier {uri} cannot be loaded ({reason_of(error)}): its files are missing or damaged, so"
                " choose another one (--name, --run) or fine-tune again under another registry.name"
            ) from None
    answers: list[dict[str, Any]] = model.predict(list(texts)).to_dict("records")
    return answers


def _registered_name(tracking: MlflowClient, name: str | None) -> str:
    champions = [model.name for model in tracking.search_registered_models() if CHAMPION in model.aliases]
    if name is None and len(champions) == 1:
        return str(champions[0])
    if name in champions:
        return str(name)
    there = f"those with one are {', '.join(champions)}" if champions else "fine-tune a classifier first"
    wanted = f"{name} has no champion" if name else "there is not exactly one registered model with a champion"
    raise ServiceError(f"{wanted}: {there}{' (--name says which)' if champions and not name else ''}")


def _of_run(tracking: MlflowClient, run: str) -> str:
    try:
        experiment = tracking.get_run(run).info.experiment_id
    except MlflowException:
        raise ServiceError(f"MLflow has no run {run}: look its id up in the pages (`make ui`)") from None
    for version in tracking.search_model_versions(f"run_id = '{run}'"):
        return f"models:/{version.name}/{version.version}"
    source = tracking.get_run(run).data.tags.get("finetune.source_run", run)
    for version in tracking.search_model_versions(f"run_id = '{source}'"):
        return f"models:/{version.name}/{version.version}"
    raise ServiceError(f"run {run} in experiment {experiment} registered no classifier: choose another one")
