"""`book` beside the published script: the flow's own steps up to the tokens, then the training, number by number.

The published script's numbers lie in published_run.json, which says how they were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.terminal.published import BookLog
from lib.data.parts import Parts, load_parts
from lib.data.tables import SPLITS, TOKENS
from lib.files.jsonfile import load_json
from lib.model.classifier import new_classifier
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.weights import load_gpt
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from tasks.steps.classify.balance import balance
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.download import download
from tasks.steps.tokenizer import tokenizer
from tasks.steps.training import training_settings
from tests.support.procedure import checkpoint, perform
from tests.support.recipes import load_recipe

PUBLISHED = json.loads((Path(__file__).parent / "published_run.json").read_text())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint that the published script was run on."""
    return checkpoint(
        tmp_path_factory.mktemp("weights"), GPTConfig(context_length=128, emb_dim=64, n_heads=4, n_layers=4)
    )


@pytest.mark.data
def test_book_prints_what_the_published_script_prints(
    real_data: Path, weights: Path, store: FolderStore, tmp_path: Path
) -> None:
    small = {"model.size": "from-weights", "model.weights": str(weights), "training.device": "cpu"}
    recipe = load_recipe("book", small | {"data.url": str(real_data / "sms+spam+collection.zip")})
    made: dict[str, Artifact] = {}
    made["download"] = perform(store, recipe, download)
    made["messages"] = perform(store, recipe, messages, download=made["download"])
    made["balance"] = perform(store, recipe, balance, messages=made["messages"])
    made["split"] = perform(store, recipe, split, messages=made["messages"], balance=made["balance"])
    made["tokenizer"] = perform(store, recipe, tokenizer)
    tokens = perform(
        store, recipe, tokenize, balance=made["balance"], holdout=made["split"], tokenizer=made["tokenizer"]
    )

    tables = {name: load_parts(tokens.file(name), TOKENS) for name in SPLITS}
    splits = {name: EncodedMessages(list(table["tokens"]), list(table["target"])) for name, table in tables.items()}
    chosen = recipe.classifier
    classifier = new_classifier(
        PooledGPT(load_gpt(weights), pooling="padded_last"),
        Parts(tokens.file("train"), TOKENS).labels,
        trainable=chosen.trainable,
        seed=recipe.training.seed,
    )
    lines: list[str] = []
    log = BookLog(lines.append, recipe.training.evaluate_every)
    trained = finetune(
        classifier,
        splits,
        settings=training_settings(recipe.training, "cpu"),
        padding=chosen.padding,
        max_length=load_json(tokens.file("tokens.json"))["max_length"],
        scratch=tmp_path / "scratch",
        listener=log.listener,
    )

    history = trained.history
    after_batches, after_epochs = history[history.step % 50 == 0], history[history.step % 50 != 0]
    losses: list[tuple[Any, Any]] = [
        (after_batches.train_loss, PUBLISHED["train_losses"]),
        (after_batches.validation_loss, PUBLISHED["validation_losses"]),
        *((trained.published["before"][f"{name}_loss"], PUBLISHED["before"][f"{name}_loss"]) for name in SPLITS),
    ]
    largest = max(float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()) for ours, theirs in losses)
    assert largest < 1e-4  # 7.5e-8 where they were stored
    np.testing.assert_array_equal(after_epochs.train_accuracy, PUBLISHED["train_accuracies"])
    np.testing.assert_array_equal(after_epochs.validation_accuracy, PUBLISHED["validation_accuracies"])
    for part in ("before", "after"):
        for name in SPLITS:
            assert trained.published[part][f"{name}_accuracy"] == PUBLISHED[part][f"{name}_accuracy"], (part, name)
    assert history.examples_seen.iloc[-1] == PUBLISHED["examples_seen"]
    assert lines[6:-4] == PUBLISHED["printed"]
    # What the book itself prints before training: its accuracies there are those of calling every message ham.
    assert lines[:3] == ["Training accuracy: 46.25%", "Validation accuracy: 45.00%", "Test accuracy: 48.75%"]
