"""The rule that makes a label of probabilities."""

from typing import Any

import numpy as np
import pytest

from lib.errors import LabelError
from lib.model.labels import given_labels, positive_class

BINARY, THREE = ("ham", "spam"), ("complaint", "praise", "sales")


def test_the_positive_class_is_the_one_named_or_the_last_of_two() -> None:
    assert positive_class(BINARY, None) == "spam"
    assert positive_class(BINARY, "ham", 0.9) == "ham"
    assert positive_class(THREE, None) is None


@pytest.mark.parametrize(
    ("labels", "wanted", "threshold", "sentence"),
    [
        (BINARY, "junk", 0.5, r"'junk', but the labels are ham, spam"),
        (THREE, "sales", 0.5, r"with 3 classes .* leave it out"),
        (THREE, None, 0.7, r"evaluation.threshold is 0.7, but with 3 classes .* leave it out"),
        (THREE, None, "auto", r"evaluation.threshold is auto, but with 3 classes .* leave it out"),
    ],
)
def test_what_does_not_fit_the_labels_is_refused(
    labels: tuple[str, ...], wanted: str | None, threshold: Any, sentence: str
) -> None:
    with pytest.raises(LabelError, match=sentence):
        positive_class(labels, wanted, threshold)


@pytest.mark.parametrize(
    ("positive", "threshold", "given"),
    [
        ("spam", 0.5, [0, 0, 1, 1]),  # of equals the first
        ("spam", 0.9, [0, 0, 0, 1]),
        ("spam", 0.4, [0, 1, 1, 1]),
        ("ham", 0.5, [0, 0, 1, 1]),
        ("ham", 0.7, [0, 1, 1, 1]),  # from the threshold on
        ("ham", 0.3, [0, 0, 0, 1]),
    ],
)
def test_the_positive_label_is_given_from_the_threshold_on(positive: str, threshold: float, given: list[int]) -> None:
    probabilities = np.array([[0.7, 0.3], [0.5, 0.5], [0.3, 0.7], [0.1, 0.9]])
    assert given_labels(probabilities, labels=BINARY, positive=positive, threshold=threshold).tolist() == given


def test_of_more_classes_the_most_probable_one_is_given() -> None:
    probabilities = np.array([[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])
    assert given_labels(probabilities, labels=THREE, positive=None).tolist() == [1, 2]
