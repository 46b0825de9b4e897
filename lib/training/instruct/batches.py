"""Makes batches from tokenized entries: end token, targets shifted by one, and the mask of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lib.data.tables import EARLIER_ANSWERS, ENTRY_TOKENS, load_table
from lib.errors import MessagesError
from lib.files.jsonfile import load_json
from lib.model.padding import pad_batch
from lib.text.gpt2 import PAD
from lib.training.examples import Batch

if TYPE_CHECKING:
    import pandas as pd

END = PAD  # GPT-2 has one token for both the end of a text and padding; other families say theirs
Spans = Sequence[tuple[int, int]]  # the positions of first tokens, and of those behind the last
IGNORED = -100  # a target that does not count, by default of torch's cross_entropy


class EntryBatch(NamedTuple):
    """What a model reads, and what it should predict at each position."""

    inputs: Tensor  # (batch, width) int64, padded on the right
    targets: Tensor  # (batch, width) int64, IGNORED where nothing should be predicted
    lengths: Tensor  # (batch,) int64: positions of each row that are no padding


def collate(
    sequences: Sequence[Sequence[int]],
    response_starts: Sequence[int] | None = None,
    *,
    earlier_answers: Sequence[Spans] = (),
    max_length: int | None = None,
    end: int = END,
    pad: int = PAD,
) -> EntryBatch:
    """Pads token sequences to the longest, and shifts them by one for the targets.

    A row's targets are its tokens from the second on and one end token; nothing is predicted after it. As published
    (chapter 7 of "Build a Large Language Model (From Scratch)"), except that padding is recognised by position, not by
    value: an end token within an entry is predicted like any other, and the one after the entry still counts.

    Args:
        sequences: tokens, without an end token; at least one each.
        response_starts: position of each response's first token; earlier targets do not count (solution 7.2 of the same
            book). None: the whole text counts.
        earlier_answers: of each sequence, the positions of answers before its response: theirs count too.
        max_length: cuts rows to so many positions. A longer sequence keeps the next token as its last target and has no
            end token.
        end, pad: the tokens that end a response and fill a row.

    Raises MessagesError if a sequence has no tokens.
    """
    inputs, lengths = pad_batch([sequence[:max_length] for sequence in sequences], pad=pad)
    targets, _ = pad_batch([[*sequence[1:], end][:max_length] for sequence in sequences], pad=IGNORED)
    for row, start in enumerate(response_starts or ()):
        learnt = targets[row].clone()
        targets[row, : max(start - 1, 0)] = IGNORED  # position p predicts token p + 1
        for first, behind in earlier_answers[row] if earlier_answers else ():
            answer = slice(max(first - 1, 0), max(behind - 1, 0))
            targets[row, answer] = learnt[answer]
    return EntryBatch(inputs, targets, lengths)


@dataclass(frozen=True)
class EncodedEntries:
    """A split ready for the model: entry i has the tokens `tokens[i]`, and its response starts at `starts[i]`."""

    tokens: Sequence[Sequence[int]]
    starts: Sequence[int]
    max_length: int  # positions of a row, at most
    mask_instruction: bool  # whether only responses are learnt
    end: int = END  # the token that ends a response
    pad: int = PAD
    earlier: Sequence[Spans] = ()  # the answers before each response, if any entry has some

    def lengths(self) -> list[int]:
        """Returns how many tokens the model reads of each entry, for `SortedOrder`."""
        return [min(len(tokens), self.max_length) for tokens in self.tokens]

    def prepare(self, device: torch.device) -> None:
        """Does nothing: tokens are small."""

    @property
    def recordable(self) -> bool:
        """No: nearly every batch has another length, and another number of targets."""
        return False

    def batch(self, rows: list[int]) -> Batch:
        """Returns the entries at these positions; the model is called with the places and tokens of the targets too."""
        inputs, targets, lengths = self._collated(rows)
        flat = targets.flatten()
        places = (flat != IGNORED).nonzero().squeeze(1)
        return Batch((inputs, places, flat[places]), targets, int(lengths.sum()))

    def targets_of(self, rows: list[int]) -> Tensor:
        """Returns the next tokens of these entries (batch, width)."""
        return self._collated(rows).targets

    def _collated(self, rows: list[int]) -> EntryBatch:
        return collate(
            [self.tokens[row] for row in rows],
            [self.starts[row] for row in rows] if self.mask_instruction else None,
            earlier_answers=[self.earlier[row] for row in rows] if self.earlier else (),
            max_length=self.max_length,
            end=self.end,
            pad=self.pad,
        )


def load_splits(folder: Path, names: Sequence[str], *, mask_instruction: bool) -> dict[str, EncodedEntries]:
    """Loads the named splits from a folder with tokens.json (max_length, end, pad) and one Parquet file per split.
    Raises what `encoded_entries` raises."""
    report = load_json(folder / "tokens.json")
    shared = {name: report[name] for name in ("max_length", "end", "pad")}
    return {
        name: encoded_entries(
            load_table(folder / f"{name}.parquet", ENTRY_TOKENS, optional=EARLIER_ANSWERS),
            name,
            mask_instruction=mask_instruction,
            **shared,
        )
        for name in names
    }


def encoded_entries(
    table: pd.DataFrame, name: str, *, max_length: int, mask_instruction: bool, end: int = END, pad: int = PAD
) -> EncodedEntries:
    """Returns a split from its table (id, tokens, response_start, perhaps earlier_answers), as `lib.text.entry_tokens`
    makes it.

    `name` is the split's name in errors. Raises `MessagesError` if the split is empty, or if only answers are learnt
    and those of an entry were cut off completely.
    """
    if table.empty:
        raise MessagesError(f"There are no {name} entries: give that split a larger fraction or get more entries")
    starts = table["response_start"].tolist()
    earlier: list[Spans] = []
    if "earlier_answers" in table:
        edges = (list(map(int, each)) for each in table["earlier_answers"])
        earlier = [list(zip(each[::2], each[1::2], strict=True)) for each in edges]
    first = [
        spans[0][0] if spans else start for spans, start in zip(earlier or [()] * len(starts), starts, strict=True)
    ]
    cut = [entry for entry, start in zip(table["id"], first, strict=True) if start > max_length]
    if cut and mask_instruction:
        raise MessagesError(
            f"Entry {cut[0] + 1} (counted from 1) of the source file, in {name}, has nothing left to learn: its"
            f" instruction and input fill all {max_length} tokens, and prompt.mask_instruction leaves only the"
            f" response{'' if len(cut) == 1 else f' ({len(cut)} entries are like it)'}: raise encoding.max_length,"
            " shorten the entry, leave it out with --encoding.too_long drop, or do not mask"
        )
    tokens = [list(map(int, each)) for each in table["tokens"]]
    return EncodedEntries(tokens, starts, max_length, mask_instruction, end, pad, earlier)
