"""Reads what was measured, and predicts what each step takes for any number of messages.

A step's seconds, memory and bytes are a sum of what it takes before it begins and of what each message takes; some work
ends at a stated number of messages. The amounts are fitted to all measured sizes but those that are left out, each size
counting by its relative error, and none is negative. What `pieces.py` measured alone is not fitted, but taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from benchmarks import volume
from benchmarks.scale.pieces import RESULTS as PIECES
from benchmarks.volume import TABLES
from benchmarks.workload import PROJECT
from lib.data.parts import ROWS_PER_PART
from lib.evaluation.classify.baseline import MOST_ROWS
from lib.evaluation.classify.leakage import MOST_COMPARED
from lib.evaluation.classify.suspects import MOST_JUDGED

Fact = Literal["processor", "anonymous", "size"]
Count = Callable[[float], float]
TRAIN, TEST = 0.1, 0.8  # shares of the messages of benchmarks.volume
CARDS, CARD = PROJECT / "benchmarks" / "results", "gpu-nvidia-h200"

# Of n messages so many have some work.
EACH: Count = lambda n: n  # noqa: E731 - formulas
JUDGED: Count = lambda n: min(n, MOST_JUDGED)  # noqa: E731
COMPARED: Count = lambda n: n if n <= MOST_COMPARED else 0.0  # noqa: E731
TRAINED: Count = lambda n: TRAIN * n  # noqa: E731
LEARNED: Count = lambda n: min(TRAIN * n, MOST_ROWS)  # noqa: E731
PART: Count = lambda n: min(n, ROWS_PER_PART)  # noqa: E731 - what a step that makes tables holds
# What is fitted of a step beside what it takes before it begins; of the others EACH.
FITTED: dict[tuple[str, Fact], Sequence[Count]] = {
    **{(step, "anonymous"): (PART,) for step in TABLES},
    ("cross_validate", "processor"): (),
    ("cross_validate", "anonymous"): (),
    ("cross_validate", "size"): (JUDGED,),
    ("finetune", "anonymous"): (),
    ("evaluate", "anonymous"): (EACH, LEARNED),
}
# The pieces that a step is made of, and how many messages each has. Of several phases the largest counts.
Phase = Mapping[str, Count]
MADE_OF: dict[tuple[str, Fact], Sequence[Phase]] = {
    ("cross_validate", "processor"): ({"judged": EACH, "doubts": JUDGED},),
    ("cross_validate", "anonymous"): ({"judged": EACH}, {"doubts": JUDGED}),
    ("finetune", "anonymous"): ({"training": TRAINED},),
    ("evaluate", "processor"): ({"grams": COMPARED, "baseline": LEARNED},),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on one machine. runs: of each number of messages, each step's. pieces: of each piece `seconds`,
    `memory` and `disk`, for each of its rows."""

    machine: Mapping[str, Any]
    runs: Mapping[int, Mapping[str, Mapping[str, float]]]
    pieces: Mapping[str, Mapping[str, float]]

    @property
    def sizes(self) -> list[int]:
        """The sizes of benchmarks.volume."""
        return sorted(self.runs)

    @property
    def empty(self) -> float:
        """Bytes of anonymous memory of a process with all that a step imports."""
        return min(run["anonymous"] for runs in self.runs.values() for run in runs.values())

    def without(self, *sizes: int) -> Measured:
        """The same, with what was measured at these sizes left out."""
        kept = {size: runs for size, runs in self.runs.items() if size not in sizes}
        return Measured(self.machine, kept, self.pieces)

    def known(self, step: str, fact: Fact) -> list[int]:
        """The sizes at which this is known of a step."""
        return [size for size in self.sizes if fact in self.runs[size].get(step, {})]

    def predicted(self, step: str, fact: Fact, messages: float) -> float:
        """Seconds of the processor, the peak of anonymous memory or the artifact's size (bytes) of a step."""
        before, *each = self.fitted(step, fact)
        counts = FITTED.get((step, fact), (EACH,))
        fitted = before + sum(amount * count(messages) for amount, count in zip(each, counts, strict=True))
        return fitted + self._of_pieces(step, fact, messages)

    def each(self, step: str, fact: Fact) -> float:
        """What one more message takes of a step where there are very many."""
        many = 10**9
        return (self.predicted(step, fact, 2 * many) - self.predicted(step, fact, many)) / many

    @cache  # noqa: B019 - a process makes a handful
    def fitted(self, step: str, fact: Fact) -> tuple[float, ...]:
        """What a step takes before it begins, and what each of its counted messages does. Raises ValueError if it is
        known at fewer than two sizes."""
        from scipy.optimize import nnls

        sizes = self.known(step, fact)
        if len(sizes) < 2:
            raise ValueError(f"{step} was measured at {len(sizes)} sizes, and two are needed")
        counts = FITTED.get((step, fact), (EACH,))
        took = np.array([self.runs[size][step][fact] for size in sizes], dtype=float)
        rest = np.maximum(took - [self._of_pieces(step, fact, size) for size in sizes], 0.0)
        least = self.empty if fact == "anonymous" else 0.0
        columns = np.array([[1.0, *(count(size) for count in counts)] for size in sizes])
        amounts, _ = nnls(columns / took[:, None], np.maximum(rest - least, 0.0) / took)
        return (least + float(amounts[0]), *(float(amount) for amount in amounts[1:]))

    def _of_pieces(self, step: str, fact: Fact, messages: float) -> float:
        name = {"processor": "seconds", "anonymous": "memory"}.get(fact)
        phases = MADE_OF.get((step, fact), ())
        if name is None or not phases:
            return 0.0
        return max(
            sum(self.pieces[piece][name] * count(messages) for piece, count in phase.items()) for phase in phases
        )


def read(name: str = "cpu-2-cores") -> Measured:
    """Reads what was measured on machines of a kind; raises FileNotFoundError if nothing was."""
    of_volume, of_pieces = (json.loads((folder / f"{name}.json").read_text()) for folder in (volume.RESULTS, PIECES))
    counts = {int(count): runs for count, runs in of_volume["counts"].items()}
    for count, steps in of_pieces["runs"].items():
        if len(counts.get(int(count), ())) < len(steps):  # a size of which benchmarks.volume has only some steps
            counts[int(count)] = steps
    runs = {count: {run["step"]: run for run in steps} for count, steps in counts.items()}
    return Measured(of_volume["machine"], runs, {piece["name"]: piece for piece in of_pieces["pieces"]})


def card_flops(kind: str = CARD) -> tuple[str, float]:
    """A measured card's name and the FLOP a second of its fastest product of matrices in bfloat16; raises
    FileNotFoundError if none of this kind was measured."""
    found = json.loads((CARDS / f"{kind}.json").read_text())
    rates = [
        max(row["details"]["gflops_per_second"].values())
        for row in found["rows"]
        if row["group"] == "features" and "bfloat16" in row["what"]
    ]
    return str(found["machine"]["gpu"]), 1e9 * max(rates)
