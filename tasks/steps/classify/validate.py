"""Measures a classifier on what variants are compared on: the validation split, or folds of it and of training's.

No step here opens the test split.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lib.data.parts import Parts
from lib.data.tables import KEYED_SPLIT, TOKENS
from lib.data.tokens import load_tokens
from lib.files.jsonfile import save_json
from lib.model.weights.saved import COST
from tasks.engine.step import Work, step
from tasks.steps.classify.decision import FIELDS, wanted
from tasks.steps.classify.finetune import TRAINED_WITH, finetune
from tasks.steps.classify.folds import judged_by_folds, messages_in, once
from tasks.steps.classify.network import untrained_classifier
from tasks.steps.training import device_identity, save_cost

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs

MEASURED_BY = (*FIELDS, "evaluation.confidence")


@step("validate", reads=MEASURED_BY, unkeyed=["training.device"], identity=device_identity)
def validate(work: Work[ClassifyRecipe], tokenize: Artifact, features: Artifact, finetune: Artifact) -> None:
    """Measures the trained classifier on every validation message, by torch as it was trained: `validated.parquet`,
    `metrics.json`."""
    from lib.evaluation.classify.validated import write_validated
    from lib.inference.engines.torch_engine import TorchEngine
    from lib.model.features.inputs import split_inputs

    engine = TorchEngine.load(finetune.folder, device=work.identity["device"])
    write_validated(
        work.folder,
        load_tokens(tokenize.folder, "validation").targets,
        engine.probabilities(split_inputs(tokenize.folder, features.folder, "validation"), progress=work.progress),
        labels=engine.labels,
        wanted=wanted(work.recipe.evaluation),
        confidence=work.recipe.evaluation.confidence,
    )


def _folds_identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Returns all that the trainings depend on."""
    return {
        **{path: f"{value}" for path, value in finetune.ingredients(recipe, {})["fields"].items()},
        "balance.seed": f"{recipe.balance.seed}",
        **device_identity(recipe, inputs),
    }


@step(
    "validate_folds",
    reads=[*MEASURED_BY, "evaluation.folds"],
    unkeyed=["balance", "model.weights", *finetune.reads, *(each for each in finetune.unkeyed if each not in FIELDS)],
    identity=_folds_identity,
    noted=(COST,),
)
def validate_folds(
    work: Work[ClassifyRecipe],
    holdout: Artifact,
    tokenizer: Artifact,
    backbone: Artifact,
    tokenize: Artifact,
    features: Artifact,
) -> None:
    """Divides the messages of train and validation into `evaluation.folds` parts, trains without each, and measures
    what is said of it: `validated.parquet`, `metrics.json`, and in `cost.json` what all of that took."""
    from lib.evaluation.classify.validated import write_validated

    began, folds = time.monotonic(), work.recipe.evaluation.folds
    assert folds is not None, "this step is only for recipes with folds"
    splits = [Parts(holdout.file(name), KEYED_SPLIT) for name in TRAINED_WITH]
    table = messages_in(splits, range(sum(int(first.sum()) for _, _, first in once(splits))))
    labels = Parts(tokenize.file("train"), TOKENS).labels
    new = partial(untrained_classifier, work.recipe, tokenizer, backbone, labels)
    judged = judged_by_folds(work, table, TRAINED_WITH, new, folds, tokenize, features)
    model = new()
    learning = sum(each.numel() for each in model.parameters() if each.requires_grad)
    write_validated(
        work.folder,
        table["target"].to_numpy(np.int64),
        judged.probabilities,
        labels=labels,
        wanted=wanted(work.recipe.evaluation),
        confidence=work.recipe.evaluation.confidence,
    )
    size = {"parameters": sum(each.numel() for each in model.parameters()), "trainable_parameters": learning}
    save_json(size, work.folder / "training.json")
    save_cost(work, time.monotonic() - began)


@step("validate_baseline", reads=MEASURED_BY, noted=(COST,))
def validate_baseline(work: Work[ClassifyRecipe], holdout: Artifact) -> None:
    """Fits TF-IDF with logistic regression on the training split, its penalty chosen on validation, and measures it
    there: `validated.parquet`, `metrics.json`, and in `cost.json` what that took."""
    from lib.evaluation.classify.baseline import fit_baseline
    from lib.evaluation.classify.rivals import drawn
    from lib.evaluation.classify.validated import write_validated

    began = time.monotonic()
    train, validation = (Parts(holdout.file(name), KEYED_SPLIT) for name in TRAINED_WITH)
    labels, targets = train.labels, validation.numbers("target")
    fitted = fit_baseline(
        drawn(train, train.numbers("target")),
        drawn(validation, targets),
        classes=len(labels),
        of_rows=len(train),
    )
    texts = [text for batch in validation.batches(["text"]) for text in batch.column("text").to_pylist()]
    write_validated(
        work.folder,
        targets,
        fitted.probabilities(texts),
        labels=labels,
        wanted=wanted(work.recipe.evaluation),
        confidence=work.recipe.evaluation.confidence,
    )
    save_cost(work, time.monotonic() - began)
