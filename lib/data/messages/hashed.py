"""Balances and splits messages of any number by a hash of what they say, so that a message stays where it is whatever
becomes of the others, and no text is held in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.data.draws import UInts, draws, mixed
from lib.data.groups import in_order
from lib.data.messages.alike import straddling_by_keys
from lib.data.messages.keys import NearKeys
from lib.data.messages.split import none_left, proportions, require_fractions, too_few
from lib.data.parts import FileWriter, Parts, PartsWriter, counted
from lib.data.queries import Queries
from lib.data.tables import KEYED_MESSAGES, KEYED_SPLIT, KEYS, SPLITS

Ints = npt.NDArray[np.int64]
# Of each message the numbers of the split that it is in, and of the one in which its own number would put it; its keys.
PLACED = pa.schema([pa.field("made", pa.int64()), pa.field("plain", pa.int64()), *KEYS])


def balance_by_hash(
    messages: Parts, folder: Path, *, method: Literal["undersample", "oversample"], seed: int, labels: Sequence[str]
) -> None:
    """Makes the classes equal in size: writes the messages to split as the parts of `folder/balanced` and those left
    out as `folder/reserve` (schema `KEYED_MESSAGES`), rows in the order of the file.

    Of a class those messages are drawn whose hash, which depends on the text and the seed alone, is smallest: a message
    that comes or goes changes one other in each class at most. Copies of a text count as different ones.

    undersample: draws as many of each class as the smallest has. oversample: repeats each class whole as often as it
    fits into the largest, and draws the rest; a repeated row follows itself.
    """
    targets = messages.positions("label", labels)
    texts: UInts = messages.numbers("exact")
    sizes = np.bincount(targets)
    wanted = int(sizes[sizes > 0].min() if method == "undersample" else sizes.max())
    times = np.zeros(len(targets), np.int64)
    for target in np.flatnonzero(sizes):
        rows = np.flatnonzero(targets == target)
        whole, rest = divmod(wanted, len(rows))
        times[rows] = whole
        times[rows[np.argsort(draws(texts[rows], seed), kind="stable")[:rest]]] += 1
    first = 0
    with (
        PartsWriter(folder / "balanced", KEYED_MESSAGES) as balanced,
        PartsWriter(folder / "reserve", KEYED_MESSAGES) as reserve,
    ):
        for batch in messages.batches():
            here = times[first : first + len(batch)]
            first += len(batch)
            reserve.write(batch.filter(pa.array(here == 0)))
            again = np.repeat(np.arange(len(batch)), here)
            for group in in_order([batch], again):
                balanced.write(group)


def split_by_hash(
    messages: Parts,
    folder: Path,
    queries: Queries,
    scratch: Path,
    *,
    fractions: Mapping[str, float],
    seed: int,
    labels: Sequence[str],
    given: Mapping[str, Parts],
    near_duplicates: Literal["keep", "drop_from_train"] = "keep",
) -> dict[str, Any]:
    """Writes the parts of each split into `folder/<split>` (schema `KEYED_SPLIT`), rows in the order of the file, and
    returns the report, as `lib.data.messages.split.Splits` has it.

    A message's split depends on what its near-duplicates share and on the seed alone. So near-duplicates are in one
    split, and a message that comes or goes moves no other. The splits have their fractions of the messages, and of each
    label, as a draw has them: of 10,000 messages a fifth is 2,000 give or take 40.

    Other arguments as in `lib.data.messages.split.split_messages`; of messages that balancing has repeated only train
    has the copies. scratch: an empty folder.

    Raises RecipeError and LabelError as that does.
    """
    require_fractions(fractions)
    made_here = [name for name in SPLITS if name not in given]
    ends = np.cumsum(proportions(fractions, made_here))[:-1]
    numbers = np.array([SPLITS.index(name) for name in made_here], np.int64)
    known = NearKeys.of_tables(given.values()) if near_duplicates == "drop_from_train" else None
    targets = pa.array(labels)
    counts = {name: Counter[str]() for name in SPLITS}
    everything = Counter[str]()
    dropped, seen = 0, _Seen()
    with ExitStack() as stack:
        placed = stack.enter_context(FileWriter(scratch / "placed.parquet", PLACED))
        writers = {name: stack.enter_context(PartsWriter(folder / name, KEYED_SPLIT, labels=labels)) for name in SPLITS}

        def write(name: str, rows: pa.RecordBatch) -> None:
            target = pc.index_in(rows.column("label"), value_set=targets).cast(pa.int64())
            writers[name].write(rows.append_column("target", target))
            counts[name].update(counted(rows.column("label")))

        for batch in messages.batches():
            everything.update(counted(batch.column("label")))
            if known is not None:
                leaves = known.mark(batch)
                dropped += int(leaves.sum())
                batch = batch.filter(pa.array(~leaves))
            ids = batch.column("id").to_numpy()
            new = seen.add(ids)
            made = numbers[np.searchsorted(ends, _shares(_near(batch), seed), side="right")]
            plain = numbers[np.searchsorted(ends, _shares(ids.astype(np.uint64), seed), side="right")]
            placed.write(_placed(batch, made, plain).filter(pa.array(new)))
            for number, name in zip(numbers, made_here, strict=True):
                inside = made == number
                write(name, batch.filter(pa.array(inside if name == "train" else inside & new)))
        for name, table in given.items():
            for batch in table.batches():
                write(name, batch)
                there = np.full(len(batch), SPLITS.index(name))
                placed.write(_placed(batch, there, there))
    lost = sorted(
        label for label, count in everything.items() if count and not sum(counts[name][label] for name in made_here)
    )
    if lost:
        raise none_left(lost[0])
    for label in sorted(everything):
        missing = [name for name in made_here if not counts[name][label]]
        if missing:
            rows = sum(counts[name][label] for name in made_here)
            raise too_few(
                label, rows=rows, different=rows, missing=missing[0], otherwise="set split.method to published, "
            )
    table = Parts(scratch / "placed.parquet", PLACED)
    return {
        "rows": {name: writers[name].rows for name in SPLITS},
        "labels": {name: {label: counts[name][label] for label in labels} for name in SPLITS},
        "straddling": {which: straddling_by_keys(queries, table, which) for which in ("made", "plain")},
        "given": [name for name in SPLITS if name in given],
        "dropped_from_train": dropped,
    }


class _Seen:
    """Which ids there were before: a byte for each."""

    def __init__(self) -> None:
        self._there = np.zeros(0, bool)

    def add(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Returns which of these were not there yet, of equal ones the first."""
        highest = int(ids.max(initial=-1)) + 1
        if highest > len(self._there):
            self._there = np.concatenate(
                [self._there, np.zeros(max(highest - len(self._there), len(self._there)), bool)]
            )
        new = ~self._there[ids]
        firsts = np.zeros(len(ids), bool)
        firsts[np.unique(ids, return_index=True)[1]] = True
        self._there[ids] = True
        return new & firsts


def _placed(rows: pa.RecordBatch, made: Ints, plain: Ints) -> pa.RecordBatch:
    return pa.record_batch([pa.array(made), pa.array(plain), *(rows.column(name) for name in KEYS.names)], PLACED)


def _near(rows: pa.RecordBatch) -> UInts:
    """Returns 64 bits of what near-duplicates share."""
    low: UInts = rows.column("near_low").to_numpy()
    return low


def _shares(keys: UInts, seed: int) -> npt.NDArray[np.float64]:
    """Returns a number from 0 to below 1 for each key, evenly spread, another for each seed."""
    return ((mixed(keys, seed) >> np.uint64(11)) * 2.0**-53).astype(np.float64)
