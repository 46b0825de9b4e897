"""Groups of rows that are read, held and written at once: how many rows make one, and rows of many put into order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROWS_PER_GROUP = 16_384
BYTES_PER_GROUP = 2**26  # of texts and lists; one row alone may have more. A column of texts holds 2 GiB at most.

Ints = npt.NDArray[np.int64]


def bytes_of(rows: pa.RecordBatch) -> Ints:
    """Returns the bytes that the texts and lists of each row take (rows,)."""
    total = np.zeros(len(rows), np.int64)
    for column in rows.columns:
        if pa.types.is_string(column.type):
            total += pc.fill_null(pc.binary_length(column), 0).to_numpy()
        elif pa.types.is_list(column.type) and pa.types.is_primitive(column.type.value_type):
            width = column.type.value_type.bit_width // 8
            total += width * pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return total


def fitting(ends: Ints, first: int, *, rows: int = 0, size: int = 0) -> int:
    """Returns how many rows from position `first` on fit into a group that has so many rows and bytes already: none if
    it is full, and one at least if it is empty.

    ends: of all rows the bytes up to the end of each (rows,).
    """
    begun = int(ends[first - 1]) if first else 0
    within = int(np.searchsorted(ends, begun + BYTES_PER_GROUP - size, side="right")) - first
    return min(max(within, 0 if rows else 1), ROWS_PER_GROUP - rows)


def in_order(batches: Sequence[pa.RecordBatch], rows: Ints) -> Iterator[pa.Table]:
    """Yields the rows at these positions in batches that stand one after another, in their order, in groups."""
    if not len(rows):
        return
    starts = np.cumsum([0, *map(len, batches)])
    ends = np.cumsum(np.concatenate([bytes_of(batch) for batch in batches])[rows])
    first = 0
    while first < len(rows):
        count = fitting(ends, first)
        yield _gathered(batches, starts, rows[first : first + count])
        first += count


def _gathered(batches: Sequence[pa.RecordBatch], starts: Ints, rows: Ints) -> pa.Table:
    """Returns a group. Each batch is asked for its own rows: a table would be copied into one piece each time."""
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    found = [
        batch.take(pa.array(wanted[low:high] - start))
        for batch, start, (low, high) in zip(batches, starts, pairwise(np.searchsorted(wanted, starts)), strict=False)
        if low < high
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.Table.from_batches(found).take(pa.array(back))
