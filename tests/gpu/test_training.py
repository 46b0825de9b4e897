"""Training on a card: the numbers of a CPU, without waiting, again and again the same bits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib.model.backbone import Backbone
from lib.model.classifier import Classifier, new_classifier
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import SIZES, GPTConfig
from lib.model.gpt2.writing import WritingGPT
from lib.model.hugging_face.pooled import load_backbone
from lib.model.machine.graphs import Replayed
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.long_texts import LongTexts
from lib.text.windows import read_texts
from lib.training.batches import EncodedMessages
from lib.training.instruct.batches import EncodedEntries
from lib.training.instruct.finetune import finetune_instructions
from lib.training.loop import Loop
from lib.training.settings import Settings
from lib.training.train import Trained
from tests.support.card import little_memory
from tests.support.families import write_family
from tests.support.toy_training import TRAIN, VALIDATION, classifier, train

pytestmark = pytest.mark.gpu

WAITING = ("DeBERTa-v2", "OPT")  # their code makes masks or positions of its own
FAMILIES = ("BERT", "RoBERTa", "DistilBERT", "ELECTRA", "MPNet", "DeBERTa-v2", "ModernBERT", "Llama", "Qwen2", "OPT")
LOSSES = ["train_loss", "validation_loss"]


def assert_same_losses(found: Trained, expected: Trained, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(found.history[LOSSES], expected.history[LOSSES], rtol=0, atol=atol)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every step of a training but the first raise where the host waits for the card; returns how many did
    not."""
    steps: list[int] = []
    step = Loop._train_batch

    def guarded(loop: Loop, batches: Any) -> bool:
        if loop.state.steps < 2:  # what is made once, for example cuBLAS's workspace
            return step(loop, batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(loop, batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            steps.append(loop.state.steps)

    record = Replayed._record

    def unguarded(replayed: Replayed, arguments: Any) -> Any:  # it waits, once for each shape
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        try:
            return record(replayed, arguments)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    monkeypatch.setattr(Loop, "_train_batch", guarded)
    monkeypatch.setattr(Replayed, "_record", unguarded)
    return steps


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each replay of a recorded graph."""
    counted: list[int] = []
    replay = torch.cuda.CUDAGraph.replay

    def counting(graph: torch.cuda.CUDAGraph) -> None:
        counted.append(1)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counting)
    return counted


def kept(model: Classifier, split: EncodedMessages, file: Path, **more: Any) -> EncodedMessages:
    """The messages as features that the card computed."""
    tokens: Any = split.inputs
    how: dict[str, Any] = {"blocks": model.backbone.cut, "dtype": "float32", "device": "cuda", **more}
    write_features(file, model.backbone, tokens, range(len(tokens)), scratch=file.parent / "scratch", **how)
    return EncodedMessages(Features(file, range(len(tokens))), split.targets)


@pytest.mark.parametrize("trainable", ["last_block", "all"])
@pytest.mark.parametrize("padding", ["longest", "batch"])
def test_the_losses_are_those_of_a_cpu(trainable: Any, padding: Any, no_waiting: list[int]) -> None:
    on_cpu, on_card = classifier(trainable=trainable), classifier(trainable=trainable)
    expected = train(on_cpu, padding=padding)
    assert_same_losses(train(on_card, padding=padding, device="cuda", gradient_clip=None), expected)
    assert len(no_waiting) > 30
    assert {parameter.device.type for parameter in on_card.parameters()} == {"cpu"}


def test_class_weights_clipping_and_accumulation_do_not_wait(no_waiting: list[int]) -> None:
    fields: dict[str, Any] = {"class_weights": (1.0, 2.0), "gradient_clip": 1.0, "gradient_accumulation": 2}
    expected = train(classifier(), **fields)
    assert_same_losses(train(classifier(), device="cuda", **fields), expected)
    assert len(no_waiting) > 30


def test_bfloat16_is_near_float32(no_waiting: list[int]) -> None:
    expected = train(classifier(pooling="last_token", trainable="all"), padding="batch", learning_rate=1e-3)
    found = train(
        classifier(pooling="last_token", trainable="all"),
        padding="batch",
        learning_rate=1e-3,
        device="cuda",
        precision="bfloat16",
    )
    assert_same_losses(found, expected, atol=3e-2)
    assert len(no_waiting) > 30


@pytest.mark.parametrize(
    "fields", [{}, {"gradient_clip": 1.0, "class_weights": (1.0, 2.0), "keep": "best"}, {"gradient_accumulation": 2}]
)
def test_features_lie_on_the_card_and_steps_on_them_are_replayed(
    fields: dict[str, Any], tmp_path: Path, no_waiting: list[int], replays: list[int]
) -> None:
    expected = train(classifier(pooling="last_token"), padding="batch", **fields)
    model = classifier(pooling="last_token")
    splits: dict[str, Any] = {
        name: kept(model, split, tmp_path / name) for name, split in {"train": TRAIN, "validation": VALIDATION}.items()
    }
    assert_same_losses(train(model, padding="batch", device="cuda", **fields, **splits), expected)
    assert len(replays) > (60 if "gradient_accumulation" not in fields else 20)
    assert all(split.inputs.flat.is_cuda for split in splits.values())
    assert len(no_waiting) > 30


def test_windows(no_waiting: list[int]) -> None:
    def windows(split: EncodedMessages) -> EncodedMessages:
        how = LongTexts("windows", overlap=2, window_pooling="mean")
        return EncodedMessages(read_texts(split.inputs, how, gpt2_tokenizer(), 6), split.targets)

    splits: Any = {"train": windows(TRAIN), "validation": windows(VALIDATION)}
    expected = train(classifier(pooling="last_token"), padding="batch", **splits)
    assert_same_losses(train(classifier(pooling="last_token"), padding="batch", device="cuda", **splits), expected)
    assert len(no_waiting) > 30


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_transformers(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Features and training; only a family that builds its mask from numbers waits."""
    weights = write_family(family, tmp_path / "weights")
    pooling: Any = "cls" if family in FAMILIES[:7] else "last_token"

    def model() -> Classifier:
        backbone: Backbone = load_backbone(weights, ("ham", "spam"), pooling=pooling, context_length=64, pad=0)
        return new_classifier(backbone, ("ham", "spam"), trainable="last_block", seed=1)

    def shifted(split: EncodedMessages) -> EncodedMessages:
        return EncodedMessages([[token + 5 for token in tokens] for tokens in split.inputs], split.targets)

    splits: Any = {"train": shifted(TRAIN), "validation": shifted(VALIDATION)}
    expected = train(model(), padding="batch", epochs=1, **splits)
    if family not in WAITING:
        request.getfixturevalue("no_waiting")
    assert_same_losses(train(model(), padding="batch", epochs=1, device="cuda", **splits), expected)
    on_card = model()
    features: Any = {name: kept(on_card, split, tmp_path / name) for name, split in splits.items()}
    assert_same_losses(train(on_card, padding="batch", epochs=1, device="cuda", **features), expected)


ENTRIES = EncodedEntries([[*range(start, start + 6 + start % 9)] for start in range(40)], [3] * 40, 32, True)


def instructed(gpt: WritingGPT, scratch: Path, splits: dict[str, EncodedEntries] | None = None, **more: Any) -> Trained:
    checkpointing = more.pop("gradient_checkpointing", False)
    fields: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-3, "evaluate_every": 4, "evaluate_batches": 2}
    return finetune_instructions(
        gpt,
        splits or {"train": ENTRIES, "validation": ENTRIES},
        settings=Settings(**{**fields, **more}),
        gradient_checkpointing=checkpointing,
        scratch=scratch,
    )


def writing(size: GPTConfig) -> WritingGPT:
    return WritingGPT(new_gpt(size, seed=1))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_instructions(checkpointing: bool, tmp_path: Path, no_waiting: list[int]) -> None:
    shape = GPTConfig(context_length=32, emb_dim=16, n_heads=2, n_layers=2)
    expected = instructed(writing(shape), tmp_path / "cpu", device="cpu")
    found = instructed(writing(shape), tmp_path / "card", device="cuda", gradient_checkpointing=checkpointing)
    assert_same_losses(found, expected)
    assert len(no_waiting) > 5


def test_a_resumed_training_on_features_ends_with_the_same_bits(tmp_path: Path, replays: list[int]) -> None:
    """A resumed one computes the first steps of each shape anew, and replays others than the whole one."""

    def run(scratch: Path, features: Path, **more: Any) -> dict[str, torch.Tensor]:
        model = classifier(pooling="last_token")
        splits = {
            name: EncodedMessages(Features(features / name, range(len(split.inputs))), split.targets)
            for name, split in named
        }
        fields: dict[str, Any] = {"padding": "batch", "checkpoint_every": 8, "precision": "bfloat16", "batch_size": 4}
        train(model, scratch=scratch, device="cuda", **fields, **splits, **more)
        return model.state_dict()

    named = (("train", TRAIN), ("validation", VALIDATION))
    for name, split in named:
        kept(classifier(pooling="last_token"), split, tmp_path / name, dtype="bfloat16")
    whole = run(tmp_path / "whole", tmp_path)
    with pytest.raises(Stopped):
        run(tmp_path / "parts", tmp_path, progress=stopped)
    resumed = run(tmp_path / "parts", tmp_path)
    assert len(replays) > 100
    assert [name for name, weight in whole.items() if not torch.equal(weight, resumed[name])] == []


class Stopped(Exception):  # noqa: N818 - it is no error
    """In the place of a kill."""


def stopped(done: int, total: int | None, unit: str) -> None:
    if done == 20:
        raise Stopped


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("pooling", ["last_token", "mean"])  # the last block at one position, or at all of them
def test_a_resumed_training_ends_with_the_same_bits(precision: str, pooling: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"device": "cuda", "precision": precision, "padding": "batch", "checkpoint_every": 8}

    def run(scratch: Path, **more: Any) -> dict[str, torch.Tensor]:
        model = classifier(trainable="all", pooling=pooling, dropout=0.1)
        train(model, scratch=scratch, **fields, **more)
        return model.state_dict()

    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "parts", progress=stopped)
    resumed = run(tmp_path / "parts")
    assert [name for name, weight in whole.items() if not torch.equal(weight, resumed[name])] == []


def test_a_batch_that_does_not_fit_is_learnt_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    shape = GPTConfig(context_length=512, emb_dim=256, n_heads=4, n_layers=4)
    random = np.random.default_rng(0)
    split = EncodedMessages([random.integers(0, 50000, 500).tolist() for _ in range(128)], [0, 1] * 64)

    def run() -> Trained:
        model = new_classifier(
            PooledGPT(new_gpt(shape, seed=1), pooling="mean"), ("ham", "spam"), trainable="all", seed=1
        )
        fields: dict[str, Any] = {"padding": "batch", "batch_size": 64, "max_length": 512, "learning_rate": 1e-4}
        return train(model, device="cuda", train=split, validation=split, evaluate_every=1, **fields)

    expected = run()
    assert torch.cuda.max_memory_allocated() > 2e9
    torch.cuda.empty_cache()
    with little_memory(1.2e9), caplog.at_level(logging.WARNING):
        found = run()
    assert_same_losses(found, expected, atol=1e-4)
    (sentence,) = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert sentence.startswith("The card's memory is too small for 64 texts at once: ")


def test_the_shape_of_gpt2_medium_learns_instructions_within_8_gb(tmp_path: Path, no_waiting: list[int]) -> None:
    lengths = np.random.default_rng(0).integers(40, 160, 48).tolist()  # tokens of an instruction with its response
    entries = EncodedEntries([[*range(1, 1 + length)] for length in lengths], [20] * 48, 1024, False)
    found = instructed(
        writing(SIZES["gpt2-medium"]),
        tmp_path,
        {"train": entries, "validation": entries},
        epochs=1,
        device="cuda",
        precision="bfloat16",
        gradient_checkpointing=True,
        learning_rate=5e-5,
    )
    assert found.history.train_loss.iloc[-1] < found.history.train_loss.iloc[0]
    assert torch.cuda.max_memory_reserved() < 8e9
    assert len(no_waiting) == 4
