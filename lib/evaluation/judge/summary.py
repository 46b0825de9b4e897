"""Summarises a judge's scores, and says by its anchors whether the judge can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import RecipeError

LOWEST, HIGHEST = 0, 100  # of the judge's scale
RESAMPLES = 10_000
RESAMPLES_AT_ONCE = 100  # keeps memory at 800 bytes per answer

REFERENCE, EMPTY, OTHER = "reference", "empty", "other"
ANCHORS = (REFERENCE, EMPTY, OTHER)
# These limits are our choice. A judge with random scores puts the reference first in one entry of three; of ten
# entries it gets nine or more right in 1 of 3,000 tries, and more than five in 1 of 13.
SOUND_SHARE = 0.9
BROKEN_SHARE = 0.5
SOUND_GAP = 20  # points between the reference and the better wrong answer, on average


def summarise(scores: Sequence[int | None], *, confidence: float, seed: int) -> dict[str, Any]:
    """Returns the figures of the answers' scores, ready for JSON; None is an answer without a score.

    `mean`, `median`, `standard_deviation` (of the sample, n - 1) and `mean_interval` cover the scored answers, and are
    null where there are too few. `mean_bounds` is the mean over all answers if the missing scores were all 0, and all
    100. Raises RecipeError if `confidence` is not between 0 and 1.
    """
    known = np.array([score for score in scores if score is not None], dtype=np.float64)
    low, high = mean_interval(known, confidence=confidence, seed=seed) if len(known) > 1 else (None, None)
    return {
        "answers": len(scores),
        "scored": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "median": float(np.median(known)) if len(known) else None,
        "standard_deviation": float(known.std(ddof=1)) if len(known) > 1 else None,
        "mean_interval": {"low": low, "high": high, "confidence": confidence},
        "mean_bounds": {"low": _mean_with(scores, LOWEST), "high": _mean_with(scores, HIGHEST)},
    }


def mean_interval(scores: NDArray[np.float64], *, confidence: float, seed: int) -> tuple[float, float]:
    """Returns the bootstrap percentile interval of the mean of the scores (n,).

    Scores pile up at both ends of the scale, so no distribution is assumed. B. Efron, R. Tibshirani, "An Introduction
    to the Bootstrap" (1993), chapter 13. It covers the choice of questions, not the choice of judge. Raises RecipeError
    if `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise RecipeError(f"confidence is {confidence}: use a number between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    shape = (RESAMPLES_AT_ONCE, len(scores))
    means = [
        scores[generator.integers(len(scores), size=shape)].mean(axis=1) for _ in range(RESAMPLES // RESAMPLES_AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(means), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def assess(entries: Sequence[Mapping[str, int | None]]) -> dict[str, Any]:
    """Says whether the judge can tell a good answer from a bad one, ready for JSON.

    Each entry has the scores of its anchors by name: `reference` (the reference output itself), `empty` (no answer)
    and, unless all outputs are equal, `other` (another entry's reference output).

    `verdict` is `sound`, `suspect`, `broken` or, without entries, `not checked`; `why` is one sentence. `ordered`
    counts the entries whose reference beats each wrong answer, out of the `complete` ones, whose anchors all have a
    score. `gap` is the mean margin of the reference over the better wrong answer among those; `means` are over all
    scored anchors.
    """
    complete = [_known(entry) for entry in entries if None not in entry.values()]
    gaps = [scores[REFERENCE] - max(scores[name] for name in scores if name != REFERENCE) for scores in complete]
    ordered = sum(gap > 0 for gap in gaps)
    gap = float(np.mean(gaps)) if gaps else None
    verdict, why = _verdict(len(entries), len(complete), ordered, gap)
    return {
        "verdict": verdict,
        "why": why,
        "entries": len(entries),
        "complete": len(complete),
        "ordered": ordered,
        "gap": gap,
        "means": {name: _mean([entry.get(name) for entry in entries]) for name in ANCHORS},
    }


def _verdict(entries: int, complete: int, ordered: int, gap: float | None) -> tuple[str, str]:
    if not entries:
        return "not checked", "no anchors were asked"
    if gap is None or 2 * complete < entries:
        return "broken", f"the judge scored all anchors of only {complete} of {entries} entries"
    found = f"the reference came first in {ordered} of {complete} entries, by {gap:.1f} points on average"
    if ordered <= BROKEN_SHARE * complete or gap <= 0:
        return "broken", f"{found}: the scores say little about the answers"
    if ordered < SOUND_SHARE * complete or gap < SOUND_GAP:
        return "suspect", f"{found}: a sound judge has at least {SOUND_SHARE:.0%} and {SOUND_GAP} points"
    return "sound", found


def _known(entry: Mapping[str, int | None]) -> dict[str, int]:
    return {name: score for name, score in entry.items() if score is not None}


def _mean(scores: Sequence[int | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def _mean_with(scores: Sequence[int | None], missing: int) -> float | None:
    return _mean([missing if score is None else score for score in scores])
