"""Messages with two labels, split and tokenized, for the tests of the whole evaluation."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokens import tokenize

SPAM = "spam & <scam>"


def messages(first: int, rows: int, labels: tuple[str, ...]) -> pd.DataFrame:
    words = ["lunch", "prize", "<script>alert(1)</script>", "home", "£400 cash", "see you"]
    return pd.DataFrame(
        {
            "id": np.arange(first, first + rows),
            "text": [
                f"{words[i % 6]} {words[i % 5]} {chr(97 + i % 26)}{chr(97 + i // 26)}"
                for i in range(first, first + rows)
            ],
            "label": [labels[i % len(labels)] for i in range(first, first + rows)],
        }
    )


@pytest.fixture(scope="module")
def splits() -> dict[str, pd.DataFrame]:
    """40 + 12 + 20 messages with both labels in turn, and 30 left out by undersampling; no near-duplicates."""
    both = ("ham", SPAM)
    return {
        "train": messages(0, 40, both),
        "validation": messages(40, 12, both),
        "test": messages(52, 20, both),
        "reserve": messages(72, 30, ("ham",)),
    }


@pytest.fixture(scope="module")
def inputs(splits: dict[str, pd.DataFrame]) -> dict[str, list[list[int]]]:
    """The tokens of each split."""
    return {name: tokenize(split["text"], gpt2_tokenizer(), max_length=12) for name, split in splits.items()}


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Three rows of a training's history."""
    return pd.DataFrame(
        {
            "step": [0, 4, 9],
            "epoch": [0.1, 0.5, 1.0],
            "examples_seen": [4, 20, 40],
            "train_loss": [0.7, 0.6, 0.5],
            "validation_loss": [0.7, 0.65, 0.62],
            "train_accuracy": [0.5, 0.6, 0.7],
            "validation_accuracy": [0.5, 0.6, 0.6],
        }
    )


@pytest.fixture(scope="module")
def facts(history: pd.DataFrame) -> dict[str, Any]:
    """The arguments of `evaluate` that come from earlier steps."""
    return {
        "history": history,
        "class_counts": {"ham": 66, SPAM: 36},
        "straddling": {
            which: {"near_duplicates": {"validation": 1, "test": count}, "copies": {"validation": 0, "test": 0}}
            for which, count in (("made", 0), ("plain", 37))
        },
        "about": {"backbone": "2 layers & a <head>"},
    }
