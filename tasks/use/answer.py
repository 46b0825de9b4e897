"""Answers to single questions, from a registered champion or from a run."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.record.mlflow_run import client
from tasks.registry.models import INSTRUCTIONS, find_model, load_model


def answer(questions: Sequence[tuple[str, str]], *, name: str | None = None, run: str | None = None) -> list[str]:
    """The response to each question, which is an instruction and its input ("" where it has none).

    `name`: a registered model, whose champion answers (None: the only instruction follower that has a champion); `run`:
    an MLflow run, whose own model answers. Raises ServiceError if there is no such model or run, MessagesError if an
    instruction is empty.
    """
    tracking = client()
    model = load_model(tracking, INSTRUCTIONS, find_model(tracking, INSTRUCTIONS, name=name, run=run))
    asked = [{"instruction": instruction, "input": input_} for instruction, input_ in questions]
    responses: list[str] = model.predict(asked)["response"].tolist() if asked else []
    return responses
