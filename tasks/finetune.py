"""The classifier, trained."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from lib.data.balance import class_weights
from lib.data.tables import TOKENS, load_labels, load_table
from lib.jsonfile import load_json, save_json
from tasks.step import Work, step

if TYPE_CHECKING:
    from lib.artifacts import Artifact
    from lib.progress import Progress

PREFECT_SECONDS = 2.0  # between two updates of the progress bar on Prefect's page: each is a request


@step(
    "finetune",
    reads=["model.dropout", "encoding.name", "classifier", "training", "balance.method"],
    unkeyed=["training.checkpoint_every"],
    # The recipe is noted as the first run that needed this classifier had it: its name and addresses, for example, may
    # differ in the next. The history has seconds in it. Neither may make an evaluation run again.
    noted=["recipe.json", "history.parquet"],
    tags=["gpu"],
)
def finetune(work: Work, backbone: Artifact, tokenize: Artifact) -> None:
    """Trains a classifier: its weights and labels, `history.parquet`, `recipe.json`, `training.json`."""
    from lib.model.classifier import new_classifier, save_classifier
    from lib.model.weights import load_gpt
    from lib.training.batches import EncodedMessages
    from lib.training.finetune import finetune as train_classifier
    from lib.training.history import write_history
    from tasks.tracking import HistoryLog, client

    recipe = work.recipe
    labels = load_labels(tokenize.file("train.parquet"))
    tables = {name: load_table(tokenize.file(f"{name}.parquet"), TOKENS) for name in ("train", "validation")}
    splits = {name: EncodedMessages(list(t["tokens"]), list(t["target"])) for name, t in tables.items()}
    max_length = load_json(tokenize.file("tokens.json"))["max_length"]
    classifier = new_classifier(
        load_gpt(backbone.folder, dropout=recipe.model.dropout),
        labels,
        pooling=recipe.classifier.pooling,
        trainable=recipe.classifier.trainable,
        seed=recipe.training.seed,
    )
    weighted = recipe.balance.method == "class_weights"
    live = HistoryLog(client(), work.tracking_run)
    trained = train_classifier(
        classifier,
        splits["train"],
        splits["validation"],
        training=recipe.training,
        padding=recipe.classifier.padding,
        max_length=max_length,
        class_weights=class_weights(tables["train"]["target"]) if weighted else None,
        scratch=work.scratch,
        on_row=live,
        progress=_PrefectProgress(work.progress),
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
    parameters = list(classifier.parameters())
    facts = {
        "kept_row": trained.kept,
        # The curve without its seconds: what is drawn from it must be drawn anew when it changes.
        "history_sha256": hashlib.sha256(trained.history.drop(columns="seconds").to_csv().encode()).hexdigest(),
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }
    save_json(facts, work.folder / "training.json")


class _PrefectProgress:
    """Shows the progress on Prefect's page too, as often as a person looks."""

    def __init__(self, terminal: Progress) -> None:
        self._terminal = terminal
        self._artifact: Any = None
        self._shown = 0.0

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        self._terminal(done, total, unit)
        now = time.monotonic()
        if not total or (now - self._shown < PREFECT_SECONDS and done < total):
            return
        self._shown = now
        percent = 100 * done / total
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key="finetune", description=f"{unit} of fine-tuning")
        else:
            update_progress_artifact(self._artifact, percent)
