"""Adapters through the whole loop: they learn, are kept and resumed like any parameter, and are merged at the end."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.model.adapters import adapters
from lib.model.classifier import Classifier
from lib.recipes.sections import Lora
from lib.training.train import Trained
from tests.support.toy_training import classifier, train

LORA = Lora(rank=2, alpha=16, dropout=0.1, blocks=2)


class Stopped(Exception):  # noqa: N818 - it is no error
    """Raised in the place of a kill."""


def run(
    scratch: Path, *, stop_after: int | None = None, lora: Lora = LORA, **fields: Any
) -> tuple[Classifier, Trained]:
    def progress(done: int, total: int | None, unit: str) -> None:
        if done == stop_after:
            raise Stopped

    model = classifier(trainable="lora", pooling="mean", dropout=0.1, lora=lora)
    fields = {"padding": "batch", "checkpoint_every": 4} | fields
    return model, train(model, scratch=scratch, progress=progress, **fields)


def test_only_the_layers_with_adapters_and_the_head_change(tmp_path: Path) -> None:
    before = classifier(trainable="head", pooling="mean").state_dict()
    model, _ = run(tmp_path, lora=Lora(rank=2, alpha=16, blocks=1, layers=("mlp.expansion",)))
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"backbone.gpt.blocks.2.mlp.expansion.weight", "head.weight", "head.bias"}


def test_adapters_learn_what_a_head_alone_does_not(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"epochs": 8, "learning_rate": 2e-3, "evaluate_batches": None, "padding": "batch"}
    _, adapted = run(tmp_path, lora=Lora(rank=16, alpha=16), **fields)
    alone = train(classifier(trainable="head", pooling="mean", dropout=0.1), **fields)
    assert adapted.history.train_loss.iloc[-1] < 0.5 < 0.6 < alone.history.train_loss.iloc[-1]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_stopped_and_resumed_gives_the_same_bits(tmp_path: Path, keep: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        model, result = run(Path(scratch), keep=keep)
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=14, keep=keep)
    resumed, again = run(tmp_path, keep=keep)
    assert again.resumed_at == 12
    assert again.kept == result.kept
    assert again.history.drop(columns="seconds").equals(result.history.drop(columns="seconds"))
    assert not adapters(resumed)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_other_adapters_do_not_continue_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=14)
    warnings: list[str] = []
    _, other = run(tmp_path, lora=LORA.model_copy(update={"alpha": 8.0}), warn=warnings.append)
    assert other.resumed_at is None
    assert len(warnings) == 1
