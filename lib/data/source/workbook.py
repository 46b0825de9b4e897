"""Reads a sheet of a workbook (xlsx, xlsb, xls, ods) as a table with a header row. Another process unpacks it, with
limits: see `lib.data.source.workbook_cells`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from lib.data.source.cells import Number
from lib.data.source.columns import Column, column_position
from lib.data.source.compressed import Unpacked
from lib.data.source.data_file import DataFile
from lib.data.source.rows import BATCH_ROWS, Batch, Form, Options, Records
from lib.data.source.workbook_cells import MEMORY, NO_SHEET, OUT_OF_MEMORY, PASSWORD
from lib.errors import MessagesError, listed
from lib.extras import require

CELLS = f"{Path(__file__).with_name('workbook_cells.py')}"
Row = tuple[int, list[Any]]  # its number on the sheet, from 1


class Workbook:
    """An opened workbook.

    sheet: the name of the sheet to read (None: the first with anything in it). header: whether its first row has the
    names of the columns. options: what errors call an option.
    """

    def __init__(self, file: DataFile, *, sheet: str | None, header: bool, options: Options) -> None:
        require("python_calamine", "excel", f"reading the workbook {file.name}")
        self.warnings: list[str] = []
        self._file, self._header = file, header
        self._lines = _sheet_in_lines(file, sheet)
        told = json.loads(next(_lines(self._lines)))
        problem, names = told.get("problem"), told.get("sheets", ())
        if problem == NO_SHEET:
            raise MessagesError(
                f"{file.name} has no sheet {sheet!r}, only {listed(map(repr, names))}:"
                f" set {options['sheet']} to one of these"
            )
        if problem == PASSWORD:
            raise MessagesError(f"{file.name} is a workbook with a password: save it without one")
        if problem is not None:
            raise MessagesError(f"{file.name} cannot be read as a workbook ({problem}): save the sheet as CSV in UTF-8")
        filled, chosen, self._width = told["filled"], told["chosen"], told["width"]
        others = [name for name in filled if name != chosen]
        if others and sheet is None:
            self.warnings.append(
                f"{file.name} has {len(filled)} sheets, of which {chosen!r} is read, and not"
                f" {listed(map(repr, others))}: {options['sheet']} names another one"
            )
        self._names = next((list(map(_as_name, row)) for _, row in self._rows(names=False)), [])
        self.form = Form(
            kind="excel",
            columns=tuple(self._names) if header else tuple(range(len(self._names))),
            header=header,
            layout=None if chosen is None else f"sheet {chosen}",
        )

    def check(self, columns: Mapping[str, Column], texts: Collection[Column]) -> None:  # noqa: ARG002 - of any type
        """Raises MessagesError if a column is missing."""
        if self._names:
            self._positions(columns)

    def _positions(self, columns: Mapping[str, Column]) -> dict[Column, int]:
        return {column: column_position(self._file.name, flag, column, self._names) for flag, column in columns.items()}

    def batches(self, columns: Mapping[str, Column], *, start: int = 0) -> Iterator[Batch]:
        """Yields the rows from number `start` on, with the cells of these columns."""
        if not self._names:
            return
        at = self._positions(columns)
        rows = islice(self._rows(names=self._header), start, None)
        while chunk := list(islice(rows, BATCH_ROWS)):
            cells = {column: [row[position] for _, row in chunk] for column, position in at.items()}
            yield Batch(start, len(chunk), cells, [line for line, _ in chunk])
            start += len(chunk)

    def records(self, *, start: int = 0) -> Iterator[Records]:
        """Yields the rows from number `start` on, as dictionaries of all columns."""
        rows = islice(self._rows(names=self._header), start, None)
        while chunk := list(islice(rows, BATCH_ROWS)):
            records = [dict(zip(self.form.columns, row, strict=True)) for _, row in chunk]
            yield Records(start, records, [line for line, _ in chunk])
            start += len(chunk)

    def _rows(self, *, names: bool) -> Iterator[Row]:
        """Yields the rows with anything in them; without the first if it has the `names`."""
        rows = enumerate(map(json.loads, islice(_lines(self._lines), 1, None)), start=1)
        filled = ((line, self._cells(row)) for line, row in rows if row)
        yield from islice(filled, int(names), None)

    def _cells(self, row: list[Any]) -> list[Any]:
        return [*map(_cell, row), *[None] * (self._width - len(row))]


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yields a file's lines from its beginning; several may be at it at once."""
    at = 0
    while line := (file.seek(at), file.readline())[1]:
        yield line
        at += len(line)


def _sheet_in_lines(file: DataFile, sheet: str | None) -> IO[bytes]:
    """Has a process of its own read the sheet; returns what it printed, in a file that vanishes when it is closed.
    Raises ArchiveError for a workbook that unpacks as a bomb does, and MessagesError where it needs too much memory."""
    lines = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the workbook is read
    unpacked = Unpacked(file.name, file.path.stat().st_size, way_out="save the sheet as CSV in UTF-8")
    command = [sys.executable, "-P", CELLS, str(file.path), str(unpacked.most), *([] if sheet is None else [sheet])]
    done = subprocess.run(command, stdout=lines, stderr=subprocess.DEVNULL, check=False)
    if done.returncode == -signal.SIGXFSZ:
        unpacked.count(unpacked.most + 1)
    if done.returncode in (-signal.SIGABRT, -signal.SIGKILL, OUT_OF_MEMORY):
        raise MessagesError(
            f"{file.name} needs more than {MEMORY / 2**30:g} GiB of memory to be read, as a sheet with a cell far away"
            " from the others does: remove that cell, or save the sheet as CSV in UTF-8"
        )
    if done.returncode:
        raise MessagesError(f"{file.name} is a damaged workbook: write it again, or save the sheet as CSV in UTF-8")
    return lines


def _cell(value: Any) -> Any:
    """Returns the value as a cell: numbers as a workbook shows them."""
    if isinstance(value, float):
        return Number(int(value) if value.is_integer() else value)
    return value


def _as_name(cell: Any) -> str:
    return "" if cell is None else str(cell)
