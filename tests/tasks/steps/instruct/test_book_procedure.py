"""`instruct/book` beside the published script: the flow's own steps up to the tokens, then training and answers, number
by number.

The published script's numbers lie in published_instructions.json, which says how they were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.terminal.published import BookLog
from lib.data.tables import ENTRIES, load_table
from lib.inference.answerer import Answerer
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.writing import pretrained_gpt
from lib.model.language_model import Writing
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.prompts import named_style
from lib.training.instruct.batches import load_splits
from lib.training.instruct.finetune import finetune_instructions
from tasks.steps.download import download
from tasks.steps.instruct.entries import entries
from tasks.steps.instruct.split import split_entries
from tasks.steps.instruct.tokenize import tokenize_entries
from tasks.steps.tokenizer import tokenizer
from tasks.steps.training import training_settings
from tests.support.procedure import checkpoint, perform

PUBLISHED = json.loads((Path(__file__).parent / "published_instructions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint that the published script was run on."""
    return checkpoint(
        tmp_path_factory.mktemp("weights"), GPTConfig(context_length=256, emb_dim=32, n_heads=2, n_layers=2)
    )


@pytest.mark.data
def test_book_prints_and_answers_what_the_published_script_does(
    real_data: Path, weights: Path, store: FolderStore, tmp_path: Path
) -> None:
    first = json.loads((real_data / "instruction-data.json").read_text(encoding="utf-8"))[: PUBLISHED["entries"]]
    file = tmp_path / "first.json"
    file.write_text(json.dumps(first), encoding="utf-8")
    small = {"model.size": "from-weights", "model.weights": str(weights), "encoding.max_length": "256"}
    overrides = small | {"data.source": "file", "data.url": str(file), "training.device": "cpu"}
    recipe = load_recipe("book", overrides, folder="instruct", model=InstructRecipe)
    made: dict[str, Artifact] = {}
    made["download"] = perform(store, recipe, download)
    made["entries"] = perform(store, recipe, entries, download=made["download"])
    made["split"] = perform(store, recipe, split_entries, entries=made["entries"])
    made["tokenizer"] = perform(store, recipe, tokenizer)
    tokens = perform(store, recipe, tokenize_entries, split_entries=made["split"], tokenizer=made["tokenizer"])

    gpt = pretrained_gpt(weights, dropout=0.0, tied_output=False)
    lines: list[str] = []
    log = BookLog(lines.append, recipe.training.evaluate_every)
    trained = finetune_instructions(
        gpt,
        load_splits(tokens.folder, ("train", "validation"), mask_instruction=bool(recipe.prompt.mask_instruction)),
        settings=training_settings(recipe.training, "cpu"),
        published_order=True,
        scratch=tmp_path / "scratch",
        listener=log.listener,
    )

    history, before = trained.history, trained.published["before"]
    losses: list[tuple[Any, Any]] = [
        (history.train_loss, PUBLISHED["train_losses"]),
        (history.validation_loss, PUBLISHED["validation_losses"]),
        *((before[name], PUBLISHED["before"][name]) for name in before),
    ]
    largest = max(float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()) for ours, theirs in losses)
    assert largest < 1e-4
    assert [line for line in lines if line.startswith("Ep ")] == PUBLISHED["printed"]

    asked = load_table(made["split"].file("test.parquet"), ENTRIES).head(len(PUBLISHED["answers"]))
    writing = Writing(max_new_tokens=32, batch_size=recipe.respond.batch_size)
    answerer = Answerer(gpt, named_style(recipe.prompt.style), gpt2_tokenizer(), "float32", writing)
    written = answerer.write(list(zip(asked["instruction"], asked["input"], strict=True)))
    assert [answer.response for answer in written] == PUBLISHED["answers"]
