"""Tables in parts: a folder of files with the same columns, written and read in groups of rows.

A part has ROWS_PER_PART rows, the last one what is left, and its groups are those of `lib.data.groups`: the same rows
give the same bytes, in whatever pieces they came. Parts are Parquet, or Arrow's own format where a reader maps them
into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lib.data.groups import bytes_of, fitting, in_order
from lib.data.tables import AGAIN, NO_COLUMNS, labels_of, require_columns, unreadable, with_labels
from lib.errors import StoreError

ROWS_PER_PART = 131_072
Form = Literal["parquet", "arrow"]


class FileWriter:
    """Writes a table's file as rows come, in groups: Parquet, or Arrow's own format if it is called `.arrow`. To be
    used in a `with` block; after an exception in it the file is not whole."""

    def __init__(self, file: Path, schema: pa.Schema, *, labels: Sequence[str] | None = None) -> None:
        """labels: the label names in the order of their targets, kept in the file's schema."""
        self.schema = schema
        self.rows = 0
        self._kept = schema if labels is None else with_labels(schema, labels)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._file: pq.ParquetWriter | pa.RecordBatchFileWriter
        if file.suffix == ".arrow":
            self._file = pa.ipc.new_file(file, self._kept)
        else:
            self._file = pq.ParquetWriter(file, self._kept, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_group()
        finally:
            self._file.close()

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Adds rows with the schema's columns, which may stand in another order and among others."""
        rows = rows.select(self.schema.names).replace_schema_metadata().cast(self.schema)
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            self.rows += len(batch)
            sizes, first = bytes_of(batch), 0
            ends = np.cumsum(sizes)
            while first < len(batch):
                count = fitting(ends, first, rows=self._waiting_rows, size=self._waiting_bytes)
                if not count:
                    self._write_group()
                    continue
                self._waiting.append(batch.slice(first, count))
                self._waiting_rows += count
                self._waiting_bytes += int(sizes[first : first + count].sum())
                first += count

    def _write_group(self) -> None:
        if self._waiting:
            # Copied into one piece: of a slice its neighbours' bytes may reach the file, and of several their bounds.
            group = pa.Table.from_batches([*self._waiting, self._waiting[0].slice(0, 0)], self.schema).combine_chunks()
            self._file.write_table(group.replace_schema_metadata(self._kept.metadata), len(group))
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0


class PartsWriter:
    """Writes a table's parts into a folder, which it makes, as rows come. To be used in a `with` block; after an
    exception in it the folder does not hold the whole table."""

    def __init__(
        self, folder: Path, schema: pa.Schema, *, labels: Sequence[str] | None = None, form: Form = "parquet"
    ) -> None:
        """labels: the label names in the order of their targets, kept in each part's schema."""
        self.schema = schema
        self.rows = 0
        self._folder, self._labels, self._form = folder, labels, form
        self._parts = 0
        folder.mkdir(parents=True)
        self._part = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.__exit__(kind, error, trace)

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Adds rows with the schema's columns, which may stand in another order and among others."""
        first = 0
        while first < len(rows):
            if self._part.rows == ROWS_PER_PART:  # a part begins with its first row: only an empty table's is empty
                self._part.__exit__(None, None, None)
                self._part = self._open()
            piece = rows.slice(first, ROWS_PER_PART - self._part.rows)
            self._part.write(piece)
            first += len(piece)
        self.rows += len(rows)

    def _open(self) -> FileWriter:
        file = self._folder / f"part-{self._parts:05}.{self._form}"
        self._parts += 1
        return FileWriter(file, self.schema, labels=self._labels)


class Parts:
    """A table in parts, as `PartsWriter` wrote it, or the one file of a `FileWriter`.

    Its columns are those of the schema, and of the `optional` ones those that are there. Nothing is read before it is
    asked for, but the parts' footers.

    Raises StoreError if there is no part, one is damaged, or lacks a column.
    """

    def __init__(self, place: Path, schema: pa.Schema, *, optional: pa.Schema = NO_COLUMNS) -> None:
        self.files = [place] if place.is_file() else sorted(place.glob("part-*"))
        if not self.files:
            raise StoreError(f"{place} has no part of a table: {AGAIN}")
        there = self._stored.names
        require_columns(self.files[0], schema, there)
        self.schema = pa.schema([*schema, *(field for field in optional if field.name in there)])

    def __len__(self) -> int:
        """The number of rows of all parts."""
        return int(self.starts[-1])

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """The position of each part's first row, and the number of all rows."""
        return np.cumsum([0, *(self._rows(file) for file in self.files)])

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names in the order of their targets; raises StoreError if there are none."""
        return labels_of(self._stored, self.files[0])

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows in order, in groups that lie within a part."""
        for number in range(len(self.files)):
            yield from self.part(number, columns)

    def part(self, number: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a part in order, in groups."""
        for _, batch in self._groups(number, columns):
            yield batch

    def _groups(
        self, number: int, columns: Sequence[str] | None, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields the groups of a part, each with the position of its first row; only those with one of these rows, at
        ascending positions, if they are given."""
        file, wanted, first = self.files[number], self._wanted(columns), 0
        try:
            if file.suffix == ".arrow":
                with pa.memory_map(f"{file}") as source, pa.ipc.open_file(source) as reader:
                    for at in range(reader.num_record_batches):
                        batch = reader.get_batch(at)
                        if _has(rows, first, first + len(batch)):
                            yield first, _as(batch, wanted)
                        first += len(batch)
            else:
                with pq.ParquetFile(file) as source:
                    # One group at a time: read ahead, a part's groups would all be in memory.
                    for at in range(source.num_row_groups):
                        behind = first + source.metadata.row_group(at).num_rows
                        if _has(rows, first, behind):
                            group = source.read_row_group(at, columns=wanted.names, use_threads=False)
                            for batch in group.combine_chunks().to_batches():
                                yield first, _as(batch, wanted)
                        first = behind
        except (OSError, ValueError, pa.ArrowException) as error:
            raise unreadable(file, error) from error

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns all rows; those of Arrow's format stay in the mapped files."""
        return pa.Table.from_batches(self.batches(columns), self._wanted(columns))

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Returns all rows as a frame: numbers as int64, texts as str, lists as arrays."""
        frame: pd.DataFrame = self.table(columns).to_pandas()
        return frame

    def numbers(self, column: str) -> npt.NDArray[Any]:
        """Returns a column of numbers."""
        values: npt.NDArray[Any] = self.table([column]).column(column).to_numpy()
        return values

    def positions(
        self, column: str, names: Sequence[str], *, out: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int64]:
        """Returns the position of each row's text in a column among these names (rows,); in `out` if that is given."""
        found, wanted, first = np.empty(len(self), np.int64) if out is None else out, pa.array(names, pa.string()), 0
        for batch in self.batches([column]):
            places = pc.index_in(batch.column(column), wanted)
            found[first : first + len(batch)] = places.to_numpy(zero_copy_only=False)
            first += len(batch)
        return found

    def take(self, rows: npt.ArrayLike, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns the rows at these positions, in their order. Reads only the groups that have some of them."""
        asked = np.asarray(rows, np.int64)
        order = np.argsort(asked, kind="stable")
        wanted = asked[order]
        found: list[pa.RecordBatch] = []
        for number, start in enumerate(self.starts[:-1]):
            low, high = np.searchsorted(wanted, [start, self.starts[number + 1]])
            if low < high:
                found += self._taken(number, wanted[low:high] - start, columns)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_tables([self._wanted(columns).empty_table(), *in_order(found, back)])

    def _taken(
        self, number: int, rows: npt.NDArray[np.int64], columns: Sequence[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Yields of the rows at these ascending positions in a part the batches in which they lie, of these only."""
        for first, batch in self._groups(number, columns, rows):
            low, high = np.searchsorted(rows, [first, first + len(batch)])
            yield batch.take(pa.array(rows[low:high] - first))

    def _wanted(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])

    @cached_property
    def _stored(self) -> pa.Schema:
        return self._schema_of(self.files[0])

    def _schema_of(self, file: Path) -> pa.Schema:
        try:
            if file.suffix == ".arrow":
                with pa.memory_map(f"{file}") as source, pa.ipc.open_file(source) as reader:
                    return reader.schema
            return pq.read_schema(file)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise unreadable(file, error) from error

    def _rows(self, file: Path) -> int:
        try:
            if file.suffix == ".arrow":
                with pa.memory_map(f"{file}") as source, pa.ipc.open_file(source) as reader:
                    return sum(reader.get_batch(at).num_rows for at in range(reader.num_record_batches))
            return int(pq.read_metadata(file).num_rows)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise unreadable(file, error) from error


def save_parts(frame: pd.DataFrame, folder: Path, schema: pa.Schema, *, labels: Sequence[str] | None = None) -> None:
    """Writes the schema's columns of a frame, rows in order, as the parts of a new folder."""
    with PartsWriter(folder, schema, labels=labels) as writer:
        columns = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
        writer.write(pa.table(columns, schema=schema))


def save_rows(
    table: Parts,
    rows: npt.NDArray[np.int64],
    folder: Path,
    schema: pa.Schema,
    *,
    labels: Sequence[str] | None = None,
    more: Mapping[str, npt.NDArray[Any]] | None = None,
) -> None:
    """Writes the rows of a table at these positions, in their order, as the parts of a new folder. The table is read
    into memory as a whole. more: columns of the schema that it does not have."""
    more = more or {}
    whole, first = list(table.batches([field.name for field in schema if field.name not in more])), 0
    with PartsWriter(folder, schema, labels=labels) as writer:
        for group in in_order(whole, rows):
            some = slice(first, first + len(group))
            first = some.stop
            for name, values in more.items():
                group = group.append_column(name, pa.array(values[some]))
            writer.write(group)


def load_parts(folder: Path, schema: pa.Schema) -> pd.DataFrame:
    """Reads all rows of a table in parts, as `Parts.frame` does; raises StoreError as `Parts` does."""
    return Parts(folder, schema).frame()


def counted(values: pa.Array) -> dict[Any, int]:
    """Returns how often each value is there, in the order in which they come."""
    return {each["values"]: each["counts"] for each in values.value_counts().to_pylist()}


def _has(rows: npt.NDArray[np.int64] | None, first: int, behind: int) -> bool:
    """Whether one of these ascending positions, or of all, is from `first` to before `behind`."""
    return rows is None or bool(np.diff(np.searchsorted(rows, [first, behind]))[0])


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Returns the schema's columns of a batch, as their types."""
    return batch.select(schema.names).replace_schema_metadata().cast(schema)
