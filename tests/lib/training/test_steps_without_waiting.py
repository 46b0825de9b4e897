"""A training step never asks a card for a number: its host goes on while the card computes.

The stand-in for a card is torch's "meta" device, whose tensors have shapes and no numbers. What needs a number of one,
`item()`, a boolean mask as an index or a branch, raises there what would make a card's host wait.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib.model.classifier import Classifier, new_classifier
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.writing import WritingGPT
from lib.model.hugging_face.pooled import load_backbone
from lib.model.windowed import Windowed
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.long_texts import LongTexts
from lib.text.windows import read_texts
from lib.training.classify.messages import Messages
from lib.training.classify.single_label import SingleLabel
from lib.training.examples import Examples
from lib.training.instruct.batches import EncodedEntries
from lib.training.instruct.next_token import NextToken, Predicting
from tests.support.families import CLASSIFIERS, write_family
from tests.support.toy_training import TRAIN, classifier

META = torch.device("meta")
OBJECTIVE = SingleLabel(class_weights=(1.0, 2.0))


def step(examples: Examples, model: torch.nn.Module) -> None:
    """What the loop does of a batch, on the stand-in: forward, backward and clipping."""
    loss, tokens = examples.loss(model.to(META).train(), [0, 3, 5, 8])
    loss.backward()  # type: ignore[no-untyped-call]
    learning = [each for each in model.parameters() if each.requires_grad]
    assert all(each.grad is not None and each.grad.is_meta for each in learning)
    torch.nn.utils.clip_grad_norm_(learning, 1.0)
    assert loss.is_meta
    assert tokens > 4


def test_the_stand_in_sees_who_waits() -> None:
    numbers = torch.zeros(3, device=META)
    for waits in (lambda: numbers.sum().item(), lambda: numbers[numbers > 0], lambda: bool(numbers.all())):
        with pytest.raises((RuntimeError, NotImplementedError)):
            waits()


@pytest.mark.parametrize("pooling", ["last_token", "mean", "padded_last"])
@pytest.mark.parametrize("trainable", ["head", "last_block", "all"])
def test_a_classifier_on_gpt2(trainable: Any, pooling: Any) -> None:
    messages = Messages(TRAIN.inputs, torch.tensor(TRAIN.targets), 20 if pooling == "padded_last" else None, 50256)
    step(Examples(messages, OBJECTIVE), classifier(trainable=trainable, pooling=pooling, dropout=0.1))


def test_features_that_lie_on_the_card() -> None:
    model = classifier(pooling="last_token")
    rows = [torch.zeros(len(tokens), 16, dtype=torch.bfloat16, device=META) for tokens in TRAIN.inputs]
    step(Examples(Messages(rows, torch.tensor(TRAIN.targets), None, 50256), OBJECTIVE), model)


@pytest.mark.parametrize("rows", [2, 100])
def test_windows(rows: int) -> None:
    windows = read_texts(TRAIN.inputs, LongTexts("windows", overlap=2, window_pooling="mean"), gpt2_tokenizer(), 6)
    model = Windowed(classifier(pooling="last_token"), pooling="mean", rows=rows)
    step(Examples(Messages(windows, torch.tensor(TRAIN.targets), None, 50256), OBJECTIVE), model)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_instructions(checkpointing: bool) -> None:
    writing = WritingGPT(new_gpt(GPTConfig(context_length=32, emb_dim=16, n_heads=2, n_layers=2), seed=1))
    writing.gradient_checkpointing = checkpointing
    entries = EncodedEntries([[*range(1, 5 + length)] for length in range(10)], [2] * 10, 32, mask_instruction=True)
    step(Examples(entries, NextToken()), Predicting(writing))


@pytest.mark.parametrize(
    "family", [name for name in CLASSIFIERS if name != "DeBERTa-v2"]
)  # which makes masks of its own
def test_encoders(family: str, tmp_path: Path) -> None:
    backbone = load_backbone(write_family(family, tmp_path), ("ham", "spam"), pooling="cls", context_length=64, pad=0)
    backbone.pooled(torch.tensor([[5, 6, 7]]), torch.tensor([3]))  # finds out what needs one position only
    model: Classifier = new_classifier(backbone, ("ham", "spam"), trainable="all", seed=1)
    step(
        Examples(Messages([tokens[:12] for tokens in TRAIN.inputs], torch.tensor(TRAIN.targets), None, 0), OBJECTIVE),
        model,
    )
