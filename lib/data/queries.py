"""Asks questions about tables in parts of any size: DuckDB reads their Parquet files within a stated memory, and what
does not fit lies in a folder on the disk meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lib.data.parts import Parts
from lib.errors import StoreError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_PATTERN = re.compile(r"[\[*?]")  # characters that have a meaning in a pattern of names
MEMORY = 512  # megabytes that a query may take, if nobody says otherwise


class Queries:
    """A database without tables of its own; views by name are given to each question. To be used in a `with` block.

    Answers are the same whatever the memory: questions say the order of their rows.
    """

    def __init__(self, folder: Path, *, megabytes: int = MEMORY) -> None:
        """folder: made if it is needed, for what does not fit into memory; empty again at the end."""
        import duckdb  # here, because most processes ask nothing

        self._failures = (duckdb.Error,)
        self._database: duckdb.DuckDBPyConnection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{megabytes}MB",
                "temp_directory": f"{folder}",
                "threads": 1,  # each has its own share of the memory; the readers of parts are as fast
                "preserve_insertion_order": False,  # else a scan keeps what it has read; questions say their order
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "python_enable_replacements": False,  # a name is a view's, never a variable's
                "lock_configuration": True,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def view(self, name: str, tables: Mapping[int, Parts] | Parts, columns: Sequence[str]) -> None:
        """Makes the rows of tables a view with these columns, and with the number of its table in `part_of` if there
        are several by number."""
        numbered = tables if isinstance(tables, Mapping) else {0: tables}
        wanted = ", ".join(f'"{column}"' for column in columns)
        selects = [
            f"SELECT {wanted}{'' if isinstance(tables, Parts) else f', {number} AS part_of'} FROM"
            f" read_parquet([{', '.join(_quoted(file) for file in table.files)}], hive_partitioning = false)"
            for number, table in numbered.items()
        ]
        self._run(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {" UNION ALL ".join(selects)}')

    def give(self, name: str, table: pa.Table) -> None:
        """Makes a small table in memory a view."""
        self._database.register(name, table)

    def keep(self, name: str, question: str) -> None:
        """Keeps the answer under a name for later questions."""
        self._run(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {question}')

    def ask(self, question: str) -> pa.Table:
        """Returns the answer, which lies in memory as a whole."""
        with self._clear():
            return self._database.sql(question).to_arrow_table()

    def number(self, question: str) -> int:
        """Returns an answer that is one number."""
        return int(self.ask(question).column(0)[0].as_py())

    def batches(self, question: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Yields the answer in batches of about so many rows; no other question may be asked meanwhile."""
        with self._clear():
            yield from self._database.sql(question).to_arrow_reader(rows)

    def _run(self, statement: str) -> None:
        with self._clear():
            self._database.execute(statement)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """Says in one sentence what cannot be answered."""
        try:
            yield
        except self._failures as error:
            words = f"{error}".splitlines()[0]
            raise StoreError(
                f"a table could not be searched ({words}): if memory is short, give more megabytes by"
                " FINETUNE_TABLE_MEMORY; if a file is damaged, remove its artifact's folder"
            ) from error


def _quoted(file: Path) -> str:
    """Writes a path so that DuckDB reads that file alone: `run[1]` would be a pattern, and find `run1`."""
    literally = _PATTERN.sub(r"[\g<0>]", f"{file}")
    return "'" + literally.replace("'", "''") + "'"
