import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline, make_union

from lib.data.draws import sample_by_key
from lib.errors import LabelError
from lib.evaluation.classify import rivals, word_vectors
from lib.evaluation.classify.baseline import GRID, fit_baseline, majority, refit_baseline
from lib.evaluation.classify.word_vectors import WordVectors
from lib.evaluation.sampling import sample_rows
from tests.support.keyed import keyed

TRAIN = ["win a free prize now", "claim your free cash", "see you at lunch", "are you home yet"] * 3
TARGETS = np.array([1, 1, 0, 0] * 3)
VALIDATION = (["free cash now", "lunch at home", "you win", "see you"], np.array([1, 0, 1, 0]))


def test_what_is_learnt_from_the_training_texts_is_applied_to_others() -> None:
    found = fit_baseline((TRAIN, TARGETS), VALIDATION, classes=2)
    probabilities = found.probabilities(["free cash prize", "home for lunch"])
    assert probabilities.argmax(axis=1).tolist() == [1, 0]
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])


def test_the_same_texts_give_the_same_bits_and_so_does_fitting_what_was_chosen() -> None:
    first, second = (fit_baseline((TRAIN, TARGETS), VALIDATION, classes=2) for _ in range(2))
    again = refit_baseline((TRAIN, TARGETS), inverse_penalty=first.inverse_penalty, classes=2)
    assert first.probabilities(TRAIN).tobytes() == second.probabilities(TRAIN).tobytes()
    assert first.probabilities(TRAIN).tobytes() == again.probabilities(TRAIN).tobytes()
    assert again.about == first.about


def test_words_make_bit_by_bit_the_rows_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "AT_ONCE", 7)
    texts = [*TRAIN, "", "  ", "Ünïcode ΟΔΟΣ ΣΑΣ\u2003I am\ta  x-y_z 12£", "a\x1fb\u200bc İstanbul", "call " * 70]
    for options in ({"analyzer": "char_wb", "ngram_range": (1, 4)}, {"token_pattern": r"(?u)\b\w+\b"}):
        fitted = TfidfVectorizer(**options, sublinear_tf=True, dtype=np.float32).fit(texts)
        expected, found = (
            fitted.transform([*texts, "new words"]),
            WordVectors([fitted]).transform([*texts, "new words"]),
        )
        assert found.dtype == np.float32
        for part in ("data", "indices", "indptr"):
            assert np.array_equal(getattr(found, part), getattr(expected, part))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_penalty_is_the_best_of_the_grid_on_validation(classes: int) -> None:
    """The same with scikit-learn's own pipeline and log loss."""
    targets = TARGETS.copy()
    targets[:4] = np.arange(4) % classes
    texts, right = VALIDATION[0], np.array([1, 0, 0, classes - 1])
    losses, answers = {}, {}
    for inverse_penalty in GRID:
        union = make_union(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, dtype=np.float32),
            TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 1), sublinear_tf=True, dtype=np.float32),
        )
        model = make_pipeline(union, LogisticRegression(C=inverse_penalty, max_iter=1000))
        answers[inverse_penalty] = model.fit(TRAIN, targets).predict_proba(texts)
        losses[inverse_penalty] = log_loss(right, answers[inverse_penalty], labels=range(classes))
    found = fit_baseline((TRAIN, targets), (texts, right), classes=classes)
    assert found.inverse_penalty == min(losses, key=lambda each: losses[each])
    assert found.probabilities(texts) == pytest.approx(answers[found.inverse_penalty], abs=1e-6)
    assert f"C = {found.inverse_penalty:g} of 1, 10, 100" in found.about


def test_a_sample_has_messages_of_every_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "MOST_ROWS", 50)
    labels = np.array(["ham"] * 982 + ["spam"] * 15 + ["odd"] * 3)
    table = keyed(
        pd.DataFrame({"id": range(1000), "text": [f"text {row}" for row in range(1000)], "label": labels}),
        tmp_path / "all",
    )
    targets = table.positions("label", ["ham", "spam", "odd"])
    texts, found = rivals.drawn(table, targets)
    assert np.bincount(found).tolist()[1:] == [10, 3]
    assert 50 <= len(texts) <= 63
    assert [targets[int(text.split()[1])] for text in texts] == found.tolist()
    few = keyed(table.frame(["id", "text", "label"]).iloc[:50], tmp_path / "few")
    assert len(rivals.drawn(few, few.positions("label", ["ham"]))[0]) == 50


def test_a_class_without_training_messages_gets_probability_zero() -> None:
    found = fit_baseline((TRAIN, TARGETS * 2), (["free cash"], np.array([1])), classes=3)
    probabilities = found.probabilities(["free prize"])
    assert probabilities[0, 1] == 0
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert probabilities.shape == (1, 3)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(LabelError, match="same label"):
        fit_baseline((["a", "b"], np.array([1, 1])), VALIDATION, classes=2)


def test_of_many_messages_a_sample_is_learned_from_and_that_is_said() -> None:
    found = fit_baseline((TRAIN[:10], TARGETS[:10]), VALIDATION, classes=2, of_rows=12)
    assert (found.rows, found.of_rows) == (10, 12)
    assert found.about.endswith("on a random sample of 10 of 12 messages")
    rows = sample_rows(12, 10, seed=0)
    assert rows == sorted(set(rows)) == sample_rows(12, 10, seed=0) != sample_rows(12, 10, seed=1)
    assert sample_rows(10, 10, seed=0) == list(range(10))


def test_a_sample_by_keys_hardly_depends_on_the_other_messages() -> None:
    generator = np.random.default_rng(0)
    keys = generator.integers(1 << 63, size=1000).astype(np.uint64)
    keys[500:] = keys[0]  # half of the messages are copies of one
    drawn = sample_by_key(keys, 100)
    assert len(drawn) == 100
    assert (np.diff(drawn) > 0).all()
    assert 30 < (drawn >= 500).sum() < 70
    left = np.delete(np.arange(1000), [drawn[3], 7])
    again = left[sample_by_key(keys[left], 100)]
    assert len(set(drawn.tolist()) - set(again.tolist())) <= 2
    assert sample_by_key(keys, 100, seed=1).tolist() != drawn.tolist()
    assert sample_by_key(keys, 1000).tolist() == list(range(1000))


def test_the_majority_knows_only_how_frequent_labels_are() -> None:
    probabilities = majority([1, 3, 0], 2)
    assert probabilities.tolist() == [[0.25, 0.75, 0.0]] * 2


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
    train, validation, test = (
        (part["text"].tolist(), (part["label"] == "spam").astype(int).to_numpy())
        for part in (balanced[:1045], balanced[1045:1194], balanced[1194:])
    )
    probabilities = fit_baseline(train, validation, classes=2).probabilities(test[0])
    assert (probabilities.argmax(axis=1) == test[1]).sum() == 292  # 97.3 % of 300
