"""Reads a sheet of a workbook (xlsx, xlsb, xls, ods) as a table with a header row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from lib.data.source.cells import Number
from lib.data.source.columns import Column, column_position
from lib.data.source.data_file import DataFile
from lib.data.source.rows import BATCH_ROWS, Batch, Form, Options, Records
from lib.errors import MessagesError, listed
from lib.extras import require

Row = tuple[int, list[Any]]  # its number on the sheet, from 1


class Workbook:
    """An opened workbook.

    sheet: the name of the sheet to read (None: the first with anything in it). header: whether its first row has the
    names of the columns. options: what errors call an option.
    """

    def __init__(self, file: DataFile, *, sheet: str | None, header: bool, options: Options) -> None:
        require("python_calamine", "excel", f"reading the workbook {file.name}")
        import python_calamine as calamine

        self.warnings: list[str] = []
        self._file, self._header = file, header
        try:
            book = calamine.CalamineWorkbook.from_path(str(file.path))
            names = book.sheet_names
            if sheet is not None and sheet not in names:
                raise MessagesError(
                    f"{file.name} has no sheet {sheet!r}, only {listed(map(repr, names))}:"
                    f" set {options['sheet']} to one of these"
                )
            filled = [name for name in names if book.get_sheet_by_name(name).height]
            chosen = sheet or next(iter(filled), next(iter(names), None))
            self._sheet = None if chosen is None else book.get_sheet_by_name(chosen)
        except calamine.PasswordError as error:
            raise MessagesError(f"{file.name} is a workbook with a password: save it without one") from error
        except calamine.CalamineError as error:
            raise MessagesError(
                f"{file.name} cannot be read as a workbook ({error}): save the sheet as CSV in UTF-8"
            ) from error
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
        if self._sheet is None or self._sheet.start is None:
            return
        rows = enumerate(map(_cells, self._sheet.iter_rows()), start=1)  # without empty columns at the left
        filled = ((line, row) for line, row in rows if any(cell is not None for cell in row))
        yield from islice(filled, int(names), None)


def _cells(row: list[Any]) -> list[Any]:
    return list(map(_cell, row))


def _cell(value: Any) -> Any:
    """Returns the value as a cell: nothing as None, numbers as a workbook shows them, dates in ISO 8601."""
    if value == "" and isinstance(value, str):
        return None
    if isinstance(value, float):
        return Number(int(value) if value.is_integer() else value)
    return value if isinstance(value, str | bool) else str(value)


def _as_name(cell: Any) -> str:
    return "" if cell is None else str(cell)
