"""The classifier, trained."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from lib.data.balance import class_weights
from lib.data.tables import SPLITS, TOKENS, load_labels, load_table
from lib.evaluation.labels import positive_class
from lib.jsonfile import load_json, save_json
from tasks.features import inputs_of
from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.artifacts import Artifact
    from lib.progress import Progress

PREFECT_SECONDS = 2.0  # between two updates of the progress bar on Prefect's page: each is a request
AFTER_FAILURE_SECONDS = 60.0  # the same once a request was lost: each may last until Prefect gives up


@step(
    "finetune",
    reads=["model.dropout", "model.causal_mask", "encoding.name", "classifier", "lora", "training", "balance.method"],
    unkeyed=[
        "training.checkpoint_every",
        # What they come to is in the features' own key.
        "training.feature_cache",
        "training.feature_dtype",
        "training.feature_budget",
        "evaluation.positive_label",
    ],
    # The recipe is noted as the first run that needed this classifier had it: its name and addresses, for example, may
    # differ in the next. The history has seconds in it. Neither may make an evaluation run again.
    noted=["recipe.json", "history.parquet"],
    tags=["gpu"],
)
def finetune(work: Work, backbone: Artifact, tokenize: Artifact, features: Artifact) -> None:
    """Trains a classifier: its weights and labels, `history.parquet`, `recipe.json`, `training.json`."""
    from lib.model.adapters import add_adapters
    from lib.model.classifier import new_classifier, save_classifier
    from lib.model.weights import load_gpt
    from lib.training.batches import EncodedMessages
    from lib.training.finetune import finetune as train_classifier
    from lib.training.history import write_history
    from tasks.tracking import HistoryLog, client

    recipe = work.recipe
    labels = load_labels(tokenize.file("train.parquet"))
    positive_class(labels, recipe.evaluation.positive_label)  # a wrong one is refused before the training, not after it
    tables = {name: load_table(tokenize.file(f"{name}.parquet"), TOKENS) for name in SPLITS}
    splits = {
        name: EncodedMessages(inputs_of(tokenize, features, name), list(table["target"]))
        for name, table in tables.items()
    }
    max_length = load_json(tokenize.file("tokens.json"))["max_length"]
    classifier = new_classifier(
        load_gpt(backbone.folder, dropout=recipe.model.dropout, causal_mask=recipe.model.causal_mask),
        labels,
        pooling=recipe.classifier.pooling,
        trainable=recipe.classifier.trainable,
        seed=recipe.training.seed,
        adapt=partial(add_adapters, **recipe.lora.model_dump()) if recipe.classifier.trainable == "lora" else None,
    )
    parameters = list(classifier.parameters())
    counts = {
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }
    weighted = recipe.balance.method == "class_weights"
    live = HistoryLog(client(), work.tracking_run, work.log.warning)
    trained = train_classifier(
        classifier,
        splits["train"],
        splits["validation"],
        test=splits["test"] if recipe.training.published_figures else None,
        training=recipe.training,
        padding=recipe.classifier.padding,
        max_length=max_length,
        class_weights=class_weights(tables["train"]["target"]) if weighted else None,
        scratch=work.scratch,
        fingerprint=features.digest,
        on_row=_all_of(live, work.listener.on_row),
        on_figures=work.listener.on_figures,
        progress=_PrefectProgress(work.progress, work.log.warning),
        warn=work.log.warning,
    )
    live.send()
    if trained.resumed_at is not None:
        work.log.warning("went on from a checkpoint after %s batches", trained.resumed_at)

    save_classifier(work.folder, classifier)
    write_history(trained.history, work.folder / "history.parquet")
    resolved = dict(work.whole_recipe)
    resolved["encoding"] = {**resolved["encoding"], "max_length": max_length}
    save_json(resolved, work.folder / "recipe.json")
    facts = {
        "kept_row": trained.kept,
        # The curve without its seconds: what is drawn from it must be drawn anew when it changes.
        "history_sha256": hashlib.sha256(trained.history.drop(columns="seconds").to_csv().encode()).hexdigest(),
        **counts,
        "published": trained.published,
    }
    save_json(facts, work.folder / "training.json")


def _all_of(*listeners: Callable[[Mapping[str, float]], None]) -> Callable[[Mapping[str, float]], None]:
    """A callback that hands each row to all of them."""

    def tell(row: Mapping[str, float]) -> None:
        for listener in listeners:
            listener(row)

    return tell


class _PrefectProgress:
    """Shows the progress on Prefect's page too, as often as a person looks.

    A request that is lost does not end the training: `warn` hears of it once.
    """

    def __init__(self, terminal: Progress, warn: Callable[[str], None]) -> None:
        self._terminal, self._warn = terminal, warn
        self._artifact: Any = None
        self._next = 0.0  # when to show again (time.monotonic)
        self._warned = False

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        from prefect.exceptions import PrefectException

        self._terminal(done, total, unit)
        if not total or (time.monotonic() < self._next and done < total):
            return
        pause = PREFECT_SECONDS
        try:
            self._show(100 * done / total, unit)
        except (httpx.HTTPError, PrefectException) as error:
            pause = AFTER_FAILURE_SECONDS
            if not self._warned:
                self._warn(f"Prefect's page could not be told how far training is ({type(error).__name__}): it goes on")
                self._warned = True
        self._next = time.monotonic() + pause

    def _show(self, percent: float, unit: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key="finetune", description=f"{unit} of fine-tuning")
        else:
            update_progress_artifact(self._artifact, percent)
