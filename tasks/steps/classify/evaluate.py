"""Evaluates the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lib.data.lookup import look_up
from lib.data.parts import Parts
from lib.data.tables import KEYED_MESSAGES, SLICES, SPLITS
from lib.data.tokens import REPORT, load_long_texts, load_tokens
from lib.files.checksum import file_sha256
from lib.files.jsonfile import load_json
from lib.files.mapped import Arrays
from lib.inference.engines.engine import TORCH
from lib.model.usage import load_usage
from lib.model.weights.saved import INFERENCE
from lib.store.warnings import warnings_digest, warnings_of
from lib.text.long_texts import CUT_END
from lib.text.windows import rows_of
from tasks.engine.cluster import computing
from tasks.engine.step import Work, step
from tasks.steps.classify.decision import wanted
from tasks.steps.classify.messages import SLICES_FILE
from tasks.steps.training import device_identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lib.data.source.columns import Column
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from lib.text.token_rows import Tokens
    from tasks.engine.step import Inputs


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:
    """Returns the hashes of the warnings that the findings repeat, and of the slices, which no digest covers; without
    inputs, when explaining, they are not known."""
    known = {"warnings": warnings_digest(inputs.values())} if "cross_validate" in inputs else {}
    if "messages" in inputs and recipe.evaluation.slices is not None:
        known["slices"] = file_sha256(inputs["messages"].file(SLICES_FILE))
    return {**known, **device_identity(recipe, inputs)}


@step(
    "evaluate",
    reads=["evaluation", "classifier", "training", "balance.method"],
    unkeyed=[
        "cluster",
        "training.checkpoint_every",
        "training.device",
        "training.feature_cache",
        "training.feature_dtype",
        "training.feature_budget",
    ],
    identity=_identity,
    tags=["gpu"],
)
def evaluate(
    work: Work[ClassifyRecipe],
    messages: Artifact,
    balance: Artifact,
    split: Artifact,
    holdout: Artifact,
    tokenize: Artifact,
    features: Artifact,
    finetune: Artifact,
    engine: Artifact,
    cross_validate: Artifact,
) -> None:
    """Measures every row of every split with the engine that serves: `metrics.json`, `findings.json`,
    `predictions/`, `baseline.parquet`, `figures/`; and `drift_profile.json`, to compare later messages with."""
    import torch

    from lib.evaluation.classify.asking import Served
    from lib.evaluation.classify.evaluate import Choices, Facts
    from lib.evaluation.classify.evaluate import evaluate as write_evaluation
    from lib.evaluation.classify.label_check import load_label_check, load_spread
    from lib.evaluation.drift.profile import write_profile
    from lib.inference.engines.loading import load_engine
    from lib.model.features.inputs import split_inputs
    from lib.text.tokenizer import load_tokenizer
    from lib.training.history import read_history

    recipe = work.recipe
    splits = {name: Parts(holdout.file(name), KEYED_MESSAGES) for name in SPLITS}
    splits["reserve"] = Parts(balance.file("reserve"), KEYED_MESSAGES)
    device = work.identity["device"]
    served = load_engine(finetune.folder, device=device, engine=engine.folder)
    kept = features.folder if served.name == TORCH else None
    class_counts = load_json(messages.file("profile.json"))["labels"]
    divided = load_json(holdout.file("split.json"))
    natural = divided["labels"]["test"] if "test" in divided["given"] else None
    write_evaluation(
        served,
        splits=splits,
        inputs={name: split_inputs(tokenize.folder, kept, name) for name in splits},
        facts=Facts(
            history=read_history(finetune.file("history.parquet")),
            class_counts=class_counts,
            natural=natural,
            undersampled=recipe.balance.method == "undersample" and "validation" not in divided["given"],
            straddling=divided["straddling"],
            columns=slice_values(recipe.evaluation.slices, messages, splits["test"]),
            about={**_about(work, finetune), "engine": f"{served.name}, {served.precision}"},
            warnings=warnings_of(
                (messages, balance, split, holdout, tokenize, features, finetune, engine, cross_validate)
            ),
            folds=load_spread(cross_validate.folder),
            label_check=load_label_check(cross_validate.folder),
        ),
        choices=Choices(
            wanted=wanted(recipe.evaluation),
            confidence=recipe.evaluation.confidence,
            baseline=recipe.evaluation.baseline,
            natural_prevalence=recipe.evaluation.natural_prevalence,
        ),
        folder=work.folder,
        arrays=Arrays(work.scratch),
        served=Served(finetune.folder, engine.folder, device, tokenize.folder, kept, torch.get_num_threads()),
        opened=lambda: computing(work, finetune, engine, tokenize, features, cards=int(device == "cuda")),
        progress=work.progress,
        warn=work.warn,
    )
    labels = load_json(finetune.file("labels.json"))
    write_profile(
        work.folder,
        labels=labels,
        class_counts=natural or class_counts,
        tokenizer=load_tokenizer(finetune.folder),
        tokens=_whole_tokens(tokenize),
    )


def _whole_tokens(tokenize: Artifact) -> dict[str, Iterable[Tokens]] | None:
    """Returns the tokens of each split's messages, if all of them are read in one piece."""
    if "cut" in load_json(tokenize.file(REPORT)) or load_long_texts(tokenize.folder).method == "windows":
        return None
    return {name: rows_of(load_tokens(tokenize.folder, name).texts) for name in SPLITS}


def slice_values(column: Column | None, messages: Artifact, test: Parts) -> dict[str, list[str | None]]:
    """Returns the values that the test messages have in the column that the recipe names, by what it is called."""
    if column is None:
        return {}
    values = look_up(Parts(messages.file(SLICES_FILE), SLICES), "value", test.numbers("id")).dictionary_encode()
    known = [*values.dictionary.to_pylist(), None]  # each once in memory
    name = column if isinstance(column, str) else f"column {column}"
    return {name: [known[place] for place in pc.fill_null(values.indices, -1).to_numpy()]}


def _about(work: Work[ClassifyRecipe], finetune: Artifact) -> dict[str, str]:
    """Describes the training for the report, only by what the key covers."""
    facts = load_json(finetune.file("training.json"))
    training, classifier = work.recipe.training, work.recipe.classifier
    usage = load_usage(finetune.folder)
    return {
        "backbone": "{family}, {depth} layers, {width} dimensions, {heads} heads".format(**facts["network"]),
        "trainable": f"{classifier.trainable}: {facts['trainable_parameters']:,} of {facts['parameters']:,} parameters",
        "pooling": load_json(finetune.file(INFERENCE))["pooling"],
        "padding": str(classifier.padding),
        **({} if usage.long_texts == CUT_END else {"reads": usage.long_texts.in_words(usage.max_length)}),
        "balance": work.recipe.balance.method,
        "training": f"{training.epochs} epochs, batches of {training.batch_size},"
        f" learning rate {training.learning_rate:g}, {training.precision}",
    }
