"""A flow run that compares recipes: what they share once, each training in its own process, and the one that is chosen.

Variants are chosen on validation messages; only the chosen one is measured on the test split, at the end.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, runtime
from pydantic import BaseModel

from flows.run.delivery import deliver_older, deliver_others, tell_chosen
from flows.run.names import link_tags, name_of_run
from flows.run.result import LISTENER, PROGRESS
from flows.run.telling import Telling
from flows.use_cases.classify import CLASSIFY
from lib.comparison.compare import compare
from lib.comparison.markdown import markdown
from lib.comparison.story import Opened as TestOpened
from lib.comparison.story import Searched, Story
from lib.comparison.values import SMALLER_IS_BETTER, Comparison, Measured, Tried
from lib.comparison.writing import write_story
from lib.errors import TrainingError
from lib.evaluation.classify.validated import right_answers, validated_metrics
from lib.model.machine.device import device_here
from lib.model.machine.processor import processors
from lib.recipes.classify import ClassifyRecipe
from lib.recipes.compare import CompareRecipe
from lib.recipes.fields import recipe_fields, value_at
from lib.recipes.search import spaces_of
from lib.recipes.variants import TFIDF, Variant, repeated, variants_of
from lib.search.spaces import described
from lib.store.artifacts import Artifact, Manifest, key_of
from tasks.compare.children import Children
from tasks.compare.crew import Crew, LocalCrew
from tasks.compare.desks import ListDesk, Results, SearchDesk, in_order, steps_for, trainings_of
from tasks.compare.job import BASELINE, steps_of
from tasks.compare.names import CHOSEN_TAG, COMPARING, OPENED_TAG, REGISTERS_TAG
from tasks.compare.recording import cost_of, folder_of, measured_by, tell_comparison
from tasks.compare.shared import DATA, Forecasts, Shared, require_same_messages
from tasks.compare.trainings import Desk, Ended, Training, go_through, training_name
from tasks.engine.log import run_log
from tasks.engine.pageless import create_link_artifact, create_markdown_artifact, noted
from tasks.engine.runner import Outcome, Performer
from tasks.engine.step import Run
from tasks.environment import home
from tasks.record.classify import COMPARED
from tasks.record.curves import LiveCurves
from tasks.record.live import with_curves
from tasks.record.mlflow_run import loss_warned
from tasks.record.outbox import made_of, new_record, now
from tasks.record.pages import address_in_mlflow, page_in_mlflow, paragraphs
from tasks.record.recording import Recording, recorded, tell_what_waits
from tasks.registry.register import Registered
from tasks.report.conclusion import NOTE
from tasks.secrets import secrets_kept, tell_of_secrets
from tasks.store import artifact_store
from tasks.temporary import temporary_files

if TYPE_CHECKING:
    from lib.search.study import Study

MOST_AT_ONCE = 4  # trainings on one machine, if nobody says how many: each has a network in memory


class VariantResult(BaseModel):
    """What became of one variant; `--json` prints it."""

    name: str
    changes: dict[str, Any]
    state: str
    reason: str
    repeats: int
    value: float | None  # of the metric, the mean over repeats
    low: float | None
    high: float | None
    difference: float | None  # from the reference
    p_value: float | None  # by Holm's correction
    seconds: float | None
    trainable_parameters: int | None
    peak_memory: int | None  # bytes
    mlflow_run: str
    chosen: bool


class Result(BaseModel):
    """What a finished comparison says of itself; `--json` prints it."""

    comparison: str
    flow_run: str
    mlflow_run: str  # empty: MLflow has none yet
    metric: str
    messages: int  # that the variants were compared on
    variants: list[VariantResult]
    chosen: str | None
    test: dict[str, float]  # figures of the chosen one; empty: the test split was not opened
    registered: Registered | None
    sentences: list[str]
    folder: Path  # with the page, the table and the pictures
    steps: list[Outcome]  # those that variants share, and those of the chosen one
    waits: str = ""  # a sentence, if MLflow does not have all of this yet
    seconds: float


ROW_FIELDS = (  # of a comparison's row that `--json` prints as they are
    *("name", "state", "reason", "repeats", "value", "low", "high", "difference"),
    *("seconds", "trainable_parameters", "peak_memory", "chosen"),
)


def run_name() -> str:
    """The name of the present run."""
    return name_of_run("compare", runtime.flow_run.parameters["comparison"].name)


@flow(
    name=COMPARING,
    description="Compares recipes on validation, and opens the test split for the best",
    flow_run_name=run_name,
)
def compare_recipes(comparison: CompareRecipe) -> dict[str, Any]:
    """Compares the recipes; returns what `--json` prints."""
    return noted(lambda: perform(comparison))


@secrets_kept()
@temporary_files()
def perform(comparison: CompareRecipe) -> dict[str, Any]:
    """Compares the recipes inside the present flow run; what is in the store already is not computed again."""
    started = time.monotonic()
    tell_of_secrets(comparison.model_dump())
    variants = variants_of(comparison)
    comparison.search.require_extras()
    for variant in variants:
        variant.recipe.require_extras()
    tags = link_tags("flows/compare.py")
    record = new_record(experiment=COMPARING, name=str(runtime.flow_run.name), params=_params(comparison), tags=tags)
    with recorded(record) as recording:
        recording.tell = partial(tell_comparison, recording)
        comparing = Comparing(comparison, variants, recording, tags)
        comparing.train()
        comparing.write(None, seconds=time.monotonic() - started)  # what is known, whatever becomes of the rest
        opened = comparing.open_test()
        comparing.show(comparing.write(opened, seconds=time.monotonic() - started))
    waits = tell_what_waits(recording) or _waits(comparing.waits)
    if not waits:
        deliver_others(record)
    compared = comparing.compared
    result = Result(
        comparison=comparison.name,
        flow_run=str(runtime.flow_run.id),
        mlflow_run=recording.record.run,
        metric=comparison.metric,
        messages=compared.messages,
        variants=comparing.variant_results(),
        chosen=compared.chosen,
        test=opened.test if opened else {},
        registered=opened.registered if opened else None,
        sentences=[*compared.sentences, *(opened.told.told if opened else ())],
        folder=folder_of(recording.record),
        steps=[*comparing.shared.outcomes, *(opened.steps if opened else ())],
        waits=waits,
        seconds=round(time.monotonic() - started, 2),
    )
    return result.model_dump(mode="json")


def _waits(reason: str) -> str:
    """Returns a sentence if the record of a training, or of the chosen one, waits for a reason."""
    if not reason:
        return ""
    return (
        f"MLflow does not have all runs of this comparison yet ({reason}): their records wait in the outbox, and"
        " `finetune deliver` sends them, as the next run does"
    )


def _params(comparison: CompareRecipe) -> dict[str, str]:
    """Returns the fields for MLflow, those with people's own names in them as JSON: MLflow may refuse a name."""
    values = comparison.model_dump(mode="json")
    fields = {field.path: value_at(values, field.path) for field in recipe_fields(CompareRecipe)}
    return {path: value if isinstance(value, str) else json.dumps(value) for path, value in fields.items()}


@dataclass(frozen=True)
class Opened:
    """What the chosen variant came to on the test split. told: the same for the page."""

    test: dict[str, float]
    told: TestOpened
    registered: Registered | None
    steps: list[Outcome]


class Comparing:
    """A comparison while it is made."""

    def __init__(
        self, comparison: CompareRecipe, variants: tuple[Variant, ...], recording: Recording, tags: dict[str, str]
    ) -> None:
        self._comparison, self._variants, self._recording, self._tags = comparison, variants, recording, tags
        base = variants[0].recipe
        self._recipe = base
        self.shared = Shared(Run(base, recording.record.shown_id, listener=LISTENER.get()), PROGRESS.get())
        self.waits = ""
        self.compared: Comparison
        self.results: Results
        self._study: Study | None = None
        self._searched: Searched | None = None
        self._trained: dict[str, Training] = {}  # the first training of each variant, by its name

    def train(self) -> None:
        """Trains and measures all variants, and compares them. Raises TrainingError if none could be trained."""
        with ExitStack() as ends:
            children = ends.enter_context(Children(self._recording, self._tags))
            self.results = Results(children, LISTENER.get())
            desk = self._desk(ends)
            device = device_here(self._recipe.training.device)
            go_through(
                desk,
                ends.enter_context(self._crew()),
                at_once=self.at_once(device),
                processors=self._processors(device),
                cards=device == "cuda",
                log=run_log().log,
            )
            self.waits = children.waits
            if self._study is not None:
                self._searched = _told_of(self._study, losses=self._comparison.metric in SMALLER_IS_BETTER)
        tried = self._tried()
        if not any(each.runs and each.candidate for each in tried):
            reasons = [each.reason for each in tried if each.reason] or ["the search had no time: raise search.seconds"]
            raise TrainingError(f"No variant could be measured: {reasons[0]}")
        folds = self._recipe.evaluation.folds
        self.compared = compare(
            tried,
            metric=self._comparison.metric,
            confidence=self._recipe.evaluation.confidence,
            measured_on="validation messages" if folds is None else f"messages in {folds} folds",
        )
        if self.compared.chosen is None:
            raise TrainingError(
                f"No variant has the metric {self._comparison.metric}, which cannot be measured on these messages: set"
                " metric to another one"
            )

    def open_test(self) -> Opened | None:
        """Has the chosen variant measured on the test split, and registered if that is asked for."""
        if not self._comparison.open_test:
            return None
        assert self.compared.chosen is not None, "something was chosen"
        training = self._trained[self.compared.chosen]
        run_log().info("%s is chosen, and opens the test split", training.variant.name)
        tags = {**self._tags, OPENED_TAG: training.variant.name}
        if self._comparison.register_chosen:
            tags[REGISTERS_TAG] = "true"
        children = Children(self._recording, tags)
        record = children.record_of(f"chosen: {training.variant.name}", training)
        with recorded(record) as recording:
            curves = LiveCurves(recording.open, record.started, run_log().warning)
            run = Run(training.recipe, recording.record.shown_id, listener=with_curves(LISTENER.get(), curves))
            performer = Performer(run, PROGRESS.get(), made=dict(training.made))
            for step in CLASSIFY.steps:
                if step.name not in performer.made:
                    performer(step)
            recording.note(made=made_of(performer.made.values()), computed=performer.computed, measured=now())
            telling = Telling(
                CLASSIFY, training.recipe, recording, performer.made, registers=self._comparison.register_chosen
            )
            if self._comparison.register_chosen:
                deliver_older(record)
            telling.track()
            if self._comparison.register_chosen:
                telling.publish()
            telling.conclude()
            recording.tell = partial(tell_chosen, recording, telling)
        self.waits = self.waits or recording.waits
        metrics = telling.pages.metrics
        return Opened(
            test={name: value for name, value in metrics.items() if name.startswith("test/")},
            told=TestOpened(
                variant=training.variant.name,
                accuracy=metrics["test/accuracy"],
                low=metrics["test/accuracy_low"],
                high=metrics["test/accuracy_high"],
                messages=int(metrics["test/rows"]),
                confidence=training.recipe.evaluation.confidence,
                looks=_looks(performer.made["holdout"]),
                sentences=telling.conclusion.sentences,
            ),
            registered=telling.registered,
            steps=performer.outcomes,
        )

    def write(self, opened: Opened | None, *, seconds: float) -> Story:
        """Writes the page, the table and the pictures, and notes what MLflow is told of them."""
        story = Story(
            name=self._comparison.name,
            base=self._comparison.recipe or ", ".join(self._comparison.recipes),
            comparison=self.compared,
            opened=opened.told if opened else None,
            search=self._searched,
            seconds=seconds,
            parallel=self.at_once(device_here(self._recipe.training.device)),
        )
        write_story(folder_of(self._recording.record), story)
        chosen = self.compared.chosen_row
        assert chosen is not None, "something was chosen"
        told = {CHOSEN_TAG: chosen.name, NOTE: paragraphs(" ".join(self.compared.sentences), markdown(story))}
        metrics = {f"validation/{self.compared.metric}": float(chosen.value or 0.0)}
        if opened is not None:
            told[OPENED_TAG] = chosen.name
            metrics |= {name: opened.test[name] for name in COMPARED if name in opened.test}
        self._recording.note(told=told, metrics=metrics, measured=now())
        return story

    def show(self, story: Story) -> None:
        """Shows the table on Prefect's page."""
        with loss_warned("Prefect does not show all that this comparison comes to"):
            self._show(story)

    def at_once(self, device: str) -> int:
        """Returns how many trainings run at the same time."""
        if self._comparison.parallel is not None:
            return self._comparison.parallel
        if self._recipe.cluster.kind == "ray":
            return self._recipe.cluster.workers
        return 1 if device == "cuda" else min(MOST_AT_ONCE, processors())

    def variant_results(self) -> list[VariantResult]:
        """Returns what became of each variant, for `--json`."""
        runs = self.results.children.runs
        return [
            VariantResult(
                **{name: getattr(row, name) for name in ROW_FIELDS},
                changes=dict(row.changes),
                p_value=row.adjusted,
                mlflow_run=runs.get(self._trained[row.name].number, "") if row.name in self._trained else "",
            )
            for row in self.compared.rows
        ]

    def _desk(self, ends: ExitStack) -> Desk:
        comparison, results = self._comparison, self.results
        if comparison.search.spaces:
            return self._search_desk(ends)
        trainings = trainings_of(self._variants, comparison.repeats, self.shared.made_for, results.unable)
        folds = self._recipe.evaluation.folds is not None
        require_same_messages([(each.variant, each.made) for each in trainings], folds=folds)
        if comparison.baseline:
            recipe = self._recipe
            made = self.shared.made_for(recipe, only=DATA)
            number = len(self._variants) * comparison.repeats
            trainings.append(Training(number, Variant(TFIDF, recipe, {}), 0, recipe, BASELINE, made))
        return ListDesk(trainings, results)

    def _search_desk(self, ends: ExitStack) -> Desk:
        """Returns what hands out the trials of a search; `_searched` is known at the end of the block."""
        from lib.search.study import Study

        search, base = self._comparison.search, self._recipe.model_dump(mode="json")
        spaces = spaces_of(search, ClassifyRecipe)
        first = {path: value_at(base, path) for path in spaces}
        less = self._comparison.metric in SMALLER_IS_BETTER
        # Trials are worth nothing for other messages, and nothing for other code.
        holdout = self.shared.made_for(self._recipe, only=DATA)["holdout"]
        code = {step.name: dict(step.code) for step in steps_of(steps_for(self._recipe))}
        asked: dict[str, Any] = {
            "recipe": {**base, "name": ""},
            "metric": self._comparison.metric,
            "spaces": described(spaces),
        }
        asked |= {"messages": holdout.digest, "code": code, "seed": search.seed}
        study = Study(
            search.storage or str(home() / "search.db"),
            f"{self._comparison.name} {key_of(asked)[:8]}",
            spaces,
            direction="minimize" if less else "maximize",
            seed=search.seed,
            prune=search.prune,
            first=first,
        )
        ends.enter_context(study)
        self._study = study
        return SearchDesk(self._comparison, study, first, self.shared.made_for, self.results)

    def _crew(self) -> AbstractContextManager[Crew]:
        cluster = self._recipe.cluster
        if cluster.kind == "ray":
            from tasks.compare.on_ray import RayCrew

            return RayCrew(cluster.address)
        return LocalCrew()

    def _processors(self, device: str) -> int | None:
        if self._comparison.processors is not None or self._recipe.cluster.kind == "ray":
            return self._comparison.processors or 1
        return max(1, processors() // self.at_once(device))

    def _tried(self) -> list[Tried]:
        """Returns all variants as they are compared."""
        found, published = [], self._comparison.published
        for variant, trainings, hindered in in_order(self.results):
            failed = any(ended.state == "failed" for _, ended in trainings)  # of repeats, one is enough
            done = [each for each in trainings if each[1].state in ("ran", "cached") and not failed]
            for training, _ in done[:1]:
                self._trained[variant.name] = training
            reasons = _reasons(trainings, hindered)
            states = [ended.state for _, ended in trainings] + ([hindered.state] if hindered else [])
            run = self.results.children.runs.get(trainings[0][0].number, "") if trainings else ""
            found.append(
                Tried(
                    name=variant.name,
                    changes=variant.changes,
                    state=next((each for each in ("failed", "pruned", "ran") if each in states), "cached"),
                    runs=tuple(_measured(training) for training, _ in done),
                    reason=reasons[0] if reasons else "",
                    link=self._link(run),
                    published={f"{split}": share for split, share in published.get(variant.name, {}).items()},
                    candidate=variant.name != TFIDF,
                )
            )
        return found

    def _link(self, run: str) -> str:
        experiment = self._recording.experiment
        return address_in_mlflow(experiment, run) if run and experiment else ""

    def _show(self, story: Story) -> None:
        page = page_in_mlflow(self._recording)
        if page is not None:
            create_link_artifact(page, link_text="This comparison in MLflow", key="mlflow-run", description="Its runs")
        create_markdown_artifact(
            paragraphs(" ".join(self.compared.sentences), markdown(story)),
            key="comparison",
            description=f"Variants of {self._comparison.name}",
        )


def _told_of(study: Study, *, losses: bool) -> Searched:
    """Returns what the page shows of a search. losses: whether trials come to a loss, as those that are pruned had one;
    nothing else is known of these."""
    finished, best = study.finished, study.best
    kept = [each.value if losses or each.state == "complete" else None for each in finished]
    return Searched(
        history=[(each.number, value, each.state) for each, value in zip(finished, kept, strict=True)],
        importance=study.importance(),
        best=dict(best.values) if best else {},
        trials=len(finished),
        pruned=sum(each.state == "pruned" for each in finished),
        seconds=study.seconds_spent,
    )


def _measured(training: Training) -> Measured:
    own, cost = training.own, cost_of(training.own)
    measured = measured_by(own)
    return Measured(
        seed=training.recipe.training.seed,
        metrics=validated_metrics(measured.folder),
        right=right_answers(measured.folder),
        **{name: cost.get(name) for name in ("seconds", "parameters", "trainable_parameters", "peak_memory")},
    )


def _reasons(trainings: list[tuple[Training, Ended]], hindered: Ended | None) -> list[str]:
    ended = [each for _, each in trainings] + ([hindered] if hindered else [])
    return [each.reason for each in ended if each.reason]


def _looks(holdout: Artifact) -> int:
    """Counts the evaluations in the store that have opened the test split of this artifact, whatever was trained."""
    store = artifact_store()
    tests = {manifest.digest: _test_files(manifest) for manifest in store.manifests("holdout")}
    wanted = tests[holdout.digest]
    opened = (manifest.ingredients["inputs"].get("holdout") for manifest in store.manifests("evaluate"))
    return sum(tests.get(digest) == wanted for digest in opened)


def _test_files(manifest: Manifest) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in manifest.files if file.name.startswith("test/")]


def forecasts(comparison: CompareRecipe) -> Forecasts:
    """Says of each step that variants share, and of each training, whether it would run; runs nothing."""
    found = Forecasts()
    variants = variants_of(comparison)
    for variant in variants:
        for repeat in range(comparison.repeats):
            recipe = repeated(variant, repeat)
            found.add(variant.name, training_name(variant, repeat), recipe, steps_for(recipe))
    if comparison.baseline:
        found.add(TFIDF, TFIDF, variants[0].recipe, BASELINE, before=DATA)
    return found
