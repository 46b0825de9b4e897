import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn import metrics as reference

from lib.errors import LabelError
from lib.evaluation.classify.metrics import measure
from lib.evaluation.flat import flatten_metrics
from lib.model.labels import Probabilities, Targets

BINARY = ("ham", "spam")
THREE = ("billing", "other", "sales")


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_case(classes: int, rows: int = 200, seed: int = 0) -> tuple[Targets, Probabilities]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes))
    logits[np.arange(rows), targets] += 1.0
    probabilities = np.exp(logits)
    return targets, probabilities / probabilities.sum(axis=1, keepdims=True)


def one_hot(predicted: Targets, classes: int) -> Probabilities:
    return np.eye(classes)[predicted] * 0.8 + 0.2 / classes


def test_two_classes_by_hand() -> None:
    # 5 ham, of which 1 called spam; 3 spam, of which 1 called ham
    targets = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    figures = measure(targets, one_hot(predicted, 2), labels=BINARY, positive="spam", confidence=0.95)
    assert figures["rows"] == 8
    assert figures["accuracy"] == 6 / 8
    assert figures["confusion"] == [[4, 1], [1, 2]]
    assert figures["precision"] == figures["recall"] == figures["f1"] == pytest.approx(2 / 3)
    assert figures["false_positive_rate"] == 1 / 5
    assert figures["classes"]["ham"] == {"rows": 5, "precision": 0.8, "recall": 0.8, "f1": pytest.approx(0.8)}


@pytest.mark.parametrize("positive", BINARY)
def test_two_classes_agree_with_scikit_learn(positive: str) -> None:
    targets, probabilities = random_case(2)
    figures = measure(targets, probabilities, labels=BINARY, positive=positive, confidence=0.95)
    index = BINARY.index(positive)
    truth, guess = targets == index, probabilities.argmax(axis=1) == index
    assert figures["precision"] == pytest.approx(reference.precision_score(truth, guess))
    assert figures["recall"] == pytest.approx(reference.recall_score(truth, guess))
    assert figures["f1"] == pytest.approx(reference.f1_score(truth, guess))
    assert figures["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, guess))
    assert figures["roc_auc"] == pytest.approx(reference.roc_auc_score(truth, probabilities[:, index]))
    assert figures["log_loss"] == pytest.approx(reference.log_loss(targets, probabilities))
    assert figures["false_positive_rate"] == pytest.approx((guess & ~truth).sum() / (~truth).sum())


def test_more_classes_are_averaged_as_scikit_learn_does() -> None:
    targets, probabilities = random_case(3)
    figures = measure(targets, probabilities, labels=THREE, positive=None, confidence=0.95)
    predicted = probabilities.argmax(axis=1)
    assert figures["f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    assert figures["precision"] == pytest.approx(reference.precision_score(targets, predicted, average="macro"))
    assert figures["roc_auc"] == pytest.approx(
        reference.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    )
    assert "false_positive_rate" not in figures


def test_a_class_that_occurs_nowhere_does_not_count_in_the_mean() -> None:
    targets, predicted = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])
    figures = measure(targets, one_hot(predicted, 3), labels=THREE, positive=None, confidence=0.95)
    assert figures["recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["classes"]["other"]["rows"] == 0
    assert figures["confusion"] == [[1, 0, 1], [0, 0, 0], [0, 0, 2]]
    assert figures["roc_auc"] is not None


@pytest.mark.parametrize(("present", "false_positive_rate"), [(0, 0.0), (1, None)])
def test_a_split_with_one_class_has_no_roc_auc(present: int, false_positive_rate: float | None) -> None:
    targets = np.full(4, present)
    figures = measure(targets, one_hot(targets, 2), labels=BINARY, positive="spam", confidence=0.95)
    assert figures["accuracy"] == 1.0
    assert figures["roc_auc"] is None
    assert figures["false_positive_rate"] == false_positive_rate
    assert figures["log_loss"] == pytest.approx(-np.log(0.9))


def test_certain_and_wrong_is_a_finite_log_loss() -> None:
    figures = measure(np.array([0, 1]), np.eye(2)[[1, 1]], labels=BINARY, positive="spam", confidence=0.95)
    assert np.isfinite(figures["log_loss"])


def test_no_rows_are_refused_in_one_sentence() -> None:
    with pytest.raises(LabelError, match="no messages to measure"):
        measure(np.array([], dtype=int), np.empty((0, 2)), labels=BINARY, positive="spam", confidence=0.95)


def test_flat_names_of_every_part() -> None:
    targets, probabilities = random_case(2)
    figures = measure(targets, probabilities, labels=BINARY, positive="spam", confidence=0.95)
    flat = flatten_metrics(
        {
            "test": figures,
            "baseline": {"test": figures},
            "natural_prevalence": {"precision": 0.5, "shares": {"ham": 1.0}},
        }
    )
    assert flat["test/accuracy"] == figures["accuracy"]
    assert flat["test/accuracy_low"] < flat["test/accuracy"] < flat["test/accuracy_high"]
    assert flat["baseline/test/accuracy"] == figures["accuracy"]
    assert {name for name in flat if name.startswith("natural")} == {"natural_prevalence/precision"}
    assert not any("confusion" in name or "classes" in name for name in flat)
    assert flatten_metrics({"test": {**figures, "roc_auc": None}, "natural_prevalence": None}).keys() == {
        name for name in flat if name.startswith("test/") and name != "test/roc_auc"
    }
