"""Lets classifiers judge messages that they did not see, and lists the messages whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.data.lookup import look_up
from lib.data.parts import Parts
from lib.data.tables import KEYED_SPLIT, LINES, SPLITS, TOKENS
from lib.files.checksum import file_sha256
from lib.files.jsonfile import load_json
from lib.model.places import SCRATCH
from tasks.engine.step import Work, step
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.folds import inputs_of, judged_by_folds, messages_in, once
from tasks.steps.classify.messages import FILES, LINES_OF_MESSAGES
from tasks.steps.classify.network import untrained_classifier
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    from lib.evaluation.classify.suspects import OutOfFold
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Returns where the messages stand in their files; and, if the classifier itself is trained on folds, all that its
    training depends on. Without folds no setting of the training makes this run again."""
    lines = {"lines": file_sha256(inputs["messages"].file(LINES_OF_MESSAGES))} if "messages" in inputs else {}
    if recipe.evaluation.folds is None:
        return {**lines, "pretrained": f"{recipe.model.weights != SCRATCH}"}
    return {
        **lines,
        **{path: f"{value}" for path, value in finetune.ingredients(recipe, {})["fields"].items()},
        "balance.seed": f"{recipe.balance.seed}",
        "evaluation.folds": f"{recipe.evaluation.folds}",
        **device_identity(recipe, inputs),
    }


@step(
    "cross_validate",
    unkeyed=[
        "evaluation.folds",
        "balance",
        "model.weights",
        *finetune.reads,
        *finetune.unkeyed,
    ],
    identity=_identity,
    tags=["gpu"],
)
def cross_validate(
    work: Work[ClassifyRecipe],
    messages: Artifact,
    holdout: Artifact,
    tokenizer: Artifact,
    backbone: Artifact,
    tokenize: Artifact,
    features: Artifact,
) -> None:
    """Ranks the messages of all splits by how probably their label is wrong: `suspects.parquet`, `label_check.json`;
    and with `evaluation.folds` trains the classifier on each fold: `folds.json`."""
    from lib.evaluation.classify.label_check import (
        MOST_LISTED,
        LabelCheck,
        doubts_warning,
        listed_suspects,
        save_spread,
    )
    from lib.evaluation.classify.suspects import judged_rows, spread, suspects

    splits = [Parts(holdout.file(name), KEYED_SPLIT) for name in SPLITS]
    rows, folds = sum(int(first.sum()) for _, _, first in once(splits)), work.recipe.evaluation.folds
    labels = Parts(tokenize.file("train"), TOKENS).labels
    table = messages_in(splits, judged_rows(rows, len(labels)) if folds is None else range(rows))
    if folds is None:
        predictions, by = _second_opinion(work, table, splits, len(labels), tokenize, features)
    else:
        new = partial(untrained_classifier, work.recipe, tokenizer, backbone, labels)
        predictions = judged_by_folds(work, table, SPLITS, new, folds, tokenize, features)
        by = "the classifier, trained on each fold"
    targets = table["target"].to_numpy(np.int64)
    accuracies = spread(targets, predictions)
    if folds is not None:
        save_spread(work.folder, accuracies)
    found = suspects(targets, predictions.probabilities)
    check = LabelCheck(
        by=by,
        accuracy=accuracies.mean,
        rows=len(found.rows),
        of_rows=rows,
        counted=int(found.issues.sum()),
    )
    listed = _described(table.iloc[found.rows[:MOST_LISTED]], splits, messages)
    check.save(work.folder, listed_suspects(listed, found, labels))
    sentence = doubts_warning(check)
    if sentence is not None:
        work.warn(sentence)


def _described(table: pd.DataFrame, splits: Sequence[Parts], messages: Artifact) -> pd.DataFrame:
    """Adds text and label of each message, and file, row and line where it stands; and names its split."""
    files = load_json(messages.file(FILES))
    starts = np.cumsum([0, *(file["rows"] for file in files)])
    number = np.searchsorted(starts, table["id"], side="right") - 1
    lines = look_up(Parts(messages.file(LINES_OF_MESSAGES), LINES), "line", table["id"].to_numpy())
    found = _said(table, splits)
    return table.assign(
        text=found["text"],
        label=found["label"],
        split=np.array(SPLITS, dtype=object)[table["split"]],
        file=np.array([file["name"] for file in files], dtype=object)[number],
        row=table["id"] - starts[number],
        line=lines.to_numpy(zero_copy_only=False),
    )


def _said(table: pd.DataFrame, splits: Sequence[Parts]) -> pd.DataFrame:
    """Returns text and label of each message of a table, with its index."""
    begins = np.cumsum([0, *map(len, splits)])
    found = []
    for number, each in enumerate(splits):
        rows = table["place"][table["split"] == number]
        found.append(each.take(rows - begins[number], ["text", "label"]).to_pandas().set_index(rows.index))
    said: pd.DataFrame = pd.concat(found).loc[table.index]
    return said


def _second_opinion(
    work: Work[ClassifyRecipe],
    table: pd.DataFrame,
    splits: Sequence[Parts],
    classes: int,
    tokenize: Artifact,
    features: Artifact,
) -> tuple[OutOfFold, str]:
    """Fits regressions on the frozen features, or on n-grams where there are none or the weights are random numbers;
    says which. To run the backbone only for this would take a third of an epoch."""
    from lib.evaluation.classify.suspects import out_of_fold, text_features
    from lib.model.features.inputs import mean_features

    if work.recipe.model.weights != SCRATCH and load_json(features.file("features.json"))["kept"]:
        of = "frozen features"
        read = mean_features(inputs_of(table, SPLITS, tokenize, features).take(range(len(table))))
    else:
        of = "character n-grams"
        read = text_features(_said(table, splits)["text"].tolist())
    groups = table["group"].to_numpy(np.int64)
    predictions = out_of_fold(read, table["target"].to_numpy(np.int64), classes=classes, groups=groups)
    return predictions, f"logistic regression on {of}"
