import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.model.padding import pad_batch
from tests.support.toy_training import VALIDATION, classifier, messages, train

TEST = messages(30, 2)


def test_asking_for_the_figures_changes_no_other_number() -> None:
    plain, measured = classifier(), classifier()
    heard = []
    one = train(plain)
    two = train(measured, published_figures=True, test=TEST, on_figures=lambda *figures: heard.append(figures))
    assert one.history.drop(columns="seconds").equals(two.history.drop(columns="seconds"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), measured.parameters(), strict=True))
    assert one.published == {}
    assert heard == list(two.published.items())
    assert list(two.published) == ["before", "after"]


def test_figures_look_at_so_many_messages() -> None:
    figures = train(classifier(), published_figures=True, test=TEST).published
    splits = ("train", "validation", "test")
    assert list(figures["before"]) == [f"{s}_{f}" for f in ("accuracy", "loss") for s in splits]
    assert list(figures["after"]) == [f"{split}_accuracy" for split in splits]
    # 10 batches of 8, or all there are; after training 12 whole batches of 100 training messages.
    for part, counts in (("before", (80, 21, 30)), ("after", (96, 21, 30))):
        for split, count in zip(splits, counts, strict=True):
            hits = figures[part][f"{split}_accuracy"] * count
            assert math.isclose(hits, round(hits), abs_tol=1e-9), (part, split)


def test_figures_after_are_those_of_the_kept_weights() -> None:
    model = classifier()
    figures = train(model, published_figures=True, test=TEST, keep="best", learning_rate=0.1).published["after"]
    tokens = torch.full((30, 20), 50256)
    for row, message in enumerate(TEST.inputs):
        tokens[row, : len(message)] = torch.tensor(message)
    with torch.no_grad():
        guesses = model(tokens, torch.tensor([len(message) for message in TEST.inputs])).argmax(dim=1)
    assert figures["test_accuracy"] == (guesses == torch.tensor(TEST.targets)).double().mean().item()


def test_a_resumed_training_has_the_same_figures(tmp_path: Path) -> None:
    class Stopped(Exception):  # noqa: N818 - it is no error
        pass

    def stop(done: int, total: int | None, unit: str) -> None:
        if done == 20:
            raise Stopped

    fields: dict[str, Any] = {"published_figures": True, "test": TEST, "checkpoint_every": 8}
    whole = train(classifier(), **fields)
    with pytest.raises(Stopped):
        train(classifier(), scratch=tmp_path, progress=stop, **fields)
    resumed = train(classifier(), scratch=tmp_path, **fields)
    assert resumed.resumed_at == 16
    assert resumed.published == whole.published


@pytest.mark.parametrize("fields", [{}, {"test": TEST, "padding": "batch"}])
def test_figures_without_a_test_split_or_published_batches_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need a test split, and another padding"):
        train(classifier(), published_figures=True, **fields)


def test_ignored_messages_do_not_count_in_the_loss() -> None:
    model = classifier()
    history = train(model, ignore_index=1, epochs=2, learning_rate=0.02, evaluate_batches=None).history
    assert history.train_loss.iloc[-1] < 0.05  # calling every message 0 is all that is learnt
    losses = []
    for start in range(0, len(VALIDATION.targets), 8):
        rows = [row for row in range(start, min(start + 8, 21)) if VALIDATION.targets[row] == 0]
        tokens, lengths = pad_batch([VALIDATION.inputs[row] for row in rows], 20)
        with torch.no_grad():
            losses.append(-model(tokens, lengths).log_softmax(dim=1)[:, 0].mean().item())
    assert math.isclose(history.validation_loss.iloc[-1], sum(losses) / len(losses), rel_tol=1e-5)
