"""Reads the files of a run: one data set to be divided, or splits that exist already, as files or by a column.

Rows are read once, into parts beside the artifact, while labels are counted; once all are counted it is settled what
becomes of each label, and the rows come in their order from these parts. So memory does not grow with the files.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lib.data.messages.given import UNNAMED_SPLIT, splits_by_value
from lib.data.messages.labels import LabelRules, Settled, settle, shown
from lib.data.messages.reading import FileOfMessages
from lib.data.parts import Parts, PartsWriter
from lib.data.source.data_file import DataFile
from lib.data.tables import LEFT_OUT, SPLITS
from lib.errors import LabelError, listed

MOST_WRITTEN = 1_000_000  # different labels of a file: they are held in memory, and no classifier learns so many
OF_ONE_FILE = ("name", "split", "rows")
NOT_OF_TEXTS = ("row", "line", "label", "split", "reason")

SplitOf = Mapping[str, str] | None  # the split by what the column of splits says, if there is one
Written = tuple[str, str]  # of a message: its value in the column of splits ("" without one), and its label


@dataclass(frozen=True)
class _FileRead:
    """The rows of a file as they were read.

    split: that of the file, where no column says it. rows: what the `FileOfMessages` gave. first: the number that the
    file's first row has over all files. written: messages by what is written.
    """

    file: DataFile
    split: str
    rows: Parts
    first: int
    written: Counter[Written]

    def by_split(self, split_of: SplitOf) -> dict[str, Counter[str]]:
        """Returns of each split that the file has messages of their number by label, as written."""
        found: dict[str, Counter[str]] = {}
        for (value, label), count in self.written.items():
            split = self.split if split_of is None else split_of.get(value)
            if split is not None:
                found.setdefault(split, Counter())[label] += count
        return found


@dataclass(frozen=True)
class SplitsRead:
    """What the files of a run have.

    labels: the label names in the order of their targets.
    files: JSON-able, of each file its name, split, rows and what it is.
    warnings: sentences about them.
    """

    labels: tuple[str, ...]
    files: list[dict[str, Any]]
    warnings: list[str]
    _read: Sequence[_FileRead]
    _settled: Settled
    _split_of: SplitOf

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the files have, in the order of SPLITS."""
        there = {split for read in self._read for split in read.by_split(self._split_of)}
        return tuple(split for split in SPLITS if split in there)

    def forms(self) -> list[dict[str, Any]]:
        """Returns how the files are written, each way once: format, encoding, separator and so on."""
        forms = [{name: fact for name, fact in file.items() if name not in OF_ONE_FILE} for file in self.files]
        return [form for number, form in enumerate(forms) if form not in forms[:number]]

    def messages(self, split: str) -> Iterator[pa.RecordBatch]:
        """Yields the messages of a split in the order of its files, labels settled: id int64, text, label and line, and
        `value`, that of the column of slices, if it was read."""
        for read in self._read:
            if split in read.by_split(self._split_of):
                yield from (self._settle(batch, read.first, split) for batch in read.rows.batches())

    def left_out(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows that are no messages, with the schema `LEFT_OUT`, in the order of the files."""
        for read in self._read:
            columns = [name for name in NOT_OF_TEXTS if name in read.rows.schema.names]
            for batch in read.rows.batches(columns):
                reasons = batch.column("reason")
                if self._split_of is not None:
                    values = _filled(batch.column("split"))
                    unnamed = [value for value in pc.unique(values).to_pylist() if value not in self._split_of]
                    reasons = pc.coalesce(reasons, _mapped(values, dict.fromkeys(unnamed, UNNAMED_SPLIT)))
                reasons = pc.coalesce(reasons, _mapped(batch.column("label"), self._settled.leaves))
                names = pa.repeat(read.file.name, len(batch))
                rows = [names, batch.column("row"), batch.column("line"), reasons]
                yield pa.record_batch(rows, LEFT_OUT.names).filter(pc.is_valid(reasons)).cast(LEFT_OUT)

    def _settle(self, batch: pa.RecordBatch, first: int, split: str) -> pa.RecordBatch:
        """Returns the messages that rows of a file have of a split."""
        labels = _mapped(batch.column("label"), self._settled.becomes)
        kept = pc.and_(pc.is_null(batch.column("reason")), pc.is_valid(labels))
        if self._split_of is not None:
            of_rows = _mapped(_filled(batch.column("split")), self._split_of)
            kept = pc.and_(kept, pc.fill_null(pc.equal(of_rows, split), False))
        columns = {"id": pc.add(batch.column("row"), first), "text": batch.column("text"), "label": labels}
        columns["line"] = batch.column("line")
        if "slice" in batch.schema.names:
            columns["value"] = batch.column("slice")
        return pa.RecordBatch.from_pydict(columns).filter(kept)


def read_splits(
    files: Mapping[str, Sequence[DataFile]],
    read: Callable[[DataFile], FileOfMessages],
    *,
    scratch: Path,
    rules: Callable[[int], LabelRules] = lambda splits: LabelRules(),
    by_column: bool = False,
    split_names: Mapping[str, Sequence[str]] | None = None,
) -> SplitsRead:
    """Reads the files of each split, one after the other, and settles their labels.

    `id` counts the rows of all files from 0 on, in the order train, validation, test, and within a split in that of its
    files; rows that are left out are counted too.

    Args:
        files: `train`, and where they are given `validation` and `test`; at least one file each.
        read: opens one file, as `lib.data.messages.reading.read_messages` does.
        scratch: a folder for the rows as they are read, which take about the room of the files. It must stay as long as
            what is returned is used.
        rules: what becomes of labels, by the number of splits that train is divided into.
        by_column: whether the column `split` of the messages says to which split a row belongs; `split_names`: what
            they are called there.

    Raises MessagesError as `read` and its batches do. Raises LabelError as `settle` does, if a file has more than
    `MOST_WRITTEN` labels, or if a given validation or test split has a label that train has not. They may lack labels
    that train has. Raises MessagesError as `splits_by_value` does.
    """
    reads: list[_FileRead] = []
    facts, warnings, first = [], [], 0
    for split in (name for name in SPLITS if name in files):
        for file in files[split]:
            found = read(file)
            rows, written = _into_parts(found, scratch / f"file-{len(reads):05}", file.name)
            reads.append(_FileRead(file, split, rows, first, written))
            facts.append({"name": file.name, "split": split, "rows": found.rows, **found.form.as_json()})
            warnings += found.warnings
            first += found.rows
    where = listed(file.name for file in files["train"])
    split_of = splits_by_value(_values(reads), split_names, where=where) if by_column else None
    pieces = [(each.file, split, counts) for each in reads for split, counts in each.by_split(split_of).items()]
    settled = settle(
        _total(counts for _, split, counts in pieces if split == "train"),
        rules(len(SPLITS) - len({split for _, split, _ in pieces if split != "train"})),
        given=_total(counts for _, split, counts in pieces if split != "train"),
        where=where,
    )
    for file, split, counts in sorted(pieces, key=lambda piece: SPLITS.index(piece[1])):
        if split != "train":
            _require_known(counts, settled, file, split)
    return SplitsRead(settled.labels, facts, [*warnings, *settled.warnings], reads, settled, split_of)


def _into_parts(messages: FileOfMessages, folder: Path, name: str) -> tuple[Parts, Counter[Written]]:
    """Reads a file into parts, and counts its messages by what is written. Raises LabelError if that is something else
    in too many of them."""
    shutil.rmtree(folder, ignore_errors=True)  # of a step that was interrupted
    written: Counter[Written] = Counter()
    with PartsWriter(folder, messages.schema, form="arrow") as parts:
        for batch in messages:
            parts.write(batch)
            used = batch.filter(pc.is_null(batch.column("reason")))
            values = _filled(used.column("split")) if "split" in used.schema.names else pa.repeat("", len(used))
            pairs = pa.table({"value": values, "label": used.column("label")}).group_by(
                ["value", "label"], use_threads=False
            )
            for row in pairs.aggregate([([], "count_all")]).to_pylist():
                written[row["value"], row["label"]] += row["count_all"]
            if len(written) > MOST_WRITTEN:
                raise LabelError(
                    f"{name} has more than {MOST_WRITTEN:,} different labels: is --data.label_column"
                    f"{' or --split.column' if 'split' in used.schema.names else ''} another column?"
                )
    return Parts(folder, messages.schema), written


def _values(reads: Iterable[_FileRead]) -> Counter[str]:
    """Returns messages by what the column of splits says."""
    total: Counter[str] = Counter()
    for read in reads:
        for (value, _), count in read.written.items():
            total[value] += count
    return total


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _require_known(counts: Iterable[str], settled: Settled, file: DataFile, split: str) -> None:
    """Raises LabelError if a file of a given split has a label that train has not."""
    names = {settled.becomes[label] for label in counts if label in settled.becomes}
    unknown = sorted(names - set(settled.labels))
    if unknown:
        raise LabelError(
            f"{file.name}: no message of train has the label {listed(map(shown, unknown), most=1)}, so"
            f" {split} cannot have it: add such messages to data.files.train, or remove them from this file"
        )


def _filled(values: pa.StringArray) -> pa.StringArray:
    return pc.fill_null(values, "")


def _mapped(values: pa.StringArray, names: Mapping[str, str]) -> pa.StringArray:
    """Returns the name of each value, null where it has none."""
    encoded = values.dictionary_encode()
    named = pa.array([names.get(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return named.take(encoded.indices)
