"""Classifies texts with a saved classifier: a label and the probability of each class.

Tokenizer, and how long texts are read, come from the files beside the weights, so that they agree with the training;
which engine computes does too. What an engine needs, such as torch, is imported when it is loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib.errors import MessagesError
from lib.inference.ahead import in_threads, one_ahead
from lib.inference.engines.engine import Engine
from lib.inference.engines.loading import load_engine
from lib.model.labels import (
    MOST_PROBABLE,
    UNSCALED,
    Probabilities,
    given_labels,
    positive_class,
    with_temperature,
)
from lib.model.usage import load_labels, load_temperature, load_usage
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.text.characters import require_whole_characters
from lib.text.long_texts import CUT_END, LongTexts
from lib.text.tokenizer import LONGEST_TEXT, Tokenizer, load_tokenizer
from lib.text.windows import read_texts

WINDOW = 4096  # texts in memory at once: enough to batch those of similar length


@dataclass(frozen=True)
class Prediction:
    """The predicted label, and the probability of each label; they sum to one."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Predictor:
    """A classifier's engine with its tokenizer and the rule by which probabilities become an answer.

    max_length: the most tokens of a row. long_texts: how texts of more tokens are read.
    positive, threshold: of two labels, the one predicted from this probability on (0.5: the more probable one); with
    more labels `positive` is None and the most probable one is predicted. temperature: what logits are divided by
    before that (1: nothing was calibrated).
    """

    engine: Engine
    tokenizer: Tokenizer
    max_length: int
    positive: str | None = None
    threshold: float = MOST_PROBABLE
    long_texts: LongTexts = CUT_END
    temperature: float = UNSCALED

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> "Predictor":
        """Loads a classifier's folder: labels.json, inference.json, its tokenizer, and what its engine reads.

        device: "auto", "cpu" or "cuda". Without threshold and temperature in the folder (registration adds them) the
        most probable label is given, and probabilities are the network's own. Raises WeightsError if a file is missing,
        damaged or does not fit the others, LabelError if positive label or threshold do not fit the labels, and what
        `load_engine` raises.
        """
        labels, saved = load_labels(folder), SavedFields(folder / INFERENCE)
        threshold = saved.get("threshold", float | int | None) or MOST_PROBABLE
        usage = load_usage(folder)
        return cls(
            load_engine(folder, device=device),
            load_tokenizer(folder),
            usage.max_length,
            positive=positive_class(labels, saved.get("positive_label", str | None), threshold),
            threshold=threshold,
            long_texts=usage.long_texts,
            temperature=load_temperature(folder),
        )

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are not the network's own, but say how often the classifier is right."""
        return self.temperature != UNSCALED

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return self.engine.labels

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Yields a prediction for each text, in order, reading `WINDOW` texts at a time, and a few windows ahead where
        a card computes. Raises MessagesError, naming the position (from 1), if a text is empty or not a string."""
        windows, labels = _windows(texts), self.labels
        first = list(islice(windows, 1))
        every = chain(first, windows)
        many = self.engine.on_card and any(len(window.texts) == WINDOW for window in first)
        begun = map(self._begin, in_threads(every, self._tokens) if many else map(self._tokens, every))
        for finish in one_ahead(begun) if many else begun:
            probabilities, given = finish()
            for row, index in zip(probabilities.tolist(), given.tolist(), strict=True):
                yield Prediction(labels[index], dict(zip(labels, row, strict=True)))

    def decide(self, tokens: Sequence[Sequence[int]]) -> tuple[Probabilities, NDArray[np.intp]]:
        """Classifies texts by their tokens, as the tokenizer encodes them, all of them: returns the probability of each
        label (texts, labels) float64, and the index of the label that is given (texts,)."""
        return self._begin(tokens)()

    def _begin(self, tokens: Sequence[Sequence[int]]) -> Callable[[], tuple[Probabilities, NDArray[np.intp]]]:
        """As `decide`, but returns what waits for the engine."""
        finish = self.engine.begin(read_texts(tokens, self.long_texts, self.tokenizer, self.max_length))

        def decided() -> tuple[Probabilities, NDArray[np.intp]]:
            probabilities = with_temperature(finish(), self.temperature)
            given = given_labels(probabilities, labels=self.labels, positive=self.positive, threshold=self.threshold)
            return probabilities, given

        return decided

    def _tokens(self, window: "_Window") -> list[list[int]]:
        for position, text in enumerate(window.texts, start=window.first):
            require_text(text, position)
        return self.tokenizer.encode(window.texts)


@dataclass(frozen=True)
class SavedPredictor:
    """A classifier's folder, which is loaded when this is called: see `Predictor.load`."""

    folder: Path
    device: str = "auto"

    def __call__(self) -> Predictor:
        return Predictor.load(self.folder, device=self.device)


class _Window(NamedTuple):
    """Some texts, and the position of the first (from 1)."""

    first: int
    texts: list[str]


def _windows(texts: Iterable[str]) -> Iterator[_Window]:
    waiting = iter(texts)
    first = 1
    while window := list(islice(waiting, WINDOW)):
        yield _Window(first, window)
        first += len(window)


def require_text(text: object, position: int) -> None:
    """Raises MessagesError, naming the position (from 1), if there is no text to classify."""
    if not isinstance(text, str):
        raise MessagesError(f"text {position} is not a string but {text!r}: give each text as a string")
    if not text.strip():
        raise MessagesError(f"text {position} is empty: leave it out, there is nothing to classify")
    if len(text) > LONGEST_TEXT:
        raise MessagesError(
            f"text {position} has {len(text):,} characters: cut it, {LONGEST_TEXT:,} is the most that can be encoded"
        )
    require_whole_characters(text, f"text {position}", mend="give whole characters, in UTF-8")
