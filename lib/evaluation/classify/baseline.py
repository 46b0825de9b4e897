"""The baselines that a classifier must beat: the most frequent label, and TF-IDF with logistic regression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lib.errors import LabelError
from lib.evaluation.classify.word_vectors import WordVectors
from lib.model.labels import Probabilities, Targets

CHARACTERS = (1, 4)  # n-grams: parts of words distinguish short, misspelt messages better than words
TOKEN = r"(?u)\b\w+\b"  # words of one letter, too
# Inverse strengths of the L2 penalty, tried in this order. TF-IDF rows have length one, for which scikit-learn's 1.0 is
# heavy-handed: on the SMS Spam Collection's validation messages the log loss falls from 0.07 (1) to 0.04 (10 and 100).
GRID = (1.0, 10.0, 100.0)
MANY = 1_000  # training messages; of more, n-grams of a single one only cost time
# Messages that are learned from, and those that it is chosen on, so that the baseline never costs more than the model:
# of 350,000 training messages all would be 0.2 points better.
MOST_ROWS = 50_000
LEAST_PROBABILITY = 1e-12  # of the right label, in the log loss that chooses: a class may have no training message


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline.

    inverse_penalty: what was chosen of GRID. rows, of_rows: training messages that it learned from, and all there are.
    """

    inverse_penalty: float
    rows: int
    of_rows: int
    classes: int
    vectors: WordVectors
    model: Any

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Returns probabilities (texts, classes) float64; a class without training messages gets zero."""
        return _spread(self.model, self.vectors.transform(texts), self.classes)

    @property
    def about(self) -> str:
        """Says what it is and how it was chosen."""
        sample = (
            f", on a random sample of {self.rows:,} of {self.of_rows:,} messages" if self.rows < self.of_rows else ""
        )
        grid = ", ".join(f"{each:g}" for each in GRID)
        return (
            f"TF-IDF of words and of {CHARACTERS[0]} to {CHARACTERS[1]} characters in them, with"
            f" logistic regression, C = {self.inverse_penalty:g} of {grid} by the log loss on validation{sample}"
        )


def fit_baseline(
    train: tuple[Sequence[str], Targets],
    validation: tuple[Sequence[str], Targets],
    *,
    classes: int,
    of_rows: int | None = None,
) -> Baseline:
    """Fits TF-IDF with logistic regression on the training messages, and chooses its penalty on those of validation.

    train, validation: texts, and their classes (texts,). of_rows: of how many training messages these are a sample;
    None: they are all. Deterministic. Raises LabelError if all training messages share one label.
    """
    vectors, rows = _vectorized(train)
    targets = train[1]
    others, right = vectors.transform(validation[0]), validation[1]
    tried = []
    for inverse_penalty in GRID:
        model = _regression(inverse_penalty, rows, targets)
        likely = _spread(model, others, classes)[np.arange(len(right)), right]
        tried.append((float(-np.log(np.maximum(likely, LEAST_PROBABILITY)).mean()), inverse_penalty, model))
    _, inverse_penalty, model = min(tried, key=lambda each: each[:2])
    return Baseline(inverse_penalty, len(targets), of_rows or len(targets), classes, vectors, model)


def refit_baseline(
    train: tuple[Sequence[str], Targets], *, inverse_penalty: float, classes: int, of_rows: int | None = None
) -> Baseline:
    """Fits again what `fit_baseline` chose on these training messages: the same model, without choosing."""
    vectors, rows = _vectorized(train)
    model = _regression(inverse_penalty, rows, train[1])
    return Baseline(inverse_penalty, len(train[1]), of_rows or len(train[1]), classes, vectors, model)


def _vectorized(train: tuple[Sequence[str], Targets]) -> tuple[WordVectors, Any]:
    """Returns what makes rows of other texts, and the rows of the training messages."""
    texts, targets = train
    if len(np.unique(targets)) < 2:
        raise LabelError(
            "all training messages have the same label, so there is nothing to learn: set split.stratify to true"
            " or give more messages"
        )
    least = 2 if len(texts) > MANY else 1
    options: dict[str, Any] = {"sublinear_tf": True, "min_df": least, "dtype": np.float32}
    vectorizers = (
        TfidfVectorizer(analyzer="char_wb", ngram_range=CHARACTERS, **options),
        TfidfVectorizer(token_pattern=TOKEN, **options),
    )
    # Fitted by scikit-learn alone: the sums of a regression depend on the order in which it stores a row.
    rows = hstack([each.fit_transform(texts) for each in vectorizers], format="csr")
    return WordVectors(vectorizers), rows


def majority(counts: Sequence[int], rows: int) -> Probabilities:
    """Returns the probabilities (rows, classes) of a baseline that knows only how frequent each label is, messages of
    each being `counts`: the most frequent one is given to every message."""
    return np.broadcast_to(np.array(counts) / sum(counts), (rows, len(counts)))


def _regression(inverse_penalty: float, rows: Any, targets: Targets) -> LogisticRegression:
    """Fits in one thread: the products are of a sparse matrix, which has no others, and threads that only wait for the
    next small product take the processor from it (of 77 classes a fit took ten times as long on a busy machine)."""
    with threadpool_limits(1):
        return LogisticRegression(C=inverse_penalty, max_iter=1000).fit(rows, targets)


def _spread(model: Any, rows: Any, classes: int) -> Probabilities:
    """Returns what the model says of its classes, and zero for classes that it does not know."""
    known = model.predict_proba(rows)
    probabilities = np.zeros((len(known), classes), dtype=np.float64)
    probabilities[:, model.classes_] = known
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # which is 1 to the precision of float32
    return probabilities
