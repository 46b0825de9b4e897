"""A run beside what was published: the lines of the published procedure, and a table of its figures and ours.

Here belongs the format of chapter 6 of "Build a Large Language Model (From Scratch)" and of its notebook. What is
measured, and on which messages, is `lib.training`'s business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from rich.table import Table

from lib.artifacts import Artifact, Store
from lib.jsonfile import load_json
from lib.recipe import ClassifyRecipe, Published
from lib.recipe_file import load_recipe
from tasks.services import store_folder

# The sections that say what is computed, and their fields that do not.
PROCEDURE = ("balance", "split", "encoding", "model", "classifier", "lora", "training")
NO_PROCEDURE = {
    *(f"model.{name}" for name in ("size", "weights", "revision", "seed")),  # the weights are told by their identity
    *(f"training.{name}" for name in ("checkpoint_every", "device", "published_figures")),
    *(f"training.{name}" for name in ("feature_cache", "feature_dtype", "feature_budget")),
}
IN_THE_BOOK = {"train": "Training", "validation": "Validation", "test": "Test"}  # what it calls the splits


class BookLog:
    """Prints what a training measures as the published procedure does; `write` gets each line.

    `evaluate_every` tells the two kinds of rows apart: of those after every so many batches the losses are printed, of
    those at an epoch's end the accuracies.
    """

    def __init__(self, write: Callable[[str], None], evaluate_every: int) -> None:
        self._write, self._evaluate_every = write, evaluate_every
        self._row: Mapping[str, float] | None = None  # the latest
        self._ended = False

    def on_row(self, row: Mapping[str, float]) -> None:
        """Prints one evaluation. The first of two after the same batch is that batch's, the second is the epoch's."""
        step = int(row["step"])
        again = self._row is not None and step == self._row["step"]
        if step % self._evaluate_every == 0 and not again:
            self._write(
                f"Ep {math.ceil(row['epoch'])} (Step {step:06d}): "
                f"Train loss {row['train_loss']:.3f}, Val loss {row['validation_loss']:.3f}"
            )
        else:
            train, validation = row["train_accuracy"], row["validation_accuracy"]
            self._write(f"Training accuracy: {train:.2%} | Validation accuracy: {validation:.2%}")
        self._row = row

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


def replay(finetune: Artifact, log: BookLog) -> None:
    """Tells `log` all of a training that was done earlier."""
    from lib.training.history import read_history

    figures = load_json(finetune.file("training.json"))["published"]
    if "before" in figures:
        log.on_figures("before", figures["before"])
    for row in read_history(finetune.file("history.parquet")).to_dict("records"):
        log.on_row({str(name): value for name, value in row.items()})
    if "after" in figures:
        log.on_figures("after", figures["after"])


def comparison(recipe: ClassifyRecipe, backbone: Artifact, metrics: Mapping[str, float]) -> Table | str:
    """The published figures beside a run's own, and what the run did otherwise; one sentence if they are not for the
    weights that it had."""
    published = recipe.published
    # The weights are told by what the backbone's key says of them, so wherever they came from: a checksum, a commit.
    identity = Store(store_folder()).manifest("backbone", backbone.key).ingredients["identity"]
    if not set(published.weights or ()) & set(identity.values()):
        return "published figures: not shown, for they belong to other weights (published.weights) than this run had"
    changed = ", ".join(_changes(recipe))
    title = f"this run differs from the published procedure in {changed}" if changed else None
    table = Table("published procedure", "published", "this run", title=title, title_justify="left")
    for part, figure, values in _published(published):
        for split, value in zip(IN_THE_BOOK, values, strict=True):
            own = metrics.get(f"{part}_{split}_{figure}")
            shown = "{:.2%}" if figure == "accuracy" else "{:.3f}"
            table.add_row(
                f"{split} {figure} {part}", shown.format(value), "not measured" if own is None else shown.format(own)
            )
    return table


def _changes(recipe: ClassifyRecipe) -> list[str]:
    """The fields that make another procedure of the run than the published one; its place and speed do not count."""
    own, book = recipe.model_dump(), load_recipe("book").model_dump()
    return [
        f"{section}.{field}"
        for section in PROCEDURE
        for field, value in own[section].items()
        if value != book[section][field] and f"{section}.{field}" not in NO_PROCEDURE
    ]


def _published(published: Published) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    """What there is of it: when it was measured, what, and the values of train, validation and test."""
    figures = (
        ("before", "accuracy", published.before_accuracy),
        ("before", "loss", published.before_loss),
        ("after", "accuracy", published.after_accuracy),
    )
    yield from ((part, figure, values) for part, figure, values in figures if values is not None)
