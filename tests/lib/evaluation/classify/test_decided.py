"""What an evaluation decides on validation, by planted probabilities, and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from lib.evaluation.classify.decision import Wanted
from lib.evaluation.classify.evaluate import Choices, Facts, evaluate
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.threshold import Goal
from lib.model.labels import Probabilities
from lib.progress import Progress, silent
from tests.lib.evaluation.conftest import SPAM, messages
from tests.support.keyed import keyed_splits

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Planted:
    """An engine whose inputs are its probabilities."""

    labels: tuple[str, ...] = ("ham", SPAM)
    name: str = "torch"
    precision: str = "float32"
    on_card: bool = False

    def probabilities(self, texts: Any, *, progress: Progress = silent) -> Probabilities:
        return np.array(texts)

    def begin(self, texts: Any) -> Callable[[], Probabilities]:
        return lambda: self.probabilities(texts)


@pytest.fixture(scope="module")
def overconfident() -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Messages whose labels are drawn by true probabilities, and those of a classifier with three times the logits."""
    generator = np.random.default_rng(5)
    splits, inputs = {}, {}
    for first, (name, rows) in enumerate((("train", 60), ("validation", 400), ("test", 600))):
        logits = generator.normal(-0.5, 2, rows)
        split = messages(1000 * first, rows, ("ham",))
        split["text"] += [f" {number}" for number in range(rows)]
        split["label"] = np.where(generator.random(rows) < 1 / (1 + np.exp(-logits)), SPAM, "ham")
        spam = 1 / (1 + np.exp(-3 * logits))
        splits[name], inputs[name] = split, np.stack([1 - spam, spam], axis=1)
    return splits, inputs


def decided(folder: Path, overconfident: Any, facts: dict[str, Any], **wanted: Any) -> tuple[Any, Findings, Any]:
    """Metrics, findings and predictions of an evaluation of the overconfident classifier."""
    splits, inputs = overconfident
    choices = Choices(wanted=Wanted(**wanted))
    parts = keyed_splits(splits, folder.parent)
    metrics = evaluate(Planted(), splits=parts, inputs=inputs, facts=Facts(**facts), choices=choices, folder=folder)
    return metrics, Findings.load(folder), pd.read_parquet(folder / "predictions").set_index("split")


def test_an_overconfident_classifier_is_calibrated_on_validation_and_measured_on_test(
    overconfident: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    plain, before, raw = decided(tmp_path / "plain", overconfident, facts)
    metrics, after, rows = decided(tmp_path / "calibrated", overconfident, facts, calibrate=True)
    assert before.decision.scaling is None
    assert after.decision.temperature == pytest.approx(3, rel=0.2)
    assert (after.uncalibrated, after.remedy) == (before.calibration, None)
    assert before.remedy is not None  # what it would do is shown where it is not asked for
    assert (before.remedy.scaling, before.remedy.calibration) == (after.decision.scaling, after.calibration)
    assert after.calibration.error < before.calibration.error / 3
    assert metrics["test"]["log_loss"] < plain["test"]["log_loss"]
    assert rows["predicted"].tolist() == raw["predicted"].tolist()
    scaled = logit(raw[f"probability_{SPAM}"].to_numpy()) / after.decision.temperature
    assert logit(rows[f"probability_{SPAM}"].to_numpy()) == pytest.approx(scaled, abs=1e-6)
    # The temperature is that of a logistic regression on validation whose only number is 1 / T.
    validation = raw.loc["validation"]
    logits = logit(validation[f"probability_{SPAM}"]).to_numpy()[:, None]
    fitted = LogisticRegression(C=np.inf, fit_intercept=False).fit(logits, validation["label"] == SPAM)
    assert 1 / after.decision.temperature == pytest.approx(fitted.coef_[0, 0], rel=1e-3)


def test_the_threshold_is_that_of_scikit_learn_and_decides_everything(
    overconfident: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    metrics, findings, rows = decided(tmp_path / "f1", overconfident, facts, threshold="auto", calibrate=True)
    validation, threshold = rows.loc["validation"], findings.decision.threshold
    true, scores = validation["label"] == SPAM, validation[f"probability_{SPAM}"]
    precision, recall, _ = reference.precision_recall_curve(true, scores)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    assert reference.f1_score(true, scores >= threshold) == pytest.approx(best)
    assert findings.decision.chosen is not None
    assert findings.decision.chosen.f1 == metrics["validation"]["f1"] == pytest.approx(best)
    assert ((rows[f"probability_{SPAM}"] >= threshold) == (rows["predicted"] == SPAM)).all()
    assert (
        metrics["test"]["confusion"]
        == reference.confusion_matrix(
            rows.loc["test"]["label"], rows.loc["test"]["predicted"], labels=["ham", SPAM]
        ).tolist()
    )
    assert findings.about["threshold"].startswith(f"{threshold:.4g} for {SPAM}, chosen on 400 validation messages")
    assert findings.baseline is not None  # its threshold is its own, for the same goal
    answers = pd.read_parquet(tmp_path / "f1" / "baseline.parquet")
    given = answers[f"probability_{SPAM}"] >= findings.baseline.threshold
    assert (given == (answers["predicted"] == SPAM)).all()
    assert findings.baseline.threshold != threshold


def test_the_largest_false_positive_rate_is_kept_on_validation(
    overconfident: Any, facts: dict[str, Any], tmp_path: Path
) -> None:
    goal = Goal("false_positive_rate", largest=0.05)
    _, findings, rows = decided(tmp_path / "strict", overconfident, facts, threshold="auto", goal=goal)
    validation = rows.loc["validation"]
    true, scores = validation["label"] == SPAM, validation[f"probability_{SPAM}"]
    rates, recalls, _ = reference.roc_curve(true, scores, drop_intermediate=False)
    assert findings.decision.chosen is not None
    assert findings.decision.chosen.recall == pytest.approx(recalls[rates <= 0.05].max())
    assert ((validation["predicted"] == SPAM) & ~true).sum() <= 0.05 * (~true).sum()


def test_what_cannot_be_calibrated_is_said(overconfident: Any, facts: dict[str, Any], tmp_path: Path) -> None:
    splits, _ = overconfident
    right = {name: np.where((split["label"] == SPAM).to_numpy()[:, None], [0.2, 0.8], [0.8, 0.2])
             for name, split in splits.items()}  # fmt: skip
    heard: list[str] = []
    parts = keyed_splits(splits, tmp_path)
    evaluate(Planted(), splits=parts, inputs=right, facts=Facts(**facts), folder=tmp_path / "right", warn=heard.append,
             choices=Choices(wanted=Wanted(calibrate=True)))  # fmt: skip
    found = Findings.load(tmp_path / "right")
    assert found.warnings == tuple(heard)
    assert heard[0].startswith("evaluation.calibrate is true, but the best temperature")
    assert (found.decision.scaling, found.uncalibrated, found.remedy) == (None, None, None)
