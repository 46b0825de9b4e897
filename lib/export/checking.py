"""What every form of an exported classifier has: its tokenizer, and that it answers as before."""

from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import WeightsError
from lib.files.jsonfile import save_json
from lib.inference.predictor import Predictor
from lib.model.classifier import class_probabilities
from lib.text.tokenizer_files import SETTINGS, read_object

Probabilities = np.ndarray[Any, np.dtype[np.float64]]

CLOSE = 1e-4  # difference of a probability that rounding explains
SHORT = ("ok", "See you at the station at half past five, then!", "Free entry: text WIN to 80082 before Friday 12:30.")


def check_texts(predictor: Predictor) -> list[str]:
    """Returns texts of several lengths, the last one longer than what the classifier reads."""
    words = " ".join(SHORT).split()
    return [*SHORT, " ".join(islice(cycle(words), predictor.usage.max_length + 1))]


def encoded(predictor: Predictor, texts: list[str]) -> list[list[int]]:
    """Returns the tokens that the classifier reads of each text."""
    return [predictor.tokenizer.cut(tokens, predictor.usage.max_length) for tokens in predictor.tokenizer.encode(texts)]


def save_tokenizer(predictor: Predictor, folder: Path) -> None:
    """Writes the tokenizer, with the length at which texts are cut; the name of a special token in a text is text."""
    predictor.tokenizer.save(folder, max_length=predictor.usage.max_length)
    save_json({**read_object(folder / SETTINGS), "split_special_tokens": True}, folder / SETTINGS)


def require_same(predictor: Predictor, form: str, ask: Callable[[list[str]], Probabilities]) -> None:
    """Raises `WeightsError` if what was exported gives other probabilities than the classifier, to texts in one batch
    or alone.

    Both compute in float32, on the CPU. ask: returns the probabilities (texts, classes) of a batch of texts.
    """
    texts = check_texts(predictor)
    wanted = class_probabilities(
        predictor.classifier,
        encoded(predictor, texts),
        padding=predictor.usage.padding,
        max_length=predictor.usage.max_length,
        device="cpu",
    )
    together, alone = ask(texts), np.concatenate([ask([text]) for text in texts])
    difference = max(float(np.abs(found - wanted).max()) for found in (together, alone))
    if not difference <= CLOSE:
        raise WeightsError(
            f"the classifier as {form} gives other probabilities than it does here (by {difference:.2g}), so it was not"
            " written: use it with `finetune predict`, `score` or `serve`, or fine-tune other weights"
        )
