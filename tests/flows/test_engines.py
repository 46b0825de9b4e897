"""A run that chooses its engine by itself, and what serves afterwards: what every figure was measured with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from lib.evaluation.classify.agreement import SAME_SPEED
from lib.evaluation.classify.findings import Findings
from lib.inference.engines.engine import ALIKE
from lib.model.labels import MOST_PROBABLE
from tests.support.e2e import Home, copy_of, ran

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def chosen(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Any]:
    """A copy of the finished run's home with a second run, which leaves the engine and the threshold open and
    calibrates, and what it printed."""
    home = copy_of(finished[0], tmp_path_factory.mktemp("chosen") / "home")
    return home, home.run("--serving.engine=auto", "--evaluation.threshold=auto", "--evaluation.calibrate=true")


def folder_of(result: Any, step: str) -> Path:
    return Path(next(each["artifact"]["folder"] for each in result["steps"] if each["step"] == step))


def test_only_the_engine_and_what_is_measured_with_it_are_made_again(chosen: tuple[Home, Any]) -> None:
    assert ran(chosen[1]) == ["engine", "evaluate"]  # which chooses a threshold and calibrates besides


def test_each_candidate_is_measured_and_the_fastest_that_agrees_serves(chosen: tuple[Home, Any]) -> None:
    table = json.loads((folder_of(chosen[1], "engine") / "engines.json").read_text())
    rows = {row["name"]: row for row in table["candidates"]}
    assert list(rows) == ["torch float32", "onnxruntime float32"]
    assert [row["refused"] for row in rows.values()] == [None, None]
    assert [row["flips"] for row in rows.values()] == [0, 0]
    most = max(row["messages_per_second"] for row in rows.values())
    fastest = [name for name, row in rows.items() if row["messages_per_second"] >= (1 - SAME_SPEED) * most]
    assert table["chosen"] == min(fastest, key=lambda name: rows[name]["milliseconds"])


def test_the_threshold_is_chosen_on_validation_with_the_engine_that_serves(chosen: tuple[Home, Any]) -> None:
    folder = folder_of(chosen[1], "evaluate")
    rows = pd.read_parquet(folder / "predictions").set_index("split").loc["validation"]
    right, threshold = rows["label"] == "spam", Findings.load(folder).decision.threshold
    precision, recall, _ = precision_recall_curve(right, rows["probability_spam"])
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    assert f1_score(right, rows["probability_spam"] >= threshold) == pytest.approx(best)
    assert f1_score(right, rows["predicted"] == "spam") == pytest.approx(best)


def test_the_figures_are_of_the_engine_that_serves(chosen: tuple[Home, Any]) -> None:
    home, result = chosen
    table = pd.read_parquet(folder_of(result, "evaluate") / "predictions")
    table = table[table["split"] == "test"].head(20)
    watched = replace(home, environment={**home.environment, "PYTHONPROFILEIMPORTTIME": "1"})
    done = watched.call("predict", "--run", result["mlflow_run"], "--json", "-", text="\n".join(table["text"]))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    found = np.array([[each[f"probability_{label}"] for label in ("ham", "spam")] for each in answers])
    assert np.abs(found - table[["probability_ham", "probability_spam"]].to_numpy()).max() < ALIKE
    decision = Findings.load(folder_of(result, "evaluate")).decision
    assert decision.scaling is not None
    assert {each["threshold"] for each in answers} == {decision.threshold} != {MOST_PROBABLE}
    assert [each["label"] for each in answers] == table["predicted"].tolist()
    named = json.loads((folder_of(result, "engine") / "engine.json").read_text())["engine"]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert ("torch" in imported, "onnxruntime" in imported) == (named == "torch", named == "onnxruntime")
