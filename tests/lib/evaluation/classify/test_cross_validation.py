"""A classifier trained on each fold: who learns from what, and going on after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.errors import RecipeError
from lib.evaluation.classify import cross_validation
from lib.evaluation.classify.cross_validation import Messages, Procedure, cross_validate
from lib.evaluation.classify.suspects import OutOfFold
from lib.model.classifier import class_probabilities
from lib.model.features.file import ChosenFeatures, Features, write_features
from lib.model.features.inputs import AllInputs
from lib.model.gpt2.gpt import new_gpt
from lib.model.gpt2.pooled import PooledGPT
from lib.progress import Listener
from lib.text.windows import Windows
from lib.training.classify.finetune import finetune
from lib.training.classify.single_label import SingleLabel
from tests.support.toy_training import CONFIG, MAX_LENGTH, classifier, messages, settings

ROWS = 60
PARTS = [messages(40, 0), messages(20, 1)]  # the splits of a run
TARGETS = np.array([*PARTS[0].targets, *PARTS[1].targets])
GROUPS = np.arange(ROWS) // 2  # two copies of each
PROCEDURE = Procedure(settings(epochs=2, batch_size=8), "batch", MAX_LENGTH, SingleLabel(), validation_share=0.25)


def judged(folder: Path, *, listener: Listener | None = None, procedure: Procedure = PROCEDURE) -> OutOfFold:
    inputs = AllInputs([part.inputs for part in PARTS], range(ROWS))
    return cross_validate(
        lambda: classifier(pooling="last_token"),
        Messages(inputs, TARGETS, GROUPS),
        3,
        procedure,
        scratch=folder,
        listener=listener or Listener(),
    )


def test_no_message_is_judged_by_what_learned_from_it_or_a_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of = {id(inputs): row for row, inputs in enumerate([*PARTS[0].inputs, *PARTS[1].inputs])}
    seen: list[dict[str, set[int]]] = []

    def training(own, splits, **more):  # type: ignore[no-untyped-def]
        seen.append({name: {rows_of[id(each)] for each in split.inputs} for name, split in splits.items()})
        return finetune(own, splits, **more)

    def answers(own, inputs, **more):  # type: ignore[no-untyped-def]
        seen[-1]["judged"] = {rows_of[id(each)] for each in inputs}
        return class_probabilities(own, inputs, **more)

    monkeypatch.setattr(cross_validation, "finetune", training)
    monkeypatch.setattr(cross_validation, "class_probabilities", answers)
    found = judged(tmp_path)
    assert len(seen) == 3
    for number, parts in enumerate(seen):
        assert parts["judged"] == set(np.flatnonzero(found.fold == number))
        assert sum(map(len, parts.values())) == ROWS
        assert len(set().union(*parts.values())) == ROWS
        groups = [{GROUPS[row] for row in rows} for rows in parts.values()]
        assert sum(map(len, groups)) == ROWS // 2
        assert len(parts["validation"]) == pytest.approx(0.25 * (ROWS - len(parts["judged"])), abs=2)
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(ROWS))


def test_what_is_learned_from_is_balanced_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[list[int]] = []

    def training(own, splits, **more):  # type: ignore[no-untyped-def]
        learned.append(list(splits["train"].targets))
        return finetune(own, splits, **more)

    monkeypatch.setattr(cross_validation, "finetune", training)
    judged(tmp_path, procedure=replace(PROCEDURE, balance="oversample"))
    assert [targets.count(0) for targets in learned] == [targets.count(1) for targets in learned]


class CtrlCError(Exception):
    """Someone pressed Ctrl-C."""


def test_an_interrupted_cross_validation_goes_on_with_the_same_result(tmp_path: Path) -> None:
    whole = judged(tmp_path / "whole")
    steps = []

    def interrupt(done: int, total: int | None, unit: str) -> None:
        steps.append((done, total))
        assert total is not None
        if done > 0.6 * total:
            raise CtrlCError

    with pytest.raises(CtrlCError):
        judged(tmp_path / "cut", listener=Listener(progress=interrupt))
    first = (tmp_path / "cut" / "fold-0.npy").stat().st_mtime_ns
    heard: list[int] = []
    again = judged(tmp_path / "cut", listener=Listener(progress=lambda done, total, unit: heard.append(done)))
    assert (tmp_path / "cut" / "fold-0.npy").stat().st_mtime_ns == first
    assert min(heard) > steps[-1][0] / 2  # the first fold is not trained again
    assert again.probabilities.tobytes() == whole.probabilities.tobytes()
    assert not [path for path in (tmp_path / "cut").iterdir() if path.is_dir()]


def test_more_folds_than_messages_are_refused(tmp_path: Path) -> None:
    inputs = AllInputs([PARTS[0].inputs], range(4))
    with pytest.raises(RecipeError, match=r"^evaluation.folds is 3, and there are only 2 messages that differ"):
        cross_validate(
            lambda: classifier(pooling="last_token"),
            Messages(inputs, TARGETS[:4], GROUPS[:4]),
            3,
            PROCEDURE,
            scratch=tmp_path,
        )


@pytest.mark.parametrize("windows", [False, True])
def test_features_of_several_splits_are_taken_together(windows: bool, tmp_path: Path) -> None:
    backbone = PooledGPT(new_gpt(CONFIG, seed=1), pooling="last_token")
    kept: list[Features] = []
    for number, part in enumerate(PARTS):
        rows = range(len(part.inputs))
        file = tmp_path / f"{number}"
        write_features(file, backbone, part.inputs, rows, blocks=2, dtype="float32", scratch=tmp_path)
        kept.append(Features(file, rows))
    wanted, here = [55, 3, 21], range(1, ROWS)  # of the rows but the first
    if not windows:
        taken = AllInputs(kept, here).take(wanted)
        assert isinstance(taken, ChosenFeatures)
        expected = [kept[1][16], kept[0][4], kept[0][22]]
    else:
        pairs = [Windows(each, [2] * (len(each) // 2), "mean") for each in kept]  # 20 texts, and 10
        taken = AllInputs(pairs, range(30)).take([25, 3])
        assert isinstance(taken, Windows)
        assert isinstance(taken.rows, ChosenFeatures)
        assert list(taken.counts) == [2, 2]
        taken, expected = taken.rows, [kept[1][10], kept[1][11], kept[0][6], kept[0][7]]
    assert [row.tolist() for row in taken] == [row.tolist() for row in expected]
    taken.require_blocks(2)
    with pytest.raises(ValueError, match="features after 2 blocks"):
        taken.require_blocks(1)
