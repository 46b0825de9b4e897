"""Keys of texts: numbers by which tables of any size are searched for copies and near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lib.data.draws import UInts
from lib.data.duplicates import normalise
from lib.data.lookup import places
from lib.data.parts import Parts
from lib.data.tables import KEYS

EXACT = "exact"  # the column of a text's own key
NEAR = "near_high"  # the column by which near-duplicates are found where 64 bits suffice


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
    """The keys of texts, to find their near-duplicates in tables; 64 bits each."""

    def __init__(self, keys: UInts) -> None:
        """keys: the column NEAR of the schema `KEYS` (texts,)."""
        self._keys = np.unique(keys)

    @classmethod
    def of_tables(cls, tables: Iterable[Parts]) -> NearKeys:
        """The keys of the texts of tables with the columns of the schema `KEYS`."""
        return cls(np.concatenate([np.zeros(0, np.uint64), *(table.numbers(NEAR) for table in tables)]))

    @classmethod
    def of_texts(cls, texts: Collection[str]) -> NearKeys:
        """The keys of these texts."""
        return cls(keys_of(texts).column(NEAR).to_numpy())

    def mark(self, rows: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Returns which rows (rows,) of a table with NEAR are near-duplicates of one of the texts."""
        marked: npt.NDArray[np.bool_] = places(rows.column(NEAR).to_numpy(), self._keys) >= 0
        return marked


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
