"""The drift profile: what held-out messages looked like to a classifier, to compare later ones with."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lib.evaluation.classify.predictions import probability_columns, read_predictions
from lib.files.jsonfile import save_json

if TYPE_CHECKING:
    from lib.text.token_rows import Tokens
    from lib.text.tokenizer import Tokenizer

PROFILE = "drift_profile.json"  # the file in an evaluation and in a classifier's folder
HELD_OUT = ("validation", "test")
MOST_VALUES = 1000  # of a distribution, which is then exact to a thousandth
SCORE_DIGITS = 6  # beyond these, scores depend on the order of additions

Floats = NDArray[np.float64]
Rows: TypeAlias = pa.Table | pa.RecordBatch


class Distribution(BaseModel):
    """A distribution as steps: distinct `values`, ascending, and the `masses` at them, which sum to one.

    Of more than `MOST_VALUES` distinct values, that many quantiles, each with the mass since the previous one.
    """

    model_config = ConfigDict(frozen=True)

    values: tuple[float, ...]
    masses: tuple[float, ...]

    @classmethod
    def of(cls, distinct: Floats, weights: NDArray[Any]) -> Self:
        """Makes the distribution of ascending `distinct` values (values,), each with its weight (values,)."""
        masses = weights / weights.sum()
        if len(distinct) > MOST_VALUES:
            reached = np.cumsum(masses)
            ends = np.unique(np.searchsorted(reached, np.arange(1, MOST_VALUES) / MOST_VALUES))
            ends = np.unique(np.append(ends, len(distinct) - 1))
            masses = np.diff(reached[ends], prepend=0.0)
            distinct = distinct[ends]
        return cls(values=tuple(distinct.tolist()), masses=tuple(masses.tolist()))


class DriftProfile(BaseModel):
    """The held-out messages (validation and test), at the class shares of the source, or of a given test split.

    tokenizer: the name of the tokenizer behind lengths and tokens. labels: the classifier's labels.
    messages: how many were held out; `effective`: the equally weighted number that is as informative,
        (sum w)^2 / sum w^2 (L. Kish, Survey Sampling, 1965).
    score: the probability of the last of two labels; of more labels, that of the most probable one.
    length: tokens of a message before truncation.
    most_probable: the share of messages for which each label is the most probable one.
    unknown: the share of tokens that do not occur in the training split, and that share's variance.
    known: one bit for each token of the vocabulary, in base64: whether it occurs in the training split.
    """

    model_config = ConfigDict(frozen=True)

    tokenizer: str
    labels: tuple[str, ...]
    messages: int
    effective: float
    score: Distribution
    length: Distribution
    most_probable: dict[str, float]
    unknown: float
    unknown_variance: float
    known: str

    def known_tokens(self) -> NDArray[np.bool_]:
        """Returns (vocabulary, up to 7 more,): whether each token occurs in the training split."""
        bits = np.frombuffer(base64.b64decode(self.known), dtype=np.uint8)
        return np.unpackbits(bits).astype(bool)


def scores_of(probabilities: Floats) -> Floats:
    """Returns scores (rows,) of probabilities (rows, classes), rounded to be comparable between machines."""
    scores = probabilities[:, -1] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
    return np.round(scores, SCORE_DIGITS)


def score_of(probabilities: Sequence[float]) -> float:
    """Returns the score of one message, as `scores_of` does."""
    return round(probabilities[-1] if len(probabilities) == 2 else max(probabilities), SCORE_DIGITS)


def drift_profile(
    predictions: Iterable[Rows],
    *,
    labels: Sequence[str],
    class_counts: Mapping[str, int],
    tokenizer: Tokenizer,
    tokens: Mapping[str, Iterable[Tokens]] | None = None,
    held_out: NDArray[np.int64] | None = None,
) -> DriftProfile:
    """Makes the profile of a classifier from its predictions.

    Args:
        predictions: pieces with split, text, label and probability_<label> for each label, at least of `train`,
            `validation`, `test`, `train` before the others. Read twice without `held_out`, and never held as a whole.
        class_counts: rows of the source by label, before balancing, or of a given test split: held-out messages are
            weighted to have these shares, because messages arrive with them.
        tokenizer: the classifier's.
        tokens: those of the messages of each split, in their order, before truncation; None: the texts are tokenized.
        held_out: how many messages of each class validation and test have, (classes,), if that is known.
    """
    made = {name: iter(each) for name, each in (tokens or {}).items()}

    def encoded(split: str, rows: Rows) -> Iterable[Any]:
        return islice(made[split], len(rows)) if made else tokenizer.encode(rows.column("text").to_pylist())

    known = np.zeros(tokenizer.vocabulary, dtype=bool)
    here = held_out_counts(predictions, labels) if held_out is None else held_out
    weights = _weights(here, labels, class_counts)
    seen = _HeldOut(weights, np.zeros(len(labels)), np.zeros(10**SCORE_DIGITS + 1), np.zeros(1))
    for piece in predictions:
        for split in ("train", *HELD_OUT):
            rows = piece.filter(pc.equal(piece.column("split"), split))
            if split == "train":
                for each in encoded(split, rows):
                    known[each] = True
            elif len(rows):
                seen.add(rows, encoded(split, rows), labels, known)
    return DriftProfile(
        tokenizer=tokenizer.name,
        labels=tuple(labels),
        messages=seen.messages,
        effective=float(seen.weight**2 / seen.squares),
        score=seen.scores_as_steps(),
        length=seen.lengths_as_steps(),
        most_probable=dict(zip(labels, (seen.most_probable / seen.weight).tolist(), strict=True)),
        unknown=seen.unknown,
        # Of a ratio of two sums over messages: W. G. Cochran, Sampling Techniques, 3rd edition, 1977, section 2.11.
        unknown_variance=seen.unknown_variance,
        known=base64.b64encode(np.packbits(known).tobytes()).decode(),
    )


@dataclass
class _HeldOut:
    """What held-out messages come to, weighted by their class.

    weights: of a message of each class. most_probable: summed by class. scores: the weight of each score, in steps of
    10^-SCORE_DIGITS. lengths: that of each number of tokens. moments: the weighted tokens and unknown tokens, and the
    squares of the weights times the products of these: of (tokens, unknown) (2,) and (2, 2).
    """

    weights: Floats
    most_probable: Floats
    scores: Floats
    lengths: Floats
    messages: int = 0
    weight: float = 0.0
    squares: float = 0.0
    tokens: Floats = field(default_factory=lambda: np.zeros(2))
    products: Floats = field(default_factory=lambda: np.zeros((2, 2)))

    def add(
        self,
        held_out: Rows,
        tokens: Iterable[Any],
        labels: Sequence[str],
        known: NDArray[np.bool_],
    ) -> None:
        """Adds messages with their tokens. known: whether each of the vocabulary occurs in the training split."""
        columns = [held_out.column(f"probability_{label}").to_numpy(zero_copy_only=False) for label in labels]
        probabilities = np.stack(columns, axis=1).astype(np.float64)
        weights = self.weights[_targets(held_out, labels)]
        counts = np.array([(len(each), len(each) - int(known[each].sum())) for each in tokens], np.int64)
        self.messages += len(weights)
        self.weight += float(weights.sum())
        self.squares += float(weights @ weights)
        self.most_probable = self.most_probable + np.bincount(probabilities.argmax(axis=1), weights, len(labels))
        steps = np.rint(scores_of(probabilities) * 10**SCORE_DIGITS).astype(np.int64)
        np.add.at(self.scores, steps, weights)
        self.lengths = np.append(self.lengths, np.zeros(max(0, int(counts[:, 0].max()) + 1 - len(self.lengths))))
        np.add.at(self.lengths, counts[:, 0], weights)
        weighted = weights[:, None] * counts
        self.tokens += weighted.sum(axis=0)
        self.products += weighted.T @ weighted

    def scores_as_steps(self) -> Distribution:
        """The distribution of scores."""
        steps = np.flatnonzero(self.scores)
        return Distribution.of(np.round(steps / 10**SCORE_DIGITS, SCORE_DIGITS), self.scores[steps])

    def lengths_as_steps(self) -> Distribution:
        """The distribution of the messages' numbers of tokens."""
        there = np.flatnonzero(self.lengths)
        return Distribution.of(there.astype(np.float64), self.lengths[there])

    @property
    def unknown(self) -> float:
        """The share of tokens that do not occur in the training split."""
        return float(self.tokens[1] / self.tokens[0])

    @property
    def unknown_variance(self) -> float:
        """That share's variance: of the weighted residuals, unknown tokens less the share of all tokens."""
        apart = np.array([-self.unknown, 1.0])
        return max(0.0, float(apart @ self.products @ apart) / float(self.tokens[0]) ** 2)


def _targets(rows: Rows, labels: Sequence[str]) -> NDArray[np.int64]:
    """Returns the class of each message (rows,)."""
    places = pc.index_in(rows.column("label"), pa.array(labels, pa.string()))
    return np.asarray(places.to_numpy(zero_copy_only=False).astype(np.int64))


def held_out_counts(predictions: Iterable[Rows], labels: Sequence[str]) -> NDArray[np.int64]:
    """Counts held-out messages by class (classes,)."""
    counts = np.zeros(len(labels), np.int64)
    for piece in predictions:
        held_out = piece.filter(pc.is_in(piece.column("split"), pa.array(HELD_OUT)))
        counts += np.bincount(_targets(held_out, labels), minlength=len(labels))
    return counts


def _weights(here: NDArray[np.int64], labels: Sequence[str], class_counts: Mapping[str, int]) -> Floats:
    """Returns the weight of a message of each class (classes,), 1 on average over messages, that gives the classes, of
    which there are so many messages, the shares of `class_counts`."""
    by_class = [class_counts[label] / rows if rows else 0.0 for label, rows in zip(labels, here.tolist(), strict=True)]
    weights = np.array(by_class, dtype=np.float64)
    return np.asarray(weights * here.sum() / (weights @ here), dtype=np.float64)


def write_profile(
    folder: Path,
    *,
    labels: Sequence[str],
    class_counts: Mapping[str, int],
    tokenizer: Tokenizer,
    tokens: Mapping[str, Iterable[Tokens]] | None = None,
) -> None:
    """Adds the profile to the evaluation in `folder`, made from its predictions; the arguments are those of
    `drift_profile`."""
    predictions = read_predictions(folder, labels)
    profile = drift_profile(
        predictions.batches(["split", "text", "label", *probability_columns(labels).names]),
        labels=labels,
        class_counts=class_counts,
        tokenizer=tokenizer,
        tokens=tokens,
        held_out=held_out_counts(predictions.batches(["split", "label"]), labels),
    )
    save_json(profile.model_dump(mode="json"), folder / PROFILE)


def read_profile(folder: Path) -> DriftProfile | None:
    """Reads the profile in a classifier's folder; None if the classifier was registered without one."""
    file = folder / PROFILE
    return DriftProfile.model_validate_json(file.read_bytes()) if file.is_file() else None
