"""Our side of the rows: the features step, training on features, prediction, as `lib` has them.

This module only calls `lib`; it does nothing that a flow's steps would not do.
"""

import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import seconds
from benchmarks.workload import LABELS, SEED, WEIGHTS_SEED, Bench, Split
from lib.data.tables import SPLITS
from lib.inference.engines.torch_engine import TorchEngine
from lib.inference.predictor import Predictor
from lib.model.classifier import Classifier, class_probabilities, new_classifier
from lib.model.features.file import Features, write_features
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.model.gpt2.sizes import GPTConfig
from lib.model.usage import Usage
from lib.text.gpt2 import gpt2_tokenizer
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import finetune
from lib.training.settings import Settings


def new_model(config: GPTConfig) -> Classifier:
    """The classifier before training; every call gives the same numbers."""
    return new_classifier(
        PooledGPT(new_gpt(config, seed=WEIGHTS_SEED), pooling="last_token"), LABELS, trainable="last_block", seed=SEED
    )


def settings(bench: Bench, *, precision: str, epochs: int | None = None) -> Settings:
    """The published procedure's."""
    amounts = bench.amounts
    return Settings(
        epochs=epochs or amounts.epochs,
        batch_size=amounts.batch_size,
        learning_rate=amounts.learning_rate,
        weight_decay=amounts.weight_decay,
        evaluate_every=amounts.evaluate_every,
        evaluate_batches=amounts.evaluate_batches,
        seed=SEED,
        precision=precision,
        device=torch.device(bench.device).type,
    )


def features(bench: Bench, classifier: Classifier, split: Split, file: Path, *, precision: str) -> Features:
    """The features step for one split."""
    ids = range(len(split.tokens))
    write_features(
        file,
        classifier.backbone,
        split.tokens,
        ids,
        blocks=classifier.backbone.cut,
        dtype=precision,
        scratch=bench.folder / "scratch",
        device=bench.device,
    )
    return Features(file, ids)


@dataclass(frozen=True)
class FeaturesRun:
    """The features of every split, and how long they took."""

    splits: dict[str, Features]
    seconds: float


@functools.cache
def features_run(bench: Bench, precision: str) -> FeaturesRun:
    """Run the features step over all splits, once in a run of the benchmarks: two rows are about it."""
    classifier = new_model(bench.config)
    folder = bench.folder / f"features-{precision}"
    folder.mkdir()
    few = bench.workload.splits["test"].first(4 * bench.amounts.batch_size)
    features(bench, classifier, few, folder / "warm-up", precision=precision)
    made: dict[str, Features] = {}

    def step() -> None:
        for name in SPLITS:
            made[name] = features(bench, classifier, bench.workload.splits[name], folder / name, precision=precision)

    return FeaturesRun(made, seconds(step))


@dataclass(frozen=True)
class TrainingRun:
    """A training on features with its evaluations: seconds, and the accuracy on all messages of each split."""

    training: float
    final: float  # seconds of measuring all splits at the end
    accuracies: dict[str, float]

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.final


def training_run(bench: Bench, inputs: dict[str, Features], *, precision: str) -> TrainingRun:
    """Train on features as the recipe's `classifier.padding: batch` does, then measure every split."""
    classifier = new_model(bench.config)
    splits = bench.workload.splits
    training = seconds(lambda: train(bench, classifier, splits, inputs, precision=precision))
    accuracies: dict[str, float] = {}

    def measure() -> None:
        for name in SPLITS:
            guesses = class_probabilities(
                classifier,
                inputs[name],
                padding="batch",
                max_length=bench.workload.width,
                device=bench.device,
                precision=precision,
            ).argmax(axis=1)
            accuracies[name] = float((guesses == splits[name].targets).mean())

    return TrainingRun(training, seconds(measure), accuracies)


def train(
    bench: Bench,
    classifier: Classifier,
    splits: dict[str, Split],
    inputs: dict[str, Features],
    *,
    precision: str,
    epochs: int | None = None,
) -> None:
    """`lib.training.classify.finetune` on features."""
    scratch = bench.folder / "checkpoints"
    finetune(
        classifier,
        {name: EncodedMessages(inputs[name], splits[name].targets) for name in ("train", "validation")},
        settings=settings(bench, precision=precision, epochs=epochs),
        padding="batch",
        max_length=bench.workload.width,
        scratch=scratch,
    )
    shutil.rmtree(scratch, ignore_errors=True)


def scores_around_training(bench: Bench, split: Split, *, epochs: int) -> tuple[Tensor, Tensor]:
    """The log-probabilities of one batch of messages before a training on just that batch, and after it, in float32.

    What every other side must compute too: the same frozen part, head, pooling, loss, gradients and optimizer.
    """
    classifier = new_model(bench.config)
    folder = bench.folder / "one-batch"
    folder.mkdir(exist_ok=True)
    made = features(bench, classifier, split, folder / "features", precision="float32")
    before = _log_probabilities(bench, classifier, made)
    train(
        bench,
        classifier,
        {"train": split, "validation": split},
        {"train": made, "validation": made},
        precision="float32",
        epochs=epochs,
    )
    return before, _log_probabilities(bench, classifier, made)


def _log_probabilities(bench: Bench, classifier: Classifier, inputs: Features) -> Tensor:
    rows = class_probabilities(
        classifier, inputs, padding="batch", max_length=bench.workload.width, device=bench.device
    )
    return torch.from_numpy(rows).log()


def predictor(bench: Bench, *, precision: str) -> Predictor:
    """What classifies texts: tokens, windows, batches by tokens, the order restored."""
    usage = Usage(max_length=bench.workload.width, padding="batch", precision=precision)
    engine = TorchEngine.of(new_model(bench.config), usage, bench.device)
    return Predictor(engine, gpt2_tokenizer(), usage.max_length)


def predict(predictor: Predictor, texts: Sequence[str]) -> list[list[float]]:
    """The probabilities of each class for each text."""
    return [list(prediction.probabilities.values()) for prediction in predictor.predict(texts)]
