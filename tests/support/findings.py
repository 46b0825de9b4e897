"""What an evaluation found, made up: 1,000 test messages with two labels, and nothing to beware of."""

from __future__ import annotations

from typing import Any

from lib.evaluation.classify.calibration import Bin, Calibration
from lib.evaluation.classify.classes import class_table
from lib.evaluation.classify.decision import Decision
from lib.evaluation.classify.findings import Findings, TunedBaseline
from lib.evaluation.significance import PairedTest

LABELS = ("ham", "spam")
CONFUSION = [[843, 7], [19, 131]]
INTERVAL = {"low": 0.962, "high": 0.982, "confidence": 0.95}
TEST: dict[str, Any] = {
    "rows": 1000,
    "accuracy": 0.974,
    "accuracy_interval": INTERVAL,
    "precision": 0.96,
    "precision_low": 0.93,
    "precision_high": 0.99,
    "recall": 0.94,
    "f1": 0.95,
    "mcc": 0.94,
    "roc_auc": 0.99,
    "log_loss": 0.08,
    "false_positive_rate": 0.007,
    "confusion": CONFUSION,
    "classes": {
        "ham": {"rows": 850, "precision": 0.99, "recall": 0.99, "f1": 0.99},
        "spam": {"rows": 150, "precision": 0.96, "recall": 0.94, "f1": 0.95},
    },
}
METRICS: dict[str, Any] = {
    **dict.fromkeys(("train", "validation", "test"), TEST),
    "baseline": {"test": {**TEST, "accuracy": 0.961}},
    "majority": {"test": {**TEST, "accuracy": 0.85, "recall": 0.0, "roc_auc": None}},
}
STRADDLING = {
    which: {"near_duplicates": {"validation": 1, "test": count}, "copies": {"validation": 0, "test": 0}}
    for which, count in (("made", 0), ("plain", 37))
}
FINDINGS = Findings(
    labels=LABELS,
    positive="spam",
    confidence=0.95,
    about={"backbone": "gpt2, 12 layers, 768 dimensions, 12 heads", "trainable": "last_block"},
    warnings=(),
    counts={
        "source": {"ham": 4827, "spam": 747},
        "train": {"ham": 3379, "spam": 523},
        "validation": {"ham": 598, "spam": 74},
        "test": {"ham": 850, "spam": 150},
    },
    straddling=STRADDLING,
    given_test=False,
    figures=("loss", "confusion"),
    comparisons=(
        PairedTest("classifier", "baseline", 1000, 20, 7, 0.019, 0.019),
        PairedTest("classifier", "majority", 1000, 130, 6, 1e-30, 3e-30),
        PairedTest("baseline", "majority", 1000, 118, 7, 1e-27, 2e-27),
    ),
    majority="ham",
    baseline=TunedBaseline("TF-IDF with logistic regression, C = 10", 10.0, 3902, 3902, 0),
    decision=Decision(0.5),
    calibration=Calibration((Bin(0.9, 1.0, 1000, 0.98, 0.974, (0.96, 0.98)),), 0.006, 0.01, 0.08),
    uncalibrated=None,
    prevalence=None,
    classes=class_table(CONFUSION, LABELS, confidence=0.95),
    slices=(),
    leaks=(),
    mistakes=(),
)
