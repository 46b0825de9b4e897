"""Writes and reads a classifier's answers to the messages of each split, as parts of one table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lib.data.lookup import by_text
from lib.data.parts import Parts, PartsWriter
from lib.model.labels import Probabilities, Targets

PREDICTIONS = "predictions"  # the folder in an evaluation
BASELINE_FILE = "baseline.parquet"  # the baseline's answers to the messages of test, in their order
COLUMN = "probability_"  # begins the name of a label's column
# A message, and the label that it got; a column of float64 for each label's probability follows. The splits stand one
# after another: `train`, `validation`, `test`, and `reserve` if that was asked for.
ANSWERED = pa.schema([(name, pa.string()) for name in ("split", "text", "label", "predicted")]).insert(
    1, pa.field("id", pa.int64())
)

BASELINE_ANSWERED = pa.schema([("id", pa.int64()), ("predicted", pa.string())])  # the labels' columns follow, too


def probability_columns(labels: Sequence[str]) -> pa.Schema:
    """Returns the columns of the labels' probabilities."""
    return pa.schema([(f"{COLUMN}{label}", pa.float64()) for label in labels])


def write_predictions(
    folder: Path,
    splits: Mapping[str, Parts],
    given: Mapping[str, Targets],
    probabilities: Mapping[str, Probabilities],
    labels: Sequence[str],
) -> None:
    """Writes the predictions of an evaluation: `given` (rows,) and `probabilities` (rows, classes) of each split's
    messages, whose texts are read batch by batch."""
    columns = probability_columns(labels)
    names = pa.array(labels, pa.string())
    with PartsWriter(folder / PREDICTIONS, pa.schema([*ANSWERED, *columns])) as writer:
        for name, split in splits.items():
            first = 0
            for batch in split.batches(["id", "text", "label"]):
                rows = slice(first, first + len(batch))
                first = rows.stop
                values = {
                    "split": pa.repeat(pa.scalar(name, pa.string()), len(batch)),
                    **dict(zip(batch.schema.names, batch.columns, strict=True)),
                    "predicted": names.take(pa.array(given[name][rows])),
                    **shares(probabilities[name][rows], columns),
                }
                writer.write(pa.record_batch(values))


def shares(probabilities: Probabilities, columns: pa.Schema) -> dict[str, pa.Array]:
    """Returns probabilities (rows, classes) as these columns."""
    return {name: pa.array(np.ascontiguousarray(probabilities[:, at])) for at, name in enumerate(columns.names)}


def read_predictions(folder: Path, labels: Sequence[str] = ()) -> Parts:
    """Returns the predictions of the evaluation in a folder, with the probabilities of these labels; raises StoreError
    as `Parts` does."""
    return Parts(folder / PREDICTIONS, pa.schema([*ANSWERED, *probability_columns(labels)]))


def predicted_labels(folder: Path) -> set[str]:
    """Returns the labels of the classifier whose evaluation is in a folder."""
    names = pq.read_schema(read_predictions(folder).files[0]).names
    return {name.removeprefix(COLUMN) for name in names if name.startswith(COLUMN)}


def baseline_answers(folder: Path, test: Parts, texts: Collection[str]) -> dict[str, str]:
    """Returns the labels that the baseline of the evaluation in a folder gave to those of these texts that are in the
    test split; raises StoreError as `Parts` does."""
    given = Parts(folder / BASELINE_FILE, BASELINE_ANSWERED).table(["predicted"]).column("predicted")

    def answered() -> Iterator[tuple[pa.Array, pa.ChunkedArray]]:
        first = 0
        for batch in test.batches(["text"]):
            yield batch.column("text"), given.slice(first, len(batch))
            first += len(batch)

    return by_text(answered(), texts)
