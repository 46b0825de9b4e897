"""Work in parts where a card's memory is short; a stand-in raises what torch raises above a size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import RecipeError
from lib.model.classifier import Classifier, class_probabilities
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.pooled import PooledGPT
from lib.model.machine.memory import Room, memory_suffices, within_memory
from tests.support.toy_training import CONFIG, MAX_LENGTH, TRAIN, VALIDATION, classifier, train


@contextmanager
def short_of_memory(module: nn.Module, rows: int, *, gradients: bool = False) -> Iterator[list[int]]:
    """Inside the block `module` cannot compute more than so many rows, or not their gradients; yields how many it was
    asked for each time."""
    asked: list[int] = []

    def refuse(_: nn.Module, tensors: Any, *__: Any) -> None:
        asked.append(len(tensors[0]))
        if len(tensors[0]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = module.register_full_backward_pre_hook(refuse) if gradients else module.register_forward_pre_hook(refuse)
    try:
        yield asked
    finally:
        hook.remove()


def gpt(model: Classifier) -> GPT:
    assert isinstance(model.backbone, PooledGPT)
    return model.backbone.gpt


def heard(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]


def test_half_as_many_until_they_fit_and_no_more_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    room, tried = Room(), []

    def work(at_once: int) -> int:
        tried.append(at_once)
        if at_once > 3:
            raise torch.OutOfMemoryError
        return at_once

    with caplog.at_level(logging.WARNING):
        assert within_memory(work, 10, room) == 3
        assert within_memory(work, 7, room) == 3
    assert tried == [10, 5, 3, 3]
    assert heard(caplog) == [
        "The card's memory is too small for 10 texts at once: 3 are computed at a time, with the same result"
        " but for rounding"
    ]


def test_rows_are_worth_their_tokens() -> None:
    room = Room(most=40)
    assert [within_memory(lambda at_once: at_once, 10, room, each=each) for each in (1, 5, 100)] == [10, 8, 1]


def test_a_single_text_that_does_not_fit_is_refused() -> None:
    def work(at_once: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(RecipeError, match="memory is too small for a single text: end other programs"):
        within_memory(work, 4, Room())
    with pytest.raises(RecipeError, match="memory is too small for the model's weights"), memory_suffices():
        work(1)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("fields", [{}, {"gradient_accumulation": 3}, {"class_weights": (1.0, 3.0)}])
def test_training_in_parts_gives_the_losses_of_whole_batches(
    fields: dict[str, Any], gradients: bool, caplog: pytest.LogCaptureFixture
) -> None:
    whole, cut = classifier(trainable="all"), classifier(trainable="all")
    fields = {"epochs": 1, "learning_rate": 1e-4, "evaluate_every": 1, **fields}
    expected = train(whole, **fields).history
    with short_of_memory(gpt(cut).blocks[1] if gradients else cut, 3, gradients=gradients) as asked:
        found = train(cut, **fields).history
    assert asked[:3] == [8, 4, 2]
    if not gradients:  # an evaluation has none
        assert max(asked[3:]) == 2
    for column in ("train_loss", "validation_loss", "train_accuracy"):
        np.testing.assert_allclose(found[column], expected[column], rtol=0, atol=1e-6)
    for name, weight in whole.state_dict().items():
        if not name.endswith("qkv.bias"):  # a key's bias has no gradient but rounding, of which AdamW makes full steps
            torch.testing.assert_close(cut.state_dict()[name], weight, rtol=0, atol=1e-5)
    (sentence,) = heard(caplog)
    assert "8 texts at once: 2 are computed" in sentence


def test_what_fits_is_remembered_over_an_interruption(tmp_path: Path) -> None:
    class Stopped(Exception):  # noqa: N818 - it is no error
        """In the place of a kill."""

    def progress(done: int, total: int | None, unit: str) -> None:
        if done == 6:
            raise Stopped

    def run(scratch: Path, **more: Any) -> dict[str, torch.Tensor]:
        model = classifier(trainable="last_block", dropout=0.1)
        with short_of_memory(model, 3):
            train(model, scratch=scratch, epochs=1, checkpoint_every=4, **more)
        return model.state_dict()

    with pytest.raises(Stopped):
        run(tmp_path / "parts", progress=progress)
    whole, resumed = run(tmp_path / "whole"), run(tmp_path / "parts")
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_prediction_in_parts_gives_the_same_probabilities() -> None:
    model = classifier(pooling="last_token")
    expected = class_probabilities(model, VALIDATION.inputs, padding="batch", max_length=MAX_LENGTH)
    with short_of_memory(model, 6) as asked:
        found = class_probabilities(model, VALIDATION.inputs, padding="batch", max_length=MAX_LENGTH)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert max(asked[1:]) <= 11


def test_features_in_parts_are_the_same(tmp_path: Path) -> None:
    model = classifier(pooling="last_token")
    files = {}
    for name, rows in (("whole", 10_000), ("parts", 6)):
        with short_of_memory(gpt(model).blocks[0], rows):
            write_features(
                tmp_path / name,
                model.backbone,
                TRAIN.inputs,
                range(len(TRAIN.inputs)),
                blocks=CONFIG.n_layers - 1,
                dtype="float32",
                scratch=tmp_path / "scratch",
            )
        files[name] = Features(tmp_path / name, range(len(TRAIN.inputs)))
    torch.testing.assert_close(files["parts"].flat, files["whole"].flat, rtol=0, atol=1e-6)
