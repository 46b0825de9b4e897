"""Compares scored messages with a drift profile: tallies, which can be added, and the measures of drift.

Each measure must exceed both a threshold and what chance gives at these sample sizes: with a million messages the
slightest difference is significant, with a hundred a large one may not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from lib.evaluation.drift.profile import Distribution, DriftProfile, Floats, scores_of
from lib.evaluation.flat import metric_name

BINS = 10  # of a PSI: tenths of the profile, the usual choice
EMPTY_BIN = 0.5  # added to each bin's count, so that an empty bin does not make the PSI infinite (Jeffreys' prior)
LEAST_PROFILE = 50  # effective messages; with fewer the formulas for chance are invalid


class Tally(BaseModel):
    """Counts of scored messages; two tallies by the same profile can be added.

    score, length: (2 * values + 1,) counts by the profile's distinct values: below the first, at it, between the first
        and the second, at the second, ..., above the last. They give the exact Kolmogorov-Smirnov distance.
    labels: by the most probable label, in the order of the profile's labels.
    tokens, unknown: all tokens, and those absent from the training split; `tokens_squared`, `unknown_squared`,
        `crossed`: sums over messages of their squares and products, for the variance.
    """

    messages: int
    score: list[int]
    length: list[int]
    labels: list[int]
    tokens: int = 0
    unknown: int = 0
    tokens_squared: int = 0
    unknown_squared: int = 0
    crossed: int = 0

    def plus(self, other: Tally) -> Tally:
        """Adds two tallies."""
        numbers = {
            name: [mine + theirs for mine, theirs in zip(value, getattr(other, name), strict=True)]
            if isinstance(value, list)
            else value + getattr(other, name)
            for name, value in self
        }
        return Tally.model_validate(numbers)


class Tallier:
    """Counts messages as they are scored."""

    def __init__(self, profile: DriftProfile) -> None:
        self._profile = profile
        self._known = profile.known_tokens()

    def nothing(self) -> Tally:
        """The tally of no messages."""
        return Tally(
            messages=0,
            score=[0] * (2 * len(self._profile.score.values) + 1),
            length=[0] * (2 * len(self._profile.length.values) + 1),
            labels=[0] * len(self._profile.labels),
        )

    def count(self, tokens: Sequence[list[int]], probabilities: NDArray[np.float64]) -> Tally:
        """Tallies messages by their tokens, uncut, of the classifier's tokenizer; `probabilities` (messages, classes)
        in the order of the profile's labels."""
        if not len(tokens):
            return self.nothing()
        lengths = np.array([len(each) for each in tokens], dtype=np.int64)
        known = self._known[np.fromiter(chain.from_iterable(tokens), np.int64, count=int(lengths.sum()))]
        sums = np.concatenate([[0], np.cumsum(known)])
        ends = np.cumsum(lengths)
        unknown = lengths - (sums[ends] - sums[ends - lengths])
        return Tally(
            messages=len(tokens),
            score=_cells(self._profile.score, scores_of(probabilities)),
            length=_cells(self._profile.length, lengths),
            labels=np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1]).tolist(),
            tokens=int(lengths.sum()),
            unknown=int(unknown.sum()),
            tokens_squared=int(lengths @ lengths),
            unknown_squared=int(unknown @ unknown),
            crossed=int(lengths @ unknown),
        )


def _cells(distribution: Distribution, values: NDArray[Any]) -> list[int]:
    known = np.asarray(distribution.values)
    cells = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    counted: list[int] = np.bincount(cells, minlength=2 * len(known) + 1).tolist()
    return counted


@dataclass(frozen=True)
class Measure:
    """One comparison: its `value`, the `threshold` that it must exceed, and `chance`, which chance alone exceeds as
    often as the level of significance says. `p_value` where there is a formula for it."""

    name: str
    what: str
    value: float
    threshold: float
    chance: float
    p_value: float | None = None

    @property
    def exceeded(self) -> bool:
        """Whether the difference is both large and significant."""
        return self.value > self.threshold and self.value > self.chance


@dataclass(frozen=True)
class Comparison:
    """Scored messages against a profile. `too_few` says why drift cannot be declared (empty: it can)."""

    messages: int
    profile_messages: int
    unknown: float
    profile_unknown: float
    measures: tuple[Measure, ...]
    too_few: str

    @property
    def drifted(self) -> tuple[Measure, ...]:
        """The measures that show drift."""
        return () if self.too_few else tuple(measure for measure in self.measures if measure.exceeded)

    def metrics(self) -> dict[str, float]:
        """Returns the measures under their names in MLflow."""
        figures = {metric_name("drift", measure.name): measure.value for measure in self.measures}
        p_values = {
            metric_name("drift", f"{measure.name}_p_value"): measure.p_value
            for measure in self.measures
            if measure.p_value is not None
        }
        return {**figures, **p_values, "drift/unknown_share": self.unknown, "drift/drifted": float(bool(self.drifted))}


def compare(
    profile: DriftProfile, tally: Tally, *, minimum: int, significance: float, psi: float, ks: float, unknown: float
) -> Comparison:
    """Compares scored messages with the profile by six measures.

    psi_score, psi_length, psi_label: population stability index; ks_score, ks_length: Kolmogorov-Smirnov distance;
    unknown_rise: the increase in the share of tokens that are absent from the training split.

    Args:
        minimum: scored messages below which no drift is declared.
        significance: how often each measure may exceed its `chance` when nothing has changed.
        psi, ks, unknown: the thresholds of each kind of measure.

    Raises ValueError if there are no messages.
    """
    if not tally.messages:
        raise ValueError("no messages were scored: there is nothing to compare")
    noise = Noise(profile.effective, float(tally.messages), significance)
    shares = np.array([profile.most_probable[label] for label in profile.labels])
    measures = (
        _psi_score(profile, tally.score, psi, noise),
        _ks("ks_score", "scores: Kolmogorov-Smirnov", profile.score, tally.score, ks, noise),
        _psi("psi_label", "labels: PSI", shares, np.array(tally.labels), psi, noise),
        _psi("psi_length", "lengths: PSI", *_binned(profile.length, tally.length), psi, noise),
        _ks("ks_length", "lengths: Kolmogorov-Smirnov", profile.length, tally.length, ks, noise),
        _unknown_rise(profile, tally, unknown, noise),
    )
    return Comparison(
        messages=tally.messages,
        profile_messages=profile.messages,
        unknown=tally.unknown / max(tally.tokens, 1),
        profile_unknown=profile.unknown,
        measures=measures,
        too_few=_too_few(profile, tally, minimum),
    )


def score_drift(profile: DriftProfile, scores: Floats, *, psi: float, significance: float) -> Measure:
    """Compares scores (messages,) of `score_of` with the profile: `psi_score` of `compare`."""
    noise = Noise(profile.effective, float(len(scores)), significance)
    return _psi_score(profile, _cells(profile.score, scores), psi, noise)


def _psi_score(profile: DriftProfile, cells: Sequence[int], threshold: float, noise: Noise) -> Measure:
    return _psi("psi_score", "scores: PSI", *_binned(profile.score, cells), threshold, noise)


def _too_few(profile: DriftProfile, tally: Tally, minimum: int) -> str:
    if tally.messages < minimum:
        return f"{tally.messages:,} messages are too few to declare drift: drift.minimum is {minimum:,}"
    if profile.effective < LEAST_PROFILE:
        return (
            f"the classifier was measured on {profile.messages:,} messages, which count as {profile.effective:,.0f} at"
            f" the source's class shares: with fewer than {LEAST_PROFILE} drift cannot be told from chance"
        )
    return ""


@dataclass(frozen=True)
class Noise:
    """What chance depends on: both sample sizes (of the profile: the effective one) and the level of significance."""

    n: float
    m: float
    significance: float


def _psi(name: str, what: str, expected: NDArray[Any], actual: NDArray[Any], threshold: float, noise: Noise) -> Measure:
    """Population stability index: sum over bins of (a - e) ln(a / e), of `expected` shares and `actual` counts.

    N. Siddiqi, Credit Risk Scorecards, 2006; by its rule of thumb over 0.1 is a slight change, over 0.25 a major one.
    Without change it is distributed as (1/n + 1/m) times chi-squared with bins - 1 degrees of freedom (B. Yurdakul,
    Statistical Properties of Population Stability Index, Western Michigan University, 2018).
    """
    n, m = noise.n, noise.m
    bins = len(expected)
    e = (expected * n + EMPTY_BIN) / (n + EMPTY_BIN * bins)
    a = (actual + EMPTY_BIN) / (m + EMPTY_BIN * bins)
    value = float(((a - e) * np.log(a / e)).sum())
    chance = chi_squared_quantile(1 - noise.significance, bins - 1) * (1 / n + 1 / m) if bins > 1 else 0.0
    return Measure(name, what, value, threshold, chance)


def _binned(distribution: Distribution, cells: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns shares of the profile and counts of the tally in the same bins, which end at quantiles of the profile.

    A bin excludes its lower quantile and includes its upper one; the last has no end. Equal quantiles make one bin.
    """
    masses = np.asarray(distribution.masses)
    ends = np.unique(np.searchsorted(np.cumsum(masses), np.arange(1, BINS) / BINS - 1e-9))
    ends = ends[ends < len(masses) - 1]
    of_value = np.searchsorted(ends, np.arange(len(masses) + 1))
    expected = np.bincount(of_value[:-1], weights=masses, minlength=len(ends) + 1)
    of_cell = of_value[np.arange(len(cells)) // 2]
    actual = np.bincount(of_cell, weights=np.asarray(cells, dtype=np.float64), minlength=len(ends) + 1)
    return expected, actual


def _ks(
    name: str, what: str, distribution: Distribution, cells: Sequence[int], threshold: float, noise: Noise
) -> Measure:
    """Two-sample Kolmogorov-Smirnov distance: the largest difference of the two distribution functions.

    The critical value for large samples is sqrt(-ln(significance / 2) / 2 * (n + m) / (n m)) (N. Smirnov, Annals of
    Mathematical Statistics 19, 1948); the p-value is Kolmogorov's series with the correction of M. A. Stephens (Journal
    of the Royal Statistical Society B 32, 1970). With ties both are conservative.
    """
    expected = np.zeros(len(cells))
    expected[1::2] = distribution.masses
    actual = np.asarray(cells) / sum(cells)
    value = float(np.abs(np.cumsum(expected) - np.cumsum(actual)).max())
    size = noise.n * noise.m / (noise.n + noise.m)
    chance = math.sqrt(-math.log(noise.significance / 2) / 2 / size)
    return Measure(name, what, value, threshold, chance, kolmogorov_p_value(value, size))


def _unknown_rise(profile: DriftProfile, tally: Tally, threshold: float, noise: Noise) -> Measure:
    """The increase in the share of unknown tokens; chance by the normal approximation of the two ratios."""
    tokens = max(tally.tokens, 1)
    share = tally.unknown / tokens
    residuals = tally.unknown_squared - 2 * share * tally.crossed + share**2 * tally.tokens_squared
    deviation = math.sqrt(profile.unknown_variance + max(residuals, 0.0) / tokens**2)
    chance = NormalDist().inv_cdf(1 - noise.significance) * deviation
    return Measure("unknown_rise", "share of unknown tokens: rise", share - profile.unknown, threshold, chance)


def chi_squared_quantile(probability: float, degrees: int) -> float:
    """Approximates the quantile by the cube root's normal distribution, within 3 % at the usual levels.

    E. B. Wilson and M. M. Hilferty, Proceedings of the National Academy of Sciences 17, 1931.
    """
    spread = 2 / (9 * degrees)
    cube_root = 1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)
    return degrees * math.pow(max(cube_root, 0.0), 3)


def kolmogorov_p_value(distance: float, size: float) -> float:
    """Returns how often chance alone gives at least this distance; `size` is n m / (n + m)."""
    root = math.sqrt(size)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series needs too many terms, and is 1 to twelve digits
        return 1.0
    terms = ((2 if k % 2 else -2) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(max(sum(terms), 0.0), 1.0)
