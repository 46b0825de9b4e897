"""Every row of the table of variants in docs/book.md, at a tiny shape: its flags make a recipe, which trains."""

import shlex
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.model.classifier import new_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.recipes.classify import ClassifyRecipe
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.classify.single_label import SingleLabel
from lib.training.train import Trained
from tasks.steps.training import training_settings
from tests.support.recipes import load_recipe
from tests.support.toy_training import TRAIN, VALIDATION, messages

PAGE = Path(__file__).resolve().parents[4] / "docs" / "book.md"
TINY = {"training.epochs": "1", "training.evaluate_every": "20", "training.device": "cpu"}
TINY |= {"training.learning_rate": "0.005", "encoding.max_length": "20"}


def rows() -> dict[int, str]:
    """The flags of each row of the page's table, by its number."""
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines()]
    return {int(row[0]): row[-1] for row in cells if row and row[0].isdigit()}


def variant(flags: str) -> ClassifyRecipe:
    """`book` with these flags, on one short epoch."""
    words = shlex.split(flags)
    overrides = {flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)}
    return load_recipe("book", overrides | TINY)


def train(recipe: ClassifyRecipe) -> tuple[Trained, torch.Tensor]:
    """What the flow's step does with a recipe, on a GPT with its number of heads; with the logits of two messages."""
    heads = SIZES[recipe.model.size].n_heads
    config = GPTConfig(
        context_length=32, emb_dim=4 * heads, n_heads=heads, n_layers=3, causal_mask=recipe.model.causal_mask
    )
    gpt = new_gpt(config, seed=recipe.model.seed)
    with torch.no_grad():
        gpt.token_embedding.weight.mul_(25)
    chosen = recipe.classifier
    adapt = (
        methodcaller("add_adapters", **recipe.lora.model_dump(exclude={"keep"})) if chosen.trainable == "lora" else None
    )
    classifier = new_classifier(
        PooledGPT(gpt, pooling="last_token" if chosen.pooling == "auto" else chosen.pooling),
        ("ham", "spam"),
        trainable=chosen.trainable,
        seed=123,
        adapt=adapt,
    )
    trained = finetune(
        classifier,
        {
            "train": EncodedMessages(TRAIN.inputs[:45], TRAIN.targets[:45]),
            "validation": VALIDATION,
            "test": messages(30, 2),
        },
        settings=training_settings(recipe.training, "cpu"),
        objective=SingleLabel(ignore_index=recipe.training.ignore_index),
        padding=chosen.padding,
        max_length=20,
        scratch=Path("/nowhere"),  # nothing is written: checkpoints are further apart
    )
    return trained, classifier(torch.tensor([[7, 8, 50256], [30, 31, 32]]), torch.tensor([2, 3]))


def test_the_page_has_all_rows() -> None:
    assert list(rows()) == list(range(1, 20))


@pytest.mark.parametrize("row", rows())
def test_a_variant_trains_and_differs_from_the_procedure(row: int) -> None:
    recipe = variant(rows()[row])
    trained, logits = train(recipe)
    steps = 45 // recipe.training.batch_size
    assert trained.history.step.iloc[-1] == steps - 1
    assert np.isfinite(trained.history.train_loss).all()
    assert set(trained.published) == {"before", "after"}
    _, published = train(variant(rows()[1]))
    same = row in (1, 18)  # 50256 is no class; random weights are what every row has here
    assert torch.equal(logits, published) == same
