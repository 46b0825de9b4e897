"""Tokenizes and cuts entries, and records where each response starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.text.prompt_tokens import end_token, entry_tokens
from lib.text.tokens import require_within_context, spread

if TYPE_CHECKING:
    from lib.text.prompts import PromptStyle
    from lib.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizedEntries:
    """The tokens of each split.

    tokens: for each split a table with id int64, tokens (a list of int) and response_start int64, in the order of the
    entries. There are at most `max_length` + 1 tokens: the model reads `max_length`, and the next one is its last
    target. `response_start` is not cut: above `max_length`, nothing of the response is left to predict.
    max_length: the most tokens of an entry that a model reads.
    report: JSON-able; max_length, `end` (the token that ends a response, which no entry contains), `pad`, and for each
    split `rows`, `tokens` (read, in all), `response_tokens` (those of a
    response), `truncated` (entries that were cut), `without_response` (entries with nothing left of the response) and
    `median`, `p95` and `longest` (tokens before cutting).
    """

    tokens: dict[str, pd.DataFrame]
    max_length: int
    report: dict[str, Any]


def tokenize_entries(
    splits: Mapping[str, pd.DataFrame],
    *,
    style: PromptStyle,
    tokenizer: Tokenizer,
    max_length: int | None,
    context_length: int,
) -> TokenizedEntries:
    """Formats and tokenizes every split.

    splits: tables with at least id, instruction, input and output, by name.
    max_length: tokens that a model reads of an entry (None: its `context_length`).

    Raises RecipeError if `max_length` exceeds the context, or if nothing ends a text.
    """
    end = end_token(style, tokenizer)
    require_within_context(max_length, context_length, null_means="all of it")
    limit = context_length if max_length is None else max_length
    tables, reports = {}, {}
    for name, split in splits.items():
        whole = [
            entry_tokens(style, tokenizer, style.prompt(instruction, input_), style.response(output))
            for instruction, input_, output in zip(split["instruction"], split["input"], split["output"], strict=True)
        ]
        tables[name] = pd.DataFrame(
            {
                "id": split["id"].to_numpy("int64"),
                "tokens": pd.Series([tokens[: limit + 1] for tokens, _ in whole], dtype="object"),
                "response_start": pd.Series([start for _, start in whole], dtype="int64"),
            }
        )
        reports[name] = _report([(len(tokens), start) for tokens, start in whole], limit)
    return TokenizedEntries(tables, limit, {"max_length": limit, "end": end, "pad": tokenizer.pad, "splits": reports})


def _report(entries: list[tuple[int, int]], limit: int) -> dict[str, float | int]:
    """Summarises a split from each entry's length in tokens before cutting and its response's start."""
    return {
        "rows": len(entries),
        "tokens": sum(min(length, limit) for length, _ in entries),
        "response_tokens": sum(max(min(length, limit) - start, 0) for length, start in entries),
        "truncated": sum(length > limit for length, _ in entries),
        "without_response": sum(start > limit for _, start in entries),
        **spread([length for length, _ in entries]),
    }
