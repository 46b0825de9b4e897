"""Computes, writes and reads features: the output of the frozen blocks for every real token of every message.

A split has a safetensors file, or several parts of it. Each has `features` (tokens, emb_dim), the input of the first
learning block (of the final norm, if no block learns); `offsets` (messages + 1,) int64, where each message begins and
ends; and `ids` (messages,) int64.
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.files.disk import disk_full_is_clear, require_space, reserve
from lib.model.backbone import Backbone
from lib.model.machine.cuda import on_device
from lib.model.machine.fast import fast
from lib.model.machine.memory import Room, parts, within_memory
from lib.model.padding import pad_batch
from lib.progress import Progress, silent
from lib.text.batching import RUN_TOKENS, batches_by_tokens
from lib.text.windows import Rows, lengths_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
IN_SAFETENSORS = {"float32": "F32", "bfloat16": "BF16"}
NOTE_EVERY = 64  # batches between two records of progress on the disk


class Features(Sequence[Tensor]):
    """The features of a split's messages in their order: item i is (length, emb_dim), a view of a memory-mapped file.

    `blocks` is the number of blocks that made them. offsets: where each message begins and ends among the tokens of all
    (messages + 1,) int64. Raises `WeightsError` if `place`, a file or a folder of parts, belongs to messages other than
    `ids`.
    """

    def __init__(self, place: Path, ids: npt.ArrayLike) -> None:
        self._pieces: list[Tensor] = []
        lengths, found = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
        for file in [place] if place.is_file() else sorted(place.glob("part-*.safetensors")):
            with safe_open(file, framework="pt") as stored:  # memory-mapped: pages are read when they are used
                self.blocks = int(stored.metadata()["blocks"])
                self._pieces.append(stored.get_tensor("features"))
                lengths.append(np.diff(stored.get_tensor("offsets").numpy()))
                found.append(stored.get_tensor("ids").numpy())
        self.offsets: NDArray[np.int64] = np.cumsum(np.concatenate(lengths))
        self._begins = np.cumsum([0, *map(len, self._pieces)]).tolist()  # the first token of each piece, and the end
        if not self._pieces or not np.array_equal(np.concatenate(found), np.asarray(ids)):
            raise WeightsError(f"{place} has the features of other messages: remove it, and it is computed again")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        begin, end = int(self.offsets[position]), int(self.offsets[position + 1])
        piece = bisect_right(self._begins, begin, hi=len(self._pieces)) - 1
        return self._pieces[piece][begin - self._begins[piece] : end - self._begins[piece]]

    @property
    def flat(self) -> Tensor:
        """All of them, (tokens, emb_dim); a copy where they lie in several files."""
        return self._pieces[0] if len(self._pieces) == 1 else torch.cat(self._pieces)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each message, (messages,)."""
        return np.diff(self.offsets)

    def require_blocks(self, blocks: int) -> None:
        """Raises `ValueError` unless these are the output of the first `blocks` blocks."""
        if self.blocks != blocks:
            raise ValueError(f"features after {self.blocks} blocks, and the classifier learns from block {blocks} on")

    @property
    def resident(self) -> bool:
        """Whether the features lie in a GPU's memory."""
        return self._pieces[0].is_cuda

    def padded(self, positions: Sequence[int] | NDArray[np.int64], width: int) -> tuple[Tensor, Tensor]:
        """Returns those of some messages, cut to `width`, in one copy: (batch, width, emb_dim) with any numbers at the
        padding; and their lengths (batch,) int64, on the host."""
        starts = self.offsets[np.asarray(positions)]
        lengths = np.minimum(self.offsets[np.asarray(positions) + 1] - starts, width)
        places = np.arange(width) < lengths[:, None]
        rows = torch.from_numpy(np.where(places, starts[:, None] + np.arange(width), starts[:, None]))
        batch = self.flat.index_select(0, on_device(rows.flatten(), self.flat.device))
        return batch.view(len(positions), width, -1), torch.from_numpy(lengths)

    def move_to(self, device: torch.device) -> None:
        """Moves the features to a GPU's memory if they fit into half of what is free there."""
        if device.type != "cuda":
            return
        size = sum(piece.numel() * piece.element_size() for piece in self._pieces)
        if 2 * size < torch.cuda.mem_get_info(device)[0]:
            whole = self._pieces[0].new_empty((int(self.offsets[-1]), *self._pieces[0].shape[1:]), device=device)
            for begin, piece in zip(self._begins, self._pieces, strict=False):
                whole[begin : begin + len(piece)].copy_(piece)
            self._pieces, self._begins = [whole], [0, len(whole)]


class ChosenFeatures(Sequence[Tensor]):
    """Some rows of several files, in any order: item i is row `rows[i]` of `files[numbers[i]]`.

    numbers, rows: (rows,) int64.
    """

    def __init__(self, files: Sequence[Features], numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.files, self.numbers, self.rows = files, numbers, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self.files[int(self.numbers[index])][int(self.rows[index])]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each row, (rows,)."""
        found = np.empty(len(self), np.int64)
        for number, file in enumerate(self.files):
            of_file = self.numbers == number
            found[of_file] = file.lengths[self.rows[of_file]]
        return found

    def require_blocks(self, blocks: int) -> None:
        """Raises `ValueError` unless all of these are the output of the first `blocks` blocks."""
        for file in self.files:
            file.require_blocks(blocks)

    def move_to(self, device: torch.device) -> None:
        """Moves each file that fits to a GPU's memory, where all that is chosen of it finds it."""
        for file in self.files:
            file.move_to(device)


KeptFeatures = Features | ChosenFeatures  # for isinstance, too


def write_features(
    file: Path,
    backbone: Backbone,
    sequences: Rows,
    ids: npt.ArrayLike,
    *,
    blocks: int,
    dtype: str,
    scratch: Path,
    device: str = "cpu",
    progress: Progress = silent,
    room: Room | None = None,
) -> None:
    """Runs the embeddings and the first `blocks` blocks over every message, at its real length, and writes `file`.

    Features are kept and matrix products computed in `dtype`, "float32" or "bfloat16". Unfinished work lies in
    `scratch`, on the same file system as `file`, and the same call resumes it, with the same bytes as without an
    interruption. Work for other messages, blocks, dtype or batches (a GPU's are larger) is discarded; weights are not
    compared. The backbone, an `nn.Module`, is moved to `device` and left in eval mode, its linear layers in `dtype`.
    `progress` counts tokens. room: of memory, in tokens.

    Raises `MessagesError` for a message without tokens, and `StoreError` for a full disk before anything is computed.
    """
    network = cast(nn.Module, backbone).eval().to(device)
    for module in backbone.frozen_modules(blocks):
        if isinstance(module, nn.Linear):
            module.to(DTYPES[dtype])  # once: autocast would do it again for every batch
    lengths = lengths_of(sequences)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    header = _header(offsets, ids, blocks=blocks, emb_dim=backbone.width, dtype=dtype)
    begins = len(header) + backbone.width * DTYPES[dtype].itemsize * offsets
    budget = RUN_TOKENS[torch.device(device).type]
    batches = batches_by_tokens(lengths, budget)
    batches.reverse()  # the longest first, so that a lack of memory shows at once
    part, note = scratch / f"{file.name}.part", scratch / f"{file.name}.json"
    scratch.mkdir(parents=True, exist_ok=True)
    plan = {"header": hashlib.sha256(header).hexdigest(), "batch_tokens": budget}
    finished = _finished_batches(note, plan) if part.exists() else 0
    done, total = sum(int(lengths[batch].sum()) for batch in batches[:finished]), int(lengths.sum())
    with (
        disk_full_is_clear(scratch),
        part.open("r+b" if finished else "w+b") as writing,
        torch.inference_mode(),
        fast(network, backbone.width),
    ):
        require_space(scratch, int(begins[-1]) - 512 * os.fstat(writing.fileno()).st_blocks, "the rest of the features")
        reserve(writing.fileno(), int(begins[-1]))
        _write_at(writing.fileno(), header, 0)
        room = room or Room()

        def write(batch: NDArray[np.int64], at_once: int) -> None:
            for part in parts(len(batch), at_once):
                rows = [sequences[row] for row in batch[part].tolist()]
                computed = _frozen_part(backbone, rows, blocks=blocks, dtype=dtype, device=torch.device(device))
                for position, row in enumerate(batch[part].tolist()):
                    _write_at(writing.fileno(), _bytes(computed[position, : lengths[row]]), int(begins[row]))

        for number, batch in enumerate(batches[finished:], start=finished + 1):
            within_memory(partial(write, batch), len(batch), room, each=int(lengths[batch[-1]]))
            done += int(lengths[batch].sum())
            progress(done, total, "tokens")
            if number % NOTE_EVERY == 0:
                os.fsync(writing.fileno())
                _note(note, plan | {"batches": number})
        os.fsync(writing.fileno())
    part.replace(file)
    note.unlink(missing_ok=True)


def _finished_batches(note: Path, plan: dict[str, Any]) -> int:
    """Returns how many batches an earlier attempt at the same plan wrote; none if its note is missing or damaged, as
    after a power cut."""
    try:
        noted = json.loads(note.read_bytes())
        return int(noted["batches"]) if noted.items() >= plan.items() else 0
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
        return 0


def _note(note: Path, content: dict[str, Any]) -> None:
    """Replaces the note atomically."""
    new = note.with_name(f"{note.name}.new")
    new.write_text(json.dumps(content))
    new.replace(note)


def _write_at(descriptor: int, content: bytes | memoryview, at: int) -> None:
    """Writes all of `content`; one system call may write less, for example to a network file system."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def _frozen_part(backbone: Backbone, sequences: Rows, *, blocks: int, dtype: str, device: torch.device) -> Tensor:
    """Returns (batch, longest, width) of `dtype` on the CPU."""
    tokens, lengths = pad_batch(sequences, pad=backbone.pad)
    bfloat16 = torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16")
    with bfloat16:
        features = backbone.frozen_part(tokens.to(device), lengths.to(device), blocks)
    return features.to(DTYPES[dtype]).cpu()


def _header(offsets: NDArray[np.int64], ids: npt.ArrayLike, *, blocks: int, emb_dim: int, dtype: str) -> bytes:
    """Returns everything in the file before the features: safetensors' header, offsets and ids."""
    small = {"offsets": offsets.astype("<i8"), "ids": np.asarray(ids).astype("<i8")}
    fields: dict[str, Any] = {"__metadata__": {"format": "pt", "blocks": str(blocks)}}
    at = 0
    for name, array in small.items():
        fields[name] = {"dtype": "I64", "shape": [len(array)], "data_offsets": [at, at := at + array.nbytes]}
    size = int(offsets[-1]) * emb_dim * DTYPES[dtype].itemsize
    fields["features"] = {
        "dtype": IN_SAFETENSORS[dtype],
        "shape": [int(offsets[-1]), emb_dim],
        "data_offsets": [at, at + size],
    }
    text = json.dumps(fields).encode()
    text += b" " * (-len(text) % 8)  # aligns the data, as safetensors' own writer does
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in small.values())


def _bytes(rows: Tensor) -> memoryview:
    """Returns the bytes of `rows` as stored; numpy has no bfloat16."""
    return rows.contiguous().view(torch.uint8).numpy().data.cast("B")
