"""Tokenizes and cuts entries, and records where the answers stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from lib.text.prompt_tokens import EntryTokens, end_token, entry_tokens
from lib.text.tokens import require_within_context, spread

if TYPE_CHECKING:
    from lib.text.prompts import PromptStyle
    from lib.text.tokenizer import Tokenizer
    from lib.text.turns import Turn

# What becomes of an entry that is longer than a model reads.
CUT, NOTHING_LEFT, LEFT_OUT = "cut", "cut, with nothing left of an answer", "left out"


@dataclass(frozen=True)
class TokenizedEntries:
    """The tokens of each split.

    tokens: for each split a table with id int64, tokens (a list of int) and response_start int64, in the order of the
    entries, and where an entry has earlier answers, earlier_answers (a list of int: of each the position of its first
    token, and that behind its end token). There are at most `max_length` + 1 tokens: the model reads `max_length`, and
    the next one is its last target. Positions are not cut: above `max_length`, nothing of the response is left to
    predict.
    long: a row for each entry that is longer than the model reads: id int64, split, tokens int64 (before cutting) and
    outcome (`CUT`, `NOTHING_LEFT` or `LEFT_OUT`).
    max_length: the most tokens of an entry that a model reads.
    report: JSON-able; max_length, `end` (the token that ends a response), `pad`, and for each split `rows`, `left_out`
    (entries that are too long), `tokens` (read, in all), `response_tokens` (those of answers), `truncated` (entries
    that were cut), `without_response` (entries with nothing left of an answer) and `median`, `p95` and `longest`
    (tokens before cutting).
    """

    tokens: dict[str, pd.DataFrame]
    long: pd.DataFrame
    max_length: int
    report: dict[str, Any]


def tokenize_entries(
    splits: Mapping[str, pd.DataFrame],
    *,
    style: PromptStyle,
    tokenizer: Tokenizer,
    max_length: int | None,
    context_length: int,
    too_long: Literal["cut", "drop"] = "cut",
) -> TokenizedEntries:
    """Formats and tokenizes every split.

    splits: tables with at least id, instruction, input and output, and perhaps earlier turns, by name.
    max_length: tokens that a model reads of an entry (None: its `context_length`).
    too_long: whether longer entries are cut or left out.

    Raises RecipeError if `max_length` exceeds the context, or if nothing ends a text.
    """
    end = end_token(style, tokenizer)
    require_within_context(max_length, context_length, null_means="all of it")
    limit = context_length if max_length is None else max_length
    tables, long, reports = {}, [], {}
    for name, split in splits.items():
        every = [entry_tokens(style, tokenizer, style.texts(*entry), end=end) for entry in _entries(split)]
        fits = [len(entry.tokens) <= limit for entry in every]
        for row, entry in zip(split["id"], every, strict=True):
            if len(entry.tokens) > limit:
                long.append((row, name, len(entry.tokens), LEFT_OUT if too_long == "drop" else _cut(entry, limit)))
        kept = [True] * len(every) if too_long == "cut" else fits
        tables[name] = _table(list(compress(split["id"], kept)), list(compress(every, kept)), limit)
        reports[name] = _report(list(compress(every, kept)), limit) | {"left_out": kept.count(False)}
    report = {"max_length": limit, "end": end, "pad": tokenizer.pad, "splits": reports}
    return TokenizedEntries(tables, pd.DataFrame(long, columns=["id", "split", "tokens", "outcome"]), limit, report)


def _entries(split: pd.DataFrame) -> Iterator[tuple[str, str, Sequence[Turn], str]]:
    """Yields the arguments of `PromptStyle.texts` for each entry."""
    earlier = split["earlier"] if "earlier" in split else [()] * len(split)
    return zip(split["instruction"], split["input"], earlier, split["output"], strict=True)


def _table(ids: Sequence[int], entries: Sequence[EntryTokens], limit: int) -> pd.DataFrame:
    columns = {
        "id": pd.Series(ids, dtype="int64"),
        "tokens": pd.Series([entry.tokens[: limit + 1] for entry in entries], dtype="object"),
        "response_start": pd.Series([entry.response_start for entry in entries], dtype="int64"),
    }
    if any(len(entry.answers) > 1 for entry in entries):
        earlier = [[edge for span in entry.answers[:-1] for edge in span] for entry in entries]
        columns["earlier_answers"] = pd.Series(earlier, dtype="object")
    return pd.DataFrame(columns)


def _cut(entry: EntryTokens, limit: int) -> str:
    return CUT if entry.answers[0][0] <= limit else NOTHING_LEFT


def _report(entries: Sequence[EntryTokens], limit: int) -> dict[str, float | int]:
    """Summarises a split from the tokens of its entries before cutting."""
    answers = [span for entry in entries for span in entry.answers]
    lengths = [len(entry.tokens) for entry in entries]
    return {
        "rows": len(entries),
        "tokens": sum(min(length, limit) for length in lengths),
        "response_tokens": sum(max(min(behind, limit) - first, 0) for first, behind in answers),
        "truncated": sum(length > limit for length in lengths),
        "without_response": sum(_cut(entry, limit) == NOTHING_LEFT for entry in entries),
        **spread(lengths),
    }
