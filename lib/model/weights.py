"""Pretrained weights: a GPT to and from a folder in Hugging Face layout.

Here belong the names that transformers gives to GPT-2's tensors. What `config.json` says is read in
`folder.py`.
"""

import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.folder import WEIGHTS, read_config, weights_file, write_config
from lib.model.gpt import GPT, Block, empty_gpt
from lib.model.tensors import fill_tensors, write_tensors

PREFIX = "transformer."  # there when the language model was saved, absent when only its trunk was
OUTPUT = "lm_head.weight"
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks that older versions saved as buffers


def save_gpt(gpt: GPT, folder: Path) -> None:
    """Write `folder`/config.json and model.safetensors, which transformers' GPT2LMHeadModel can read too.

    The folder exists already. The output matrix is left out, because it is the token embedding.
    """
    write_config(gpt.config, folder)
    write_tensors(folder / WEIGHTS, {PREFIX + name: tensor for name, tensor in named_tensors(gpt).items()})


def load_gpt(folder: Path, *, dropout: float = 0.0, device: str = "cpu") -> GPT:
    """Read a GPT from `folder`: float32, in training mode, every parameter trainable.

    Raises `WeightsError` if a file is missing or damaged, if the network is no GPT-2, or if tensors are
    missing, unexpected or of the wrong shape (all of them are listed).
    """
    config = read_config(folder, dropout=dropout)
    file = weights_file(folder)
    gpt = empty_gpt(config)
    fill_tensors(named_tensors(gpt), file, own_name=_own_name)
    _require_tied_output(gpt, file)
    return gpt.to(device)


def named_tensors(gpt: GPT) -> dict[str, Tensor]:
    """GPT-2's tensors under transformers' names, as views: writing to one writes to the network.

    transformers keeps GPT-2's original "Conv1D" layout, (inputs, outputs); torch's linear layers have it the
    other way round.
    """
    tensors = {"wte.weight": gpt.token_embedding.weight, "wpe.weight": gpt.position_embedding.weight}
    for index, block in enumerate(gpt.blocks):
        assert isinstance(block, Block)
        parts: dict[str, nn.Linear | nn.LayerNorm] = {
            "ln_1": block.attention_norm,
            "attn.c_attn": block.attention.qkv,
            "attn.c_proj": block.attention.projection,
            "ln_2": block.mlp_norm,
            "mlp.c_fc": block.mlp.expansion,
            "mlp.c_proj": block.mlp.projection,
        }
        for name, part in parts.items():
            weight = part.weight.t() if isinstance(part, nn.Linear) else part.weight
            tensors[f"h.{index}.{name}.weight"] = weight
            tensors[f"h.{index}.{name}.bias"] = part.bias
    tensors |= {"ln_f.weight": gpt.final_norm.weight, "ln_f.bias": gpt.final_norm.bias}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _own_name(stored: str) -> str | None:
    """The name without its prefix; None for what our GPT computes itself."""
    name = stored.removeprefix(PREFIX)
    return None if name == OUTPUT or MASKS.fullmatch(name) else name


def _require_tied_output(gpt: GPT, file: Path) -> None:
    with safe_open(file, framework="pt") as stored:
        if OUTPUT in stored.keys() and not torch.equal(  # noqa: SIM118 - not a mapping
            stored.get_tensor(OUTPUT).to(torch.float32), gpt.token_embedding.weight.detach()
        ):
            raise WeightsError(
                f"{file} has an output matrix ({OUTPUT}) that differs from the token embedding, and GPT-2"
                " shares one matrix for both: use the weights of a GPT-2"
            )
