"""The training curve: its columns, its Parquet file and its replay."""

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
PLACE = (
    pa.field("step", pa.int64(), nullable=False),
    pa.field("epoch", pa.float64(), nullable=False),  # passes over the training messages so far
    pa.field("examples_seen", pa.int64(), nullable=False),
    pa.field("tokens_seen", pa.int64(), nullable=False),  # without padding
    pa.field("seconds", pa.float64(), nullable=False),  # of computing so far, evaluations included
    pa.field("learning_rate", pa.float64(), nullable=False),  # of the latest optimizer step
)


def history_schema(measures: Sequence[str] = ()) -> pa.Schema:
    """Returns the columns of a history: the position in the training, then for both splits the mean batch loss
    (`train_loss`) and the objective's `measures` (`train_accuracy`)."""
    names = [f"{split}_{measure}" for measure in ("loss", *measures) for split in ("train", "validation")]
    return pa.schema([*PLACE, *(pa.field(name, pa.float64()) for name in names)])


def history_table(rows: Sequence[Row], measures: Sequence[str] = ()) -> pd.DataFrame:
    """Returns rows as a table with the columns of `history_schema`; what was not measured is NaN."""
    schema = history_schema(measures)
    return pd.DataFrame({field.name: [row.get(field.name, math.nan) for row in rows] for field in schema}).astype(
        {field.name: field.type.to_pandas_dtype() for field in schema}
    )


def write_history(history: pd.DataFrame, file: Path) -> None:
    """Writes `history` as Parquet; equal tables give equal bytes. What was not measured is null."""
    places = len(PLACE)
    schema = pa.schema([*PLACE, *(pa.field(name, pa.float64()) for name in history.columns[places:])])
    pq.write_table(pa.Table.from_pandas(history, schema=schema, preserve_index=False).replace_schema_metadata(), file)


def read_history(file: Path) -> pd.DataFrame:
    """Reads the table that `write_history` wrote."""
    # `read_table` would import Arrow's dataset machinery, which a cached run does not need.
    table: pd.DataFrame = pq.ParquetFile(file).read().to_pandas()
    return table


def replay(rows: Iterable[Row], samples: Iterable[str], listener: Listener) -> None:
    """Replays rows and samples in their original order: the sample written after an epoch follows that epoch's rows."""
    waiting = deque(enumerate(samples, start=1))
    for row in rows:
        while waiting and waiting[0][0] < row["epoch"]:
            listener.on_sample(*waiting.popleft())
        listener.on_row(row)
    for epoch, sample in waiting:
        listener.on_sample(epoch, sample)


def history_checksum(history: pd.DataFrame) -> str:
    """SHA-256 of the curve without its seconds, which differ on every run."""
    return hashlib.sha256(history.drop(columns="seconds").to_csv().encode()).hexdigest()
