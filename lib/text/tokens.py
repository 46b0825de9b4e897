"""Tokenizes and cuts messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.errors import RecipeError

if TYPE_CHECKING:
    from lib.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizedSplits:
    """The tokens of each split.

    tokens: for each split a table with id int64, tokens (a list of 1 to `max_length` int) and target int64, in the
    order of the messages.
    max_length: the most tokens of a message, after cutting.
    report: JSON-able; max_length, longest_training_message (tokens before cutting), and for each split `rows`, `tokens`
    (kept, in all), `truncated` (messages that were cut) and `median`, `p95` and `longest` (tokens before cutting).
    """

    tokens: dict[str, pd.DataFrame]
    max_length: int
    report: dict[str, Any]


def tokenize(texts: Iterable[str], tokenizer: Tokenizer, *, max_length: int | None = None) -> list[list[int]]:
    """Returns the tokens of each text with the special tokens around it, at most `max_length` of them (None: all)."""
    whole = tokenizer.encode(texts)
    return whole if max_length is None else [tokenizer.cut(tokens, max_length) for tokens in whole]


def spread(lengths: Sequence[int]) -> dict[str, float | int]:
    """Returns `median`, `p95` (the 95th percentile) and `longest` of lengths; zeros if there are none."""
    return {
        "median": float(np.median(lengths)) if lengths else 0.0,
        "p95": float(np.percentile(lengths, 95)) if lengths else 0.0,
        "longest": max(lengths, default=0),
    }


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
    tokenizer: Tokenizer,
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
    whole = {name: tokenizer.encode(split["text"]) for name, split in splits.items()}
    longest = max(len(tokens) for tokens in whole["train"])
    limit = max_length if max_length is not None else min(longest, context_length)

    target_of = {label: target for target, label in enumerate(labels)}
    tables = {
        name: pd.DataFrame(
            {
                "id": split["id"].to_numpy("int64"),
                "tokens": pd.Series([tokenizer.cut(tokens, limit) for tokens in whole[name]], dtype="object"),
                "target": pd.Series([target_of[label] for label in split["label"]], dtype="int64"),
            }
        )
        for name, split in splits.items()
    }
    reports = {name: _report([len(tokens) for tokens in whole[name]], limit) for name in splits}
    report = {"max_length": limit, "longest_training_message": longest, "splits": reports}
    return TokenizedSplits(tables, limit, report)


def _report(lengths: Sequence[int], limit: int) -> dict[str, float | int]:
    """Summarises a split from its messages' lengths in tokens before cutting."""
    return {
        "rows": len(lengths),
        "tokens": sum(min(length, limit) for length in lengths),
        "truncated": sum(length > limit for length in lengths),
        **spread(lengths),
    }
