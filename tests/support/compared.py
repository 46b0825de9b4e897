"""Made-up comparisons, small and the same each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.comparison.compare import compare
from lib.comparison.story import Opened, Searched, Story
from lib.comparison.values import Comparison, Measured, Metric, Tried

MESSAGES = 300
FAR_BEHIND = 80  # wrong labels of a variant that learned nothing
SEARCHED = Searched(
    history=((0, 0.95, "complete"), (1, 0.91, "pruned"), (2, None, "failed"), (3, 0.97, "complete")),
    importance={"training.learning_rate": 0.7, "training.batch_size": 0.3},
    best={"training.learning_rate": 0.001, "training.batch_size": 16},
    trials=4,
    pruned=1,
    seconds=300.0,
)
OPENED = Opened("chosen", 0.9733, 0.9484, 0.9863, 300, 0.95, 3, ("292 of 300 test messages get the right label.",))


def measured(wrong: int, *, seed: int = 0, seconds: float | None = 10.0) -> Measured:
    """A training that is wrong on so many messages, which the number decides."""
    right = np.ones(MESSAGES, bool)
    right[np.random.default_rng(wrong + 1000 * seed).permutation(MESSAGES)[:wrong]] = False
    share = wrong / MESSAGES
    figures = {"accuracy": 1 - share, "f1": 1 - 2 * share, "log_loss": 3 * share + 0.01 * seed}
    return Measured(seed, figures, right, seconds, 124_439_808, 7_089_408, 2**30)


def grid(count: int, *, repeats: int = 1, metric: Metric = "accuracy") -> Comparison:
    """The comparison of a grid of so many variants: the fourth failed, the sixth is far behind, and TF-IDF is last."""
    tried = []
    for place in range(count):
        changes = {"training.learning_rate": 10.0 ** -(1 + place % 6), "training.batch_size": 8 * 2 ** (place // 6)}
        name = ", ".join(f"{path.rpartition('.')[2]} {value:g}" for path, value in changes.items())
        wrong = FAR_BEHIND if place == 5 else 3 + 7 * place % 11
        runs = [measured(wrong + seed, seed=seed, seconds=5.0 + 17 * place % 91) for seed in range(repeats)]
        failed = place == 3
        tried.append(
            Tried(
                name,
                changes,
                "failed" if failed else "ran",
                () if failed else tuple(runs),
                reason="the loss is no number" if failed else "",
                link=f"http://127.0.0.1:5000/#/experiments/1/runs/{place:032x}",
            )
        )
    tried.append(Tried("TF-IDF", {}, "ran", (measured(14, seconds=0.4),), candidate=False))
    return compare(tried, metric=metric, confidence=0.95)


def named(names: Sequence[str], published: Mapping[str, float] | None = None, **rest: Any) -> Comparison:
    """The comparison of variants that are called so, the last one of which failed for a reason that is its name."""
    tried = [
        Tried(name, {name: name}, "ran", (measured(3 + place),), link=f"http://host/{name}", published=published or {})
        for place, name in enumerate(names[:-1])
    ]
    return compare(
        [*tried, Tried(names[-1], {names[-1]: names[-1]}, "failed", reason=names[-1])],
        metric="accuracy",
        confidence=0.95,
        **rest,
    )


def story(comparison: Comparison, *, opened: Opened | None = None, search: Searched | None = None) -> Story:
    """What becomes of a comparison."""
    return Story("learning-rates", "sms-tiny", comparison, opened, search, seconds=4321.0, parallel=2)
