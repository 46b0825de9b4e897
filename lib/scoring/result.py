"""The classifier that scores, and the result of a scoring job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lib.evaluation.drift.comparison import Tally
from lib.scoring.parts import Part


@dataclass(frozen=True)
class Model:
    """The classifier as answers name it. `identity` is unique to it, also among classifiers of the same name."""

    name: str
    version: str
    identity: str
    labels: tuple[str, ...]


@dataclass
class Result:
    """The result of a job: rows by label and by reason, parts written and parts kept.

    rows_written: rows of the parts written now.
    """

    files: int = 0
    scored: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    unscorable: Counter[str] = field(default_factory=Counter)
    parts_written: int = 0
    parts_kept: int = 0
    rows_written: int = 0
    tally: Tally | None = None

    def add(self, part: Part, *, kept: bool) -> None:
        """Counts a part."""
        self.scored += part.scored
        self.labels.update(part.labels)
        self.unscorable.update(part.unscorable)
        self.parts_kept += kept
        self.parts_written += not kept
        self.rows_written += 0 if kept else part.rows
        if part.tally is not None:
            self.tally = part.tally if self.tally is None else self.tally.plus(part.tally)

    @property
    def rows(self) -> int:
        """All rows, scored or not."""
        return self.scored + self.unscorable.total()
