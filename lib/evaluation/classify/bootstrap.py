"""Gives metrics intervals by the stratified bootstrap: what they would be on other messages of the same classes.

B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the percentile interval.
Each draw takes as many messages of each class as there are, with replacement: the class shares of a test split are
chosen, by stratifying or balancing, and are no part of what is uncertain. A metric is computed from sums over messages,
so that a draw is a row of how often each message was drawn, and all draws are one matrix product. Of a large class sums
are drawn, and no messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.classify.metrics import log_losses, matthews_correlation, ratio
from lib.evaluation.classify.ranks import Ranks
from lib.evaluation.pieces import pieces
from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

DRAWS = 2_000
CELLS = 4_000_000  # of the matrix of draws that are in memory at a time: 32 MB
LARGE = 100_000  # messages of a class, from which on sums are drawn

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """What metrics are computed from, for each draw.

    rows: (classes,) messages of each class, the same in each draw. predicted, hits: (draws, classes) messages that get
    each label, and those of them that have it. log_loss: (draws,) summed. auc_shift: (draws,) by how much the area
    under the ROC curve moves.
    """

    rows: Floats
    predicted: Floats
    hits: Floats
    log_loss: Floats
    auc_shift: Floats


@dataclass
class _Cell:
    """Messages of one class that get one label: how many, and of their two columns the mean (2,) and the sums of the
    products of what is left of them without it (2, 2)."""

    rows: int
    mean: Floats
    squares: Floats

    @classmethod
    def of(cls, columns: Floats) -> _Cell:
        mean = columns.mean(axis=0)
        return cls(len(columns), mean, (columns - mean).T @ (columns - mean))

    def with_more(self, other: _Cell) -> _Cell:
        """Joins two (T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37, 1983)."""
        rows, apart = self.rows + other.rows, other.mean - self.mean
        squares = self.squares + other.squares + np.outer(apart, apart) * (self.rows * other.rows / rows)
        return _Cell(rows, self.mean + apart * (other.rows / rows), squares)


@dataclass(frozen=True)
class _Messages:
    """Messages, of which some are looked at at a time. ranks: of the classes whose areas count."""

    targets: Targets
    probabilities: Probabilities
    rule: Mapping[str, Any]
    ranks: Mapping[int, Ranks]

    @property
    def area(self) -> float | None:
        """The area under the ROC curve, the mean over classes; None if there is none."""
        areas = [ranks.area for ranks in self.ranks.values() if ranks.area is not None]
        return float(np.mean(areas)) if areas else None

    def given(self, rows: Rows) -> NDArray[np.intp]:
        """Returns the label that each of these rows gets."""
        return given_labels(self.probabilities[rows], **self.rule)

    def extra(self, rows: Rows) -> Floats:
        """Returns of each of these rows its log loss, and what one more of it adds to the area: (rows, 2)."""
        targets, probabilities = self.targets[rows], self.probabilities[rows]
        moved = np.zeros(len(targets))
        for label, ranks in self.ranks.items():
            moved += ranks.influence(targets == label, probabilities[:, label])
        return np.stack([log_losses(targets, probabilities), moved / max(1, len(self.ranks))], axis=1)

    def cells(self, label: int) -> dict[int, _Cell]:
        """Returns the messages of a class by the label that they get."""
        found: dict[int, _Cell] = {}
        for some in pieces(len(self.targets)):
            rows = some.start + np.flatnonzero(self.targets[some] == label)
            given, extra = self.given(rows), self.extra(rows)
            for seen in np.unique(given).tolist():
                cell = _Cell.of(extra[given == seen])
                found[seen] = found[seen].with_more(cell) if seen in found else cell
        return dict(sorted(found.items()))


def bootstrap_intervals(
    targets: Targets,
    probabilities: Probabilities,
    *,
    labels: tuple[str, ...],
    positive: str | None,
    threshold: float = MOST_PROBABLE,
    confidence: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, float] | None]:
    """Returns the interval of each metric of `measure` but accuracy's, which has Wilson's: `low`, `high`, `confidence`.

    The arguments are those of `measure`; the same seed gives the same intervals. An interval is None where no draw
    differs (without a single error, say): resampling cannot tell what was not seen. Of classes with a handful of
    messages it sees too little, and is too narrow. The area under the ROC curve moves by its influence function (the
    components of E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44, 1988), which makes it a sum, too.
    """
    rule = {"labels": labels, "positive": positive, "threshold": threshold}
    chosen = None if positive is None else labels.index(positive)
    messages = _Messages(targets, probabilities, rule, _ranked(targets, probabilities, chosen))
    sums = _draw(messages, classes=len(labels), draws=draws, seed=seed)
    found = _rates(sums, chosen) | {"log_loss": sums.log_loss / len(targets)}
    if messages.area is not None:
        found["roc_auc"] = np.clip(messages.area + sums.auc_shift, 0, 1)
    return {name: _interval(values, confidence) for name, values in found.items()}


def _draw(messages: _Messages, *, classes: int, draws: int, seed: int) -> Sums:
    """Draws messages within each class, and sums labels, hits, log losses and what moves the area."""
    predicted, hits, sums = np.zeros((draws, classes)), np.zeros((draws, classes)), np.zeros((draws, 2))
    generator = np.random.default_rng(seed)
    occurring = np.bincount(messages.targets, minlength=classes)
    for label in np.flatnonzero(occurring).tolist():
        if occurring[label] >= LARGE:
            cells = messages.cells(label)
            numbers, summed = _drawn_sums(generator, list(cells.values()), draws)
            for place, given in enumerate(cells):
                predicted[:, given] += numbers[:, place]
                if given == label:
                    hits[:, label] = numbers[:, place]
            sums += summed
            continue
        rows = np.flatnonzero(messages.targets == label)
        seen, cell = np.unique(messages.given(rows), return_inverse=True)
        columns = np.concatenate([np.eye(len(seen))[cell], messages.extra(rows)], axis=1)  # (rows, seen + 2)
        for part, counts in _counts(generator, len(rows), draws):
            found = counts @ columns
            predicted[part, seen] += found[:, :-2]
            sums[part] += found[:, -2:]
            hits[part, label] = found[:, :-2][:, seen == label].sum(axis=1)
    return Sums(occurring.astype(np.float64), predicted, hits, log_loss=sums[:, 0], auc_shift=sums[:, 1])


def _counts(generator: np.random.Generator, rows: int, draws: int) -> Iterator[tuple[slice, Floats]]:
    """Yields how often each of `rows` is drawn, for a part of the draws at a time: (draws of the part, rows)."""
    size = max(1, CELLS // rows)
    for begin in range(0, draws, size):
        part = slice(begin, min(begin + size, draws))
        height = part.stop - begin
        drawn = generator.integers(rows, size=(height, rows)) + rows * np.arange(height)[:, None]
        yield part, np.bincount(drawn.ravel(), minlength=height * rows).reshape(height, rows).astype(np.float64)


def _drawn_sums(generator: np.random.Generator, cells: Sequence[_Cell], draws: int) -> tuple[NDArray[np.int64], Floats]:
    """Draws how many messages of each cell are drawn (draws, cells), and the sums of their two columns (draws, 2),
    without drawing messages.

    The numbers are multinomial, as they are when messages are drawn; a sum over so many has the mean and the covariance
    that it then has, and is taken to be normal.
    """
    sizes = np.array([cell.rows for cell in cells])
    counts = generator.multinomial(sizes.sum(), sizes / sizes.sum(), size=draws)
    sums = np.zeros((draws, 2))
    for place, cell in enumerate(cells):
        spread = generator.multivariate_normal(np.zeros(2), cell.squares / cell.rows, draws, method="eigh")
        sums += counts[:, [place]] * cell.mean + np.sqrt(counts[:, [place]]) * spread
    return counts, sums


def _rates(sums: Sums, positive: int | None) -> dict[str, Floats]:
    """Returns what `lib.evaluation.classify.metrics.rates` does, for each draw (draws,)."""
    rows, predicted, hits = sums.rows, sums.predicted, sums.hits
    columns = {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, np.broadcast_to(rows, hits.shape)),
        "f1": ratio(2 * hits, rows + predicted),
    }
    occurring = (rows > 0) | (predicted > 0)
    found = {
        name: ratio((column * occurring).sum(axis=1), occurring.sum(axis=1))
        if positive is None
        else column[:, positive]
        for name, column in columns.items()
    }
    found["mcc"] = matthews_correlation(rows, predicted, hits)
    if positive is not None and rows[1 - positive]:
        found["false_positive_rate"] = (predicted[:, positive] - hits[:, positive]) / rows[1 - positive]
    return found


def _ranked(targets: Targets, probabilities: Probabilities, positive: int | None) -> dict[int, Ranks]:
    """Ranks messages by the probability of the positive class, or of each class; without those that say nothing."""
    chosen = range(probabilities.shape[1]) if positive is None else [positive]
    ranked = {label: Ranks.of(targets == label, probabilities[:, label]) for label in chosen}
    return {label: ranks for label, ranks in ranked.items() if ranks.area is not None}


def _interval(values: Floats, confidence: float) -> dict[str, float] | None:
    # Weibull's quantiles are exceeded as often as they say, however many draws; NumPy's default ones are too narrow.
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], method="weibull").tolist()
    return None if values.min() == values.max() else {"low": low, "high": high, "confidence": confidence}
