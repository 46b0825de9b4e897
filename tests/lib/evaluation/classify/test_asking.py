"""The engine is asked part by part: by other processes it says the same of each message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.cluster.opening import Choice, open_cluster
from lib.evaluation.classify import asking
from lib.evaluation.classify.asking import ask
from lib.inference.engines.loading import load_engine
from lib.model.features.inputs import split_inputs
from tests.support.asked import served_in


def test_other_processes_answer_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASKED", 16)
    served = served_in(tmp_path)
    engine = load_engine(served.classifier, device="cpu")
    inputs = {name: split_inputs(served.tokens, None, name) for name in ("train", "test")}
    alone = ask(engine, inputs)
    heard: list[tuple[int, int | None, str]] = []
    with open_cluster(Choice("local", None, 2), scratch=tmp_path) as cluster:
        found = ask(engine, inputs, served=served, cluster=cluster, progress=lambda *step: heard.append(step))
    assert list(found) == ["train", "test"]
    for name, answers in alone.items():
        np.testing.assert_array_equal(found[name], answers)
        np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert [done for done, *_ in heard] == [16, 32, 48, 50, 66, 70]
