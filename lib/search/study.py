"""A study: trials of values, suggested by Optuna from those before them, kept where a kill does not reach them.

What is suggested follows from the seed, the number of the trial and the trials that are kept, and from nothing that a
process has in memory: so a search that was killed goes on as if it had not been. A trial is kept with all of its values
in one transaction, or not at all.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from lib.errors import SearchError, listed
from lib.extras import require
from lib.processes.identity import lives, this_process
from lib.search import optuna_study
from lib.search.optuna_study import Direction
from lib.search.spaces import Spaces, Value, described, value_in
from lib.search.storage import open_storage

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES: Mapping[str, Literal["complete", "pruned", "failed"]] = {  # by Optuna's names
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
# What a study and its trials have noted with them.
MADE_FOR, SECONDS, REASON, PROCESS = "made for", "seconds", "reason", "process"


@dataclass(frozen=True)
class Trial:
    """Values to try, by dotted field; `number` counts from 0."""

    number: int
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Ended:
    """A trial that is over. value: of a complete one what it came to, of a pruned one what it reported last (None:
    nothing); reason: why it failed; seconds: for which the process that ended it was at it."""

    number: int
    values: Mapping[str, Value]
    value: float | None
    state: Literal["complete", "pruned", "failed"]
    reason: str
    seconds: float


@dataclass(frozen=True)
class _Mine:
    """A trial that was handed out: by what the storage knows it, and when that was, in seconds of a monotonic clock."""

    key: int
    begun: float = field(default_factory=time.monotonic)


class Study:
    """The trials of one search, for the process that conducts it, whose threads may share it.

    storage: the path of a SQLite file, or an address of PostgreSQL. name: of the study in it, which is made, or gone on
    with. first: the values of trial 0, if each field of `spaces` has one and it is in its space; otherwise trial 0 is
    suggested as others are. prune: whether `report` ever says so.

    Every method raises SearchError if the storage cannot be read or written.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        spaces: Spaces,
        *,
        direction: Direction,
        seed: int,
        prune: bool,
        first: Mapping[str, Any] | None,
    ) -> None:
        """Opens the study. Raises SearchError if it was made for something else, and ExtraError without Optuna."""
        require("optuna", "search", "search")
        optuna_study.silence()
        from optuna import create_study

        spaces = dict(sorted(spaces.items()))
        self._distributions = {field: optuna_study.distribution(space) for field, space in spaces.items()}
        self._first = _first_values(spaces, first or {})
        self._direction, self._seed, self._prune = direction, seed, prune
        self._mine: dict[int, _Mine] = {}  # the trials that were handed out, by number
        self._lock = threading.RLock()
        self._storage = open_storage(storage)
        self._kept = self._storage.trials
        try:
            with self._alone():
                self._study = create_study(
                    storage=self._kept, study_name=name, direction=direction, load_if_exists=True
                )
                self._require_the_same({"direction": direction, "seed": seed, "spaces": described(spaces)})
        except BaseException:
            self.close()
            raise

    def waiting(self) -> list[Trial]:
        """Returns the trials that a process began which is gone, each once, to be continued with the same values under
        their own numbers. Of a process on another machine nobody here can tell whether it is gone: its trials are
        continued too, and whoever ends one first has ended it."""
        found = []
        with self._alone():
            me = this_process().name
            for trial in self._all():
                process = trial.user_attrs.get(PROCESS, "")
                if trial.state.is_finished() or trial.number in self._mine or (process != me and lives(process)):
                    continue
                self._kept.set_trial_user_attr(trial._trial_id, PROCESS, me)
                self._mine[trial.number] = _Mine(trial._trial_id)
                found.append(Trial(trial.number, trial.params))
        return found

    def ask(self) -> Trial:
        """Returns the next trial: what looks best after those that have ended, and unlike those that have not."""
        from optuna.trial import TrialState, create_trial

        with self._alone():
            trials = self._all()
            values = self._first if not trials else None
            if values is None:
                values = optuna_study.suggested(trials, self._distributions, direction=self._direction, seed=self._seed)
            new = create_trial(
                state=TrialState.RUNNING,
                params=values,
                distributions=self._distributions,
                user_attrs={PROCESS: this_process().name},
            )
            number = len(trials)
            self._mine[number] = _Mine(self._kept.create_new_trial(self._study._study_id, new))
            return Trial(number, values)

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Keeps what a trial came to at a step, which must mean the same in all trials, such as an epoch. Returns
        whether to end it: its best so far is worse than the median of the complete trials at that step. What was
        reported before, and is reported again by a trial that is continued, changes nothing."""
        from optuna.exceptions import UpdateFinishedTrialError

        key = self._mine[trial.number].key
        with self._reading():
            try:
                self._kept.set_trial_intermediate_value(key, step, float(value))
            except UpdateFinishedTrialError:  # another process was faster
                return self._kept.get_trial(key).state.name == "PRUNED"
            if not self._prune:
                return False
            return optuna_study.is_to_be_pruned(self._study, self._kept.get_trial(key), step)

    def tell(self, trial: Trial, value: float) -> None:
        """Ends a trial with what it came to; with nan it has failed. One that has ended stays as it is, here and
        below."""
        if math.isnan(value):
            self.failed(trial, "what it came to is not a number")
        else:
            self._end(trial, "COMPLETE", value=value)

    def pruned(self, trial: Trial) -> None:
        """Ends a trial early, as `report` said."""
        self._end(trial, "PRUNED")

    def failed(self, trial: Trial, reason: str) -> None:
        """Ends a trial that came to nothing; no suggestion learns from it."""
        self._end(trial, "FAIL", reason=reason)

    @property
    def finished(self) -> list[Ended]:
        """The trials that are over, by number."""
        with self._reading():
            return [_ended(trial) for trial in self._all() if trial.state.is_finished()]

    @property
    def best(self) -> Ended | None:
        """The complete trial with the best value, the first of equal ones; None: none is complete."""
        sign = 1 if self._direction == "minimize" else -1
        complete = [
            (sign * trial.value, trial)
            for trial in self.finished
            if trial.state == "complete" and trial.value is not None
        ]
        return min(complete, key=lambda each: (each[0], each[1].number))[1] if complete else None

    def importance(self) -> dict[str, float]:
        """Returns how much each field matters to the value, as `lib.search.optuna_study.importance` says."""
        with self._reading():
            trials = self._all()
        return optuna_study.importance(trials, direction=self._direction, seed=self._seed)

    @property
    def seconds_spent(self) -> float:
        """What was added so far, in this start of the search and those before."""
        with self._reading():
            return float(self._study.user_attrs.get(SECONDS, 0.0))

    def add_seconds(self, seconds: float) -> None:
        """Adds to the seconds that the search has taken."""
        with self._alone():
            self._study.set_user_attr(SECONDS, self.seconds_spent + seconds)

    def close(self) -> None:
        """Ends the connections to the storage."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Lets one thread at the study."""
        with self._lock, self._storage.errors_are_clear():
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lets one thread of one process at the storage."""
        with self._reading(), self._storage.alone():
            yield

    def _require_the_same(self, wanted: Mapping[str, Any]) -> None:
        """Notes what a new study is made for; raises SearchError if one was made for something else."""
        made_for = self._study.user_attrs.get(MADE_FOR)
        if made_for is None:
            self._study.set_user_attr(MADE_FOR, wanted)
        elif made_for != wanted:
            fields = {**made_for["spaces"], **wanted["spaces"]}
            others = [each for each in fields if made_for["spaces"].get(each) != wanted["spaces"].get(each)]
            what = f"other spaces ({listed(others)})" if others else "another seed or direction"
            raise SearchError(
                f"The search {self._study.study_name!r} in {self._storage.shown} was made for {what}: give the new one"
                " another name, or another search.storage"
            )

    def _all(self) -> list[FrozenTrial]:
        """Returns all trials by number; they are Optuna's own, not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def _end(self, trial: Trial, state: str, *, value: float | None = None, reason: str = "") -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        mine = self._mine[trial.number]
        with self._reading(), suppress(UpdateFinishedTrialError):
            self._kept.set_trial_user_attr(mine.key, SECONDS, time.monotonic() - mine.begun)
            if reason:
                self._kept.set_trial_user_attr(mine.key, REASON, reason)
            self._kept.set_trial_state_values(mine.key, TrialState[state], None if value is None else [value])


def _first_values(spaces: Spaces, first: Mapping[str, Any]) -> dict[str, Value] | None:
    """Returns the values of `first` as a trial has them; None if one is missing or outside of its space."""
    found = {field: value_in(space, first[field]) for field, space in spaces.items() if field in first}
    if len(found) < len(spaces):
        return None
    values = {field: each[0] for field, each in found.items() if each is not None}
    return values if len(values) == len(spaces) else None


def _ended(trial: FrozenTrial) -> Ended:
    reported = trial.intermediate_values
    last = reported[max(reported)] if reported else None
    return Ended(
        number=trial.number,
        values=trial.params,
        value=trial.values[0] if trial.values else last if trial.state.name == "PRUNED" else None,
        state=STATES[trial.state.name],
        reason=trial.user_attrs.get(REASON, ""),
        seconds=trial.user_attrs.get(SECONDS, 0.0),
    )
