"""What a report is made from: plain values, and the texts of the messages that it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from lib.data.parts import counted
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.mistakes import Mistake
from lib.evaluation.classify.predictions import read_predictions
from lib.evaluation.classify.verdict import Challenge, Verdict

Place = tuple[str, int]  # a split, and a message's position in it


@dataclass(frozen=True)
class SourceFile:
    """A file that the messages were read from; size: in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Identity:
    """Which run this is. title: its model. facts: names and values, in display order."""

    title: str
    facts: Sequence[tuple[str, str]]
    files: Sequence[SourceFile]


@dataclass(frozen=True)
class Message:
    """A message as it is shown: its row in the source, text and label."""

    id: int
    text: str
    label: str


@dataclass(frozen=True)
class ReportFacts:
    """All that the page shows of a run.

    metrics: what metrics.json holds. history: columns of the training's history. messages: those that the findings
    point to. challenge, why: what the registry decided, and its reason in words. left_out: rows of the source that are
    no messages, by reason. engines: candidates to serve with, a row of names and words each.
    """

    identity: Identity
    verdict: Verdict
    findings: Findings
    metrics: Mapping[str, Any]
    history: Mapping[str, Sequence[float]]
    messages: Mapping[Place, Message]
    challenge: Challenge | None = None
    why: str = ""
    warnings: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    engines: Sequence[Mapping[str, str]] = ()

    @property
    def test(self) -> Mapping[str, Any]:
        """The metrics of the test split."""
        part: Mapping[str, Any] = self.metrics["test"]
        return part


def messages_of(evaluation: Path, mistakes: Sequence[Mistake]) -> dict[Place, Message]:
    """Returns the messages that are mistakes and those beside them, from the predictions in an evaluation's folder."""
    wanted = {("test", each.row) for each in mistakes}
    wanted |= {("train", near.row) for each in mistakes for near in each.neighbours}
    predictions = read_predictions(evaluation)
    rows: Counter[str] = Counter()
    for batch in predictions.batches(["split"]):
        rows.update(counted(batch.column("split")))
    first = dict(zip(rows, accumulate(rows.values(), initial=0), strict=False))
    places = sorted(wanted)
    found = predictions.take([first[split] + row for split, row in places], ["id", "text", "label"]).to_pylist()
    return {place: Message(**message) for place, message in zip(places, found, strict=True)}
