"""Reads and writes safetensors files, and copies stored tensors into a network that expects exact names."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lib.errors import WeightsError
from lib.files.disk import disk_full_is_clear, require_space

TYPES = {  # safetensors' names
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
MOST_TIMES, SPARE = 4, 2**24  # by how much a network may have more numbers than its file, before they are compared
FLOATING = frozenset({"F64", "F32", "F16", "BF16"})


class StoredTensors(Protocol):
    """Tensors in files, read one at a time to save memory."""

    @property
    def where(self) -> str:
        """The files, as errors name them."""

    def contents(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Returns the shape and safetensors' type of every tensor, by name."""

    def read(self, name: str) -> Tensor:
        """Reads one tensor to the CPU."""


class Safetensors:
    """The tensors of one safetensors file, or of the shards of a model. Each reading reopens the memory-mapped file
    (below a millisecond), because pages that were read count as this process's memory until the mapping ends."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._file_of: dict[str, Path] = {}

    @property
    def where(self) -> str:
        others = len(self._files) - 1
        return f"{self._files[0]}" + (f" (and {others} more)" if others else "")

    def contents(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Returns every tensor's shape and type; raises `WeightsError` for a damaged file or a name in two files."""
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for file in self._files:
            try:
                with safe_open(file, framework="pt") as stored:
                    for name in stored.keys():  # noqa: SIM118 - not a mapping
                        if name in found:
                            raise WeightsError(
                                f"{name} stands in both {self._file_of[name]} and {file}: get the files again"
                            )
                        piece = stored.get_slice(name)
                        found[name] = (tuple(piece.get_shape()), str(piece.get_dtype()))
                        self._file_of[name] = file
            except SafetensorError as error:
                raise WeightsError(f"{file} is damaged or no safetensors file ({error}): get it again") from error
        return found

    def read(self, name: str) -> Tensor:
        """Returns a tensor mapped from the file, not to be written to; `contents` must have been called."""
        with safe_open(self._file_of[name], framework="pt") as stored:
            tensor: Tensor = stored.get_tensor(name)
        return tensor


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes `tensors` as safetensors under their names; equal tensors give equal bytes.

    Copies at most one tensor (a view, or one on another device) at a time, where the safetensors package copies all.
    The layout is the package's: a length, a JSON header padded to eight bytes, and the data, widest types first for
    alignment. Raises StoreError for a full disk, and otherwise the system's OSError.
    """
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), TYPES[tensors[name].dtype], name))
    # transformers opens no file without this entry.
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    require_space(file.parent, len(text) + end, file.name)
    with disk_full_is_clear(file.parent), file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            whole = tensors[name].detach().cpu().contiguous()
            stream.write(whole.reshape(-1).view(torch.uint8).numpy().data)


def fill_tensors(
    targets: Mapping[str, Tensor],
    stored: StoredTensors | Path,
    *,
    own_name: Callable[[str], str | None] = lambda name: name,
    expected: str = "the config.json beside it",
) -> None:
    """Copies every stored tensor into the target of the same name and type, one at a time.

    `stored` may be the path of a safetensors file. `own_name` turns a stored name into a target's, or into None for an
    unwanted tensor. Targets may be views (a transposed weight). `expected` says in errors where the targets' shapes
    come from. Raises `WeightsError`, listing every problem, before anything is copied if a file is damaged or if names,
    shapes or types do not fit.
    """
    tensors = Safetensors([stored]) if isinstance(stored, Path) else stored
    contents = tensors.contents()
    owns = {name: own for name in contents if (own := own_name(name)) is not None}
    names = {own: name for name, own in owns.items()}
    problems = _problems(targets, names, contents)
    if again := sorted(name for name, own in owns.items() if names[own] != name):
        problems.append("there under another name too " + ", ".join(again))
    if problems:
        raise WeightsError(
            f"{tensors.where} does not fit {expected}: {'; '.join(problems)}; use the files of one and the same model"
        )
    for own, target in targets.items():
        numbers = tensors.read(names[own])
        require_finite(numbers, names[own], tensors.where)
        target.copy_(numbers)


def require_finite(tensor: Tensor, name: str, where: str) -> None:
    """Raises WeightsError if a number is infinite or none. Costs one sum, half a second for a billion numbers; they are
    looked at one by one only where it is not finite."""
    if not tensor.is_floating_point():
        return
    numbers = tensor.detach()
    numbers = numbers if numbers.element_size() > 1 else numbers.float()  # of float8, which has no sum
    if not numbers.sum().isfinite() and not numbers.isfinite().all():
        raise WeightsError(
            f"{where}: {name} has numbers that are infinite or none (NaN), as where a training failed or a file was"
            " damaged: get the file again, or choose other weights"
        )


def require_numbers(
    needed: int, contents: Mapping[str, tuple[tuple[int, ...], str]], where: str, expected: str
) -> None:
    """Raises WeightsError, before memory is taken for a network of `needed` numbers, if its files have nowhere near as
    many; what is about right is compared tensor by tensor later."""
    stored = sum(math.prod(shape) for shape, _ in contents.values())
    if needed > MOST_TIMES * stored + SPARE:
        raise WeightsError(
            f"{where} has {stored:,} numbers, and {expected} describes a network of {needed:,}: use the files of one"
            " and the same model"
        )


def _problems(
    targets: Mapping[str, Tensor], names: Mapping[str, str], contents: Mapping[str, tuple[tuple[int, ...], str]]
) -> list[str]:
    """Lists everything that does not fit, one phrase for each kind of problem, naming every tensor."""
    problems = []
    if missing := [own for own in targets if own not in names]:
        problems.append("missing " + ", ".join(missing))
    if unexpected := sorted(names[own] for own in names if own not in targets):
        problems.append("unexpected " + ", ".join(unexpected))
    for own, target in targets.items():
        if own not in names:
            continue
        shape, kind = contents[names[own]]
        if shape != tuple(target.shape):
            problems.append(f"{names[own]} has the shape {list(shape)}, not {list(target.shape)}")
        elif kind not in FLOATING:
            problems.append(f"{names[own]} is of type {kind}, not a floating-point number")
    return problems
