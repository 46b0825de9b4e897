"""Training on windows: the loss is that of messages, in parts or at once, of tokens or of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from lib.model.features.file import Features, write_features
from lib.model.windowed import Windowed
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.long_texts import LongTexts, WindowPooling
from lib.text.windows import Windows, read_texts
from lib.training.batches import EncodedMessages
from lib.training.classify.messages import Messages
from lib.training.classify.single_label import SINGLE_LABEL
from tests.support.toy_training import CONFIG, TRAIN, VALIDATION, classifier, train

pytestmark = pytest.mark.slow

LENGTH = 6


def in_windows(split: EncodedMessages, pooling: WindowPooling = "mean", length: int = LENGTH) -> EncodedMessages:
    """The messages of a split, of which most are longer than a row."""
    how = LongTexts("windows", overlap=2, window_pooling=pooling)
    return EncodedMessages(read_texts(split.inputs, how, gpt2_tokenizer(), length), split.targets)


def gradients(rows: int, pooling: WindowPooling) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of twenty messages, and what it does to the weights, with so many windows at once."""
    model = classifier(pooling="last_token", trainable="all", dropout=0.0)
    batch = Messages(in_windows(TRAIN, pooling).inputs, torch.tensor(TRAIN.targets), None, 50256).batch([*range(20)])
    loss = SINGLE_LABEL.loss(Windowed(model, pooling=pooling, rows=rows)(*batch.inputs), batch.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_windows_in_parts_give_the_same_gradients(pooling: WindowPooling) -> None:
    whole, expected = gradients(10_000, pooling)
    parts, found = gradients(4, pooling)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_no_more_windows_than_that_are_computed_at_once() -> None:
    seen: list[int] = []
    model = classifier(pooling="last_token")
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    batch = Messages(in_windows(TRAIN).inputs, torch.tensor(TRAIN.targets), None, 50256).batch([*range(20)])
    Windowed(model, pooling="mean", rows=8)(*batch.inputs).sum().backward()
    assert len(batch.inputs[0]) > 40
    assert max(seen) == 8


def test_messages_of_one_window_each_train_as_without_windows() -> None:
    splits: dict[str, Any] = {"train": in_windows(TRAIN, length=20), "validation": in_windows(VALIDATION, length=20)}
    assert isinstance(splits["train"].inputs, Windows)
    assert set(splits["train"].inputs.counts) == {1}
    plain, windows = classifier(pooling="last_token"), classifier(pooling="last_token")
    expected = train(plain, padding="batch").history
    found = train(windows, padding="batch", **splits).history
    columns = ["train_loss", "validation_loss", "train_accuracy", "tokens_seen"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], rtol=0, atol=1e-6)
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(windows.state_dict()[name], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trainable", ["head", "last_block"])
def test_features_of_windows_train_as_their_tokens(trainable: Any, tmp_path: Path) -> None:
    splits: dict[str, Any] = {"train": in_windows(TRAIN), "validation": in_windows(VALIDATION)}
    kept: dict[str, Any] = {}
    blocks = CONFIG.n_layers - (1 if trainable == "last_block" else 0)
    for name, split in splits.items():
        windows = split.inputs
        assert isinstance(windows, Windows)
        file = tmp_path / f"{name}.safetensors"
        ids = [*range(len(windows.rows))]
        backbone = classifier(pooling="mean").backbone
        write_features(file, backbone, windows.rows, ids, blocks=blocks, dtype="float32", scratch=tmp_path)
        kept[name] = EncodedMessages(Windows(Features(file, ids), windows.counts, "mean"), split.targets)
    of_tokens = train(classifier(pooling="mean", trainable=trainable), padding="batch", **splits).history
    of_features = train(classifier(pooling="mean", trainable=trainable), padding="batch", **kept).history
    columns = ["train_loss", "validation_loss"]
    torch.testing.assert_close(
        torch.tensor(of_features[columns].to_numpy()), torch.tensor(of_tokens[columns].to_numpy()), rtol=0, atol=1e-5
    )


def test_an_interrupted_training_on_windows_goes_on(tmp_path: Path) -> None:
    splits: dict[str, Any] = {"train": in_windows(TRAIN), "validation": in_windows(VALIDATION)}
    whole = classifier(pooling="last_token", dropout=0.1)
    train(whole, padding="batch", **splits)

    def killed(done: int, total: int | None, unit: str) -> None:
        if done == 20:
            raise KeyboardInterrupt

    again: dict[str, Any] = {"padding": "batch", "scratch": tmp_path, "checkpoint_every": 5, **splits}
    with pytest.raises(KeyboardInterrupt):
        train(classifier(pooling="last_token", dropout=0.1), progress=killed, **again)
    resumed = classifier(pooling="last_token", dropout=0.1)
    assert train(resumed, **again).resumed_at is not None
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight)
