"""Loads a GPT from a folder, a single file or OpenAI's checkpoint."""

from pathlib import Path

import torch
from torch import Tensor

from lib.model.gpt2.gpt import GPT
from lib.model.gpt2.openai import CHECKPOINT, HPARAMS, hugging_face_name, is_openai_folder
from lib.model.gpt2.sizes import GPTConfig
from lib.model.gpt2.tensor_bundle import TensorBundle
from lib.model.gpt2.weights import filled_gpt
from lib.model.weights.folder import CONFIG, weights_files
from lib.model.weights.tensors import Safetensors

KINDS = {"float16": "F16", "float32": "F32", "float64": "F64"}  # numpy's names and safetensors'


def load_pretrained(place: Path, config: GPTConfig) -> GPT:
    """Loads the weights at `place`, a folder or a .safetensors file, as `filled_gpt` does. Raises `WeightsError` if a
    file is missing or damaged, or if tensors are missing, unexpected or of the wrong shape."""
    if place.is_file():
        beside = (place.parent / CONFIG).is_file()
        return filled_gpt(
            config, Safetensors([place]), expected="the config.json beside it" if beside else "model.size"
        )
    if is_openai_folder(place):
        stored = OpenAITensors(TensorBundle(place / CHECKPOINT))
        return filled_gpt(config, stored, own_name=hugging_face_name, expected=f"the {HPARAMS} beside it")
    return filled_gpt(config, Safetensors(weights_files(place)))


class OpenAITensors:
    """A checkpoint's variables in transformers' shapes: OpenAI's matrices have a leading axis of 1, as convolutions."""

    def __init__(self, bundle: TensorBundle) -> None:
        self._bundle = bundle

    @property
    def where(self) -> str:
        return f"{self._bundle.index}"

    def contents(self) -> dict[str, tuple[tuple[int, ...], str]]:
        return {
            name: (self._shape(name), KINDS.get(entry.type, entry.type)) for name, entry in self._bundle.entries.items()
        }

    def read(self, name: str) -> Tensor:
        """Reads one variable; raises `WeightsError` if its checksum is wrong."""
        return torch.from_numpy(self._bundle.read(name)).view(self._shape(name))

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._bundle.entries[name].shape
        return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
