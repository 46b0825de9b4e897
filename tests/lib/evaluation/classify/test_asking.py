"""The engine is asked part by part: by other processes it says the same of each message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.cluster.opening import Choice, open_cluster
from lib.data.tokens import REPORT
from lib.evaluation.classify import asking
from lib.evaluation.classify.asking import Served, ask
from lib.files.jsonfile import save_json
from lib.inference.engines.loading import load_engine
from lib.model.features.inputs import split_inputs
from lib.text.gpt2 import gpt2_tokenizer
from tests.support.saved import LABELS, MAX_LENGTH, save_gpt2_classifier
from tests.support.tokens import tokenized


def test_other_processes_answer_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASKED", 16)
    classifier = save_gpt2_classifier(tmp_path / "classifier")
    texts = [f"message number {row} " + "again " * (row % 7) for row in range(50)]
    table = pd.DataFrame({"id": range(50), "text": texts, "label": [LABELS[row % 3] for row in range(50)]})
    made, _ = tokenized(
        {"train": table, "test": table[:20]},
        tmp_path,
        labels=LABELS,
        tokenizer=gpt2_tokenizer(),
        max_length=MAX_LENGTH,
        context_length=64,
    )
    tokens = tmp_path / "tokens"
    save_json(made.report, tokens / REPORT)
    engine = load_engine(classifier, device="cpu")
    inputs = {name: split_inputs(tokens, None, name) for name in ("train", "test")}
    alone = ask(engine, inputs)
    heard: list[tuple[int, int | None, str]] = []
    with open_cluster(Choice("local", None, 2), scratch=tmp_path) as cluster:
        served = Served(classifier, classifier, "cpu", tokens, None, torch.get_num_threads())
        found = ask(engine, inputs, served=served, cluster=cluster, progress=lambda *step: heard.append(step))
    assert list(found) == ["train", "test"]
    for name, answers in alone.items():
        np.testing.assert_array_equal(found[name], answers)
        np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert [done for done, *_ in heard] == [16, 32, 48, 50, 66, 70]
