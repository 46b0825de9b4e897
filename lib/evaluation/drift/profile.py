"""The drift profile: what held-out messages looked like to a classifier, to compare later ones with."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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


class Distribution(BaseModel):
    """A distribution as steps: distinct `values`, ascending, and the `masses` at them, which sum to one.

    Of more than `MOST_VALUES` distinct values, that many quantiles, each with the mass since the previous one.
    """

    model_config = ConfigDict(frozen=True)

    values: tuple[float, ...]
    masses: tuple[float, ...]

    @classmethod
    def of(cls, values: NDArray[Any], weights: Floats) -> Self:
        """Makes the distribution of `values` (rows,), weighted by `weights` (rows,)."""
        distinct, places = np.unique(values.astype(np.float64), return_inverse=True)
        masses = np.bincount(places, weights=weights) / weights.sum()
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
    predictions: Iterable[pa.Table | pa.RecordBatch],
    *,
    labels: Sequence[str],
    class_counts: Mapping[str, int],
    tokenizer: Tokenizer,
    tokens: Mapping[str, Iterable[Tokens]] | None = None,
) -> DriftProfile:
    """Makes the profile of a classifier from its predictions.

    Args:
        predictions: pieces with split, text, label and probability_<label> for each label, at least of `train`,
            `validation`, `test`, `train` before the others.
        class_counts: rows of the source by label, before balancing, or of a given test split: held-out messages are
            weighted to have these shares, because messages arrive with them.
        tokenizer: the classifier's.
        tokens: those of the messages of each split, in their order, before truncation; None: the texts are tokenized.
    """
    made = {name: iter(each) for name, each in (tokens or {}).items()}

    def encoded(split: str, rows: pa.Table | pa.RecordBatch) -> Iterable[Any]:
        return islice(made[split], len(rows)) if made else tokenizer.encode(rows.column("text").to_pylist())

    known = np.zeros(tokenizer.vocabulary, dtype=bool)
    pieces = []
    for piece in predictions:
        for split in ("train", *HELD_OUT):
            rows = piece.filter(pc.equal(piece.column("split"), split))
            if split == "train":
                for seen in encoded(split, rows):
                    known[seen] = True
            elif len(rows):
                pieces.append(_looked_at(rows, encoded(split, rows), labels, known))
    targets, lengths, unseen, probabilities = (np.concatenate(column) for column in zip(*pieces, strict=True))
    weights = _weights(targets, labels, class_counts)
    share = float(weights @ unseen / (weights @ lengths))
    residuals = weights * (unseen - share * lengths)
    return DriftProfile(
        tokenizer=tokenizer.name,
        labels=tuple(labels),
        messages=len(targets),
        effective=float(weights.sum() ** 2 / (weights @ weights)),
        score=Distribution.of(scores_of(probabilities), weights),
        length=Distribution.of(lengths, weights),
        most_probable={
            label: float(weights[probabilities.argmax(axis=1) == index].sum() / weights.sum())
            for index, label in enumerate(labels)
        },
        unknown=share,
        # Of a ratio of two sums over messages: W. G. Cochran, Sampling Techniques, 3rd edition, 1977, section 2.11.
        unknown_variance=float(residuals @ residuals / (weights @ lengths) ** 2),
        known=base64.b64encode(np.packbits(known).tobytes()).decode(),
    )


def _looked_at(
    held_out: pa.Table | pa.RecordBatch, tokens: Iterable[Any], labels: Sequence[str], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Returns of messages their class, tokens and those of them that are not known (rows,) each, and their
    probabilities (rows, classes)."""
    columns = [held_out.column(f"probability_{label}").to_numpy(zero_copy_only=False) for label in labels]
    counts = [(len(each), len(each) - int(known[each].sum())) for each in tokens]
    return (
        pc.index_in(held_out.column("label"), pa.array(labels)).to_numpy(zero_copy_only=False).astype(np.int64),
        np.array([length for length, _ in counts], dtype=np.float64),
        np.array([unseen for _, unseen in counts], dtype=np.float64),
        np.stack(columns, axis=1).astype(np.float64),
    )


def _weights(targets: NDArray[np.int64], labels: Sequence[str], class_counts: Mapping[str, int]) -> Floats:
    """Returns each row's weight, 1 on average, that gives the classes the shares of `class_counts`."""
    here = np.bincount(targets, minlength=len(labels))
    by_class = [class_counts[label] / rows if rows else 0.0 for label, rows in zip(labels, here.tolist(), strict=True)]
    weights = np.array(by_class, dtype=np.float64)[targets]
    return np.asarray(weights * len(targets) / weights.sum(), dtype=np.float64)


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
    read = predictions.batches(["split", "text", "label", *probability_columns(labels).names])
    profile = drift_profile(read, labels=labels, class_counts=class_counts, tokenizer=tokenizer, tokens=tokens)
    save_json(profile.model_dump(mode="json"), folder / PROFILE)


def read_profile(folder: Path) -> DriftProfile | None:
    """Reads the profile in a classifier's folder; None if the classifier was registered without one."""
    file = folder / PROFILE
    return DriftProfile.model_validate_json(file.read_bytes()) if file.is_file() else None
