"""What Optuna thinks of trials: which values to try next, whether to go on with a trial, which fields mattered.

All of it is computed from the trials that are given, so that it is the same in whichever process.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lib.search.spaces import Interval, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Direction = Literal["maximize", "minimize"]
AT_RANDOM = 8  # finished trials before which suggestions are drawn at random
PRUNE_AFTER = 5  # complete trials before which none is pruned
PRUNE_AMONG = 3  # of them that reported at the step in question
WARM_UP = 1  # reports of a trial, before the next of which it is not pruned
IMPORTANCE_AFTER = 5  # complete trials before which no importance is estimated


def silence() -> None:
    """Has Optuna say nothing: it writes on standard error what this project says itself, or does not care about."""
    import optuna

    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def distribution(space: Space) -> BaseDistribution:
    """Returns a space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(space, Interval):
        return CategoricalDistribution(space)
    if space.whole:
        return IntDistribution(int(space.low), int(space.last), space.log, int(space.step or 1))
    return FloatDistribution(space.low, space.last, space.log, space.step)


def suggested(
    trials: Sequence[FrozenTrial],
    distributions: Mapping[str, BaseDistribution],
    *,
    direction: Direction,
    seed: int,
) -> dict[str, Any]:
    """Returns the values of the trial after these, which are all so far in the order of their numbers: by the
    tree-structured Parzen estimator (Bergstra et al. 2011) over all fields at once (Falkner et al. 2018), which takes
    trials that are running for bad ones, so that it looks elsewhere."""
    import optuna

    silence()
    # A generator of its own for each trial: one that goes on from trial to trial would be lost with its process.
    own = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, multivariate=True, constant_liar=True, seed=own)
    study = optuna.create_study(direction=direction, sampler=sampler)
    study.add_trials(trials)
    values = study.ask(dict(distributions)).params
    return {field: value.item() if isinstance(value, np.generic) else value for field, value in values.items()}


def is_to_be_pruned(study: Study, trial: FrozenTrial, step: int) -> bool:
    """Whether the best that a trial has reported until a step is worse than the median of what the study's complete
    trials had reported at it. What it has reported for later steps, before a kill, does not count."""
    from optuna.pruners import MedianPruner

    trial.intermediate_values = {at: value for at, value in trial.intermediate_values.items() if at <= step}
    if len(trial.intermediate_values) <= WARM_UP:
        return False
    return MedianPruner(n_startup_trials=PRUNE_AFTER, n_min_trials=PRUNE_AMONG).prune(study, trial)


def importance(trials: Sequence[FrozenTrial], *, direction: Direction, seed: int) -> dict[str, float]:
    """Returns how much of the variance of the complete trials' values each field explains by itself (fANOVA, Hutter et
    al. 2014), as shares that sum to 1, the largest first; nothing where that cannot be said: of few trials, or of equal
    values."""
    import optuna

    silence()
    complete = [each for each in trials if each.state.name == "COMPLETE" and math.isfinite(each.values[0])]
    if len(complete) < IMPORTANCE_AFTER or len({each.values[0] for each in complete}) == 1:
        return {}
    study = optuna.create_study(direction=direction)
    study.add_trials(complete)
    try:
        shares = optuna.importance.FanovaImportanceEvaluator(seed=seed).evaluate(study)
    except RuntimeError:  # no tree of its forest found anything to divide
        return {}
    total = sum(shares.values())
    return {field: float(share / total) for field, share in shares.items()} if total > 0 else {}
