"""Reads columns of Parquet files in bounded memory. Label names that Hugging Face's `datasets` keeps beside its numbers
are used, and what pandas keeps of an index is passed over.

A few kilobytes can be gigabytes: one text for a million rows, a million nulls in a run. What the pages say that they
unpack to is counted before anything is read, then what comes out of them, a few rows at a time where rows may be long.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lib.data.source.columns import ABSENT, Column, named_columns, require_column, value_at
from lib.data.source.compressed import Unpacked
from lib.data.source.data_file import DataFile
from lib.data.source.parquet_footer import read_row_groups
from lib.data.source.parquet_pages import read_pages
from lib.data.source.rows import BATCH_CHARACTERS, NO_FIELD, Batch, Form, Records, Unreadable
from lib.errors import MessagesError

READ_ROWS = 4096  # read at once
READ_BYTES = 2**20  # of a column read at once, instead of a whole row group
INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name
LIST_BYTES = 8  # that a value in a list takes besides itself
LONGEST_BATCH = 2**26  # bytes of a column read at once, where all texts may be as long as the longest
LONGEST_ROW = 2**28  # bytes of a column in one row, as of one value in JSON
UNKNOWN_CLASS = -1  # Hugging Face's number for "no label"


class ParquetRows:
    """An opened Parquet file."""

    def __init__(self, file: DataFile) -> None:
        self.warnings: list[str] = []
        self._file = file
        with self._opened() as source:
            self._schema: pa.Schema = source.schema_arrow
            # Of each column that is stored, its path, and whether it is inside of lists.
            stored = [source.schema.column(number) for number in range(len(source.schema))]
            self._stored = [(column.path, column.max_repetition_level > 0) for column in stored]
        with file.path.open("rb") as footer:
            self._groups = read_row_groups(footer)
        if any(len(group.chunks) != len(self._stored) for group in self._groups):
            raise ValueError("its row groups do not have its columns")
        self.rows = sum(group.rows for group in self._groups)
        size = sum(group.size for group in self._groups)
        self._batch_rows = max(1, min(READ_ROWS, BATCH_CHARACTERS * self.rows // max(size, 1)))
        self._classes = _class_names(self._schema)
        columns = tuple(name for name in _names(self._schema) if not INDEX.fullmatch(name))
        self.form = Form(kind="parquet", columns=columns)

    def check(self, columns: Mapping[str, Column], texts: Collection[Column]) -> None:
        """Raises MessagesError if a column is missing, or one of `texts` cannot hold text."""
        for flag, column in self._required(columns).items():
            kind = self._type_of(column)
            if column in texts and not holds_text(kind):
                raise MessagesError(
                    f"{self._file.name}: column {column!r} holds {kind}, not text: set {flag} to another one"
                )

    def batches(self, columns: Mapping[str, Column], *, start: int = 0) -> Iterator[Batch]:
        """Yields the rows from number `start` on, with the cells of these columns."""
        wanted = dict.fromkeys(self._required(columns).values())
        whole = {column for column in wanted if self._is_whole(column)}
        for number, table in self._tables([self._root(column) for column in wanted], start):
            cells: dict[Column, list[Any]] = {}
            for column in wanted:
                cells[column] = self._cells(table.column(self._root(column)), column, as_integers=column in whole)
            unreadable = {
                offset: Unreadable(NO_FIELD, f"{self._file.name}, row {number + offset} has no {column!r}")
                for column, values in cells.items()
                for offset, value in enumerate(values if column not in self._schema.names else ())
                if value is ABSENT
            }
            yield Batch(number, table.num_rows, cells, None, unreadable)

    def records(self, *, start: int = 0) -> Iterator[Records]:
        """Yields the rows from number `start` on, as dictionaries of all columns."""
        names = [name for name in self._schema.names if not INDEX.fullmatch(name)]
        for number, table in self._tables(names, start):
            columns = {name: self._cells(table.column(name), name) for name in names}
            yield Records(number, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    def counts(self, column: Column) -> Counter[Any]:
        """Counts the cells of a column by their values, which must be hashable, without an object for each."""
        (name,) = self._required({"": column}).values()
        as_integers, counts = self._is_whole(name), Counter[Any]()
        for _, table in self._tables([self._root(name)], 0):
            counted = table.column(self._root(name)).value_counts()
            cells = self._cells(counted.field("values"), name, as_integers=as_integers)
            for cell, count in zip(cells, counted.field("counts").to_pylist(), strict=True):
                counts[cell] += count
        return counts

    def _opened(self, *, texts: Sequence[str] = ()) -> pq.ParquetFile:
        """Opens the file; columns of `texts`, by their paths, stay dictionaries: a text that repeats is there once."""
        return pq.ParquetFile(self._file.path, buffer_size=READ_BYTES, pre_buffer=False, read_dictionary=list(texts))

    def _required(self, columns: Mapping[str, Column]) -> dict[str, str]:
        wanted = named_columns(self._file.name, columns)
        for flag, column in wanted.items():
            if column not in self._schema.names and self._root(column) not in self._schema.names:
                require_column(self._file.name, flag, column, [str(name) for name in self.form.columns])
            require_column(self._file.name, flag, self._root(column), self._schema.names)
        return wanted

    def _root(self, column: str) -> str:
        """Returns the column of the file that has this one inside: `message` for `message.body`."""
        return column if column in self._schema.names else column.partition(".")[0]

    def _type_of(self, column: str) -> pa.DataType:
        kind = self._schema.field(self._root(column)).type
        for part in column.split(".")[1:] if column not in self._schema.names else ():
            if pa.types.is_struct(kind) and kind.get_field_index(part) >= 0:
                kind = kind.field(part).type
            elif pa.types.is_list(kind):
                kind = kind.value_type
        return kind

    def _tables(self, columns: list[str], start: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields tables of a few rows, each with the number of its first row; earlier row groups are skipped."""
        number, groups = 0, list(range(len(self._groups)))
        while groups and number + self._groups[groups[0]].rows <= start:
            number += self._groups[groups.pop(0)].rows
        if not groups:
            return
        roots = list(dict.fromkeys(columns))
        rows, texts = self._count_pages(roots)
        unpacked = self._unpacked()
        with self._opened(texts=texts) as source:
            for group in groups:
                for batch in source.iter_batches(batch_size=rows, row_groups=[group], columns=roots):
                    for part in self._parts(batch, unpacked):
                        skipped = max(0, start - number)
                        if skipped < part.num_rows:
                            yield number + skipped, part.slice(skipped)
                        number += part.num_rows

    def _unpacked(self) -> Unpacked:
        return Unpacked(self._file.name, self._file.path.stat().st_size, way_out="write its rows as JSON Lines")

    def _count_pages(self, roots: Collection[str]) -> tuple[int, list[str]]:
        """Raises ArchiveError if the pages of these columns say that they unpack to more than an archive may. Returns
        how many rows may be read at once, and the paths of columns of lists whose texts are to stay dictionaries until
        they are counted."""
        unpacked, longest = self._unpacked(), 1
        lists: Counter[str] = Counter()  # by path, what its values are at most
        names = {root.partition(".")[0] for root in roots}
        with self._file.path.open("rb") as source:
            for group in self._groups:
                for chunk, (path, in_lists) in zip(group.chunks, self._stored, strict=True):
                    if path.partition(".")[0] in names:
                        pages = read_pages(source, chunk, most=unpacked.most)
                        unpacked.count(pages.unpacked)
                        longest = max(longest, pages.longest)
                        lists[path] += pages.repeated * pages.longest * in_lists
        rows = max(1, min(self._batch_rows, LONGEST_BATCH // longest))
        return rows, [path for path, size in lists.items() if size > unpacked.most]

    def _parts(self, batch: pa.RecordBatch, unpacked: Unpacked) -> Iterator[pa.RecordBatch]:
        """Yields the batch in parts of about `BATCH_CHARACTERS`; raises ArchiveError and MessagesError for too much."""
        ends = np.zeros(batch.num_rows, np.int64)
        for column in batch.columns:
            sizes = _row_bytes(column)
            if sizes.max(initial=0) > LONGEST_ROW:
                raise MessagesError(
                    f"{self._file.name} has a row of more than {LONGEST_ROW:,} bytes, the most that is read: make it"
                    " shorter, or leave it out"
                )
            ends += np.cumsum(sizes)
        unpacked.count(int(ends[-1]) if len(ends) else 0)
        first = 0
        while first < batch.num_rows:
            before = ends[first - 1] if first else 0
            end = max(first + 1, int(np.searchsorted(ends, before + BATCH_CHARACTERS)))
            yield batch.slice(first, end - first)
            first = end

    def _cells(self, values: pa.Array, column: str, *, as_integers: bool = False) -> list[Any]:
        if column not in self._schema.names:
            inner = column.partition(".")[2]
            return [None if value is None else value_at(value, inner) for value in _listed(values)]
        names = self._classes.get(column)
        if names is not None and pa.types.is_integer(values.type):
            return [_class_name(value, names) for value in values.to_pylist()]
        if as_integers:
            return [None if value is None or value != value else int(value) for value in values.to_pylist()]
        return _listed(values)

    def _is_whole(self, column: str) -> bool:
        """Whether all numbers of a column of floats are whole: integers in which a hole once made pandas write 1.0."""
        if column not in self._schema.names or not pa.types.is_floating(self._schema.field(column).type):
            return False
        for _, table in self._tables([column], 0):
            values = table.column(column).drop_null()
            values = values.filter(pc.invert(pc.is_nan(values)))
            if not pc.all(pc.and_(pc.is_finite(values), pc.equal(pc.floor(values), values))).as_py() and len(values):
                return False
        self.warnings.append(f"{self._file.name}: column {column!r} has whole numbers as 1.0, which are read as 1")
        return True


def _row_bytes(values: pa.Array) -> npt.NDArray[np.int64]:
    """Returns the bytes of each row once no text stands for another, about."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        texts = _row_bytes(values.dictionary)
        sizes = texts[values.indices.fill_null(0).to_numpy(zero_copy_only=False)] if len(texts) else 0
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), sizes, 0).astype(np.int64)
    if pa.types.is_struct(kind):
        inside = [_row_bytes(inner) for inner in values.flatten()]
        return np.asarray(sum(inside, np.zeros(len(values), np.int64)), np.int64)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        inner = (
            values.values
            if not pa.types.is_map(kind)
            else pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"])
        )
        ends = np.concatenate([[0], np.cumsum(_row_bytes(inner) + LIST_BYTES)])
        offsets = values.offsets.to_numpy()
        return np.asarray(ends[offsets[1:]] - ends[offsets[:-1]], np.int64)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        return np.asarray(pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    return np.full(len(values), values.nbytes // max(len(values), 1), np.int64)


def _listed(values: pa.Array) -> list[Any]:
    """Returns a column's values; texts need not be UTF-8, because some writers check nothing."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if holds_text(values.type) and not pa.types.is_null(values.type):
        raw = values.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
    return list(values.to_pylist())


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold texts. Some writers do not say of their bytes that they are text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_null(kind)
    )


def _names(schema: pa.Schema) -> Iterator[str]:
    """Yields the names of the columns, and of those inside others as `outer.inner`."""
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{inner}" for inner in _names(pa.schema(list(field.type))))
        else:
            yield field.name


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns by column the names of its classes, which `datasets` keeps in the file's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _class_name(number: int | None, names: list[str]) -> str | int | None:
    if number is None or number == UNKNOWN_CLASS:
        return None
    return names[number] if 0 <= number < len(names) else number
