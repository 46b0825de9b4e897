"""Says what chance explains where variants are trained several times: the chance of the seeds and that of the messages.

An accuracy of several trainings moves for two reasons. Other seeds would train other classifiers, and other messages
would be other questions. A test over seeds alone takes the messages for all there are, a test over messages alone the
trainings; the larger of both p-values is still too small where both reasons matter, because each leaves out the other's
part (in simulations like those of the tests up to seven false claims in a hundred, not five). So their variances are
added up: H. H. Clark, "The language-as-fixed-effect fallacy", Journal of Verbal Learning and Verbal Behavior 12
(1973), whose min F' is the square of the t below, with F. E. Satterthwaite's degrees of freedom (Biometrics Bulletin 2,
1946). What a seed does to a message counts in both variances, which errs on the side of "no difference".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.significance import MOST_EXACT, wilson_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """How often trainings of a variant are right.

    of_runs: (runs,) each training's share of the messages. of_messages: (messages,) the number of trainings that
    label each message rightly.
    """

    of_runs: Floats
    of_messages: NDArray[np.int64]

    @classmethod
    def of(cls, right: Sequence[NDArray[np.bool_]]) -> Shares:
        """Counts, from whether each training labels each message rightly: (messages,) each."""
        counts = np.zeros(len(right[0]), np.int64)
        for run in right:
            counts += run
        return cls(np.array([run.mean() for run in right]), counts)

    @property
    def runs(self) -> int:
        """The number of trainings."""
        return len(self.of_runs)

    @property
    def messages(self) -> int:
        """The number of messages."""
        return len(self.of_messages)

    @property
    def mean(self) -> float:
        """The mean accuracy, from whole numbers, so that equal ones are equal."""
        return float(self.of_messages.sum() / (self.runs * self.messages))


def interval(shares: Shares, confidence: float) -> tuple[float, float]:
    """Returns the interval of the accuracy: with one training Wilson's; with several the one that other seeds and other
    messages would stay in.

    The latter is Wilson's of as many messages as would leave the same variance, with Student's quantile in place of the
    normal one: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", Survey Methodology 24 (1998). Unlike a bootstrap it is not too narrow
    with two or three seeds.
    """
    share, messages = shares.mean, shares.messages
    if shares.runs == 1:
        return wilson_interval(int(shares.of_messages.sum()), messages, confidence)
    parts = [_of_seeds(shares), _of_messages(shares.of_messages / shares.runs)]
    variance, freedom = _together(parts)
    effective = min(share * (1 - share) / variance, messages * shares.runs) if variance > 0 else float(messages)
    if np.isfinite(freedom):
        effective *= (NormalDist().inv_cdf(0.5 + confidence / 2) / _quantile(freedom, confidence)) ** 2
    return wilson_interval(share * effective, effective, confidence)


def p_value(first: Shares, second: Shares) -> float:
    """Returns the two-sided p-value of two variants' being right equally often, of which one at least was trained
    several times: the larger of Clark's, which counts the chance of seeds and of messages, and `sign_flip`'s, which is
    exact where few messages differ.

    A variant that was trained once is taken to vary with the seed as much as the other.
    """
    shared = np.gcd(first.runs, second.runs)
    ours, theirs = first.of_messages * (second.runs // shared), second.of_messages * (first.runs // shared)
    differences = ours - theirs  # (messages,) in units of 1 / the least common multiple of the runs
    unit = float(shared / (first.runs * second.runs))
    variance, freedom = _together([*_of_both_seeds(first, second), _of_messages(differences * unit)])
    difference = abs(float(differences.mean()) * unit)
    by_both = _student(difference / np.sqrt(variance), freedom) if variance > 0 else float(difference == 0)
    return max(by_both, sign_flip(differences))


def sign_flip(differences: NDArray[np.int64]) -> float:
    """Returns the two-sided p-value of whole numbers (messages,) that are as likely as their opposites: how often their
    sum is as far from 0 if each one's sign is tossed. Of numbers that are 1, 0 and -1 that is McNemar's exact test.

    R. A. Fisher, The Design of Experiments (1935), section 21. The distribution of the sum is exact, from its
    characteristic function, the product of cos(angle * number); of more than MOST_EXACT numbers it is taken to be
    normal.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total = abs(int(differences.sum()))
    if total == 0:
        return 1.0
    shared = int(np.gcd.reduce(sizes))
    sizes, total = sizes // shared, total // shared
    if counts.sum() > MOST_EXACT:  # sums are 2 apart
        return 2 * NormalDist().cdf(-(total - 1) / float(np.sqrt((counts * sizes**2).sum())))
    reach = int((sizes * counts).sum())
    angles = 2 * np.pi * np.arange(2 * reach + 1) / (2 * reach + 1)
    waves = np.ones(len(angles))
    for size, count in zip(sizes, counts, strict=True):
        waves *= np.cos(size * angles) ** count
    chances = np.fft.fft(waves).real / len(angles)  # of each sum from 0 to `reach`, then of those below 0
    return float(np.clip(2 * chances[total : reach + 1].sum(), 0, 1))


def seed_share(values: Sequence[Sequence[float]]) -> float | None:
    """Returns how much of the variance between trainings is the seed's, 0 to 1, from the values of each variant's
    trainings; None where no variant was trained twice, there are not two, or all trainings are alike.

    One-way random effects by the method of moments, a negative variance between variants counting as none: S. R.
    Searle, G. Casella and C. E. McCulloch, Variance Components (1992), section 3.6.
    """
    groups = [np.asarray(group, np.float64) for group in values if len(group)]
    sizes = np.array([len(group) for group in groups])
    runs = int(sizes.sum())
    if len(groups) < 2 or runs == len(groups):
        return None
    means = np.array([group.mean() for group in groups])
    # Equal values have a mean that differs in its last digit, and no variance.
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups if np.ptp(group)) / (runs - len(groups))
    apart = float((sizes * (means - np.concatenate(groups).mean()) ** 2).sum()) / (len(groups) - 1)
    between = max(0.0, (apart - within) / ((runs - (sizes**2).sum() / runs) / (len(groups) - 1)))
    alike = np.ptp(np.concatenate(groups)) == 0
    return None if alike else within / (within + between)


_Part = tuple[float, int]  # a variance of a mean, and its degrees of freedom


def _of_seeds(shares: Shares) -> _Part:
    spread = float(shares.of_runs.var(ddof=1)) if np.ptp(shares.of_runs) else 0.0
    return spread / shares.runs, shares.runs - 1


def _of_both_seeds(first: Shares, second: Shares) -> list[_Part]:
    once = min(first, second, key=lambda shares: shares.runs)
    if once.runs > 1:
        return [_of_seeds(first), _of_seeds(second)]
    variance, freedom = _of_seeds(first if once is second else second)
    return [(variance * (1 + (freedom + 1) / once.runs), freedom)]


def _of_messages(values: Floats) -> _Part:
    if len(values) < 2 or not np.ptp(values):
        return 0.0, 1
    return float(values.var(ddof=1)) / len(values), len(values) - 1


def _together(parts: Sequence[_Part]) -> tuple[float, float]:
    """Adds variances up, with Satterthwaite's degrees of freedom."""
    variance = sum(each for each, _ in parts)
    if not variance:
        return 0.0, float("inf")
    return variance, 1 / sum((each / variance) ** 2 / freedom for each, freedom in parts)


def _student(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -t))


def _quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))
