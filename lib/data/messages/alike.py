"""Finds copies and near-duplicates in tables of any size, by the keys of their texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lib.data.parts import Parts
from lib.data.queries import Queries
from lib.data.tables import KEYS, SPLITS

PLACE = "part_of * (1::BIGINT << 40) + id"  # rows in the order of their splits, and in that of the source within each


class Alike(NamedTuple):
    """Texts that stand in several rows.

    copies: rows beyond the first of each text. near: the same of near-duplicates. contradicting: texts with several
    labels; examples: of the first of them the ids of the first two rows whose labels differ, in their order.
    """

    copies: int
    near: int
    contradicting: int
    examples: list[tuple[int, int]]

    def as_json(self) -> dict[str, int]:
        """Returns the counts, for a profile."""
        return {
            "duplicate_texts": self.copies,
            "near_duplicate_texts": self.near,
            "contradicting_texts": self.contradicting,
        }


def find_alike(queries: Queries, tables: Mapping[int, Parts], *, examples: int) -> Alike:
    """Searches all these tables (schema `KEYED_MESSAGES`), by number in the order of their rows."""
    queries.view("messages", tables, ("id", "label", "near_high", "near_low", "exact"))
    rows = queries.number("SELECT count(*) FROM messages")
    exact = queries.number("SELECT count(*) FROM (SELECT 1 FROM messages GROUP BY exact)")
    near = queries.number("SELECT count(*) FROM (SELECT 1 FROM messages GROUP BY near_high, near_low)")
    # Of each text and label the first row; of each text with several labels the first two of these.
    queries.keep(
        "contradicting",
        f"SELECT min(first, 2) AS pair FROM (SELECT exact, min({PLACE}) AS first FROM messages GROUP BY exact, label)"
        " GROUP BY exact HAVING count(*) > 1",
    )
    pairs = queries.ask(f"SELECT pair FROM contradicting ORDER BY pair LIMIT {examples}").column("pair").to_pylist()
    numbers = (1 << 40) - 1
    return Alike(
        copies=rows - exact,
        near=rows - near,
        contradicting=queries.number("SELECT count(*) FROM contradicting"),
        examples=[(one & numbers, other & numbers) for one, other in pairs],
    )


def straddling_by_keys(queries: Queries, placed: Mapping[int, Parts] | Parts, split: str) -> dict[str, dict[str, int]]:
    """Counts the messages of validation and test with a near-duplicate (`near_duplicates`) or copy (`copies`) in train.

    placed: a table with the columns KEYS and, called `split`, the number of each message's split; or the tables of the
    splits by their numbers, with `split` "part_of".
    """
    columns = KEYS.names if split == "part_of" else [split, *KEYS.names]
    queries.view("placed", placed, columns)
    found = {}
    for kind, keys in (("near_duplicates", "near_high, near_low"), ("copies", "exact")):
        of_splits = ", ".join(f"count(*) FILTER ({split} = {number}) AS {name}" for number, name in enumerate(SPLITS))
        sums = queries.ask(
            "SELECT coalesce(sum(validation), 0)::BIGINT AS validation, coalesce(sum(test), 0)::BIGINT AS test"
            f" FROM (SELECT {of_splits} FROM placed GROUP BY {keys}) WHERE train > 0"
        )
        found[kind] = dict(sums.to_pylist()[0])
    return found
