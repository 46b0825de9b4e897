"""Prints a run as the published procedure does, and its figures beside the published ones.

The format is that of chapters 6 and 7 of "Build a Large Language Model (From Scratch)" and their notebooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from flows.terminal.program import Recipe
from lib.evaluation.flat import metric_name
from lib.files.jsonfile import load_json
from lib.progress import Listener
from lib.store.artifacts import Artifact
from tasks.store import artifact_store

if TYPE_CHECKING:
    from lib.recipes.sections import Section

# What of a recipe does not say what is computed.
NO_PROCEDURE = {
    *("name", "data", "evaluation", "serving", "published", "registry"),
    *(f"model.{name}" for name in ("size", "weights", "revision", "seed")),  # the weights are told by their identity
    *(f"training.{name}" for name in ("checkpoint_every", "device", "published_figures")),
    *(f"training.{name}" for name in ("feature_cache", "feature_dtype", "feature_budget", "gradient_checkpointing")),
    *("respond.batch_size",),  # an answer does not depend on its batch
    *(f"judge.{name}" for name in ("url", "key_variable", "parallel", "retries", "anchors", "timeout")),
}
SPLITS = ("train", "validation", "test")  # the order of published figures, which may leave out the last
IN_THE_BOOK = {"train": "Training", "validation": "Validation", "test": "Test"}  # what it calls the splits


class BookLog:
    """Prints what a training measures as the published procedures do; `write` gets each line.

    `evaluate_every` tells chapter 6's two kinds of rows apart: of those after every so many batches the losses are
    printed, of those at an epoch's end the accuracies. Chapter 7 has no accuracies, and an answer after each epoch.
    """

    def __init__(self, write: Callable[[str], None], evaluate_every: int) -> None:
        self._write, self._evaluate_every = write, evaluate_every
        self._row: Mapping[str, float] | None = None  # the latest
        self._ended = False
        self.listener = Listener(self.on_row, self.on_figures, self.on_sample)

    def on_row(self, row: Mapping[str, float]) -> None:
        """Prints one evaluation. The first of two after the same batch is that batch's, the second is the epoch's."""
        step = int(row["step"])
        again = self._row is not None and step == self._row["step"]
        accuracies = [row.get(f"{split}_accuracy", math.nan) for split in ("train", "validation")]
        measured = not any(map(math.isnan, accuracies))
        if not again and (step % self._evaluate_every == 0 or not measured):
            self._write(
                f"Ep {math.ceil(row['epoch'])} (Step {step:06d}): "
                f"Train loss {row['train_loss']:.3f}, Val loss {row['validation_loss']:.3f}"
            )
        elif measured:
            self._write("Training accuracy: {:.2%} | Validation accuracy: {:.2%}".format(*accuracies))
        self._row = row

    def on_sample(self, epoch: int, text: str) -> None:  # noqa: ARG002 - the book does not say after which epoch
        """Prints what the model answers, in one line."""
        self._write(text.replace("\n", " "))

    def on_figures(self, part: str, figures: Mapping[str, float]) -> None:
        """Prints the figures from `before` the first step, or from `after` the last one."""
        if part == "after":
            self.end()
        for name, value in figures.items():
            split, _, figure = name.partition("_")
            shown = f"{value:.2%}" if figure == "accuracy" else f"{value:.3f}"
            self._write(f"{IN_THE_BOOK[split]} {figure}: {shown}")

    def end(self) -> None:
        """Prints how long the training took, once."""
        if self._row is not None and not self._ended:
            self._write(f"Training completed in {self._row['seconds'] / 60:.2f} minutes.")
        self._ended = True


def replay(training: Artifact, listener: Listener) -> None:
    """Replays a training that was done earlier to `listener`, in its original order."""
    from lib.training.history import read_history, replay

    facts = load_json(training.file("training.json"))
    figures = facts["published"]
    samples = [sample["answer"] for sample in facts.get("samples", ())]
    if "before" in figures:
        listener.on_figures("before", figures["before"])
    rows = read_history(training.file("history.parquet")).to_dict("records")
    replay([{str(name): value for name, value in row.items()} for row in rows], samples, listener)
    if "after" in figures:
        listener.on_figures("after", figures["after"])


def comparison(recipe: Recipe, book: Recipe, backbone: Artifact, metrics: Mapping[str, float]) -> Table | str:
    """The figures that were published for `recipe` beside a run's own, and what it did otherwise than `book`, the
    published procedure; one sentence if they are not for the weights that it had."""
    published = recipe.published
    # The weights are told by what the backbone's key says of them, so wherever they came from: a checksum, a commit.
    identity = artifact_store().manifest("backbone", backbone.key).ingredients["identity"]
    if not set(published.weights or ()) & set(identity.values()):
        return "published figures: not shown, for they belong to other weights (published.weights) than this run had"
    changed = ", ".join(_changes(recipe.model_dump(), book.model_dump()))
    title = f"this run differs from the published procedure in {changed}" if changed else None
    table = Table("published procedure", "published", "this run", title=title, title_justify="left")
    for figure in _published(published):
        own = metrics.get(figure.metric)
        shown = [figure.form.format(value) if value is not None else "not measured" for value in (figure.value, own)]
        table.add_row(figure.name, *shown)
    return table


def _changes(own: Mapping[str, Any], book: Mapping[str, Any]) -> list[str]:
    """The fields that make another procedure of the run than the published one; its place and speed do not count."""
    return [
        f"{section}.{field}"
        for section, fields in own.items()
        if section not in NO_PROCEDURE
        for field, value in fields.items()
        if value != book[section][field] and f"{section}.{field}" not in NO_PROCEDURE
    ]


class _Figure(NamedTuple):
    """A published number."""

    name: str
    metric: str  # what a run's own is called
    value: float
    form: str


def _published(published: Section) -> Iterator[_Figure]:
    """What there is of it. A field is called after a metric, `judge_mean` after `judge/mean`; if it has a value for
    each split, after when it was measured and what: `before_loss`."""
    for field, values in published:
        when, _, what = field.rpartition("_")
        form = {"accuracy": "{:.2%}", "loss": "{:.3f}"}.get(what, "{:.2f}")
        if field == "weights" or values is None:
            continue
        if isinstance(values, tuple):
            for split, value in zip(SPLITS, values, strict=False):
                yield _Figure(f"{split} {what} {when}", metric_name("published", when, split, what), value, form)
        else:
            yield _Figure(f"{when} {what}", metric_name(when, what), values, form)
