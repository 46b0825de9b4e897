"""Holds a frozen test set out of the splits of later runs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.draws import sample_with_rare
from lib.data.lookup import places
from lib.data.messages.alike import straddling_by_keys
from lib.data.messages.keys import EXACT, NEAR, NearKeys
from lib.data.parts import Parts, PartsWriter, counted
from lib.data.queries import Queries
from lib.data.tables import KEYED_SPLIT, MESSAGES, SPLITS
from lib.errors import LabelError
from lib.files.disk import copy_folder

LEARNED_FROM = ("train", "validation")  # validation may choose which weights are kept
NOTHING = "none"
# Messages of a frozen test set, and the least of a label: on so many a tenth of a point's difference is no chance, and
# every later version answers them again.
MOST_FROZEN, LEAST_OF_LABEL = 100_000, 100


def freezable(splits: Mapping[str, Parts]) -> pd.DataFrame:
    """Returns the test messages (id, text, label) without a near-duplicate in what the run learned from, in order; of
    more than `MOST_FROZEN` a sample by their texts' keys, with `LEAST_OF_LABEL` of each label that has as many. With
    `split.group_duplicates` no test message has one; without, the classifier may know some."""
    known, test = NearKeys.of_tables(splits[name] for name in LEARNED_FROM), splits["test"]
    unknown = [np.zeros(0, np.bool_), *(~known.mark(batch) for batch in test.batches([NEAR]))]
    rows = np.flatnonzero(np.concatenate(unknown))
    keys, targets = test.numbers(EXACT)[rows], test.positions("label", test.labels)[rows]
    chosen = sample_with_rare(keys, targets, MOST_FROZEN, least=LEAST_OF_LABEL)
    frame: pd.DataFrame = test.take(rows[chosen], MESSAGES.names).to_pandas()
    return frame


def ids_to_hold_out(splits: Mapping[str, Parts], frozen: Collection[str]) -> list[int]:
    """Returns the sorted ids of messages in train and validation that are near-duplicates of a text in `frozen`."""
    if not frozen:
        return []
    keys = NearKeys.of_texts(frozen)
    found: set[int] = set()
    for name in LEARNED_FROM:
        for batch in splits[name].batches(["id", NEAR]):
            found.update(batch.column("id").to_numpy()[keys.mark(batch)].tolist())
    return sorted(found)


def exclusion_digest(ids: Sequence[int]) -> str:
    """Returns the cache key ingredient of held-out messages: a sha256 of their ids, or "none"."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest() if ids else NOTHING


def hold_out(
    splits: Mapping[str, Parts],
    folder: Path,
    queries: Queries,
    report: Mapping[str, Any],
    ids: Sequence[int],
    *,
    name: str,
) -> dict[str, Any]:
    """Writes the splits (schema `KEYED_SPLIT`) without the messages with these ids, which leave train and validation,
    as parts into `folder/<split>`.

    Returns the report, as in `lib.data.messages.split.Splits`, recounted, with `held_out`: rows removed from `train`
    and `validation`. name: the registered name that owns the frozen test set, for the error.

    Raises LabelError if train or validation loses all messages of a label.
    """
    copy_folder(splits["test"].files[0].parent, folder / "test")
    held_out: dict[str, int] = {}
    labels = {split: dict(report["labels"][split]) for split in SPLITS}
    for split in LEARNED_FROM:
        lost = Counter[str]()
        with PartsWriter(folder / split, KEYED_SPLIT, labels=splits[split].labels) as writer:
            for batch, leaves in _leaving(splits[split], ids):
                gone = batch.filter(leaves)
                lost.update(counted(gone.column("label")))
                writer.write(batch.filter(pc.invert(leaves)))
        held_out[split] = lost.total()
        for label, count in sorted(lost.items()):
            labels[split][label] -= count
            if not labels[split][label]:
                raise LabelError(
                    f"{split} has no message labelled {label!r} left without those of {name!r}'s frozen test set"
                    f" ({held_out[split]} of its {len(splits[split])}): use the split.seed and fractions of the first"
                    " run under that name, give more messages, or choose another registry.name"
                )
    tables = {number: Parts(folder / split, KEYED_SPLIT) for number, split in enumerate(SPLITS)}
    return {
        **report,
        "rows": {split: len(tables[number]) for number, split in enumerate(SPLITS)},
        "labels": labels,
        "straddling": {**report["straddling"], "made": straddling_by_keys(queries, tables, "part_of")},
        "held_out": held_out,
    }


def _leaving(table: Parts, ids: Sequence[int]) -> Iterator[tuple[pa.RecordBatch, pa.BooleanArray]]:
    """Yields the rows, and which of them have one of the ids."""
    wanted = np.unique(np.asarray(ids, np.int64))
    for batch in table.batches():
        yield batch, pa.array(places(batch.column("id").to_numpy(), wanted) >= 0)
