"""A positive label that is no label is refused before the training begins."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.parts import save_parts
from lib.data.tables import TOKENS
from lib.errors import LabelError
from lib.progress import silent
from lib.store.artifacts import Artifact
from tasks.engine.step import DeclaredFields, Work
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.finetune import finetune
from tests.support.recipes import build_recipe


def test_a_wrong_positive_label_is_refused_before_the_training(tmp_path: Path) -> None:
    values = {"data": {"source": "sample"}, "evaluation": {"positive_label": "junk"}}
    fields: Any = DeclaredFields(build_recipe(values), [*finetune.reads, *finetune.unkeyed], "finetune")
    tokens = pd.DataFrame({"id": [0, 1], "tokens": [[1], [2]], "target": [0, 1]})
    save_parts(tokens, tmp_path / "train", TOKENS, labels=["ham", "spam"])
    tokenize = Artifact(step="tokenize", key="k", digest="d").in_folder(tmp_path)
    absent = Artifact(step="backbone", key="k", digest="d").in_folder(tmp_path / "not even there")
    work = Work(fields, {}, tmp_path, tmp_path, logging.getLogger("test"), silent, tracking_run="")
    with pytest.raises(LabelError, match=r"positive_label is 'junk', but the labels are ham, spam"):
        finetune.compute(work, tokenizer=absent, backbone=absent, tokenize=tokenize, features=absent)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [(["ham", "spam"], "all have the same label"), (["ham", "sms", "spam"], "is auto, but with 3 classes")],
)
def test_a_threshold_that_cannot_be_chosen_is_refused_before_the_training(
    tmp_path: Path, labels: list[str], sentence: str
) -> None:
    values = {"data": {"source": "sample"}, "evaluation": {"threshold": "auto"}}
    fields: Any = DeclaredFields(build_recipe(values), [*finetune.reads, *finetune.unkeyed], "finetune")
    for name, targets in (("train", [0, 1]), ("validation", [1, 1]), ("test", [0, 1])):
        tokens = pd.DataFrame({"id": [0, 1], "tokens": [[1], [2]], "target": targets})
        save_parts(tokens, tmp_path / name, TOKENS, labels=labels)
    (tmp_path / "tokens.json").write_text("{}")
    tokenize = Artifact(step="tokenize", key="k", digest="d").in_folder(tmp_path)
    absent = Artifact(step="backbone", key="k", digest="d").in_folder(tmp_path / "not even there")
    work = Work(fields, {}, tmp_path, tmp_path, logging.getLogger("test"), silent, tracking_run="")
    with pytest.raises(LabelError, match=sentence):
        finetune.compute(work, tokenizer=absent, backbone=absent, tokenize=tokenize, features=absent)


def test_positive_label_and_threshold_are_part_of_the_evaluations_key_and_not_of_the_trainings() -> None:
    settings: tuple[dict[str, object], ...] = ({}, {"positive_label": "ham"}, {"threshold": "auto", "calibrate": True})
    recipes = [build_recipe({"data": {"source": "sample"}, "evaluation": setting}) for setting in settings]
    trainings = [finetune.ingredients(recipe, {}) for recipe in recipes]
    assert trainings[0] == trainings[1] == trainings[2]
    evaluations = [evaluate.ingredients(recipe, {})["fields"] for recipe in recipes]
    assert evaluations[0] != evaluations[1] != evaluations[2] != evaluations[0]
