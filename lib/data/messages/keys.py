"""Keys of texts: numbers by which tables of any size are searched for copies and near-duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from lib.data.duplicates import normalise
from lib.data.tables import KEYS


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


def _blake2b(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
