"""Tells MLflow and the registry what a run of a use case comes to: at once, or later from the store and its record.

Both do the same, and doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect.transactions import transaction

from flows.run.names import name_of_repetition
from flows.use_cases.use_case import UseCase
from lib.store.artifacts import Artifact
from tasks.engine.page import has_page, shown
from tasks.record.mlflow_run import AwayError, RefusedNameError, may_pass
from tasks.record.recording import Recording
from tasks.record.track import Pages, track
from tasks.record.view import COMPUTED_TAG
from tasks.registry.promote import as_registered_by, promote
from tasks.registry.register import Registered, discard_unregistered, publishing, register, withdraw
from tasks.report.conclusion import NOT_SAID, WAITS, Conclusion, Finished, report, write_report


@dataclass
class Telling:
    """What is told of a run whose steps are done, part by part; what MLflow does not take is told again by `rest`."""

    use_case: UseCase
    recipe: Any
    recording: Recording
    made: dict[str, Artifact]  # by step
    registers: bool = True  # whether its model becomes a version
    registered: Registered | None = None
    conclusion: Conclusion = NOT_SAID
    report: Path | None = None
    done: set[str] = field(default_factory=set)  # the parts that MLflow has
    away: bool = False  # whether it did not answer a moment ago

    @cached_property
    def pages(self) -> Pages:
        """What the run's pages show."""
        return self.use_case.pages(self.recipe, self.made)

    def track(self) -> bool:
        """Logs what the steps made; returns whether MLflow has it."""
        return self._tried("track", lambda: shown(track)(self.recording, self.recipe, self.made, self.pages))

    def publish(self) -> bool:
        """Registers the model as a version and decides about it; returns whether that is done."""
        return self._tried("publish", self._publish)

    def conclude(self) -> bool:
        """Says what the run comes to, also in its report on this machine; returns whether MLflow has it."""
        self._say_what_was_computed()
        self.conclusion = said = self._conclusion()
        self.report = write_report(said, self.recording.record)
        return self._tried("conclude", lambda: shown(report)(self.recording, self.finished, self.pages, said))

    def rest(self) -> None:
        """Tells all that MLflow does not have yet; what it does not take, `recording` notes."""
        self.away = False
        for part in (self.track, *([self.publish] if self.registers else ()), self.conclude):
            if part.__name__ not in self.done:
                part()
        self._tried("track_last", lambda: self.use_case.track_last(self.recording, self.made))

    @property
    def finished(self) -> Finished:
        """The run as it is known now."""
        record = self.recording.record
        return Finished(
            recipe=self.recipe,
            made=self.made,
            computed=frozenset(record.computed),
            run=record.shown_id,
            flow_run=record.tags.get("prefect.flow_run_id", ""),
            name=record.name,
            registered=self.registered,
        )

    @property
    def new(self) -> bool:
        """Whether this run registered a new version; not known before it is published."""
        return self.registered is not None and self.registered.new

    def _say_what_was_computed(self) -> None:
        """Notes which steps computed something, and in the name of a run that none did."""
        record, last = self.recording.record, {step.name for step in self.use_case.last}
        before = [step for step in record.computed if step not in last]
        after = [step for step in record.computed if step in last]
        computed = [*before, *(["register"] if self.new else []), *after]
        repeated = self.registered is not None and not computed
        name = name_of_repetition(record.name) if repeated else record.name
        self.recording.note(name=name, told=record.told | {COMPUTED_TAG: ", ".join(computed) or "nothing"})

    def _tried(self, part: str, tell: Callable[[], None]) -> bool:
        """Whether MLflow has a part. A server that does not answer at all is asked for no other one until `rest`. The
        work is done: whatever hinders it is no reason to end the run, but for a name that can never be had."""
        if self.away:
            return False
        try:
            tell()
        except RefusedNameError:
            raise
        except Exception as error:
            self.away = isinstance(error, AwayError)
            self.recording.lost(error)
            return False
        self.done.add(part)
        return True

    def _publish(self) -> None:
        _, run_id = self.recording.open()
        lost: Exception | None = None
        registered: Registered | None = None
        with publishing(self.recipe.registry.name), transaction():
            try:
                if self.recording.record.half_published:
                    discard_unregistered(run_id)
                candidate = self.use_case.candidate(self.recipe, self.made)
                registered = shown(register)(run_id, candidate)
                if not registered.new:
                    registered = as_registered_by(run_id, registered)
                decided = self.use_case.decide(registered, candidate, self.recipe, self.made, run_id)
                self.registered = shown(promote)(registered, decided)
            except Exception as error:
                if may_pass(error):  # nothing is taken back: the record's next delivery goes on from here
                    lost = error
                else:
                    if registered is not None and not has_page():  # Prefect's tasks take back what they did themselves
                        withdraw(registered)
                    raise
        self.recording.note(half_published=lost is not None)
        if lost is not None:
            raise lost
        self.done.discard("conclude")  # it says what became of the version

    def _conclusion(self) -> Conclusion:
        conclusion = self.use_case.conclude(self.finished, self.pages)
        if self.registered is not None or not self.registers:
            return conclusion
        return replace(conclusion, sentences=(*conclusion.sentences, WAITS))
