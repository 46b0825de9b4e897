"""Labels for single texts, from a registered champion or from a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.record.mlflow_run import client
from tasks.registry.models import CLASSIFIER, find_model, load_model


def predict(texts: Sequence[str], *, name: str | None = None, run: str | None = None) -> list[dict[str, Any]]:
    """For each text its label, of two labels the `threshold` it was given at, and `probability_<class>` of each class.

    `name`: a registered model, whose champion answers (None: the only classifier that has a champion); `run`: an MLflow
    run, whose own classifier answers. Raises ServiceError if there is no such classifier or run.
    """
    tracking = client()
    model = load_model(tracking, CLASSIFIER, find_model(tracking, CLASSIFIER, name=name, run=run))
    answers: list[dict[str, Any]] = model.predict(list(texts)).to_dict("records")
    return answers
