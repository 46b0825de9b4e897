"""A tiny classifier and the tokens of messages that its engine is asked about, as a cluster finds both."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from lib.data.tokens import REPORT
from lib.evaluation.classify.asking import Served
from lib.files.jsonfile import save_json
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.saved import LABELS, MAX_LENGTH, save_gpt2_classifier
from tests.support.tokens import tokenized


def served_in(folder: Path) -> Served:
    """Writes both into a folder: splits train of 50 messages and test of 20."""
    classifier, tokens = save_gpt2_classifier(folder / "classifier"), folder / "tokens"
    texts = [f"message number {row} " + "again " * (row % 7) for row in range(50)]
    table = pd.DataFrame({"id": range(50), "text": texts, "label": [LABELS[row % 3] for row in range(50)]})
    made, _ = tokenized(
        {"train": table, "test": table[:20]},
        folder,
        labels=LABELS,
        tokenizer=gpt2_tokenizer(),
        max_length=MAX_LENGTH,
        context_length=64,
    )
    save_json(made.report, tokens / REPORT)
    return Served(classifier, classifier, "cpu", tokens, None, torch.get_num_threads())
