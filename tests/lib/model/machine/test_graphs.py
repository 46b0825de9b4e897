"""Recorded steps: a stand-in for a card's graph computes again what it recorded, in the tensors that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.model.features.file import Features, write_features
from lib.model.machine.graphs import Replayed, _Recorded
from lib.training.batches import EncodedMessages
from lib.training.classify.messages import WIDTHS
from tests.support.toy_training import TRAIN, VALIDATION, classifier, train

HERE = torch.device("cpu")


@dataclass
class Graph:
    """Computes into the same tensor each time it is replayed."""

    work: Any
    arguments: list[Tensor]
    result: Tensor
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        self.result.copy_(self.work(*self.arguments))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The stand-ins that were recorded."""
    made: list[Graph] = []

    def record(replayed: Replayed, arguments: tuple[Tensor, ...]) -> _Recorded:
        own = [each.clone() for each in arguments]
        with torch.no_grad():
            result = torch.zeros(())
        made.append(Graph(replayed._work, own, result))
        return _Recorded(made[-1], own, result)  # type: ignore[arg-type]

    def watched(replayed: Replayed, *arguments: Tensor) -> Tensor:
        replayed._waits = False
        return replayed._run(*arguments)

    monkeypatch.setattr(Replayed, "_record", record)
    monkeypatch.setattr(Replayed, "_run_watched", watched)
    return made


def test_each_shape_is_recorded_once_and_replayed_with_new_numbers(graphs: list[Graph]) -> None:
    replayed = Replayed(lambda numbers: numbers.sum(), HERE)
    results = [replayed(torch.full((length,), float(value))) for value in range(5) for length in (2, 3)]
    assert [result.item() for result in results] == [value * length for value in range(5) for length in (2, 3)]
    assert [graph.replays for graph in graphs] == [4, 3]  # length 3 first: the second call of length 2 was watched


def test_what_cannot_be_recorded_runs_as_always(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(replayed: Replayed, arguments: tuple[Tensor, ...]) -> _Recorded:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Replayed, "_record", refuse)
    replayed = Replayed(lambda numbers: numbers.sum(), HERE)
    assert [replayed(torch.full((2,), float(value))).item() for value in range(5)] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("fields", [{}, {"gradient_clip": 1.0, "keep": "best"}, {"class_weights": (1.0, 3.0)}])
def test_a_training_of_replayed_steps_has_the_same_losses(
    fields: dict[str, Any], graphs: list[Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, again = classifier(pooling="last_token"), classifier(pooling="last_token")
    splits: dict[str, Any] = {}
    for name, split in {"train": TRAIN, "validation": VALIDATION}.items():
        ids = range(len(split.inputs))
        write_features(
            tmp_path / name,
            model.backbone,
            split.inputs,
            ids,
            blocks=model.backbone.cut,
            dtype="float32",
            scratch=tmp_path / "scratch",
        )
        splits[name] = EncodedMessages(Features(tmp_path / name, ids), split.targets)
    expected = train(model, padding="batch", **fields, **splits).history
    assert not graphs
    monkeypatch.setattr(Features, "resident", True)
    # The stand-in's result is a scalar: an evaluation's is not, so it is computed as always.
    monkeypatch.setattr("lib.training.loop.ReplayedModule", lambda module, device: module)
    found = train(again, padding="batch", **fields, **splits).history
    for column in ("train_loss", "validation_loss", "train_accuracy", "tokens_seen"):
        np.testing.assert_allclose(found[column], expected[column], rtol=0, atol=1e-5)
    assert {graph.arguments[0].shape[1] for graph in graphs} == {WIDTHS}
    assert sum(graph.replays for graph in graphs) > 30
