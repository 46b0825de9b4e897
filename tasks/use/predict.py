"""Answers single texts with a registered champion or the model of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tasks.record.mlflow_run import client
from tasks.registry.files import load_model
from tasks.registry.models import CLASSIFIER, INSTRUCTIONS, Kind, Version, find_model

if TYPE_CHECKING:
    from lib.inference.answerer import Question
    from lib.text.turns import Turn

Told = Callable[[Version], None]  # gets the version that answers


def predict(
    texts: Sequence[str], *, name: str | None = None, run: str | None = None, tell: Told = lambda version: None
) -> list[dict[str, Any]]:
    """Returns for each text its label, of two labels the `threshold` applied, and `probability_<class>` of each class.
    `name`, `run`: which classifier, as in `find_model`. Raises ServiceError if there is no such classifier or run."""
    answers: list[dict[str, Any]] = _model(CLASSIFIER, name, run, tell).predict(list(texts)).to_dict("records")
    return answers


def answer(
    questions: Sequence[Question],
    *,
    name: str | None = None,
    run: str | None = None,
    tell: Told = lambda version: None,
) -> list[str]:
    """Returns the response to each question: an instruction, its input ("" for none), and perhaps what was said before.

    `name`, `run`: which model, as in `find_model`. Raises ServiceError if there is no such model or run, MessagesError
    if an instruction is empty.
    """
    model = _model(INSTRUCTIONS, name, run, tell)
    asked = [_row(*question) for question in questions]
    responses: list[str] = model.predict(asked)["response"].tolist() if asked else []
    return responses


def _row(instruction: str, input: str, earlier: Sequence[Turn] = ()) -> dict[str, Any]:
    said = {"earlier": [turn._asdict() for turn in earlier]} if earlier else {}
    return {"instruction": instruction, "input": input, **said}


def _model(kind: Kind, name: str | None, run: str | None, tell: Told) -> Any:
    tracking = client()
    version = find_model(tracking, kind, name=name, run=run)
    tell(version)
    return load_model(tracking, kind, version)
