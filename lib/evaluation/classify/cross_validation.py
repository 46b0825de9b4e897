"""Trains a classifier once for each fold, on the messages of the others, and lets it judge those of the fold."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lib.data.messages.balance import balance_messages
from lib.errors import RecipeError
from lib.evaluation.classify.suspects import OutOfFold, deal
from lib.files.disk import disk_full_is_clear, into_place
from lib.model.classifier import Classifier, class_probabilities
from lib.model.features.inputs import AllInputs
from lib.model.labels import Probabilities, Targets
from lib.progress import NOBODY, Listener
from lib.text.batching import Padding
from lib.training.batches import EncodedMessages
from lib.training.classify.finetune import ClassObjective, finetune
from lib.training.settings import Settings

SEED = 0  # of dealing; a constant, so that all recipes are measured on the same folds
Balance = Literal["undersample", "oversample", "class_weights", "none"]


@dataclass(frozen=True)
class Messages:
    """Inputs of messages, their targets (messages,), and groups (messages,): those of the same number are copies of one
    message, which are never on both sides."""

    inputs: AllInputs
    targets: Targets
    groups: NDArray[np.int64]

    def split(self, rows: NDArray[np.int64]) -> EncodedMessages:
        """Returns some of them, ready for a model."""
        return EncodedMessages(self.inputs.take(rows), self.targets[rows])


@dataclass(frozen=True)
class Procedure:
    """How a fold's classifier is trained: as the single one is.

    validation_share: of the messages that are not of the fold, what chooses the best epoch and is not learned from, 0
    to 1. balance, balance_seed: as in `balance_messages`; what is learned from is balanced in each fold anew.
    fingerprint: as in `finetune`.
    """

    settings: Settings
    padding: Padding
    max_length: int
    objective: ClassObjective
    validation_share: float
    balance: Balance = "none"
    balance_seed: int = 0
    fingerprint: str = ""


def cross_validate(
    new_classifier: Callable[[], Classifier],
    messages: Messages,
    folds: int,
    procedure: Procedure,
    *,
    scratch: Path,
    listener: Listener = NOBODY,
    on_fold: Callable[[int, float], None] = lambda number, accuracy: None,
) -> OutOfFold:
    """Returns how each message is judged by the classifier that neither learned from it nor chose its epoch by it.

    Every fold begins with a `new_classifier`, and with the same seed. One that is finished lies in `scratch`, one that
    is not has its checkpoint there, so that the same call goes on after an interruption, with the same result. The
    caller deletes `scratch` once the result is safe.

    listener: hears progress and warnings, and no curves, which are those of the single training. on_fold: gets each
    finished fold's number, from 1, and its accuracy by the most probable label, whatever the threshold.

    Raises RecipeError if there are not enough messages for so many folds, and what `finetune` does.
    """
    targets, groups = messages.targets, messages.groups
    fold = deal(targets, folds, SEED, groups)
    if len(np.unique(fold)) < folds:
        raise RecipeError(
            f"evaluation.folds is {folds}, and there are only {len(np.unique(groups))} messages that differ: choose"
            " fewer folds, or leave it out"
        )
    scratch.mkdir(parents=True, exist_ok=True)
    probabilities: list[Probabilities] = []
    for number in range(folds):
        kept = scratch / f"fold-{number}.npy"
        if not kept.exists():
            parts = _parts(fold == number, messages, procedure)
            told = _part_of(listener, number, folds)
            judged = _judge(new_classifier(), parts, procedure, scratch / f"fold-{number}", told)
            _keep(kept, judged)
        probabilities.append(np.load(kept))
        on_fold(number + 1, float((probabilities[-1].argmax(axis=1) == targets[fold == number]).mean()))
    in_order = np.empty((len(targets), probabilities[0].shape[1]))
    for number, of_fold in enumerate(probabilities):
        in_order[fold == number] = of_fold
    return OutOfFold(in_order, fold)


def _parts(inside: NDArray[np.bool_], messages: Messages, procedure: Procedure) -> dict[str, EncodedMessages]:
    """Returns what is learned from, what chooses the best epoch, and what is judged, as three splits."""
    targets, rest = messages.targets, np.flatnonzero(~inside)
    pieces = max(2, round(1 / procedure.validation_share))
    validates = deal(targets[rest], pieces, SEED, messages.groups[rest]) == 0
    learns = pd.DataFrame({"id": rest[~validates], "label": targets[rest[~validates]]})
    balanced = balance_messages(learns, method=procedure.balance, seed=procedure.balance_seed).balanced
    rows = {"train": balanced["id"].to_numpy(), "validation": rest[validates], "test": np.flatnonzero(inside)}
    return {name: messages.split(each) for name, each in rows.items()}


def _judge(
    classifier: Classifier,
    parts: Mapping[str, EncodedMessages],
    procedure: Procedure,
    scratch: Path,
    listener: Listener,
) -> Probabilities:
    """Trains the classifier on `train` and `validation`; returns its probabilities of `test` (rows, classes)."""
    settings = replace(procedure.settings, published_figures=False)  # those are of the single split
    finetune(
        classifier,
        {name: parts[name] for name in ("train", "validation")},
        settings=settings,
        padding=procedure.padding,
        max_length=procedure.max_length,
        objective=procedure.objective,
        scratch=scratch,
        fingerprint=procedure.fingerprint,
        listener=listener,
    )
    return class_probabilities(
        classifier,
        parts["test"].inputs,
        padding=procedure.padding,
        max_length=procedure.max_length,
        device=settings.device,
        precision=settings.precision,
    )


def _keep(file: Path, probabilities: Probabilities) -> None:
    """Writes a finished fold whole or not at all, and lets its checkpoint go."""
    part = file.with_suffix(".part")
    with disk_full_is_clear(file.parent), part.open("wb") as stream:
        np.save(stream, probabilities)
    into_place(part, file)
    shutil.rmtree(file.with_suffix(""), ignore_errors=True)


def _part_of(listener: Listener, number: int, folds: int) -> Listener:
    """Returns what hears of one fold: progress and warnings, and no curve, which is that of the single training."""

    def progress(done: int, total: int | None, unit: str) -> None:
        listener.progress(done + number * (total or 0), None if total is None else folds * total, unit)

    return Listener(progress=progress, warn=listener.warn)
