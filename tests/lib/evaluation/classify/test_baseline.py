import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.errors import LabelError
from lib.evaluation.classify.baseline import baseline_probabilities

TRAIN = ["win a free prize now", "claim your free cash", "see you at lunch", "are you home yet"] * 3
TARGETS = np.array([1, 1, 0, 0] * 3)


def test_what_is_learnt_from_the_training_texts_is_applied_to_others() -> None:
    probabilities = baseline_probabilities(TRAIN, TARGETS, ["free cash prize", "home for lunch"], classes=2)
    assert probabilities.argmax(axis=1).tolist() == [1, 0]
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_the_same_texts_give_the_same_bits() -> None:
    first, second = (baseline_probabilities(TRAIN, TARGETS, TRAIN, classes=2) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_class_without_training_messages_gets_probability_zero() -> None:
    probabilities = baseline_probabilities(TRAIN, TARGETS * 2, ["free prize"], classes=3)
    assert probabilities[0, 1] == 0
    assert probabilities.shape == (1, 3)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(LabelError, match="same label"):
        baseline_probabilities(["a", "b"], np.array([1, 1]), ["c"], classes=2)


@pytest.mark.data
def test_accuracy_on_the_published_test_split(real_data: Path) -> None:
    with zipfile.ZipFile(real_data / "sms+spam+collection.zip") as archive:
        source = archive.read("SMSSpamCollection").decode()
    messages = pd.read_csv(
        io.StringIO(source), sep="\t", header=None, names=["label", "text"], quoting=csv.QUOTE_MINIMAL
    )
    spam = messages[messages["label"] == "spam"]
    ham = messages[messages["label"] == "ham"].sample(len(spam), random_state=123)
    balanced = pd.concat([ham, spam]).sample(frac=1, random_state=123)
    train, test = balanced[:1045], balanced[1194:]
    targets = {
        name: (part["label"] == "spam").astype(int).to_numpy() for name, part in (("train", train), ("test", test))
    }
    probabilities = baseline_probabilities(train["text"].tolist(), targets["train"], test["text"].tolist(), classes=2)
    assert (probabilities.argmax(axis=1) == targets["test"]).sum() == 291  # 97.0 % of 300
