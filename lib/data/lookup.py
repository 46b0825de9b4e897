"""Looks values up by the ids of messages or by their texts, in tables that are too long to be read as a whole.

What is wanted is prepared once: Arrow's `is_in` and NumPy's `isin` would hash or sort it again for each batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.parts import Parts


def places(values: npt.NDArray[Any], known: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns the position of each value (rows,) among `known` ones, which ascend; -1 where it is not one of them."""
    if not len(known):
        return np.full(len(values), -1)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, -1)


def look_up(table: Parts, column: str, ids: npt.NDArray[np.int64]) -> pa.Array:
    """Returns the value that each of these ids (rows,) has in a column of a table with `id`, in their order; null where
    there is none. Reads the table once, batch by batch."""
    wanted = np.unique(ids)
    found, values = [np.zeros(0, np.int64)], [pa.array([], table.schema.field(column).type)]
    for batch in table.batches(["id", column]):
        inside = np.flatnonzero(places(batch.column("id").to_numpy(), wanted) >= 0)
        found.append(batch.column("id").to_numpy()[inside])
        values.append(batch.column(column).take(pa.array(inside)))
    return pa.concat_arrays(values).take(pc.index_in(pa.array(ids), pa.array(np.concatenate(found))))


def by_text(batches: Iterable[tuple[pa.Array, pa.Array | pa.ChunkedArray]], texts: Collection[str]) -> dict[str, Any]:
    """Returns the value beside each of these texts that is in some batch of texts and values, by text; the last one of
    a text that comes several times."""
    wanted = set(texts)
    found: dict[str, Any] = {}
    for read, values in batches:
        rows = [row for row, text in enumerate(read.to_pylist()) if text in wanted]
        inside = pa.array(rows, pa.int64())
        found.update(zip(read.take(inside).to_pylist(), values.take(inside).to_pylist(), strict=True))
    return found


class FirstTimes:
    """Says which rows are the first of their message, in a table that repeats some; takes a byte for each id."""

    def __init__(self) -> None:
        self._seen = np.zeros(0, np.bool_)  # by id, which is a row number of the source

    def mark(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Returns which of the next rows (rows,), with these ids, are the first of their message."""
        self._seen = np.append(self._seen, np.zeros(max(0, int(ids.max(initial=-1)) + 1 - len(self._seen)), np.bool_))
        _, first = np.unique(ids, return_index=True)
        marked = np.zeros(len(ids), np.bool_)
        marked[first] = ~self._seen[ids[first]]
        self._seen[ids] = True
        return marked
