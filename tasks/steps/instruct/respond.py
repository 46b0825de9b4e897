"""Generates answers to the test entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lib.data.entries.files import earlier_turns, save_entries
from lib.data.tables import ANSWERS
from tasks.engine.step import Work, step
from tasks.steps.instruct.tokenize import answerable
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    import pandas as pd

    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact

PUBLISHED_FORM = "instruction-data-with-response.json"


@step(
    "respond",
    reads=["respond"],
    unkeyed=["respond.batch_size", "training.device"],
    identity=device_identity,
    tags=["gpu"],
)
def respond(
    work: Work[InstructRecipe], split_entries: Artifact, tokenize_entries: Artifact, finetune_instructions: Artifact
) -> None:
    """Lets the model answer every test entry: `answers.parquet`, and in the published form
    `instruction-data-with-response.json`."""
    from lib.inference.answerer import Answerer
    from lib.model.language_model import Writing

    recipe = work.recipe
    asked = answerable(split_entries, tokenize_entries, "test")
    writing = Writing(**recipe.respond.model_dump())
    model = Answerer.load(finetune_instructions.folder, device=work.identity["device"], writing=writing)
    questions = list(zip(asked["instruction"], asked["input"], earlier_turns(asked), strict=True))
    written = model.write(questions, progress=work.progress)
    answers = asked.assign(
        response=[answer.response for answer in written],
        tokens=[answer.tokens for answer in written],
        stopped=[answer.stopped for answer in written],
    )
    save_entries(answers, work.folder / "answers.parquet", ANSWERS)
    (work.folder / PUBLISHED_FORM).write_text(published_form(answers), encoding="utf-8")


def published_form(answers: pd.DataFrame) -> str:
    """Returns the entries with their answers as `model_response`, as chapter 7 of the book saves them; what was said
    earlier stands first."""
    columns = answers[["instruction", "input", "output", "response"]].rename(columns={"response": "model_response"})
    if "earlier" in answers:
        columns.insert(0, "earlier", [[turn._asdict() for turn in turns] for turns in answers["earlier"]])
    return json.dumps(columns.to_dict("records"), indent=4) + "\n"
