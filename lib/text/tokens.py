"""Tokenizes messages, and says what of them is not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.errors import RecipeError
from lib.text.long_texts import CUT_END, LongTexts
from lib.text.windows import Windows, lengths_of, read_texts, rows_of

if TYPE_CHECKING:
    from lib.text.tokenizer import Tokenizer

# Without a stated length, a training message that is longer than this many tokens and than this many times what 95 % of
# them have does not decide how long the rows of all others may be.
ORDINARY_LENGTH, ORDINARY_TIMES = 512, 8


@dataclass(frozen=True)
class TokenizedSplits:
    """The tokens of each split.

    tokens: for each split a table with id int64, tokens (a list of 1 to `max_length` int) and target int64, in the
    order of the messages; where long texts are read in windows, with a row for each window and its number in its
    message, `window` int64, from 0.
    max_length: the most tokens of a row.
    long_texts: how messages of more tokens are read, with an overlap that is settled.
    report: JSON-able; max_length, longest_training_message (tokens before cutting), and for each split `rows`, `tokens`
    (read, in all), `truncated` (messages of which something is not read) and `median`, `p95` and `longest` (tokens
    before cutting). Where long texts are not just cut it has `long_texts`, and the splits have their `windows`; where
    something is not read, it has `cut`: see `cut_report`.
    warnings: sentences about what is not read.
    """

    tokens: dict[str, pd.DataFrame]
    max_length: int
    long_texts: LongTexts
    report: dict[str, Any]
    warnings: tuple[str, ...]


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
    long_texts: LongTexts = CUT_END,
) -> TokenizedSplits:
    """Tokenizes every split, and the reserve where `splits` has one.

    splits: tables with at least id, text (not empty) and label, by name; "train" must be among them.
    labels: the label names; a row's target is its label's position.
    max_length: the most tokens of a row (None: as many as the longest training message has, unless that is an
    exception, at most the context).
    long_texts: how messages of more tokens are read.

    Raises RecipeError if `max_length` exceeds `context_length`, the tokens that the model can see, or leaves no room
    for `long_texts`.
    """
    require_within_context(max_length, context_length, null_means="the longest training message")
    whole = {name: tokenizer.encode(split["text"]) for name, split in splits.items()}
    lengths = {name: [len(tokens) for tokens in of_split] for name, of_split in whole.items()}
    limit = max_length if max_length is not None else min(_ordinary_length(lengths["train"]), context_length)
    how = long_texts.settled(tokenizer, limit)
    target_of = {label: target for target, label in enumerate(labels)}
    tables: dict[str, pd.DataFrame] = {}
    report: dict[str, Any] = {"max_length": limit, "longest_training_message": max(lengths["train"]), "splits": {}}
    unread = {name: [how.unread(length, tokenizer, limit) for length in lengths[name]] for name in splits}
    for name, split in splits.items():
        read = read_texts(whole[name], how, tokenizer, limit)
        table = pd.DataFrame({"id": split["id"].to_numpy("int64")})
        table["target"] = pd.Series([target_of[label] for label in split["label"]], dtype="int64")
        windows = {}
        if isinstance(read, Windows):
            table = table.loc[np.repeat(np.arange(len(table)), read.counts)].reset_index(drop=True)
            table["window"] = np.array([number for count in read.counts for number in range(count)], dtype="int64")
            windows = {"windows": len(table)}
        table.insert(1, "tokens", pd.Series(rows_of(read), dtype="object"))
        tables[name] = table
        report["splits"][name] = {
            "rows": len(split),
            **windows,
            "tokens": sum(lengths_of(read)),
            "truncated": int(np.count_nonzero(unread[name])),
            **spread(lengths[name]),
        }
    warnings: list[str] = []
    if how.method != "cut_end":
        report["long_texts"] = how.as_fields()
    if any(map(any, unread.values())):
        report["cut"] = cut_report(splits, lengths, unread)
        warnings.append(_warning(report["cut"], how, limit, context_length))
    return TokenizedSplits(tables, limit, how, report, tuple(warnings))


def cut_report(
    splits: Mapping[str, pd.DataFrame], lengths: Mapping[str, Sequence[int]], unread: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Counts what is not read of the messages of all splits, from each message's tokens and those of them that are in
    no row: `rows` (messages with such tokens) of `of`, the `share` of all tokens, and of each label's in `labels`."""
    every = pd.DataFrame(
        {
            "label": [label for split in splits.values() for label in split["label"]],
            "tokens": [length for name in splits for length in lengths[name]],
            "unread": [count for name in splits for count in unread[name]],
        }
    )
    sums = every.groupby("label")[["tokens", "unread"]].sum()
    return {
        "rows": int((every["unread"] > 0).sum()),
        "of": len(every),
        "share": float(every["unread"].sum() / every["tokens"].sum()),
        "labels": {str(label): float(row["unread"] / row["tokens"]) for label, row in sums.iterrows()},
    }


def _warning(cut: Mapping[str, Any], how: LongTexts, limit: int, context_length: int) -> str:
    """Says what is not read, which label loses most, and what reads more."""
    most = max(cut["labels"], key=cut["labels"].__getitem__)
    if how.method == "windows":
        long, more = f"{how.most_windows} windows of {limit:,} tokens", "raise encoding.most_windows"
    else:
        longer = f", or encoding.max_length to at most {context_length:,}," if limit < context_length else ""
        long, more = f"{limit:,} tokens", f"set encoding.long_texts to 'windows'{longer}"
    return (
        f"only a part is read of {cut['rows']:,} of {cut['of']:,} texts, those of more than {long}:"
        f" {_percent(cut['share'])} of all tokens are left out, and {_percent(cut['labels'][most])} of those of"
        f" {most!r}, which loses most; {more} to read more"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _ordinary_length(lengths: Sequence[int]) -> int:
    """Returns the longest of these lengths, unless it is an exception."""
    return min(max(lengths), max(ORDINARY_LENGTH, int(ORDINARY_TIMES * np.percentile(lengths, 95))))
