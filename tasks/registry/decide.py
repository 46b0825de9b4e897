"""Whether a new classifier takes the champion's place: both are measured on the name's frozen test set.

Here belongs getting hold of both classifiers, their answers and the frozen test set. The rule is
`lib.evaluation.promotion`'s; `promote` writes down what was decided. No alias or tag is changed here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from lib.data.messages.holdout import LEARNED_FROM, freezable, ids_to_hold_out
from lib.data.tables import SPLIT, SPLITS, load_table
from lib.errors import LabelError, WeightsError
from lib.evaluation.promotion import Decision, duel, figures, first
from lib.evaluation.promotion import decide as gate
from lib.files.jsonfile import load_json
from lib.model.labels import positive_class
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.record.mlflow_run import client, reason_of
from tasks.registry.champions import champion_of
from tasks.registry.frozen import FrozenTest, frozen_test, load_frozen, store_frozen
from tasks.registry.promote import FROZEN_OF_VERSION, PROMOTION_TAG, Verdict
from tasks.registry.register import Candidate, Registered


class Answers(BaseModel):
    """What classifiers say to the same texts: for each a label."""

    challenger: list[str]
    champion: list[str] | None = None
    problem: str | None = None  # why the champion could not be asked


@dataclass(frozen=True)
class _Case:
    """What a decision is made from."""

    registered: Registered
    candidate: Candidate
    recipe: ClassifyRecipe
    splits: Mapping[str, pd.DataFrame]
    frozen: FrozenTest
    messages: pd.DataFrame  # the frozen test set: id, text, label
    labels: tuple[str, ...]

    @property
    def targets(self) -> list[str]:
        return [str(label) for label in self.messages["label"]]

    @property
    def texts(self) -> list[str]:
        return [str(text) for text in self.messages["text"]]

    @property
    def positive(self) -> str | None:
        return positive_class(self.labels, self.recipe.evaluation.positive_label)


def decide(
    registered: Registered, candidate: Candidate, recipe: ClassifyRecipe, made: Mapping[str, Artifact], run_id: str
) -> Verdict | None:
    """What becomes of a registered classifier; None if that was decided before.

    A version that was only registered, because its recipe said `registry.promote: never`, is decided about when the
    recipe says otherwise. `run_id`: the MLflow run that keeps the frozen test set if the name has none yet.
    """
    tracking = client()
    name = registered.name
    before = tracking.get_model_version(name, registered.version).tags.get(PROMOTION_TAG)
    if before is not None and (before, recipe.registry.promote) != ("never", "better"):
        return None
    splits = {part: load_table(made["holdout"].file(f"{part}.parquet"), SPLIT) for part in SPLITS}
    labels = tuple(load_json(candidate.artifact.file("labels.json")))
    frozen = frozen_test(tracking, name) or _freeze(tracking, run_id, splits, labels)
    champion = champion_of(tracking.get_registered_model(name))
    if recipe.registry.promote == "never":
        why = "registry.promote is 'never'"
        seen = 0 if frozen is None else _learned_from(splits, load_frozen(tracking, frozen, name))
        return Verdict(decision=Decision(outcome="never", why=why), frozen=frozen, unseen=not seen)
    if frozen is None:
        why = (
            "the name has no frozen test set, because a label has no test message without a near-duplicate in train or"
            " validation: switch split.group_duplicates on"
        )
        return Verdict(decision=_not_comparable(why, champion))
    messages = load_frozen(tracking, frozen, name)
    case = _Case(registered, candidate, recipe, splits, frozen, messages, labels)
    seen = _learned_from(splits, messages)
    return Verdict(decision=_decision(tracking, case, champion, seen), frozen=frozen, unseen=not seen)


def _freeze(
    tracking: MlflowClient, run_id: str, splits: Mapping[str, pd.DataFrame], labels: Sequence[str]
) -> FrozenTest | None:
    """A frozen test set made of the run's own test split; None if it would lack a label."""
    messages = freezable(splits)
    return store_frozen(tracking, run_id, messages) if set(messages["label"]) == set(labels) else None


def _learned_from(splits: Mapping[str, pd.DataFrame], messages: pd.DataFrame) -> int:
    """Messages of train and validation that are in the frozen test set: another run may have made it meanwhile."""
    return len(ids_to_hold_out({part: splits[part] for part in LEARNED_FROM}, messages["text"]))


def _decision(tracking: MlflowClient, case: _Case, champion: str | None, seen: int) -> Decision:
    version = case.registered.version
    if champion == version:
        return Decision(outcome="promoted", why="it had been made champion before it was compared")
    if seen:
        why = f"it learned from {seen} messages of the frozen test set, which another run made meanwhile: run again"
        return _not_comparable(why, champion)
    if set(case.targets) != set(case.labels):
        why = f"its labels are {_listed(case.labels)}, those of the frozen test set {_listed(set(case.targets))}"
        return _not_comparable(f"{why}: other labels need another registry.name", champion)
    if champion is None:
        answers = compare(case.candidate, case.texts, case.recipe.training.device)
        measured = figures(case.targets, answers.challenger, positive=case.positive)
        return first(measured, _baseline(case))
    if tracking.get_model_version(case.registered.name, champion).tags.get(FROZEN_OF_VERSION) != case.frozen.sha256:
        why = f"nothing says that the champion, version {champion}, did not learn from the frozen test set"
        return _not_comparable(f"{why}: `promote {version}` makes this one champion by hand", champion)
    answers = compare(case.candidate, case.texts, case.recipe.training.device, champion=champion)
    if answers.champion is None:
        return _not_comparable(
            f"the champion, version {champion}, cannot be compared with ({answers.problem})", champion
        )
    return gate(
        duel(case.targets, answers.challenger, answers.champion, positive=case.positive),
        champion=champion,
        baseline=_baseline(case),
        significance=case.recipe.registry.significance,
        max_false_positive_increase=case.recipe.registry.max_false_positive_increase,
    )


def _not_comparable(why: str, champion: str | None) -> Decision:
    """With a champion it stays; without one the version takes the place all the same."""
    if champion is None:
        return Decision(outcome="first", why=f"the name had no champion; it was not measured: {why}")
    return Decision(outcome="not comparable", why=why, champion=champion)


@task(
    name="compare",
    task_run_name="compare",
    description="Asks the new classifier, and the champion where there is one, for the labels of the frozen test set",
    tags=["gpu"],
    cache_policy=NO_CACHE,
)
def compare(candidate: Candidate, texts: list[str], device: str, champion: str | None = None) -> Answers:
    """The labels that both give to `texts`, each loaded from its files as they are served, one after the other.

    `champion`: the version under the candidate's name; what prevents asking it is said in `problem`.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-compare-") as folder:
        answers = Answers(challenger=_ask(candidate.collect(Path(folder) / "challenger"), texts, device))
        if champion is None:
            return answers
        try:
            files = _download(candidate, champion, Path(folder))
            labels = load_json(files / "labels.json")
            if labels != load_json(candidate.artifact.file("labels.json")):
                return answers.model_copy(update={"problem": f"its labels are {_listed(labels)}"})
            answers.champion = _ask(files, texts, device)
        except (MlflowException, OSError, WeightsError, LabelError) as error:
            answers.problem = reason_of(error)
    return answers


def _ask(folder: Path, texts: Sequence[str], device: str) -> list[str]:
    from lib.inference.predictor import Predictor  # here, because it needs torch, and a cached run asks nobody

    return [prediction.label for prediction in Predictor.load(folder, device=device).predict(texts)]


def _download(candidate: Candidate, version: str, folder: Path) -> Path:
    """The files of a registered version, below `folder`."""
    import mlflow

    mlflow.set_tracking_uri(client().tracking_uri)
    place = f"models:/{candidate.name}/{version}/artifacts/{candidate.kind.logged_as}"
    target = folder / "champion"
    target.mkdir()
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=place, dst_path=str(target)))


def _baseline(case: _Case) -> float | None:
    """Accuracy on the frozen test set of TF-IDF, fitted on what the challenger learned from; None if switched off."""
    if not case.recipe.evaluation.baseline:
        return None
    from lib.evaluation.classify.baseline import baseline_probabilities

    train = case.splits["train"]
    probabilities = baseline_probabilities(
        train["text"].tolist(), train["target"].to_numpy(), case.texts, classes=len(case.labels)
    )
    answers = [case.labels[index] for index in probabilities.argmax(axis=1)]
    return figures(case.targets, answers, positive=case.positive).accuracy


def _listed(labels: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(labels))
