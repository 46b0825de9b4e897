"""Wrong labels that were made on purpose are found; every number against cleanlab."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data.duplicates import normalise
from lib.errors import LabelError
from lib.evaluation.classify.suspects import (
    OutOfFold,
    deal,
    judged_rows,
    out_of_fold,
    spread,
    suspects,
    text_features,
)
from lib.model.labels import Probabilities, Targets


def clusters(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, Targets]:
    """Features of classes that lie apart."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=rows)
    return 4 * np.eye(classes, 8)[targets] + generator.normal(size=(rows, 8)), targets


def flipped(targets: Targets, share: float, classes: int, seed: int = 1) -> tuple[Targets, np.ndarray]:
    """Targets of which a share is wrong, and which rows those are."""
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(targets), round(share * len(targets)), replace=False)
    wrong = targets.copy()
    wrong[rows] = (wrong[rows] + generator.integers(1, classes, len(rows))) % classes
    return wrong, rows


def noisy(classes: int) -> tuple[Targets, Probabilities]:
    features, targets = clusters(400, classes)
    wrong, _ = flipped(targets, 0.1, classes)
    return wrong, out_of_fold(features, wrong, classes=classes).probabilities


@pytest.mark.parametrize("classes", [2, 5])
def test_issues_joint_and_ranking_are_those_of_cleanlab(classes: int) -> None:
    count = pytest.importorskip("cleanlab.count")
    rank = pytest.importorskip("cleanlab.rank")
    targets, probabilities = noisy(classes)
    found = suspects(targets, probabilities)
    joint, issues = count.compute_confident_joint(
        targets, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    # cleanlab counts at least one message on the diagonal; here all classes have some
    assert (found.joint == joint).all()
    assert sorted(found.rows[found.issues].tolist()) == sorted(issues)
    quality = rank.get_label_quality_scores(targets, probabilities, method="normalized_margin")
    assert (found.margin + 1) / 2 == pytest.approx(quality[found.rows])
    assert (np.diff(quality[found.rows]) >= 0).all()


@pytest.mark.parametrize("classes", [2, 5])
def test_issues_and_joint_by_their_definition(classes: int) -> None:
    """One message after the other, as the paper has it."""
    targets, probabilities = noisy(classes)
    usual = [np.mean([p[k] for p, t in zip(probabilities, targets, strict=True) if t == k]) for k in range(classes)]
    joint = np.zeros((classes, classes), int)
    issues = []
    for row, (target, p) in enumerate(zip(targets, probabilities, strict=True)):
        confident = [k for k in range(classes) if p[k] >= usual[k]]
        if confident:
            belongs = max(confident, key=lambda k: p[k])
            joint[target, belongs] += 1
            issues += [row] if belongs != target else []
    found = suspects(targets, probabilities)
    assert (found.joint == joint).all()
    assert sorted(found.rows[found.issues].tolist()) == issues


def test_a_label_that_no_classifier_learned_floods_nothing() -> None:
    """As where its messages are near-duplicates, and so lie in one fold: all the others have never seen it."""
    count = pytest.importorskip("cleanlab.count")
    targets, probabilities = noisy(2)
    alone = np.append(targets, np.full(20, 2))
    rows = np.concatenate([probabilities, np.tile([0.6, 0.4], (20, 1))])
    found = suspects(alone, np.column_stack([rows, np.zeros(len(rows))]))
    _, issues = count.compute_confident_joint(
        alone, np.column_stack([rows, np.zeros(len(rows))]), calibrate=False, return_indices_of_off_diagonals=True
    )
    assert sorted(found.rows[found.issues].tolist()) == sorted(issues)
    assert found.joint[:, 2].tolist() == [0, 0, 0]
    without = suspects(targets, probabilities)
    assert set(found.rows[found.issues]) - set(range(400, 420)) == set(without.rows[without.issues])


def test_wrong_labels_come_first_with_the_right_one_suggested() -> None:
    features, targets = clusters(500, 3)
    wrong, rows = flipped(targets, 0.04, 3)
    found = suspects(wrong, out_of_fold(features, wrong, classes=3).probabilities)
    first = found.rows[: len(rows) + 5]
    assert len(set(rows) & set(first)) >= 0.9 * len(rows)
    known = np.isin(first, rows)
    assert (found.suggested[: len(first)][known] == targets[first[known]]).mean() > 0.9


def test_every_fold_has_its_part_of_every_class() -> None:
    targets = np.array([0] * 53 + [1] * 12 + [2] * 3)
    fold = deal(targets, 5, seed=0)
    for label in range(3):
        counts = np.bincount(fold[targets == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (fold != deal(targets, 5, seed=1)).any()


def test_nobody_judges_a_message_that_it_learned_from() -> None:
    """A feature that gives each message away would make a fitted classifier certain of any label."""
    generator = np.random.default_rng(0)
    targets = generator.integers(2, size=60)
    found = out_of_fold(np.eye(60), targets, classes=2)
    assert (found.probabilities.max(axis=1) < 0.7).all()
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(60))


def test_a_label_that_one_message_has_is_not_judged() -> None:
    features, targets = clusters(50, 2)
    targets = np.append(targets, 2)
    features = np.concatenate([features, features[:1]])
    found = suspects(targets, out_of_fold(features, targets, classes=4).probabilities)
    assert 50 not in found.rows
    assert len(found.rows) == 50


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(LabelError, match="same label"):
        out_of_fold(np.zeros((3, 1)), np.zeros(3, int), classes=2)


def test_folds_have_mean_and_spread() -> None:
    targets = np.array([0, 0, 1, 1])
    found = spread(targets, OutOfFold(np.eye(2)[[0, 1, 1, 1]], np.array([0, 0, 1, 1])))
    assert (found.accuracies, found.mean) == ((0.5, 1.0), 0.75)
    assert found.deviation == pytest.approx(np.std([0.5, 1.0], ddof=1))


@pytest.mark.data
def test_of_two_percent_flipped_labels_80_percent_are_among_the_first_three(real_data: Path) -> None:
    with zipfile.ZipFile(real_data / "sms+spam+collection.zip") as archive:
        lines = archive.read("SMSSpamCollection").decode().split("\n")
    rows = [line.split("\t", 1) for line in lines if line]
    targets = np.array([label == "spam" for label, _ in rows]).astype(int)
    texts = [text for _, text in rows]
    groups = pd.factorize(pd.Series(texts).map(normalise))[0]
    wrong, changed = flipped(targets, 0.02, 2)
    found = suspects(wrong, out_of_fold(text_features(texts), wrong, classes=2, groups=groups).probabilities)
    first = found.rows[: round(0.03 * len(rows))]
    assert len(changed) == 111
    assert len(set(changed) & set(first)) >= 0.8 * len(changed)


def test_copies_of_a_message_stay_in_one_fold_and_folds_stay_alike() -> None:
    generator = np.random.default_rng(0)
    targets = np.array([0] * 300 + [1] * 60)
    groups = np.concatenate([generator.integers(100, size=300), 200 + generator.integers(40, size=60)])
    fold = deal(targets, 5, 0, groups)
    assert all(len(np.unique(fold[groups == group])) == 1 for group in np.unique(groups))
    for label, most in ((0, 60), (1, 12)):
        assert np.abs(np.bincount(fold[targets == label], minlength=5) - most).max() <= 3


def test_a_wrong_label_is_seen_beside_copies_of_the_message_with_that_label() -> None:
    """Copies with the same wrong label in other folds would confirm it."""
    features, targets = clusters(200, 2)
    wrong = targets.copy()
    wrong[:4] = 1 - targets[0]
    features[:4] = features[0]
    groups = np.maximum(np.arange(200), 3)
    found = suspects(wrong, out_of_fold(features, wrong, classes=2, groups=groups).probabilities)
    assert set(range(4)) <= set(found.rows[:6])


def test_of_very_many_messages_a_sample_is_judged_the_same_each_time() -> None:
    assert judged_rows(50_000, 2) == list(range(50_000))
    rows = judged_rows(60_000, 2)
    assert len(set(rows)) == 50_000
    assert rows == sorted(rows) == judged_rows(60_000, 2)
    assert [len(judged_rows(60_000, classes)) for classes in (20, 50, 1_000)] == [50_000, 20_000, 10_000]
