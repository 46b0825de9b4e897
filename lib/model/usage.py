"""How a saved classifier is used: its labels, its inputs and its arithmetic; without torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from lib.errors import WeightsError
from lib.model.weights.saved import INFERENCE, SavedFields
from lib.text.batching import Padding

LABELS = "labels.json"


@dataclass(frozen=True)
class Usage:
    """How a saved classifier is used: its inputs and its arithmetic are those of training.

    max_length: tokens kept of each text. padding: as in `padding_width`. precision: "float32" or "bfloat16", for the
    matrix products.
    """

    max_length: int
    padding: Padding
    precision: str


def load_usage(folder: Path) -> Usage:
    """Reads the `Usage` that `save_classifier` wrote; raises `WeightsError` if it is missing or damaged."""
    saved = SavedFields(folder / INFERENCE)
    return Usage(
        max_length=saved.get("max_length", int),
        padding=saved.get("padding", str | int),
        precision=saved.get("precision", str),
    )


def load_labels(folder: Path) -> tuple[str, ...]:
    """Reads the labels that `save_classifier` wrote, in the order of the logits; raises `WeightsError` if they are
    missing or damaged."""
    file = folder / LABELS
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file} does not exist: a classifier's folder must have it") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): train the classifier again") from error
    if not isinstance(labels, list):
        raise WeightsError(f"{file} must contain a JSON list: train the classifier again")
    return tuple(labels)
