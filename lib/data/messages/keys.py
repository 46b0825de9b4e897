"""Keys of texts: numbers by which tables of any size are searched for copies and near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.duplicates import normalise
from lib.data.parts import Parts
from lib.data.tables import KEYS

NEAR = ("near_high", "near_low")
JOINED = pa.binary(16)


def keys_of(texts: Collection[str]) -> pa.RecordBatch:
    """Returns the keys of texts with the schema `KEYS`.

    near_high, near_low: 128 bits of BLAKE2b of what `normalise` leaves, which near-duplicates share. exact: 64 bits of
    the text's own. Of ten million texts two share their 64 bits by chance once in 370,000 tables (n^2 / 2^65), and
    their 128 bits never.
    """
    near = b"".join(_blake2b(normalise(text), 16) for text in texts)
    exact = b"".join(_blake2b(text, 8) for text in texts)
    halves = np.frombuffer(near, ">u8").astype(np.uint64).reshape(-1, 2)
    columns = [halves[:, 0], halves[:, 1], np.frombuffer(exact, ">u8").astype(np.uint64)]
    return pa.record_batch([pa.array(np.ascontiguousarray(column)) for column in columns], schema=KEYS)


class NearKeys:
    """The keys of texts, to find their near-duplicates in tables; 16 bytes each."""

    def __init__(self, tables: Iterable[Parts]) -> None:
        """tables: with the columns of the schema `KEYS`."""
        found = [_joined(batch) for table in tables for batch in table.batches(NEAR)]
        self._keys = pa.concat_arrays(found) if found else pa.array([], JOINED)

    @classmethod
    def of_texts(cls, texts: Collection[str]) -> NearKeys:
        """The keys of these texts."""
        made = cls([])
        made._keys = _joined(keys_of(texts))
        return made

    def mark(self, table: Parts, part: int) -> npt.NDArray[np.bool_]:
        """Returns which rows of a table's part are near-duplicates of one of the texts."""
        # All of a part at once: the keys are hashed anew each time.
        rows = pa.concat_arrays([pa.array([], JOINED), *(_joined(batch) for batch in table.part(part, NEAR))])
        marked: npt.NDArray[np.bool_] = pc.is_in(rows, value_set=self._keys).to_numpy(zero_copy_only=False)
        return marked


def _joined(rows: pa.RecordBatch) -> pa.FixedSizeBinaryArray:
    """Returns both halves of each row's key for near-duplicates as one value of 16 bytes."""
    halves = np.column_stack([rows.column(name).to_numpy() for name in NEAR])
    return pa.FixedSizeBinaryArray.from_buffers(JOINED, len(rows), [None, pa.py_buffer(halves.tobytes())])


def coded(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Returns tables with two more columns, whose numbers (int64) are equal where the keys of texts are: `near` for
    near-duplicates and `exact_code` for copies, over all tables. Keys are those of the schema `KEYS`, if a table has
    them, or else those of its texts."""
    keys = pd.concat(
        [table[KEYS.names] if "near_high" in table else keys_of(table["text"]).to_pandas() for table in tables],
        ignore_index=True,
    )
    high, low = (pd.factorize(keys[name])[0].astype(np.int64) for name in ("near_high", "near_low"))
    near = pd.factorize(high * (low.max(initial=0) + 1) + low)[0]
    exact = pd.factorize(keys["exact"])[0]
    ends = np.cumsum([len(table) for table in tables])
    return [
        table.assign(near=near[end - len(table) : end], exact_code=exact[end - len(table) : end])
        for table, end in zip(tables, ends, strict=True)
    ]


def _blake2b(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
