"""Decoders of transformers learn to follow instructions by the same loop as our GPT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib.errors import TrainingError
from lib.model.hugging_face.writing import WritingTransformer, pretrained_transformer
from lib.progress import Listener
from lib.training.examples import Examples
from lib.training.instruct.batches import IGNORED, EncodedEntries
from lib.training.instruct.finetune import finetune_instructions
from lib.training.instruct.next_token import NextToken, Predicting, mean_loss
from lib.training.settings import Settings
from lib.training.train import Trained
from tests.support.chats import write_chat_model
from tests.support.families import DECODERS

pytestmark = pytest.mark.slow

ADAPTED: dict[str, Any] = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "layers": None, "blocks": None}


def entries(count: int, first: int, **fields: Any) -> EncodedEntries:
    """Texts that count upwards, of which the second half is the response."""
    tokens = [list(range(10 + row % 40, 10 + row % 40 + 4 + row % 9)) for row in range(first, first + count)]
    settings = {"max_length": 64, "mask_instruction": True, "end": 3, "pad": 0, **fields}
    return EncodedEntries(tokens, [len(text) // 2 for text in tokens], **settings)


SPLITS = {"train": entries(48, 0), "validation": entries(9, 48)}


def decoder(folder: Path, trainable: Any = "all") -> WritingTransformer:
    if not folder.exists():
        write_chat_model(folder)
    model = pretrained_transformer(folder, context_length=64, pad=0)
    if trainable == "lora":
        torch.manual_seed(1)
        model.add_adapters(**ADAPTED)
    model.freeze(trainable)
    return model


def train(model: WritingTransformer, scratch: Path, **more: Any) -> Trained:
    fields = {name: more.pop(name) for name in list(more) if name in Settings.__dataclass_fields__}
    settings = Settings(
        **{"epochs": 2, "learning_rate": 3e-3, "evaluate_every": 4, "evaluate_batches": 2, "device": "cpu", **fields}
    )
    return finetune_instructions(model, SPLITS, settings=settings, scratch=scratch, **more)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("family", DECODERS)
def test_the_loss_is_the_familys_own(tmp_path: Path, family: str, masked: bool) -> None:
    write_chat_model(tmp_path, family)
    model = pretrained_transformer(tmp_path, context_length=64, pad=0)
    split = entries(6, 2, mask_instruction=masked)
    batch = split.batch([0, 3, 5])
    inputs, targets = batch.inputs[0], batch.targets
    loss, _ = Examples(split, NextToken()).loss(Predicting(model), [0, 3, 5])
    # Their labels are the tokens themselves, which they shift; ours are shifted, and end with a token that none reads.
    tokens = torch.cat([inputs, torch.zeros(3, 1, dtype=torch.long)], dim=1)
    labels = torch.cat([torch.full((3, 1), IGNORED), targets], dim=1)
    theirs = model.transformer(input_ids=tokens, labels=labels, use_cache=False).loss
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("trainable", ["last_block", "lora", "all"])
def test_each_part_learns_to_count(tmp_path: Path, trainable: str) -> None:
    model = decoder(tmp_path / "model", trainable)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    history = train(model, tmp_path, epochs=4, schedule="cosine").history
    assert history["validation_loss"].iloc[-1] < history["validation_loss"].iloc[0] - 0.1
    embedding = "transformer.model.embed_tokens.weight"
    assert torch.equal(model.state_dict()[embedding], before[embedding]) is (trainable != "all")


def test_gradient_checkpointing_changes_no_number(tmp_path: Path) -> None:
    plain, saving = decoder(tmp_path / "model", "lora"), decoder(tmp_path / "model", "lora")
    one = train(plain, tmp_path / "plain")
    two = train(saving, tmp_path / "saving", gradient_checkpointing=True)
    torch.testing.assert_close(
        torch.tensor(one.history["train_loss"]), torch.tensor(two.history["train_loss"]), atol=2e-5, rtol=0
    )


class KilledError(Exception):
    pass


def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"checkpoint_every": 2, "gradient_accumulation": 2, "keep": "best"}

    def stop(done: int, total: int | None, unit: str) -> None:
        if done == 9:
            raise KilledError

    whole, killed, resumed = (decoder(tmp_path / "model", "lora") for _ in range(3))
    expected = train(whole, tmp_path / "whole", **fields)
    with pytest.raises(KilledError):
        train(killed, tmp_path / "parts", listener=Listener(progress=stop), **fields)
    result = train(resumed, tmp_path / "parts", **fields)
    assert result.resumed_at == 8
    assert result.history.drop(columns="seconds").equals(expected.history.drop(columns="seconds"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_loss_that_is_no_number_is_said(tmp_path: Path) -> None:
    model = decoder(tmp_path / "model")
    with torch.no_grad():
        model.transformer.get_submodule("model.norm").weight.fill_(torch.nan)  # type: ignore[operator]
    with pytest.raises(TrainingError, match="is not a finite number"):
        train(model, tmp_path)


def test_the_mean_over_tokens_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    model, split = Predicting(decoder(tmp_path / "model")), SPLITS["validation"]
    one, targets = mean_loss(model, split, [[0, 1, 2], [3]])
    two, again = mean_loss(model, split, [[2], [1, 3], [0]])
    assert one == pytest.approx(two, rel=1e-5)
    assert targets == again
