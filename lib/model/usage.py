"""How a saved classifier is used: its labels, its inputs and its arithmetic; without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lib.errors import WeightsError
from lib.files.jsonfile import read_strange_json
from lib.model.labels import UNSCALED
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.text.batching import Padding
from lib.text.long_texts import CUT_END, FIELDS, LongTexts, WindowPooling

LABELS = "labels.json"


@dataclass(frozen=True)
class Usage:
    """How a saved classifier is used: its inputs and its arithmetic are those of training.

    max_length: the most tokens of a row. padding: as in `padding_width`. precision: "float32" or "bfloat16", for the
    matrix products. long_texts: how texts of more tokens are read.
    """

    max_length: int
    padding: Padding
    precision: str
    long_texts: LongTexts = CUT_END

    def as_fields(self) -> dict[str, Any]:
        """Returns what inference.json says of it; without `long_texts`, the end of a long text is cut."""
        plain = {"max_length": self.max_length, "padding": self.padding, "precision": self.precision}
        return plain if self.long_texts == CUT_END else {**plain, "long_texts": self.long_texts.as_fields()}


def load_usage(folder: Path) -> Usage:
    """Reads the `Usage` that `save_classifier` wrote; raises `WeightsError` if it is missing or damaged."""
    saved = SavedFields(folder / INFERENCE)
    return Usage(
        max_length=saved.get("max_length", int),
        padding=saved.get("padding", str | int),
        precision=saved.get("precision", str),
        long_texts=_long_texts(saved),
    )


def _long_texts(saved: SavedFields) -> LongTexts:
    if saved.get("long_texts", dict | None) is None:
        return CUT_END
    method = saved.get("long_texts.method", str)
    if method not in FIELDS:
        raise saved.wrong("long_texts.method", method)
    kinds: dict[str, Any] = {"head_share": float, "overlap": int, "window_pooling": str, "most_windows": int}
    fields = {name: saved.get(f"long_texts.{name}", kinds[name]) for name in FIELDS[method]}
    if fields.get("window_pooling", "mean") not in get_args(WindowPooling):
        raise saved.wrong("long_texts.window_pooling", fields["window_pooling"])
    return LongTexts(method, **fields)


def load_temperature(folder: Path) -> float:
    """Reads what a classifier's logits are divided by, which registration adds to its folder; `UNSCALED` without it."""
    return SavedFields(folder / INFERENCE).get("temperature", float | int | None) or UNSCALED


def calibrated_here_alone(folder: Path) -> str | None:
    """Returns a sentence, without its full stop, if other programs give other probabilities than this one does."""
    temperature = load_temperature(folder)
    if temperature == UNSCALED:
        return None
    return (
        f"the probabilities are calibrated by this program alone: elsewhere divide the logits by {temperature:.6g}"
        " before softmax"
    )


def load_labels(folder: Path) -> tuple[str, ...]:
    """Reads the labels that `save_classifier` wrote, in the order of the logits; raises `WeightsError` if they are
    missing or damaged."""
    file = folder / LABELS
    try:
        labels = read_strange_json(file)
    except FileNotFoundError as error:
        raise WeightsError(f"{file} does not exist: a classifier's folder must have it") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): train the classifier again") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise WeightsError(f"{file} must contain a JSON list of texts: train the classifier again")
    return tuple(labels)
