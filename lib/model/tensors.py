"""Files of named tensors (safetensors), and copying one into a network that expects exact names and shapes.

Here belongs what pretrained weights, classifiers and checkpoints share. What the names mean is their
business.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib.disk import disk_full_is_clear
from lib.errors import WeightsError

FLOATING = frozenset({"F64", "F32", "F16", "BF16"})  # safetensors' names of the types that can be weights


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` under their names; equal tensors give equal bytes.

    Raises `StoreError` if the disk is full, `OSError` for everything else that the system refuses.
    """
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with disk_full_is_clear(file.parent):
        try:
            save_file(whole, file, metadata={"format": "pt"})  # transformers opens no file without this entry
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))  # it wraps the system's own error in a text
            if number is None:
                raise
            raise OSError(int(number[1]), str(error), str(file)) from error


def fill_tensors(
    targets: Mapping[str, Tensor], file: Path, *, own_name: Callable[[str], str | None] = lambda name: name
) -> None:
    """Copy every tensor of `file` into the target of the same name, in the target's type, one at a time.

    `own_name` turns a name in the file into a target's, or into None for a tensor that is not wanted. Targets
    may be views (a transposed weight). Raises `WeightsError` before anything is copied if the file is damaged
    or if its names, shapes or types do not fit; the sentence lists all of them.
    """
    try:
        with safe_open(file, framework="pt") as stored:  # memory-mapped: a tensor is read when it is asked for
            names = {own: name for name in stored.keys() if (own := own_name(name)) is not None}  # noqa: SIM118
            problems = _problems(targets, names, stored)
            if problems:
                raise WeightsError(
                    f"{file} does not fit the config.json beside it: {'; '.join(problems)}; use both files of one model"
                )
            for own, target in targets.items():
                target.copy_(stored.get_tensor(names[own]))
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged or no safetensors file ({error}): get it again") from error


def _problems(targets: Mapping[str, Tensor], names: Mapping[str, str], stored: Any) -> list[str]:
    """Everything that keeps the file from fitting: one phrase for each kind, naming every tensor."""
    problems = []
    if missing := [own for own in targets if own not in names]:
        problems.append("missing " + ", ".join(missing))
    if unexpected := sorted(names[own] for own in names if own not in targets):
        problems.append("unexpected " + ", ".join(unexpected))
    for own, target in targets.items():
        if own not in names:
            continue
        piece = stored.get_slice(names[own])
        if tuple(piece.get_shape()) != tuple(target.shape):
            problems.append(f"{names[own]} has the shape {list(piece.get_shape())}, not {list(target.shape)}")
        elif piece.get_dtype() not in FLOATING:
            problems.append(f"{names[own]} is of type {piece.get_dtype()}, not a floating-point number")
    return problems
