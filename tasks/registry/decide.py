"""Decides on the frozen test set whether a new classifier becomes champion; `promote` carries it out.

The rule is in `lib.evaluation.promotion`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from lib.data.messages.holdout import LEARNED_FROM, freezable, ids_to_hold_out
from lib.data.messages.labels import mapping_flag, same_but_for_spelling
from lib.data.parts import Parts
from lib.data.tables import KEYED_SPLIT, SPLITS
from lib.errors import listed
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.predictions import baseline_answers, predicted_labels
from lib.evaluation.promotion import BASELINE, MAJORITY, Decision, decide_duel, decide_first, duel, figures
from lib.files.jsonfile import load_json
from lib.model.labels import positive_class
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from tasks.engine.page import shown
from tasks.record.mlflow_run import client
from tasks.registry.challenge import Answers, challenge, evaluation_of, predicted_before
from tasks.registry.frozen import FrozenTest, frozen_test, load_frozen, store_frozen
from tasks.registry.promote import FROZEN_OF_VERSION, Decided, champion_to_beat
from tasks.registry.register import DIGEST_TAG, PROMOTION_TAG, Candidate, Registered


@dataclass(frozen=True)
class _Case:
    """What a decision is based on."""

    registered: Registered
    candidate: Candidate
    recipe: ClassifyRecipe
    splits: Mapping[str, Parts]
    frozen: FrozenTest
    messages: pd.DataFrame  # the frozen test set: id, text, label
    labels: tuple[str, ...]
    evaluated: Artifact  # of the challenger

    @cached_property
    def targets(self) -> list[str]:
        return [str(label) for label in self.messages["label"]]

    @cached_property
    def texts(self) -> list[str]:
        return [str(text) for text in self.messages["text"]]

    @property
    def positive(self) -> str | None:
        return positive_class(self.labels, self.recipe.evaluation.positive_label)

    def in_order(self, answers: Mapping[str, str]) -> list[str]:
        """Returns the answer to each message."""
        return [answers[text] for text in self.texts]


def decide(
    registered: Registered, candidate: Candidate, recipe: ClassifyRecipe, made: Mapping[str, Artifact], run_id: str
) -> Decided | None:
    """Decides about a registered classifier; returns None if that was done before.

    A version that was only registered, by `registry.promote: never`, is decided about when the recipe says otherwise.
    `run_id`: the MLflow run that stores the frozen test set if the name has none yet.
    """
    tracking = client()
    name = registered.name
    version = tracking.get_model_version(name, registered.version)
    before = version.tags.get(PROMOTION_TAG)
    if before is not None and (before, recipe.registry.promote) != ("never", "better"):
        return None
    splits = {part: Parts(made["holdout"].file(part), KEYED_SPLIT) for part in SPLITS}
    labels = tuple(load_json(candidate.artifact.file("labels.json")))
    frozen = frozen_test(tracking, name) or _freeze(tracking, run_id, splits, labels)
    champion = champion_to_beat(tracking.get_registered_model(name), version)
    if recipe.registry.promote == "never":
        why = "registry.promote is 'never'"
        seen = 0 if frozen is None else _learned_from(splits, load_frozen(tracking, frozen, name))
        return Decided(decision=Decision(outcome="never", why=why), frozen=frozen, unseen=not seen)
    if frozen is None:
        return Decided(decision=_not_comparable(why_nothing_is_frozen(recipe, registered.version), champion))
    messages = load_frozen(tracking, frozen, name)
    case = _Case(registered, candidate, recipe, splits, frozen, messages, labels, made["evaluate"])
    seen = _learned_from(splits, messages)
    decision = _decision(tracking, case, champion, seen)
    return Decided(decision=decision, frozen=frozen, unseen=not seen, crowned=champion == registered.version)


def _freeze(
    tracking: MlflowClient, run_id: str, splits: Mapping[str, Parts], labels: Sequence[str]
) -> FrozenTest | None:
    """Stores the run's own test split as frozen test set; returns None if a label is missing."""
    messages = freezable(splits)
    return store_frozen(tracking, run_id, messages) if set(messages["label"]) == set(labels) else None


def why_nothing_is_frozen(recipe: ClassifyRecipe, version: str) -> str:
    """Returns the reason and the way out, which for a given test split is not to make another one."""
    given = recipe.data.files.test is not None or recipe.split.column is not None
    way_out = f"`promote {version}` makes this one champion by hand" if given else "switch split.group_duplicates on"
    return (
        "the name has no frozen test set, because a label has no test message without a near-duplicate in train or"
        f" validation: {way_out}"
    )


def why_labels_differ(labels: Collection[str], frozen: Collection[str]) -> str:
    """Returns the reason and the way out: the option that gives labels the frozen test set's spelling, if that is the
    only difference."""
    why = f"its labels are {listed(sorted(labels))}, those of the frozen test set {listed(sorted(frozen))}"
    respelled = same_but_for_spelling(frozen, labels)
    if not respelled:
        return f"{why}: other labels need another registry.name"
    names = {known: [label] for label, known in sorted(respelled.items()) if label != known}
    return f"{why}, which is only another spelling: run again with {mapping_flag('data.labels', names)}"


def _learned_from(splits: Mapping[str, Parts], messages: pd.DataFrame) -> int:
    """Counts training and validation messages in the frozen test set, which another run may have made meanwhile."""
    return len(ids_to_hold_out({part: splits[part] for part in LEARNED_FROM}, messages["text"].tolist()))


def _decision(tracking: MlflowClient, case: _Case, champion: str | None, seen: int) -> Decision:
    version = case.registered.version
    if champion == version:
        return Decision(outcome="promoted", why="it had been made champion before it was compared")
    if seen:
        why = f"it learned from {seen} messages of the frozen test set, which another run made meanwhile: run again"
        return _not_comparable(why, champion)
    if set(case.targets) != set(case.labels):
        return _not_comparable(why_labels_differ(case.labels, set(case.targets)), champion)
    if champion is None:
        return _first(case)
    held = tracking.get_model_version(case.registered.name, champion)
    if held.tags.get(FROZEN_OF_VERSION) != case.frozen.sha256:
        why = f"nothing says that the champion, version {champion}, did not learn from the frozen test set"
        return _not_comparable(f"{why}: `promote {version}` makes this one champion by hand", champion)
    answers = _answers(case, held, evaluation_of(tracking, str(held.run_id)))
    if answers.champion is None:
        return _not_comparable(
            f"the champion, version {champion}, cannot be compared with ({answers.problem})", champion
        )
    fought = duel(
        case.targets, case.in_order(answers.challenger), case.in_order(answers.champion), positive=case.positive
    )
    baseline = _baseline(case)
    return decide_duel(
        fought,
        champion=champion,
        majority=_accuracy(case, _majority(case)),
        baseline=None if baseline is None else _accuracy(case, baseline),
        significance=case.recipe.registry.significance,
        max_false_positive_increase=case.recipe.registry.max_false_positive_increase,
    )


def _first(case: _Case) -> Decision:
    """Decides without a champion: compares the version with simple rivals."""
    given = case.in_order(_answers(case).challenger)
    simple = {MAJORITY: _majority(case), BASELINE: _baseline(case)}
    rivals = {
        name: duel(case.targets, given, answers, positive=case.positive)
        for name, answers in simple.items()
        if answers is not None
    }
    measured = figures(case.targets, given, positive=case.positive)
    return decide_first(measured, rivals, significance=case.recipe.registry.significance)


def _not_comparable(why: str, champion: str | None) -> Decision:
    """With a champion the version stays challenger; without one it becomes champion all the same."""
    if champion is None:
        return Decision(outcome="first", why=f"the name had no champion; it was not measured: {why}")
    return Decision(outcome="not comparable", why=why, champion=champion)


def _answers(case: _Case, champion: ModelVersion | None = None, evaluated: Artifact | None = None) -> Answers:
    """Returns both classifiers' labels of the frozen test set, predicting only what no evaluation has.

    evaluated: the evaluation of the champion's run, if the store still has it.
    """
    known = Answers(challenger=predicted_before(case.evaluated, case.candidate.artifact.digest, case.texts))
    left = [text for text in case.texts if text not in known.challenger]
    if champion is None:
        return known.plus(shown(challenge)(case.candidate, left, case.recipe.training.device)) if left else known
    if evaluated is not None and predicted_labels(evaluated.folder) == set(case.labels):
        known.champion = predicted_before(evaluated, champion.tags.get(DIGEST_TAG), case.texts)
    of_champion = [text for text in case.texts if text not in (known.champion or {})]
    if not left and not of_champion:
        return known
    version = str(champion.version) if of_champion else None
    return known.plus(shown(challenge)(case.candidate, left, case.recipe.training.device, version, of_champion))


def _majority(case: _Case) -> list[str]:
    """Gives each message of the frozen test set the label that is the most frequent one as messages come."""
    return [Findings.load(case.evaluated.folder).majority] * len(case.targets)


def _baseline(case: _Case) -> list[str] | None:
    """Returns the labels by the baseline that the evaluation fitted; None if switched off. What it did not answer, as
    where the frozen test set was made of other messages, is answered by fitting it again, without choosing."""
    tuned = Findings.load(case.evaluated.folder).baseline
    if tuned is None or not case.recipe.evaluation.baseline:
        return None
    known = baseline_answers(case.evaluated.folder, case.splits["test"], case.texts)
    left = [text for text in dict.fromkeys(case.texts) if text not in known]
    if left:
        from lib.evaluation.classify.rivals import answer_again  # here, because it imports scikit-learn

        given = answer_again(tuned, case.splits["train"], left, labels=case.labels, positive=case.positive)
        known.update(zip(left, given, strict=True))
    return case.in_order(known)


def _accuracy(case: _Case, answers: Sequence[str]) -> float:
    return figures(case.targets, answers, positive=case.positive).accuracy
