"""Says whether probabilities mean what they say: how often the classifier is right where it is so sure, and the one
number, a temperature, that sets right a classifier that is too sure or not sure enough.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.pieces import pieces
from lib.evaluation.significance import wilson_interval
from lib.model.labels import LEAST_PROBABILITY, Probabilities, Targets, softmax

BINS = 15  # of equal width, as in the paper
RESAMPLES = 1_000  # of a calibrated classifier, for what chance gives
COLDEST, WARMEST = 0.05, 20.0  # the temperatures that are tried
HALVINGS = 60  # of that range: to the last digits of a float

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """The messages whose most probable label has a probability above `low` and up to `high`.

    confidence: the mean of those probabilities. accuracy: the share of messages with that label; interval: Wilson's.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart.

    bins: those with messages. error: the expected calibration error, the mean over messages of the difference in their
    bin. by_chance: what a perfectly calibrated classifier exceeds with these messages only once in twenty times, since
    a finite number of messages always differs a little (J. Bröcker and L. A. Smith, Weather and Forecasting 22, 2007).
    log_loss: the mean of -log(probability of the right label).
    """

    bins: tuple[Bin, ...]
    error: float
    by_chance: float
    log_loss: float


@dataclass(frozen=True)
class Scaling:
    """A temperature fitted on validation messages; above 1 the classifier was too sure.

    at_the_end: the log loss still fell at the end of the range that was tried, as where no validation message is wrong.
    """

    temperature: float
    at_the_end: bool


def calibration(
    targets: Targets, probabilities: Probabilities, *, bins: int = BINS, level: float = 0.95, seed: int = 0
) -> Calibration:
    """Measures the calibration of the most probable label, whatever the threshold: `targets` (rows,), `probabilities`
    (rows, classes). `level` is the intervals'."""
    rows, sure, hits, loss = np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins), 0.0
    for some in pieces(len(targets)):
        confidence, right = probabilities[some].max(axis=1), probabilities[some].argmax(axis=1) == targets[some]
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        rows += np.bincount(place, minlength=bins)
        sure += np.bincount(place, confidence, bins)
        hits += np.bincount(place, right, bins)
        loss -= float(_log_of_right(targets[some], probabilities[some]).sum())
    return Calibration(
        bins=tuple(
            Bin(
                low=index / bins,
                high=(index + 1) / bins,
                rows=int(rows[index]),
                confidence=float(sure[index] / rows[index]),
                accuracy=float(hits[index] / rows[index]),
                interval=wilson_interval(int(hits[index]), int(rows[index]), level),
            )
            for index in np.flatnonzero(rows).tolist()
        ),
        error=float(np.abs(hits - sure).sum() / len(targets)),
        by_chance=_error_by_chance(rows, sure, seed),
        log_loss=loss / len(targets),
    )


def fit_temperature(targets: Targets, probabilities: Probabilities) -> Scaling:
    """Returns the temperature whose probabilities have the least log loss on these (validation) messages.

    In 1 / T the log loss is convex, so its slope, mean(expected logit - logit of the right label), has one zero.
    """
    logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    of_target = logits[np.arange(len(targets)), targets]

    def slope(inverse: float) -> float:
        scaled = softmax(inverse * logits)
        return float(((scaled * logits).sum(axis=1) - of_target).mean())

    low, high = 1 / WARMEST, 1 / COLDEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Scaling(temperature=1 / high, at_the_end=bool(slope(1 / WARMEST) > 0 or slope(1 / COLDEST) < 0))


def _log_of_right(targets: Targets, probabilities: Probabilities) -> Floats:
    """Returns the logarithm of the probability of each row's label (rows,)."""
    return np.asarray(np.log(np.maximum(probabilities[np.arange(len(targets)), targets], LEAST_PROBABILITY)))


def _error_by_chance(rows: NDArray[np.int64], sure: Floats, seed: int) -> float:
    """Draws which messages are right if each is with its confidence: the 95th percentile of the error. rows, sure: of
    each bin its messages and their summed confidence, (bins,)."""
    generator = np.random.default_rng(seed)
    # In a bin the number of right ones is close to binomial with the mean confidence, and cheap to draw whatever rows.
    mean = sure / np.maximum(rows, 1)
    hits = generator.binomial(rows, np.clip(mean, 0, 1), size=(RESAMPLES, len(rows)))
    errors = np.abs(hits - rows * mean).sum(axis=1) / rows.sum()
    return float(np.quantile(errors, 0.95))
