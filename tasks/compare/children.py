"""The MLflow runs of a comparison's trainings, which are several at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from lib.errors import TrainingError
from lib.progress import Listener, in_words
from tasks.compare.names import COMPARING, COMPARISON_TAG, PARENT_TAG, PRUNED_TAG, VARIANT_TAG
from tasks.compare.recording import tell_training
from tasks.compare.trainings import Ended, Training
from tasks.engine.log import run_log
from tasks.record.curves import LiveCurves
from tasks.record.outbox import Record, made_of, new_record, now
from tasks.record.pages import flatten
from tasks.record.recording import Recording, recorded
from tasks.record.view import COMPUTED_TAG


class Children:
    """Keeps a record for each training that runs. To be used in a `with` block, at whose end those that are left end
    with its error.

    tags: of all of them, those that lead to the flow run.
    """

    def __init__(self, parent: Recording, tags: dict[str, str]) -> None:
        self._parent, self._tags = parent, tags
        self._open: dict[int, tuple[ExitStack, Recording]] = {}
        self.waits = ""  # why a part of some record is not delivered yet
        self.runs: dict[int, str] = {}  # in MLflow, by the training's number, where it has one

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._open):
            stack, _ = self._open.pop(number)
            with suppress(BaseException):  # the block's own error goes on
                stack.__exit__(kind, error, trace)

    def begin(self, training: Training) -> None:
        """Begins a training's record, which hears from then on what it measures."""
        stack = ExitStack()
        recording = stack.enter_context(recorded(self.record_of(training.name, training)))
        self._open[training.number] = stack, recording
        training.tracking_run = recording.record.shown_id
        log, curves = run_log(), LiveCurves(recording.open, recording.record.started, run_log().warning)

        def on_row(row: Mapping[str, float]) -> None:
            curves(row)
            log.info("%s: %s", training.name, in_words(row))

        training.listener = Listener(on_row=on_row, warn=log.warning, remark=log.warning)

    def end(self, training: Training, outcome: Ended) -> None:
        """Ends a training's record, as it ended."""
        if training.number not in self._open:
            self.begin(training)
        stack, recording = self._open.pop(training.number)
        if outcome.state == "failed":
            error = TrainingError(outcome.reason)
            with suppress(TrainingError):
                stack.__exit__(TrainingError, error, None)
        else:
            made = made_of(training.made.values())
            told = {COMPUTED_TAG: ", ".join(outcome.computed) or "nothing"}
            if outcome.state == "pruned":
                told = {PRUNED_TAG: outcome.reason}
            recording.note(made=made, computed=list(outcome.computed), measured=now(), told=told)
            recording.tell = lambda: tell_training(recording)
            stack.close()
        self.waits = self.waits or recording.waits
        self.runs[training.number] = recording.record.run

    def record_of(self, name: str, training: Training) -> Record:
        """Returns the record of a run below the comparison's."""
        recipe, above = training.recipe, self._parent.record
        values = recipe.model_dump(mode="json")
        tags = {**self._tags, "recipe": recipe.name, VARIANT_TAG: training.variant.name, COMPARISON_TAG: above.id}
        if above.run:
            tags[PARENT_TAG] = above.run
        return new_record(experiment=COMPARING, name=name, params=flatten(values), tags=tags, recipe=values)
