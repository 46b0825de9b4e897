"""Writes and reads checkpoints: what an interrupted training needs to resume.

A checkpoint is `checkpoint-<number>.safetensors` and `checkpoint.json`, which has the state, that file's name and
checksum, and a checksum of itself. The JSON is replaced last and atomically, so it always points to a complete file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lib.files.checksum import file_sha256, seal_holds, sealed
from lib.files.disk import disk_full_is_clear, into_place, remove
from lib.model.weights.tensors import write_tensors

STATE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """`state` holds what JSON can hold, `tensors` the rest."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, number: int, fingerprint: str) -> None:
    """Replaces the checkpoint in `folder` (created if missing); `number` grows with each checkpoint of a training.

    Only a training with the same `fingerprint` may resume. Raises `StoreError` if the disk is full; the previous
    checkpoint is still complete then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"checkpoint-{number:08d}.safetensors"
    temporary = file.with_suffix(".part")
    write_tensors(temporary, checkpoint.tensors)
    content = {
        "fingerprint": fingerprint,
        "tensors": file.name,
        "tensors_sha256": file_sha256(temporary),
        "state": checkpoint.state,
    }
    into_place(temporary, file)
    temporary = folder / f"{STATE}.part"
    with disk_full_is_clear(folder):
        temporary.write_text(json.dumps(sealed(content)) + "\n", encoding="utf-8")
    into_place(temporary, folder / STATE)
    for other in folder.glob("checkpoint-*.safetensors"):
        if other != file:
            other.unlink()


def read_checkpoint(folder: Path, *, fingerprint: str, warn: Callable[[str], None]) -> Checkpoint | None:
    """Returns the checkpoint in `folder`, its tensors on the CPU; None if there is none. Warns and returns None if it
    is damaged, which removes it, or has another fingerprint."""
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not seal_holds(content):
            raise ValueError(f"{STATE} has changed")
        if content["fingerprint"] != fingerprint:
            warn(
                f"The checkpoint in {folder} is of other data, weights or settings: training starts from the beginning"
            )
            return None
        file = folder / content["tensors"]
        if file_sha256(file) != content["tensors_sha256"]:
            raise ValueError(f"{file.name} has changed")
        return Checkpoint(content["state"], load_file(file))
    except FileNotFoundError as error:
        if (folder / STATE).exists():
            warn(f"The checkpoint in {folder} is incomplete ({error}): training starts from the beginning")
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        warn(f"The checkpoint in {folder} is damaged ({error}): training starts from the beginning")
        _clear(folder)
        return None


def _clear(folder: Path) -> None:
    """Removes what is left of a damaged checkpoint, folders too, so that nothing is in the way of the next one."""
    for path in folder.glob("checkpoint*"):
        remove(path)


def generator_states(device: torch.device) -> dict[str, Tensor]:
    """Returns the states of torch's global generators: the CPU's and, on CUDA, the device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restores what `generator_states` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:  # the checkpoint may be from a CPU
        torch.cuda.set_rng_state(states["cuda"], device)
