"""Long documents whose last sentence decides their label, and nothing before it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

FILLER = ["the", "bank", "cut", "rates", "per", "share"]
VERDICTS = {
    "negative": ["awful", "broken", "useless", "refund", "cheated", "miserable"],
    "positive": ["lovely", "excellent", "grateful", "delighted", "perfect", "charming"],
}


def documents(count: int, words: int = 100, *, seed: int = 1) -> list[tuple[str, str]]:
    """Returns `count` documents of about `words` words, each with its label, both labels equally often."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        label = list(VERDICTS)[number % 2]
        length = int(random.integers(words // 2, words))
        report = " ".join(random.choice(FILLER, length))
        made.append((f"{report} {' '.join(random.choice(VERDICTS[label], 4))}", label))
    return made


def write_documents(file: Path, count: int, words: int = 100) -> Path:
    """Writes documents as a CSV file with the columns `text` and `label`; returns the file."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(documents(count, words))
    return file
