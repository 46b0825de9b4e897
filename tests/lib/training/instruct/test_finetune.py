"""Teaching a GPT to follow instructions: what is learnt, in which order, and going on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.errors import RecipeError, TrainingError, WeightsError
from lib.model.adapters import adapters, add_adapters
from lib.model.gpt2.freezing import freeze_gpt
from lib.model.gpt2.gpt import GPT, new_gpt
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.writing import WritingGPT
from lib.progress import Listener
from lib.recipes.sections import Lora
from lib.training.examples import Examples
from lib.training.instruct import next_token
from lib.training.instruct.batches import IGNORED, EncodedEntries
from lib.training.instruct.finetune import finetune_instructions
from lib.training.instruct.next_token import NextToken, Predicting, mean_loss
from lib.training.settings import Settings
from lib.training.train import Trained

pytestmark = pytest.mark.slow

CONFIG = GPTConfig(context_length=32, emb_dim=16, n_heads=2, n_layers=3, vocab_size=50257)


def entries(count: int, seed: int, **fields: Any) -> EncodedEntries:
    """Texts of 4 to 20 tokens that count upwards; the response starts in the middle."""
    random = np.random.default_rng(seed)
    tokens = [
        list(range(start, start + length))
        for start, length in zip(
            random.integers(0, 20, count).tolist(), random.integers(4, 21, count).tolist(), strict=True
        )
    ]
    settings = {"max_length": 32, "mask_instruction": False, **fields}
    return EncodedEntries(tokens, [len(text) // 2 for text in tokens], **settings)


SPLITS = {"train": entries(50, 0), "validation": entries(11, 1)}


def gpt(trainable: Any = "all", *, dropout: float = 0.0, lora: Lora | None = None) -> GPT:
    model = new_gpt(replace(CONFIG, dropout=dropout), seed=5)
    if lora is not None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            add_adapters(model, model.blocks, **lora.model_dump())
    freeze_gpt(model, trainable)
    return model


def settings(**fields: Any) -> Settings:
    defaults: dict[str, Any] = {
        "epochs": 3,
        "learning_rate": 5e-3,
        "evaluate_every": 4,
        "evaluate_batches": 2,
        "device": "cpu",
    }
    return Settings(**(defaults | fields))


def train(model: GPT, scratch: Path, *, splits: Any = SPLITS, **more: Any) -> Trained:
    fields = {name: more.pop(name) for name in list(more) if name in Settings.__dataclass_fields__}
    return finetune_instructions(WritingGPT(model), splits, settings=settings(**fields), scratch=scratch, **more)


def weights(model: GPT) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def examples(split: EncodedEntries) -> Examples:
    return Examples(split, NextToken())


def reference_loss(model: GPT, split: EncodedEntries, batch: Sequence[int]) -> torch.Tensor:
    """All logits, then torch's mean over the targets that count."""
    read = split.batch(list(batch))
    logits = model(read.inputs[0])
    return F.cross_entropy(logits.flatten(0, 1), read.targets.flatten(), ignore_index=IGNORED)


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_mean_over_all_targets_that_count(masked: bool) -> None:
    model, split = gpt(), entries(6, 2, mask_instruction=masked)
    loss, tokens = examples(split).loss(Predicting(WritingGPT(model)), [0, 3, 5])
    torch.testing.assert_close(loss, reference_loss(model, split, [0, 3, 5]))
    assert tokens == sum(len(split.tokens[entry]) for entry in (0, 3, 5))


def test_a_batch_in_which_nothing_counts_has_no_loss() -> None:
    split = EncodedEntries([[1, 2, 3]], [9], max_length=3, mask_instruction=True)
    loss, _ = examples(split).loss(Predicting(WritingGPT(gpt())), [0])
    assert loss.item() == 0
    # A GPT that waits for gradients gets zeros.
    loss.backward()  # type: ignore[no-untyped-call]


def test_measuring_leaves_dropout_out_and_the_mode_as_it_was() -> None:
    dropping = gpt(dropout=0.5)
    model = Predicting(WritingGPT(dropping)).train()
    split = examples(SPLITS["validation"])
    one, two = split.measure(model, [[0, 1], [2]]), split.measure(model, [[0, 1], [2]])
    assert one == two
    assert list(one) == ["loss"]
    assert model.training
    assert dropping.training


def test_the_mean_over_tokens_does_not_depend_on_the_batches() -> None:
    model, split = Predicting(WritingGPT(gpt())), SPLITS["validation"]
    one, targets = mean_loss(model, split, [[0, 1, 2], [3]])
    two, again = mean_loss(model, split, [[2], [1, 3], [0]])
    assert one == pytest.approx(two, rel=1e-6)
    assert targets == again == sum(len(SPLITS["validation"].tokens[entry]) for entry in range(4))
    assert examples(split).measure(model, [[0, 1, 2], [3]])["loss"] != pytest.approx(one, rel=1e-4)


def test_gradient_checkpointing_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_token, "ROWS", 7)  # several pieces of a loss
    plain, checkpointed = gpt(dropout=0.1), gpt(dropout=0.1)
    one = train(plain, tmp_path / "plain")
    two = train(checkpointed, tmp_path / "checkpointed", gradient_checkpointing=True)
    np.testing.assert_allclose(one.history["train_loss"], two.history["train_loss"], atol=2e-5)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weight, weights(checkpointed)[name], atol=1e-4, rtol=0)


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    kept: dict[bool, int] = {}
    for saving in (False, True):
        model = Predicting(WritingGPT(gpt()))
        model.model.gradient_checkpointing = saving
        saved: list[int] = []

        def note(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            examples(SPLITS["train"]).loss(model, [0, 1, 2, 3])
        kept[saving] = sum(saved)
    assert kept[True] < 0.25 * kept[False]


# Of this very training, when its code was compared with the published one.
STORED = {"train_loss": [10.731863, 10.253936, 10.007868], "validation_loss": [10.764755, 10.279296, 10.012826]}


def test_the_first_losses_at_a_fixed_seed(tmp_path: Path) -> None:
    history = train(gpt(), tmp_path).history
    np.testing.assert_allclose(history["train_loss"][:3], STORED["train_loss"], atol=2e-4)
    np.testing.assert_allclose(history["validation_loss"][:3], STORED["validation_loss"], atol=2e-4)
    assert "train_accuracy" not in history


def test_a_counting_gpt_learns_to_count(tmp_path: Path) -> None:
    history = train(gpt(), tmp_path, epochs=10, schedule="cosine").history
    assert history["validation_loss"].iloc[-1] < 0.5 * history["validation_loss"].iloc[0]


@pytest.mark.parametrize("trainable", ["last_block", "last_two_blocks", "lora"])
def test_only_the_part_that_was_named_learns(tmp_path: Path, trainable: str) -> None:
    lora = Lora(rank=2, layers=("mlp.expansion",), blocks=1) if trainable == "lora" else None
    model = gpt(trainable, lora=lora)
    before = weights(model)
    train(model, tmp_path, epochs=1)
    assert not adapters(model)
    changed = {
        name for name, weight in weights(model).items() if name in before and not torch.equal(weight, before[name])
    }
    if trainable == "lora":  # merged: the layer has its plain name again
        assert all(".lora_" not in name for name in weights(model))
        assert torch.equal(model.token_embedding.weight, before["token_embedding.weight"])
    else:
        first = {"last_block": 2, "last_two_blocks": 1}[trainable]
        assert {
            name.partition(".")[0] if "norm" in name[:10] else ".".join(name.split(".")[:2]) for name in changed
        } == {
            "final_norm",
            *(f"blocks.{block}" for block in range(first, 3)),
        }


def test_an_untied_output_learns_beside_the_embedding(tmp_path: Path) -> None:
    model = gpt()
    model.untie_output()
    freeze_gpt(model, "all")
    assert model.output is not None
    assert torch.equal(model.output.weight, model.token_embedding.weight)
    train(model, tmp_path, epochs=1)
    assert not torch.equal(model.output.weight, model.token_embedding.weight)


def test_with_the_published_order_evaluations_stay_within_epochs(tmp_path: Path) -> None:
    history = train(gpt(), tmp_path, published_order=True, epochs=2).history
    assert history["step"].tolist() == [0, 4, 8]  # two epochs of 6 whole batches
    assert train(gpt(), tmp_path, epochs=2).history["step"].tolist() == [0, 4, 6, 8, 12, 13]


def test_published_figures_come_before_and_change_nothing(tmp_path: Path) -> None:
    heard: list[Any] = []
    listener = Listener(on_figures=lambda *figures: heard.append(figures))
    plain, measured = gpt(), gpt()
    train(plain, tmp_path / "one", published_order=True)
    result = train(measured, tmp_path / "two", published_order=True, published_figures=True, listener=listener)
    assert heard == [("before", result.published["before"])]
    assert list(result.published["before"]) == ["train_loss", "validation_loss"]
    for name, weight in weights(plain).items():
        assert torch.equal(weight, weights(measured)[name])


def test_more_than_the_training_split_in_a_published_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="only 50 training entries: lower it"):
        train(gpt(), tmp_path, published_order=True, batch_size=51)


def test_a_sample_is_written_after_each_epoch_in_the_present_state(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []

    model = gpt()

    def sample() -> str:
        return f"{model.final_norm.weight.sum().item():.6f}"

    result = train(model, tmp_path, sample=sample, listener=Listener(on_sample=lambda *told: heard.append(told)))
    assert heard == list(enumerate(result.samples, start=1))
    assert len(set(result.samples)) == 3


def test_a_gpt_with_too_few_tokens_is_refused(tmp_path: Path) -> None:
    small = new_gpt(replace(CONFIG, vocab_size=1000), seed=5)
    with pytest.raises(WeightsError, match="knows 1000 tokens, and GPT-2's encoding has 50257"):
        train(small, tmp_path)


def test_a_gpt_that_diverges_between_evaluations_writes_no_sample(tmp_path: Path) -> None:
    model = gpt()

    def spoil(done: int, total: int | None, unit: str) -> None:
        if done == 3:
            with torch.no_grad():
                model.final_norm.weight.fill_(torch.nan)

    def sample() -> str:
        raise AssertionError("it was asked")

    listener = Listener(progress=spoil)
    with pytest.raises(TrainingError, match="The loss at step 3 is not a finite number"):
        train(model, tmp_path, published_order=True, evaluate_every=100, sample=sample, listener=listener)


class KilledError(Exception):
    pass


def test_a_killed_training_ends_with_the_same_bytes_rows_and_samples(tmp_path: Path) -> None:
    """Killed in its third epoch, with dropout, accumulation and the best weights kept."""
    fields: dict[str, Any] = {"checkpoint_every": 2, "gradient_accumulation": 2, "keep": "best", "patience": 3}

    def stop(done: int, total: int | None, unit: str) -> None:
        if done == 17:
            raise KilledError

    def run(model: GPT, scratch: Path, **listener: Listener) -> Trained:
        def sample() -> str:
            return f"{model.final_norm.weight.sum().item():.6f}"

        return train(model, scratch, sample=sample, **fields, **listener)

    whole, killed, resumed = (gpt(dropout=0.1) for _ in range(3))
    expected = run(whole, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(killed, tmp_path / "parts", listener=Listener(progress=stop))
    result = run(resumed, tmp_path / "parts")
    assert result.resumed_at == 16
    assert result.samples == expected.samples
    assert result.history.drop(columns="seconds").equals(expected.history.drop(columns="seconds"))
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(resumed)[name]), name


def test_other_data_or_settings_begin_anew(tmp_path: Path) -> None:
    warnings: list[str] = []

    def stop(done: int, total: int | None, unit: str) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(gpt(), tmp_path, checkpoint_every=2, listener=Listener(progress=stop))
    other = {**SPLITS, "train": entries(50, 0, mask_instruction=True)}
    result = train(gpt(), tmp_path, splits=other, checkpoint_every=2, listener=Listener(warn=warnings.append))
    assert result.resumed_at is None
    assert "other data, weights or settings" in warnings[0]
