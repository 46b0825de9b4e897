"""What findings.json holds is read back as it was written, and nothing else is."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.errors import StoreError
from lib.evaluation.classify.calibration import Scaling, calibration
from lib.evaluation.classify.classes import class_table
from lib.evaluation.classify.decision import Decision
from lib.evaluation.classify.findings import FINDINGS, Findings, Remedy, TunedBaseline
from lib.evaluation.classify.label_check import LabelCheck, Suspect
from lib.evaluation.classify.leakage import Copy, Leak
from lib.evaluation.classify.mistakes import Mistake, Neighbour
from lib.evaluation.classify.prevalence import PrecisionRecall
from lib.evaluation.classify.slices import Slice
from lib.evaluation.classify.suspects import Spread
from lib.evaluation.classify.threshold import Goal, choose_threshold
from lib.evaluation.significance import PairedTest

LABELS = ("ham", "spam £ <b>")


@pytest.fixture
def findings() -> Findings:
    """With something in every field."""
    targets = np.array([0, 0, 1, 1, 1, 0])
    scores = np.array([0.1, 0.6, 0.9, 0.3, 0.8, 0.2])
    sure = calibration(targets, np.stack([1 - scores, scores], axis=1))
    return Findings(
        labels=LABELS,
        positive=LABELS[1],
        confidence=0.95,
        about={"backbone": "2 layers"},
        warnings=("3 texts are cut",),
        counts={"test": dict.fromkeys(LABELS, 3)},
        straddling={"made": {"near_duplicates": {"test": 1}}},
        given_test=True,
        figures=("loss", "confusion"),
        comparisons=(PairedTest("classifier", "baseline", 6, 3, 0, 0.25, 0.5),),
        majority="ham",
        baseline=TunedBaseline("TF-IDF", 10.0, 40, 50, 0),
        decision=Decision(0.4, Goal("cost", false_positive=5), choose_threshold(targets == 1, scores, Goal()),
                          Scaling(1.5, at_the_end=False)),
        calibration=sure,
        uncalibrated=sure,
        prevalence=PrecisionRecall((0.1, 0.5), (0.5, 1.0), (1.0, 0.7), 0.9, 0.13),
        classes=class_table([[2, 1], [1, 2]], LABELS, confidence=0.95),
        slices=(Slice("length", "longest quarter", 20, 0.9, (0.7, 0.95), 0.97, 0.4),),
        leaks=(Leak("test", "train", (Copy(3, 7, 0.85, exact=False), Copy(4, 1, 1.0, exact=True))),),
        mistakes=(Mistake(1, 0, 1, 0.6, (Neighbour(5, 0.4),)),),
        folds=Spread((0.9, 0.95), 0.925, 0.035),
        remedy=Remedy(Scaling(1.5, at_the_end=False), sure),
        label_check=LabelCheck(
            "somebody", 0.9, 60, 70, 1, (Suspect(3, "train", "<b>", *LABELS, -0.5, True, "a", 3, None),)
        ),
    )  # fmt: skip


def test_what_is_saved_is_loaded_again(findings: Findings, tmp_path: Path) -> None:
    assert all(getattr(findings, field.name) is not None for field in fields(findings))
    findings.save(tmp_path)
    written = (tmp_path / FINDINGS).read_bytes()
    read = Findings.load(tmp_path)
    assert read == findings
    assert read.leaks[0].exact == 1
    read.save(tmp_path)
    assert (tmp_path / FINDINGS).read_bytes() == written


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("leaks", 0, "copies", 0, "row"), "3", "leaks.0.copies.0.row: Input should be a valid integer"),
        (("leaks", 0, "copies", 0, "rows"), 3, "leaks.0.copies.0.rows: Unexpected keyword argument"),
        (("verdict",), "good", "verdict: Unexpected keyword argument"),
        (("positive",), 1, "positive: Input should be a valid string"),
    ],
)
def test_a_file_of_another_form_is_refused(
    findings: Findings, tmp_path: Path, path: tuple[str | int, ...], value: Any, why: str
) -> None:
    findings.save(tmp_path)
    file = tmp_path / FINDINGS
    whole = json.loads(file.read_text())
    part = whole
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    file.write_text(json.dumps(whole))
    with pytest.raises(StoreError, match=rf"cannot be read \({why}\): remove its folder"):
        Findings.load(tmp_path)


def test_reading_needs_nothing_that_computes() -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'matplotlib', 'transformers'}"
    code = f"import lib.evaluation.classify.findings as f, sys; f._format(); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
