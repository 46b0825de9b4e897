"""Looks values up by the ids of messages, in tables that are too long to be read as a whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.parts import Parts


def look_up(table: Parts, column: str, ids: npt.NDArray[np.int64]) -> pa.Array:
    """Returns the value that each of these ids (rows,) has in a column of a table with `id`, in their order; null where
    there is none. Reads the table once, batch by batch."""
    wanted = np.unique(ids)
    found, values = [np.zeros(0, np.int64)], [pa.array([], table.schema.field(column).type)]
    for batch in table.batches(["id", column]):
        inside = np.flatnonzero(np.isin(batch.column("id").to_numpy(), wanted))
        found.append(batch.column("id").to_numpy()[inside])
        values.append(batch.column(column).take(pa.array(inside)))
    return pa.concat_arrays(values).take(pc.index_in(pa.array(ids), pa.array(np.concatenate(found))))
