"""Writes and reads what a cross-validation found: messages whose label may be wrong, and how accurate the folds are;
without torch or scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lib.data.tables import load_table, write_table
from lib.evaluation.classify.suspects import Spread, Suspects
from lib.files.jsonfile import load_json, save_json

SUSPECTS, CHECK = "suspects.parquet", "label_check.json"
FOLDS = "folds.json"  # there if the classifier itself was trained on folds
MOST_LISTED = 50_000  # suspects in the file: each has a text
SHOWN = 50  # suspects in a report
# A person should look where this share of the labels is in doubt, by something that agrees with so many: what agrees
# with fewer doubts labels mostly because it does not understand the texts.
WORTH_A_WARNING, UNDERSTANDS = 0.01, 0.9

# The most suspicious first. id: the message's row number over all files, and `row` that in its `file`, both from 0;
# line: where it begins in the file, from 1, null in formats without lines. margin: the probability of the label less
# that of the suggested one, -1 to 1. counted: whether confident learning counts it among the wrong ones.
LISTED = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("suggested", pa.string(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),
        pa.field("counted", pa.bool_(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("line", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Suspect:
    """A row of suspects.parquet; see `LISTED`."""

    id: int
    split: str
    text: str
    label: str
    suggested: str
    margin: float
    counted: bool
    file: str
    row: int
    line: int | None


@dataclass(frozen=True)
class LabelCheck:
    """How the labels of a data set were doubted.

    by: what judged each message without having learned from it, in words. accuracy: the share of labels that it agrees
    with, 0 to 1, the mean over folds. rows, of_rows: messages judged, and all there are. counted: those whose label
    confident learning counts as wrong. first: the most suspicious ones, up to `SHOWN`.
    """

    by: str
    accuracy: float
    rows: int
    of_rows: int
    counted: int
    first: tuple[Suspect, ...] = ()

    def save(self, folder: Path, listed: pd.DataFrame) -> None:
        """Writes suspects.parquet (`listed`, with the columns of `LISTED`) and label_check.json into `folder`."""
        write_table(pa.Table.from_pandas(listed[LISTED.names], LISTED, preserve_index=False), folder / SUSPECTS)
        save_json({name: value for name, value in asdict(self).items() if name != "first"}, folder / CHECK)


def doubts_warning(check: LabelCheck) -> str | None:
    """Returns a sentence, if a person should look."""
    share = check.counted / check.rows
    if share <= WORTH_A_WARNING or check.accuracy < UNDERSTANDS:
        return None
    return (
        f"confident learning doubts {check.counted:,} of {check.rows:,} labels ({share:.1%}), by {check.by}, which"
        f" agrees with {check.accuracy:.1%} of all: read {SUSPECTS} from its first row on, and mend the source where it"
        " is right"
    )


def listed_suspects(messages: pd.DataFrame, found: Suspects, labels: Sequence[str]) -> pd.DataFrame:
    """Returns the columns of `LISTED` of the first rows of what was `found`. messages: these, in that order, with the
    columns that do not depend on it."""
    names, first = np.asarray(labels, dtype=object), slice(len(messages))
    return messages.assign(
        suggested=names[found.suggested[first]], margin=found.margin[first], counted=found.issues[first]
    )


def load_label_check(folder: Path) -> LabelCheck:
    """Reads what `save` wrote. Raises StoreError if a file is missing or damaged."""
    table = load_table(folder / SUSPECTS, LISTED).head(SHOWN)
    lines = [None if pd.isna(line) else int(line) for line in table.pop("line")]
    columns = zip(*(table[name].tolist() for name in LISTED.names if name != "line"), lines, strict=True)
    return LabelCheck(**load_json(folder / CHECK), first=tuple(Suspect(*row) for row in columns))


def save_spread(folder: Path, found: Spread) -> None:
    """Writes folds.json."""
    save_json(asdict(found), folder / FOLDS)


def load_spread(folder: Path) -> Spread | None:
    """Reads what `save_spread` wrote; None if the classifier was not trained on folds."""
    if not (folder / FOLDS).exists():
        return None
    found = load_json(folder / FOLDS)
    return Spread(tuple(found["accuracies"]), found["mean"], found["deviation"])
