"""What an evaluation found besides its metrics, as it lies in findings.json.

Reading it back imports neither torch nor scikit-learn nor SciPy, so that a run with a cached evaluation starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lib.errors import StoreError
from lib.evaluation.classify.calibration import Calibration, Scaling
from lib.evaluation.classify.classes import ClassTable
from lib.evaluation.classify.decision import Decision
from lib.evaluation.classify.label_check import LabelCheck
from lib.evaluation.classify.leakage import Leak
from lib.evaluation.classify.mistakes import Mistake
from lib.evaluation.classify.prevalence import PrecisionRecall
from lib.evaluation.classify.slices import Slice
from lib.evaluation.classify.suspects import Spread
from lib.evaluation.significance import PairedTest
from lib.files.jsonfile import save_json
from lib.model.labels import MOST_PROBABLE

FINDINGS = "findings.json"
CLASSIFIER, BASELINE, MAJORITY = "classifier", "baseline", "majority"  # what is compared, by these names


@dataclass(frozen=True)
class TunedBaseline:
    """How the baseline came about.

    about: in a sentence without its full stop. inverse_penalty: what was chosen on validation. rows, of_rows: training
    messages that it learned from, and all there are. seed: of the sample, if it is one. threshold: of two labels, the
    probability from which it gives the positive one.
    """

    about: str
    inverse_penalty: float
    rows: int
    of_rows: int
    seed: int
    threshold: float = MOST_PROBABLE


@dataclass(frozen=True)
class Remedy:
    """What calibrating would do where the recipe does not ask for it.

    scaling: fitted on validation. calibration: on the test split, with that temperature.
    """

    scaling: Scaling
    calibration: Calibration


@dataclass(frozen=True)
class Findings:
    """What findings.json holds. A `row` is a message's position in its split, in the order of its predictions; a
    class is a position in `labels`.

    labels: in the order of their columns. positive: of two labels, the one that precision and recall are about.
    confidence: the level of all intervals.
    about: what was trained, by name, in display order. warnings: what the steps up to this one warned of, a sentence
    each. counts: messages by label, for the source and for each split, each once, however often it is repeated.
    straddling: test and validation messages with a near-duplicate in training, of the actual split and of a random one:
    {"made": {"near_duplicates": {"test": 3, ...}, ...}, "plain": ...}. given_test: whether the test split was given,
    and not made of the source.
    figures: names of the pictures in figures/, in display order.
    comparisons: classifier, baseline and majority on the test split, any two, by Holm corrected for each other.
    majority: the label that is the most frequent one as messages come. baseline: None where there is none.
    calibration: on the test split, of the probabilities as they are answered. uncalibrated: of those before the
    temperature; None without one. remedy: None with one, and where none can be fitted.
    prevalence: the curve of the positive label at the natural class shares; None with more than two labels, or where it
    cannot be estimated.
    classes, slices, mistakes: of the test split. leaks: of each split in each before it.
    folds: accuracies of the classifier trained on folds; None where that was not asked for. label_check: which labels
    are in doubt. near_by_keys: whether the messages were so many that near copies are those equal but for case, digits
    and punctuation, and not all that share most n-grams.
    """

    labels: tuple[str, ...]
    positive: str | None
    confidence: float
    about: Mapping[str, str]
    warnings: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    straddling: Mapping[str, Any]
    given_test: bool
    figures: tuple[str, ...]
    comparisons: tuple[PairedTest, ...]
    majority: str
    baseline: TunedBaseline | None
    decision: Decision
    calibration: Calibration
    uncalibrated: Calibration | None
    prevalence: PrecisionRecall | None
    classes: ClassTable
    slices: tuple[Slice, ...]
    leaks: tuple[Leak, ...]
    mistakes: tuple[Mistake, ...]
    folds: Spread | None = None
    remedy: Remedy | None = None
    label_check: LabelCheck | None = None
    near_by_keys: bool = False

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # of the dataclasses in it, too

    def save(self, folder: Path) -> None:
        """Writes findings.json into `folder`; equal findings give equal bytes."""
        save_json(_format().dump_python(self, mode="json"), folder / FINDINGS)

    @classmethod
    def load(cls, folder: Path) -> Findings:
        """Reads what `save` wrote. Raises StoreError if the file is damaged, or of another version's form."""
        file = folder / FINDINGS
        try:
            return _format().validate_json(file.read_bytes(), strict=True)
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{file} cannot be read ({_reason(error)}): remove its folder, and the step that wrote it runs again"
            ) from error


def _reason(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or f"{error}"
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


@cache
def _format() -> TypeAdapter[Findings]:
    return TypeAdapter(Findings)
