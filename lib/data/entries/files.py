"""Tables of entries as files: with the turns before an instruction where any entry has some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lib.data.tables import EARLIER, ENTRIES, load_table, save_table
from lib.text.turns import Turn


def save_entries(table: pd.DataFrame, file: Path, schema: pa.Schema = ENTRIES) -> None:
    """Writes a table of entries; its column `earlier`, of `Turn`s, is left out if it has none."""
    if "earlier" in table:
        turns = [[turn._asdict() for turn in earlier] for earlier in table["earlier"]]
        table = table.assign(earlier=pd.Series(turns, index=table.index, dtype="object"))
    save_table(table, file, schema, optional=EARLIER)


def load_entries(file: Path, schema: pa.Schema = ENTRIES) -> pd.DataFrame:
    """Reads what `save_entries` wrote; `earlier` has a tuple of `Turn`s for each entry. Raises what `load_table`
    raises."""
    table = load_table(file, schema, optional=EARLIER)
    if "earlier" in table:
        turns = [tuple(Turn(**turn) for turn in earlier) for earlier in table["earlier"]]
        table["earlier"] = pd.Series(turns, index=table.index, dtype="object")
    return table


def earlier_turns(table: pd.DataFrame) -> Sequence[Sequence[Turn]]:
    """Returns the turns before each instruction."""
    return table["earlier"].tolist() if "earlier" in table else [()] * len(table)
