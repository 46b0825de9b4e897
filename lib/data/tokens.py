"""Writes and reads the tokens of messages, or of their windows: parts in Arrow's own format, mapped where they are
read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.cluster.cluster import HERE, Cluster
from lib.data.parts import FileWriter, Parts
from lib.data.tables import MESSAGES, TOKENS, WINDOWS
from lib.files.jsonfile import load_json
from lib.text.long_texts import CUT_END, LongTexts
from lib.text.token_rows import TokenRows
from lib.text.tokenizer import Tokenizer, load_tokenizer
from lib.text.tokens import Tally, cut_report, cut_warning, ordinary_length, require_within_context
from lib.text.windows import Texts, Windows, lengths_of, read_texts, rows_of

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


@dataclass(frozen=True)
class TokensPart:
    """Some rows of a split's tokens: messages, or windows of them. number: that of the part in its split. first: the
    position of its first row in `file`. size: its tokens."""

    split: str
    number: int
    file: Path
    first: int
    rows: int
    size: int

    def load(self) -> tuple[TokenRows, NDArray[np.int64]]:
        """Returns the tokens of each row, in the mapped file, and the id of its message (rows,)."""
        parts = Parts(self.file, TOKENS)
        some = parts.table(["id", "tokens"]).slice(self.first, self.rows)
        return _rows(some.to_batches()), some.column("id").to_numpy()


def tokens_parts(folder: Path, split: str, rows: int) -> list[TokensPart]:
    """Divides a split of the artifact in a folder into parts of so many rows, which lie in one file each; at least
    one."""
    found: list[TokensPart] = []
    for file in Parts(folder / split, TOKENS).files:
        lengths = _rows(Parts(file, TOKENS).batches(["tokens"])).lengths
        for first in range(0, max(len(lengths), 1), rows):
            some = lengths[first : first + rows]
            if len(some) or not found:
                found.append(TokensPart(split, len(found), file, first, len(some), int(some.sum())))
    return found


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
    tokenizer: Tokenizer | Path,
    max_length: int | None,
    context_length: int,
    long_texts: LongTexts = CUT_END,
    scratch: Path,
    cluster: Cluster = HERE,
) -> Tokenized:
    """Tokenizes the messages of every split into a folder of its name, in `folder`: TOKENS, in the order of the
    messages; where long texts are read in windows WINDOWS, with a row for each. A part has what is read of the messages
    of the same part of the split. Never holds a whole split.

    splits: tables with at least id, text (not empty) and label, by name; "train" must be among them.
    labels: the label names, kept in the parts; a row's target is its label's position.
    tokenizer: or the folder that it lies in, which other processes need.
    max_length: the most tokens of a row (None: as many as the longest training message has, unless that is an
    exception, at most the context).
    long_texts: how messages of more tokens are read.
    scratch: a folder on the same file system, in which parts are written, and the tokens of training messages lie that
    may have to be cut.

    Raises RecipeError if `max_length` exceeds `context_length`, the tokens that the model can see, or leaves no room
    for `long_texts`.
    """
    require_within_context(max_length, context_length, null_means="the longest training message")
    names = tuple(labels)
    parts = {
        name: [
            _Part(name, file, folder / name / f"{file.stem}.arrow", scratch, names, tokenizer) for file in split.files
        ]
        for name, split in splits.items()
    }
    limit, as_they_are = max_length, False
    if limit is None:
        lengths = np.concatenate(list(cluster.run(_write_whole, parts["train"])))
        limit = min(ordinary_length(lengths), context_length)
        as_they_are = long_texts.method != "windows" and int(lengths.max()) <= limit
    reading = _Reading(long_texts.settled(_loaded(tokenizer), limit), limit)
    items = [(part, reading, as_they_are and name == "train") for name, of_split in parts.items() for part in of_split]
    tallies = {name: Tally(len(names)) for name in splits}
    for (part, *_), tally in zip(items, cluster.run(_write_part, items), strict=True):
        tallies[part.split].include(tally)
    return _tokenized(tallies, names, reading, context_length)


@dataclass(frozen=True)
class _Reading:
    """How texts are read, given as all of their tokens, in rows of at most `limit`."""

    how: LongTexts
    limit: int

    @property
    def schema(self) -> pa.Schema:
        return WINDOWS if self.how.method == "windows" else TOKENS

    def rows(self, encoded: _Encoded, tokenizer: Tokenizer, tally: Tally) -> pa.RecordBatch:
        """Returns what is read of some messages, and adds them to the tally."""
        lengths = lengths_of(encoded.tokens)
        unread = np.zeros(len(lengths), np.int64)
        for row in np.flatnonzero(lengths > self.limit).tolist():
            unread[row] = self.how.unread(int(lengths[row]), tokenizer, self.limit)
        read = read_texts(encoded.tokens, self.how, tokenizer, self.limit)
        tokens = _arrow(rows_of(read))
        tally.add(lengths, encoded.targets, unread, np.diff(tokens.offsets))
        if not isinstance(read, Windows):
            return pa.record_batch([encoded.ids, tokens, encoded.targets], schema=TOKENS)
        counts = np.asarray(read.counts)
        window = np.arange(len(tokens)) - np.repeat(read.starts[:-1], counts)
        ids, targets = np.repeat(encoded.ids, counts), np.repeat(encoded.targets, counts)
        return pa.record_batch([ids, tokens, targets, window], schema=WINDOWS)


@dataclass(frozen=True)
class _Part:
    """A part of a split: its messages in `file`, and where their tokens are to be."""

    split: str
    file: Path
    target: Path
    scratch: Path
    labels: tuple[str, ...]
    tokenizer: Tokenizer | Path

    @property
    def whole(self) -> Path:
        """Where all of its tokens may lie already."""
        return self.scratch / "whole" / self.split / self.target.name

    def encoded(self) -> Iterator[_Encoded]:
        """Yields the messages with all of their tokens, few enough at once to be held as lists."""
        tokenizer, labels = _loaded(self.tokenizer), pa.array(self.labels)
        for batch in Parts(self.file, MESSAGES).batches():
            ends = np.cumsum(pc.binary_length(batch.column("text")).to_numpy(zero_copy_only=False), dtype=np.int64)
            bounds = [0, *(np.flatnonzero(np.diff(ends // BYTES_AT_ONCE)) + 1).tolist(), len(batch)]
            for begin, end in pairwise(bounds):
                some = batch.slice(begin, end - begin)
                targets = pc.index_in(some.column("label"), labels).to_numpy(zero_copy_only=True)
                tokens = tokenizer.encode(some.column("text").to_pylist())
                yield _Encoded(some.column("id").to_numpy(), targets.astype(np.int64), tokens)

    @contextmanager
    def writing(self, target: Path, schema: pa.Schema) -> Iterator[FileWriter]:
        """Yields what writes a file that is there as a whole, once it is: a worker may die, or be taken for dead."""
        begun = self.scratch / f"{uuid.uuid4().hex}.arrow"
        begun.parent.mkdir(parents=True, exist_ok=True)
        with FileWriter(begun, schema, labels=self.labels) as writer:
            yield writer
        target.parent.mkdir(parents=True, exist_ok=True)
        begun.replace(target)


def _write_whole(part: _Part) -> NDArray[np.int32]:
    """Keeps all tokens of a part's messages; returns how many each has, (messages,)."""
    if not part.whole.exists():
        with part.writing(part.whole, TOKENS) as writer:
            for each in part.encoded():
                writer.write(pa.record_batch([each.ids, _arrow(each.tokens), each.targets], schema=TOKENS))
    return np.concatenate([np.empty(0, np.int32), *(lengths_of(each.tokens) for each in _stored(part.whole))])


def _write_part(item: tuple[_Part, _Reading, bool]) -> Tally:
    """Writes what is read of a part's messages; returns their counts. item: with whether all tokens are read."""
    part, reading, as_they_are = item
    tally = Tally(len(part.labels))
    stored = part.whole.exists()
    if stored and as_they_are:
        for each in _stored(part.whole):
            rows = lengths_of(each.tokens)
            tally.add(rows, each.targets, np.zeros_like(each.targets), rows)
        part.target.parent.mkdir(parents=True, exist_ok=True)
        part.whole.replace(part.target)
        return tally
    tokenizer = _loaded(part.tokenizer)
    with part.writing(part.target, reading.schema) as writer:
        for each in _stored(part.whole) if stored else part.encoded():
            writer.write(reading.rows(each, tokenizer, tally))
    return tally


def _stored(file: Path) -> Iterator[_Encoded]:
    """Yields what `_write_whole` wrote."""
    for batch in Parts(file, TOKENS).batches():
        yield _Encoded(batch.column("id").to_numpy(), batch.column("target").to_numpy(), _rows([batch]))


def _loaded(tokenizer: Tokenizer | Path) -> Tokenizer:
    return _tokenizer_in(tokenizer) if isinstance(tokenizer, Path) else tokenizer


@lru_cache(maxsize=1)
def _tokenizer_in(folder: Path) -> Tokenizer:
    """Returns the tokenizer of a folder that does not change, once for all parts."""
    return load_tokenizer(folder)


def _arrow(rows: Sequence[Any]) -> pa.ListArray:
    """Returns rows of tokens as a column."""
    bounds = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(bounds, np.fromiter(chain.from_iterable(rows), np.int32, int(bounds[-1])))


def _rows(batches: Iterable[pa.RecordBatch]) -> TokenRows:
    """Returns the tokens of batches, where they lie."""
    columns = (batch.column("tokens") for batch in batches)
    return TokenRows((column.values.to_numpy(), column.offsets.to_numpy()) for column in columns)  # also of a slice


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
