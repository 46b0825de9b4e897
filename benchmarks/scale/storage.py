"""Counts the bytes of each artifact, its files, and the requests that take them to a bucket and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scale.case import Case
from benchmarks.scale.network import STATE
from lib.data.messages.holdout import MOST_FROZEN
from lib.data.parts import ROWS_PER_PART
from lib.data.tables import KEYS
from lib.model.features.choice import ITEM_SIZE
from lib.store.bucket import BLOCK

CHUNK = 5 * 2**20  # bytes of a piece that obstore sends: `chunk_size` of its `put`
MOST_PIECES = 10_000  # of one object, by S3's rules, so that a file may have 50 GiB
# Bytes in the manifest, of each file its name, size and checksum.
MANIFEST_LINE = 150
# Of text compressed by zstd in Parquet, measured by benchmarks.volume on words without meaning; English is no worse.
COMPRESSED = 0.6
HASHES = 8 * len(KEYS)  # bytes: nothing compresses them
ROW = 8 + 8 + 4  # bytes of a row of tokens besides these: id, target, and where the tokens begin


@dataclass(frozen=True)
class Kept:
    """An artifact: bytes of a message and in all, and the files that it is in. writes, reads: requests of one machine
    that sends, or fetches, all of it."""

    name: str
    each: float
    size: float
    files: int

    @property
    def writes(self) -> float:
        """One for a small file; of a larger one each piece, and two around them; the manifest, and notes and lease."""
        of_file = self.size / max(1, self.files)
        return self.files * (1 if of_file <= CHUNK else math.ceil(of_file / CHUNK) + 2) + 6

    @property
    def reads(self) -> float:
        """Each file in blocks, and the manifest."""
        return self.files * max(1, math.ceil(self.size / max(1, self.files) / BLOCK)) + 1


def artifacts(case: Case, *, features: bool = True) -> list[Kept]:
    """The artifacts of a run, in the order of its steps. features: also those that are not kept at this size."""
    text = COMPRESSED * case.text
    keyed = HASHES + text + 1  # ids and labels compress to less than a byte
    answers = text + 8 * case.classes * (1 + case.test)  # of all messages by the network, of test by the baseline
    width = case.network.config.emb_dim
    parameters = case.network.config.n_layers * case.network.block_parameters + width * (
        case.network.config.vocab_size + case.network.config.context_length + 2
    )
    found = [
        _table(case, "download", case.text + 6, parts=False),  # the source, as CSV: a label, a comma, a line's end
        _table(case, "messages", keyed + 1),  # the line in the source, too
        _table(case, "balance", keyed),
        _table(case, "split", keyed),
        _table(case, "holdout", keyed),
        _table(case, "tokenize", ROW + 4 * case.tokens),
        _table(case, "features", feature_bytes(case), parts=False),
        Kept("finetune", 0.0, 4.0 * parameters, 12),
        _table(case, "evaluate", answers),
        Kept("frozen test set in MLflow", 0.0, min(case.test * case.messages, MOST_FROZEN) * text, 1),
    ]
    return [each for each in found if features or each.name != "features"]


def feature_bytes(case: Case, dtype: str = "bfloat16") -> float:
    """Bytes of a message's features."""
    return case.tokens * case.network.config.emb_dim * ITEM_SIZE[dtype]


def checkpoint_bytes(case: Case) -> float:
    """Bytes of a checkpoint of a training of all layers: weights and both moments, and the order of an epoch."""
    parameters = case.network.config.n_layers * case.network.block_parameters
    return (STATE - 4) * parameters + 8 * case.train * case.messages


def _table(case: Case, name: str, each: float, *, parts: bool = True) -> Kept:
    files = math.ceil(case.messages / ROWS_PER_PART) if parts else 1 if name != "features" else 3
    return Kept(name, each, each * case.messages, files)
