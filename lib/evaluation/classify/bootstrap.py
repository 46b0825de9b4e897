"""Gives metrics intervals by the stratified bootstrap: what they would be on other messages of the same classes.

B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979); the percentile interval.
Each draw takes as many messages of each class as there are, with replacement: the class shares of a test split are
chosen, by stratifying or balancing, and are no part of what is uncertain. A metric is computed from sums over messages,
so that a draw is a row of how often each message was drawn, and all draws are one matrix product. Of a large class sums
are drawn, and no messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.model.labels import MOST_PROBABLE, Probabilities, Targets, given_labels

DRAWS = 2_000
CELLS = 4_000_000  # of the matrix of draws that are in memory at a time: 32 MB
LARGE = 100_000  # messages of a class, from which on sums are drawn

Floats = NDArray[np.float64]


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
    given = given_labels(probabilities, labels=labels, positive=positive, threshold=threshold)
    chosen = None if positive is None else labels.index(positive)
    area, shifts = _auc_influence(targets, probabilities, chosen)
    losses = -np.log(np.clip(probabilities[np.arange(len(targets)), targets], np.finfo(np.float64).eps, 1))
    sums = _draw(targets, given, np.stack([losses, shifts], axis=1), classes=len(labels), draws=draws, seed=seed)
    found = _rates(sums, chosen) | {"log_loss": sums.log_loss / len(targets)}
    if area is not None:
        found["roc_auc"] = np.clip(area + sums.auc_shift, 0, 1)
    return {name: _interval(values, confidence) for name, values in found.items()}


def _draw(targets: Targets, given: Targets, extra: Floats, *, classes: int, draws: int, seed: int) -> Sums:
    """Draws messages within each class, and sums labels, hits and the two columns of `extra` (rows, 2)."""
    predicted, hits, sums = np.zeros((draws, classes)), np.zeros((draws, classes)), np.zeros((draws, 2))
    generator = np.random.default_rng(seed)
    for label in np.unique(targets).tolist():
        rows = np.flatnonzero(targets == label)
        seen, cells = np.unique(given[rows], return_inverse=True)
        if len(rows) >= LARGE:
            numbers, summed = _drawn_sums(generator, cells, extra[rows], draws)
            predicted[:, seen] += numbers
            sums += summed
            hits[:, label] = numbers[:, seen == label].sum(axis=1)
            continue
        columns = np.concatenate([np.eye(len(seen))[cells], extra[rows]], axis=1)  # (rows of the class, seen + 2)
        for part, counts in _counts(generator, len(rows), draws):
            found = counts @ columns
            predicted[part, seen] += found[:, :-2]
            sums[part] += found[:, -2:]
            hits[part, label] = found[:, :-2][:, seen == label].sum(axis=1)
    occurring = np.bincount(targets, minlength=classes).astype(np.float64)
    return Sums(occurring, predicted, hits, log_loss=sums[:, 0], auc_shift=sums[:, 1])


def _counts(generator: np.random.Generator, rows: int, draws: int) -> Iterator[tuple[slice, Floats]]:
    """Yields how often each of `rows` is drawn, for a part of the draws at a time: (draws of the part, rows)."""
    size = max(1, CELLS // rows)
    for begin in range(0, draws, size):
        part = slice(begin, min(begin + size, draws))
        height = part.stop - begin
        drawn = generator.integers(rows, size=(height, rows)) + rows * np.arange(height)[:, None]
        yield part, np.bincount(drawn.ravel(), minlength=height * rows).reshape(height, rows).astype(np.float64)


def _drawn_sums(
    generator: np.random.Generator, cells: NDArray[np.int64], extra: Floats, draws: int
) -> tuple[NDArray[np.int64], Floats]:
    """Draws how many messages of each cell are drawn (draws, cells), and the sums of `extra` (rows, 2) over them
    (draws, 2), without drawing messages.

    The numbers are multinomial, as they are when messages are drawn; a sum over so many has the mean and the covariance
    that it then has, and is taken to be normal.
    """
    sizes = np.bincount(cells)
    counts = generator.multinomial(len(cells), sizes / len(cells), size=draws)
    sums = np.zeros((draws, 2))
    for cell in range(len(sizes)):
        values = extra[cells == cell]
        spread = generator.multivariate_normal(
            np.zeros(2), np.cov(values, rowvar=False, bias=True), draws, method="eigh"
        )
        sums += counts[:, [cell]] * values.mean(axis=0) + np.sqrt(counts[:, [cell]]) * spread
    return counts, sums


def _rates(sums: Sums, positive: int | None) -> dict[str, Floats]:
    """Returns what `lib.evaluation.classify.metrics.rates` does, for each draw (draws,)."""
    rows, predicted, hits = sums.rows, sums.predicted, sums.hits
    columns = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, np.broadcast_to(rows, hits.shape)),
        "f1": _ratio(2 * hits, rows + predicted),
    }
    occurring = (rows > 0) | (predicted > 0)
    found = {
        name: _ratio((column * occurring).sum(axis=1), occurring.sum(axis=1))
        if positive is None
        else column[:, positive]
        for name, column in columns.items()
    }
    found["mcc"] = _mcc(rows, predicted, hits)
    if positive is not None and rows[1 - positive]:
        found["false_positive_rate"] = (predicted[:, positive] - hits[:, positive]) / rows[1 - positive]
    return found


def _mcc(rows: Floats, predicted: Floats, hits: Floats) -> Floats:
    """Computes Matthews' correlation of any number of classes (J. Gorodkin, Computational Biology and Chemistry 28)."""
    total = rows.sum()
    together = total * hits.sum(axis=1) - predicted @ rows
    spread = (total**2 - (rows**2).sum()) * (total**2 - (predicted**2).sum(axis=1))
    return _ratio(together, np.sqrt(spread))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Divides; a ratio without cases counts as zero."""
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0))


def _auc_influence(targets: Targets, probabilities: Probabilities, positive: int | None) -> tuple[float | None, Floats]:
    """Returns the area under the ROC curve (the mean over classes without `positive`; None if there is none), and what
    one more of each message adds to it (rows,)."""
    areas, influence = [], np.zeros(len(targets))
    for label in range(probabilities.shape[1]) if positive is None else [positive]:
        inside = targets == label
        if not 0 < inside.sum() < len(targets):
            continue
        above, below = np.sort(probabilities[inside, label]), np.sort(probabilities[~inside, label])
        won = _share_below(below, probabilities[inside, label])  # (rows of the class,)
        lost = 1 - _share_below(above, probabilities[~inside, label])  # (other rows,)
        areas.append(float(won.mean()))
        influence[inside] += (won - won.mean()) / len(above)
        influence[~inside] += (lost - lost.mean()) / len(below)
    return (float(np.mean(areas)) if areas else None), influence / max(1, len(areas))


def _share_below(ordered: Floats, values: Floats) -> Floats:
    """Returns the share of `ordered` that is below each value; what equals it counts half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((left + right) / (2 * len(ordered)))


def _interval(values: Floats, confidence: float) -> dict[str, float] | None:
    # Weibull's quantiles are exceeded as often as they say, however many draws; NumPy's default ones are too narrow.
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], method="weibull").tolist()
    return None if values.min() == values.max() else {"low": low, "high": high, "confidence": confidence}
