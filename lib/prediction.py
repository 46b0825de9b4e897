"""A saved classifier at work: texts in, a label and the probability of each class out.

Here belongs what makes a prediction agree with the training: encoding, cutting and padding are those of the recipe
that lies beside the weights. Who asks (the command line, MLflow's server) is not known here.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lib.errors import MessagesError, WeightsError
from lib.model.classifier import RECIPE, Classifier, class_probabilities, load_classifier
from lib.text.batching import Padding
from lib.text.encoding import load_encoding
from lib.text.tokens import tokenize

WINDOW = 4096  # texts in memory at once: enough to batch those of similar length, however many there are


@dataclass(frozen=True)
class Prediction:
    """The most probable label, and the probability of each label; they sum to one."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Predictor:
    """A classifier with all that its recipe says about its input.

    encoding: the name of the encoding.
    max_length: tokens kept of each text.
    padding: as in the recipe's `classifier.padding`.
    precision: arithmetic of the matrix products, "float32" or "bfloat16".
    device: "auto", "cpu" or "cuda".
    """

    classifier: Classifier
    encoding: str
    max_length: int
    padding: Padding
    precision: str
    device: str = "auto"

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> "Predictor":
        """The predictor of a classifier's folder: model.safetensors, config.json, labels.json and recipe.json.

        Raises WeightsError if a file is missing, damaged or does not fit the others.
        """
        classifier = load_classifier(folder)
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))  # load_classifier has checked that it can
        return cls(
            classifier,
            encoding=_field(recipe, "encoding", "name", str, folder),
            max_length=_field(recipe, "encoding", "max_length", int, folder),
            padding=_field(recipe, "classifier", "padding", str | int, folder),
            precision=_field(recipe, "training", "precision", str, folder),
            device=device,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return self.classifier.labels

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """A prediction for each text, in their order; texts are read as predictions are taken, `WINDOW` at a time.

        Raises MessagesError, naming the position (from 1), if a text is empty or not a string.
        """
        waiting = iter(texts)
        before = 0
        while window := list(islice(waiting, WINDOW)):
            for position, text in enumerate(window, start=before + 1):
                _require_text(text, position)
            yield from self._predict(window)
            before += len(window)

    def _predict(self, texts: list[str]) -> Iterator[Prediction]:
        probabilities = class_probabilities(
            self.classifier,
            tokenize(texts, load_encoding(self.encoding), max_length=self.max_length),
            padding=self.padding,
            max_length=self.max_length,
            device=self.device,
            precision=self.precision,
        )
        for row in probabilities:
            yield Prediction(self.labels[int(row.argmax())], dict(zip(self.labels, row.tolist(), strict=True)))


def _require_text(text: object, position: int) -> None:
    if not isinstance(text, str):
        raise MessagesError(f"text {position} is not a string but {text!r}: give each text as a string")
    if not text.strip():
        raise MessagesError(f"text {position} is empty: leave it out, there is nothing to classify")


def _field(recipe: dict[str, Any], section: str, name: str, kind: Any, folder: Path) -> Any:
    """A field of the recipe as the training resolved it."""
    value = recipe.get(section, {}).get(name)
    if not isinstance(value, kind):
        raise WeightsError(f"{folder / RECIPE} has {section}.{name} = {value!r}: train the classifier again")
    return value
