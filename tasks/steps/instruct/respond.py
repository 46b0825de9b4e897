"""Generates answers to the test entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lib.data.tables import ANSWERS, ENTRIES, load_table, save_table
from tasks.engine.step import Work, step
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
def respond(work: Work[InstructRecipe], split_entries: Artifact, finetune_instructions: Artifact) -> None:
    """Lets the model answer every test entry: `answers.parquet`, and in the published form
    `instruction-data-with-response.json`."""
    from lib.inference.answerer import Answerer
    from lib.model.language_model import Writing

    recipe = work.recipe
    asked = load_table(split_entries.file("test.parquet"), ENTRIES)
    writing = Writing(**recipe.respond.model_dump())
    model = Answerer.load(finetune_instructions.folder, device=work.identity["device"], writing=writing)
    written = model.write(list(zip(asked["instruction"], asked["input"], strict=True)), progress=work.progress)
    answers = asked.assign(
        response=[answer.response for answer in written],
        tokens=[answer.tokens for answer in written],
        stopped=[answer.stopped for answer in written],
    )
    save_table(answers, work.folder / "answers.parquet", ANSWERS)
    (work.folder / PUBLISHED_FORM).write_text(published_form(answers), encoding="utf-8")


def published_form(answers: pd.DataFrame) -> str:
    """Returns the entries with their answers as `model_response`, as chapter 7 of the book saves them."""
    columns = answers[["instruction", "input", "output", "response"]].rename(columns={"response": "model_response"})
    return json.dumps(columns.to_dict("records"), indent=4) + "\n"
