"""Evaluates answers without a judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.tables import ANSWERS, load_table
from tasks.engine.step import Work, step
from tasks.steps.instruct.tokenize import encoded_splits
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    from lib.recipes.instruct import InstructRecipe
    from lib.store.artifacts import Artifact


@step(
    "evaluate_answers",
    reads=["prompt.mask_instruction", "training.precision"],
    unkeyed=["training.device"],
    identity=device_identity,
    tags=["gpu"],
)
def evaluate_answers(
    work: Work[InstructRecipe], tokenize_entries: Artifact, finetune_instructions: Artifact, respond: Artifact
) -> None:
    """Measures every entry of every split and every answer: `metrics.json`, `measured.parquet`, `figures/`."""
    from lib.evaluation.instruct.evaluate import evaluate_answers as write_evaluation
    from lib.model.follower import load_follower
    from lib.training.history import read_history

    write_evaluation(
        load_follower(finetune_instructions.folder),
        splits=encoded_splits(work.recipe, tokenize_entries),
        answers=load_table(respond.file("answers.parquet"), ANSWERS),
        history=read_history(finetune_instructions.file("history.parquet")),
        folder=work.folder,
        device=work.identity["device"],
        precision=work.recipe.training.precision,
        progress=work.progress,
    )
