"""The measured curve of a training: its columns, and its file.

Here belongs what one row means; measuring is `loop.py`'s, drawing is `lib/evaluation`'s.
"""

import hashlib
import math
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lib.progress import Listener

Row = dict[str, int | float]

# One row for each evaluation. `step` counts batches from 0: step 0 is measured after the first batch.
SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("epoch", pa.float64(), nullable=False),  # passes over the training messages so far
        pa.field("examples_seen", pa.int64(), nullable=False),
        pa.field("tokens_seen", pa.int64(), nullable=False),  # without padding
        pa.field("seconds", pa.float64(), nullable=False),  # of computing so far, evaluations included
        pa.field("learning_rate", pa.float64(), nullable=False),  # of the latest optimizer step
        pa.field("train_loss", pa.float64()),  # mean of the losses of the batches looked at
        pa.field("validation_loss", pa.float64()),
        pa.field("train_accuracy", pa.float64()),  # share of the messages looked at, 0 to 1
        pa.field("validation_accuracy", pa.float64()),
    ]
)


def history_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table with the columns of `SCHEMA`; what was not measured is NaN."""
    return pd.DataFrame({field.name: [row.get(field.name, math.nan) for row in rows] for field in SCHEMA}).astype(
        {field.name: field.type.to_pandas_dtype() for field in SCHEMA}
    )


def write_history(history: pd.DataFrame, file: Path) -> None:
    """Write `history` as Parquet; equal tables give equal bytes. What was not measured is null."""
    pq.write_table(pa.Table.from_pandas(history, schema=SCHEMA, preserve_index=False).replace_schema_metadata(), file)


def read_history(file: Path) -> pd.DataFrame:
    """The table that `write_history` wrote."""
    # `read_table` would load Arrow's machinery for data sets of many files, which a cached run has no other use for.
    table: pd.DataFrame = pq.ParquetFile(file).read().to_pandas()
    return table


def retell(rows: Iterable[Row], samples: Iterable[str], listener: Listener) -> None:
    """Replay rows and samples in their original order: the sample of an epoch comes after the epoch's rows.

    samples: what the model wrote after each epoch.
    """
    waiting = deque(enumerate(samples, start=1))
    for row in rows:
        while waiting and waiting[0][0] < row["epoch"]:
            listener.on_sample(*waiting.popleft())
        listener.on_row(row)
    for epoch, sample in waiting:
        listener.on_sample(epoch, sample)


def history_checksum(history: pd.DataFrame) -> str:
    """SHA-256 of the curve without its seconds, which are others each time."""
    return hashlib.sha256(history.drop(columns="seconds").to_csv().encode()).hexdigest()
