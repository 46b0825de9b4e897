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
from contextlib import contextmanager
from dataclasses import dataclass
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
    nothing); reason: why it failed; seconds: as long as processes were at it."""

    number: int
    values: Mapping[str, Value]
    value: float | None
    state: Literal["complete", "pruned", "failed"]
    reason: str
    seconds: float


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
        self._mine: dict[int, float] = {}  # trials handed out, and when each would have begun without a break
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
                self._kept.set_trial_user_attr(self._id(trial.number), PROCESS, me)
                self._mine[trial.number] = time.monotonic() - trial.user_attrs.get(SECONDS, 0.0)
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
            self._study.add_trial(new)
            number = len(trials)
            self._mine[number] = time.monotonic()
            return Trial(number, values)

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Keeps what a trial came to at a step, which must mean the same in all trials, such as an epoch. Returns
        whether to end it: its best so far is worse than the median of the complete trials at that step. What was
        reported before, and is reported again by a trial that is continued, changes nothing."""
        with self._reading():
            if self._has_ended(trial):  # by another process
                return self._of(trial).state.name == "PRUNED"
            key = self._id(trial.number)
            self._kept.set_trial_intermediate_value(key, step, float(value))
            self._kept.set_trial_user_attr(key, SECONDS, self._seconds(trial))
            return self._prune and optuna_study.is_to_be_pruned(self._study, self._of(trial), step)

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

    def _id(self, number: int) -> int:
        return self._kept.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def _of(self, trial: Trial) -> FrozenTrial:
        return self._kept.get_trial(self._id(trial.number))

    def _has_ended(self, trial: Trial) -> bool:
        return self._of(trial).state.is_finished()

    def _seconds(self, trial: Trial) -> float:
        return time.monotonic() - self._mine[trial.number]

    def _end(self, trial: Trial, state: str, *, value: float | None = None, reason: str = "") -> None:
        from optuna.trial import TrialState

        with self._reading():
            if self._has_ended(trial):
                return
            key = self._id(trial.number)
            self._kept.set_trial_user_attr(key, SECONDS, self._seconds(trial))
            if reason:
                self._kept.set_trial_user_attr(key, REASON, reason)
            self._study.tell(trial.number, value, TrialState[state], skip_if_finished=True)


def _first_values(spaces: Spaces, first: Mapping[str, Any]) -> dict[str, Value] | None:
    """Returns the values of `first` as a trial has them; None if one is missing or outside of its space."""
    found = {field: value_in(space, first[field]) for field, space in spaces.items() if field in first}
    if len(found) < len(spaces):
        return None
    values = {field: each[0] for field, each in found.items() if each is not None}
    return values if len(values) == len(spaces) else None


def _ended(trial: FrozenTrial) -> Ended:
    return Ended(
        number=trial.number,
        values=dict(trial.params),
        value=trial.values[0] if trial.values else None,
        state=STATES[trial.state.name],
        reason=trial.user_attrs.get(REASON, ""),
        seconds=trial.user_attrs.get(SECONDS, 0.0),
    )
