"""Writes and reads the tokens of messages, or of their windows: parts in Arrow's own format, mapped where they are
read."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.data.parts import Parts, PartsWriter
from lib.data.tables import TOKENS, WINDOWS
from lib.files.jsonfile import load_json
from lib.text.long_texts import CUT_END, LongTexts
from lib.text.token_rows import TokenRows
from lib.text.tokens import Tally, cut_report, cut_warning, ordinary_length, require_within_context
from lib.text.windows import Texts, Windows, lengths_of, read_texts, rows_of

if TYPE_CHECKING:
    from lib.text.tokenizer import Tokenizer

REPORT = "tokens.json"  # how messages were read, and what of them was not
BYTES_AT_ONCE = 2**20  # of texts that are tokenized together; one alone may be longer


@dataclass(frozen=True)
class SplitTokens:
    """A split's messages: the tokens of each, or of its windows, in mapped files.

    targets: of each message, (messages,) int64. row_ids: the id of the message of each row, (rows,) int64.
    """

    texts: Texts
    targets: NDArray[np.int64]
    row_ids: NDArray[np.int64]


def load_tokens(folder: Path, split: str) -> SplitTokens:
    """Reads a split from the artifact's folder; raises StoreError as `Parts` does."""
    long_texts = load_long_texts(folder)
    in_windows = long_texts.method == "windows"
    parts = Parts(folder / split, WINDOWS if in_windows else TOKENS)
    rows, targets = _rows(parts.batches(["tokens"])), parts.numbers("target")
    if not in_windows:
        return SplitTokens(rows, targets, parts.numbers("id"))
    firsts = np.flatnonzero(parts.numbers("window") == 0)
    windows = Windows(rows, np.diff(np.append(firsts, len(rows))), long_texts.window_pooling)
    return SplitTokens(windows, targets[firsts], parts.numbers("id"))


def load_long_texts(folder: Path) -> LongTexts:
    """Reads how the messages of the artifact in a folder were read."""
    fields: dict[str, Any] = load_json(folder / REPORT).get("long_texts", {})
    return LongTexts(**fields)


@dataclass(frozen=True)
class Tokenized:
    """How messages were tokenized.

    max_length: the most tokens of a row.
    long_texts: how messages of more tokens are read, with an overlap that is settled.
    report: JSON-able; max_length, longest_training_message (tokens before cutting), and for each split `rows`, `tokens`
    (read, in all), `truncated` (messages of which something is not read) and `median`, `p95` and `longest` (tokens
    before cutting). Where long texts are not just cut it has `long_texts`, and the splits have their `windows`; where
    something is not read, it has `cut`: see `cut_report`.
    warnings: sentences about what is not read.
    """

    max_length: int
    long_texts: LongTexts
    report: dict[str, Any]
    warnings: tuple[str, ...]


class _Encoded(NamedTuple):
    """Some messages: ids and targets, (messages,) int64, and all of their tokens."""

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    tokens: Sequence[Any]


def write_tokens(
    splits: Mapping[str, Parts],
    folder: Path,
    *,
    labels: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int | None,
    context_length: int,
    long_texts: LongTexts = CUT_END,
    scratch: Path,
) -> Tokenized:
    """Tokenizes the messages of every split into the parts of a folder of its name, in `folder`: TOKENS, in the order
    of the messages; where long texts are read in windows WINDOWS, with a row for each. Never holds a whole split.

    splits: tables with at least id, text (not empty) and label, by name; "train" must be among them.
    labels: the label names, kept in the parts; a row's target is its label's position.
    max_length: the most tokens of a row (None: as many as the longest training message has, unless that is an
    exception, at most the context).
    long_texts: how messages of more tokens are read.
    scratch: a folder on the same file system, in which the tokens of training messages lie that may have to be cut.

    Raises RecipeError if `max_length` exceeds `context_length`, the tokens that the model can see, or leaves no room
    for `long_texts`.
    """
    require_within_context(max_length, context_length, null_means="the longest training message")
    whole, names = scratch / "whole", tuple(labels)
    limit, as_they_are = max_length, False
    if limit is None:
        lengths = _write_whole(_encoded(splits["train"], names, tokenizer), whole, names)
        limit = min(ordinary_length(lengths), context_length)
        as_they_are = long_texts.method != "windows" and int(lengths.max()) <= limit
    reading = _Reading(long_texts.settled(tokenizer, limit), tokenizer, limit)
    tallies = {name: Tally(len(names)) for name in splits}
    for name, split in splits.items():
        stored = name == "train" and max_length is None
        encoded = _stored(whole) if stored else _encoded(split, names, tokenizer)
        if stored and as_they_are:
            for each in encoded:
                rows = lengths_of(each.tokens)
                tallies[name].add(rows, each.targets, np.zeros_like(each.targets), rows)
            whole.rename(folder / name)
            continue
        with PartsWriter(folder / name, reading.schema, labels=names, form="arrow") as writer:
            for each in encoded:
                writer.write(reading.rows(each, tallies[name]))
    return _tokenized(tallies, names, reading, context_length)


@dataclass(frozen=True)
class _Reading:
    """How texts are read, given as all of their tokens, in rows of at most `limit`."""

    how: LongTexts
    tokenizer: Tokenizer
    limit: int

    @property
    def schema(self) -> pa.Schema:
        return WINDOWS if self.how.method == "windows" else TOKENS

    def rows(self, encoded: _Encoded, tally: Tally) -> pa.RecordBatch:
        """Returns what is read of some messages, and adds them to the tally."""
        lengths = lengths_of(encoded.tokens)
        unread = np.zeros(len(lengths), np.int64)
        for row in np.flatnonzero(lengths > self.limit).tolist():
            unread[row] = self.how.unread(int(lengths[row]), self.tokenizer, self.limit)
        read = read_texts(encoded.tokens, self.how, self.tokenizer, self.limit)
        tokens = _arrow(rows_of(read))
        tally.add(lengths, encoded.targets, unread, np.diff(tokens.offsets))
        if not isinstance(read, Windows):
            return pa.record_batch([encoded.ids, tokens, encoded.targets], schema=TOKENS)
        counts = np.asarray(read.counts)
        window = np.arange(len(tokens)) - np.repeat(read.starts[:-1], counts)
        ids, targets = np.repeat(encoded.ids, counts), np.repeat(encoded.targets, counts)
        return pa.record_batch([ids, tokens, targets, window], schema=WINDOWS)


def _encoded(split: Parts, labels: Sequence[str], tokenizer: Tokenizer) -> Iterator[_Encoded]:
    """Tokenizes messages, few enough at once for their tokens to be held as lists."""
    for batch in split.batches(["id", "text", "label"]):
        ends = np.cumsum(pc.binary_length(batch.column("text")).to_numpy(zero_copy_only=False), dtype=np.int64)
        bounds = [0, *(np.flatnonzero(np.diff(ends // BYTES_AT_ONCE)) + 1).tolist(), len(batch)]
        for begin, end in pairwise(bounds):
            some = batch.slice(begin, end - begin)
            targets = pc.index_in(some.column("label"), pa.array(labels)).to_numpy(zero_copy_only=True)
            tokens = tokenizer.encode(some.column("text").to_pylist())
            yield _Encoded(some.column("id").to_numpy(), targets.astype(np.int64), tokens)


def _write_whole(encoded: Iterable[_Encoded], folder: Path, labels: Sequence[str]) -> NDArray[np.int32]:
    """Writes all tokens of messages as TOKENS into a new folder; returns how many each has, (messages,)."""
    shutil.rmtree(folder, ignore_errors=True)  # what an interruption left
    lengths = [np.empty(0, np.int32)]
    with PartsWriter(folder, TOKENS, labels=labels, form="arrow") as writer:
        for each in encoded:
            tokens = _arrow(each.tokens)
            lengths.append(np.diff(tokens.offsets))
            writer.write(pa.record_batch([each.ids, tokens, each.targets], schema=TOKENS))
    return np.concatenate(lengths)


def _stored(folder: Path) -> Iterator[_Encoded]:
    """Yields what `_write_whole` wrote."""
    for batch in Parts(folder, TOKENS).batches():
        yield _Encoded(batch.column("id").to_numpy(), batch.column("target").to_numpy(), _rows([batch]))


def _arrow(rows: Sequence[Any]) -> pa.ListArray:
    """Returns rows of tokens as a column."""
    bounds = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(bounds, np.fromiter(chain.from_iterable(rows), np.int32, int(bounds[-1])))


def _rows(batches: Iterable[pa.RecordBatch]) -> TokenRows:
    """Returns the tokens of batches, where they lie."""
    columns = (batch.column("tokens") for batch in batches)
    return TokenRows((column.values.to_numpy(), column.offsets.to_numpy()) for column in columns)


def _tokenized(
    tallies: Mapping[str, Tally], labels: Sequence[str], reading: _Reading, context_length: int
) -> Tokenized:
    how = reading.how
    splits = {name: tally.report(windows=how.method == "windows") for name, tally in tallies.items()}
    report: dict[str, Any] = {
        "max_length": reading.limit,
        "longest_training_message": splits["train"]["longest"],
        "splits": splits,
    }
    if how.method != "cut_end":
        report["long_texts"] = how.as_fields()
    cut = cut_report(tallies.values(), labels)
    if cut is None:
        return Tokenized(reading.limit, how, report, ())
    warning = cut_warning(cut, how, reading.limit, context_length)
    return Tokenized(reading.limit, how, {**report, "cut": cut}, (warning,))
