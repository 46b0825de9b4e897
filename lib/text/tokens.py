"""Tokenizes and cuts messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lib.errors import RecipeError

if TYPE_CHECKING:
    import tiktoken


@dataclass(frozen=True)
class TokenizedSplits:
    """The tokens of each split.

    tokens: for each split a table with id int64, tokens (a list of 1 to `max_length` int) and target int64, in the
    order of the messages.
    max_length: the most tokens of a message, after cutting.
    report: JSON-able; max_length, longest_training_message (tokens before cutting), and for each split `rows`, `tokens`
    (kept, in all), `truncated` (messages that were cut) and `longest` (tokens before cutting).
    """

    tokens: dict[str, pd.DataFrame]
    max_length: int
    report: dict[str, Any]


def tokenize(texts: Iterable[str], encoding: tiktoken.Encoding, *, max_length: int | None = None) -> list[list[int]]:
    """Returns the tokens of each text, at most `max_length` of them (None: all). On texts as short as messages,
    tiktoken's thread pool costs more than it saves."""
    return [encoding.encode_ordinary(text)[:max_length] for text in texts]


def require_within_context(max_length: int | None, context_length: int, *, null_means: str) -> None:
    """Raises RecipeError if `max_length` exceeds the model's context, both in tokens."""
    if max_length is not None and max_length > context_length:
        raise RecipeError(
            f"encoding.max_length {max_length} is over the model's context of {context_length}: choose"
            f" {context_length} or less, or null for {null_means}"
        )


def tokenize_splits(
    splits: Mapping[str, pd.DataFrame],
    *,
    labels: Sequence[str],
    encoding: tiktoken.Encoding,
    max_length: int | None,
    context_length: int,
) -> TokenizedSplits:
    """Tokenizes every split, and the reserve where `splits` has one.

    splits: tables with at least id, text (not empty) and label, by name; "train" must be among them.
    labels: the label names; a row's target is its label's position.
    max_length: tokens kept of a message (None: as many as the longest training message has, at most the context).

    Raises RecipeError if `max_length` exceeds `context_length`, the tokens that the model can see.
    """
    require_within_context(max_length, context_length, null_means="the longest training message")
    whole = {name: tokenize(split["text"], encoding) for name, split in splits.items()}
    longest = max(len(tokens) for tokens in whole["train"])
    limit = max_length if max_length is not None else min(longest, context_length)

    target_of = {label: target for target, label in enumerate(labels)}
    tables = {
        name: pd.DataFrame(
            {
                "id": split["id"].to_numpy("int64"),
                "tokens": pd.Series([tokens[:limit] for tokens in whole[name]], dtype="object"),
                "target": pd.Series([target_of[label] for label in split["label"]], dtype="int64"),
            }
        )
        for name, split in splits.items()
    }
    reports = {name: _report([len(tokens) for tokens in whole[name]], limit) for name in splits}
    report = {"max_length": limit, "longest_training_message": longest, "splits": reports}
    return TokenizedSplits(tables, limit, report)


def _report(lengths: Sequence[int], limit: int) -> dict[str, int]:
    """Summarises a split from its messages' lengths in tokens before cutting."""
    return {
        "rows": len(lengths),
        "tokens": sum(min(length, limit) for length in lengths),
        "truncated": sum(length > limit for length in lengths),
        "longest": max(lengths, default=0),
    }
