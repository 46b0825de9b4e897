"""Saves and loads a GPT as a folder in Hugging Face layout, with transformers' names of GPT-2's tensors."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.adapters import AdapterParts, adapted_layers
from lib.model.gpt2.config import config_fields, read_config, write_config
from lib.model.gpt2.gpt import GPT, Block, empty_gpt
from lib.model.gpt2.sizes import GPTConfig, numbers_of
from lib.model.weights.folder import WEIGHTS, weights_files
from lib.model.weights.saved import save_classifier_config
from lib.model.weights.tensors import (
    Safetensors,
    StoredTensors,
    fill_tensors,
    require_finite,
    require_numbers,
    write_tensors,
)

PREFIX = "transformer."  # absent if only the trunk of the language model was saved
OUTPUT = "lm_head.weight"
HEAD = "score"  # transformers' name of a classifier's head
MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks that older versions saved as buffers
LINEAR = {  # transformers' names of a block's linear layers, by ours
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "mlp.expansion": "mlp.c_fc",
    "mlp.projection": "mlp.c_proj",
}
COMPARED_ROWS = 4096  # of two large matrices at once


def save_gpt(gpt: GPT, folder: Path) -> None:
    """Writes config.json and model.safetensors, readable by transformers' GPT2LMHeadModel, into an existing folder. A
    tied output matrix is left out."""
    write_config(gpt.config, folder)
    tensors = {name if name == OUTPUT else PREFIX + name: tensor for name, tensor in named_tensors(gpt).items()}
    write_tensors(folder / WEIGHTS, tensors)


def save_classifier_gpt(
    gpt: GPT, head: nn.Linear, labels: Sequence[str], *, pooling: str, padding: int, folder: Path
) -> None:
    """Writes config.json and model.safetensors with the head, for transformers' GPT2ForSequenceClassification if that
    can compute the same: its pooling is `last_token`, under a causal mask, and its head has no bias (see `_folded`)."""
    tensors = {PREFIX + name: tensor for name, tensor in named_tensors(gpt).items() if name != OUTPUT}
    tensors |= {f"{HEAD}.weight": head.weight, f"{HEAD}.bias": head.bias}
    shift = _folded(head) if pooling == "last_token" and gpt.config.causal_mask else None
    if shift is not None:
        tensors[f"{PREFIX}ln_f.bias"] = tensors[f"{PREFIX}ln_f.bias"] + shift
        del tensors[f"{HEAD}.bias"]
    config = replace(gpt.config, tied_output=True)  # the output matrix is left out: no answer passes it
    fields = {**config_fields(config, "GPT2ForSequenceClassification"), "pad_token_id": padding}
    save_classifier_config(
        folder,
        fields,
        labels,
        standard=shift is not None,
        pooling=pooling,
        causal_mask=config.causal_mask,
    )
    write_tensors(folder / WEIGHTS, tensors)


def _folded(head: nn.Linear) -> Tensor | None:
    """Returns what to add to the final norm's bias so that the head needs none: (emb_dim,); None if nothing does.

    The head reads W (n + b) + c, with b the norm's bias: a shift d of b with W d = c replaces c. With more classes than
    dimensions there may be none.
    """
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    shift = torch.linalg.lstsq(weight, bias[:, None], driver="gelsd").solution[:, 0]
    return shift.float() if torch.allclose(weight @ shift, bias, atol=1e-6) else None


def read_head(folder: Path, classes: int) -> nn.Linear:
    """Reads a saved classifier's head; raises `WeightsError` if it does not fit the number of `classes`."""
    stored = Safetensors(weights_files(folder))
    contents = stored.contents()
    if f"{HEAD}.weight" not in contents:
        raise WeightsError(f"{stored.where} has no {HEAD}.weight: train the classifier again")
    weight = stored.read(f"{HEAD}.weight").float()
    if len(weight) != classes:
        raise WeightsError(
            f"{stored.where}: {HEAD}.weight has the shape {list(weight.shape)}, not {[classes, weight.shape[1]]}, for"
            f" {classes} labels: train the classifier again"
        )
    head = nn.Linear(weight.shape[1], classes, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(stored.read(f"{HEAD}.bias")) if f"{HEAD}.bias" in contents else head.bias.zero_()
        for name, tensor in ((f"{HEAD}.weight", head.weight), (f"{HEAD}.bias", head.bias)):
            require_finite(tensor, name, stored.where)
    return head


def adapter_parts(gpt: GPT, head: nn.Linear) -> AdapterParts:
    """Returns a GPT's adapters and head by the names of GPT2ForSequenceClassification. The head's bias is in the final
    norm, as in `save_classifier_gpt`; raises `ValueError` if there it cannot be."""
    shift = _folded(head)
    if shift is None:
        raise ValueError(f"a head of {len(head.weight)} labels on {head.in_features} dimensions needs its bias")
    layers = {}
    for path, layer in adapted_layers(gpt).items():
        _, index, part = path.split(".", 2)
        layers[f"{PREFIX}h.{index}.{LINEAR[part]}"] = layer
    norm = f"{PREFIX}ln_f"
    tensors = {
        f"{HEAD}.weight": head.weight,
        f"{norm}.weight": gpt.final_norm.weight,
        f"{norm}.bias": gpt.final_norm.bias + shift,
    }
    return AdapterParts(layers, (HEAD, "ln_f"), tensors, transposed=True)


def save_head(head: nn.Linear, file: Path) -> None:
    """Writes a head alone, for `load_head`."""
    write_tensors(file, {"weight": head.weight, "bias": head.bias})


def load_head(file: Path) -> nn.Linear:
    """Reads what `save_head` wrote."""
    stored = Safetensors([file])
    classes, width = stored.contents()["weight"][0]
    head = nn.Linear(width, classes, device="meta").to_empty(device="cpu")
    fill_tensors({"weight": head.weight.detach(), "bias": head.bias.detach()}, stored)
    return head


def load_gpt(folder: Path, *, dropout: float = 0.0, causal_mask: bool = True, device: str = "cpu") -> GPT:
    """Reads a GPT from `folder` as `filled_gpt` does; `causal_mask=False` overrides config.json.

    Raises `WeightsError` if a file is missing or damaged, if the network is no GPT-2, or if tensors are missing,
    unexpected or of the wrong shape (all of them are listed).
    """
    config = read_config(folder, dropout=dropout)
    if not causal_mask:
        config = replace(config, causal_mask=False)
    return filled_gpt(config, Safetensors(weights_files(folder))).to(device)


def filled_gpt(
    config: GPTConfig,
    stored: StoredTensors,
    *,
    own_name: Callable[[str], str] = lambda name: name,
    expected: str = "the config.json beside it",
) -> GPT:
    """Returns a GPT with stored numbers, float32 on the CPU, in training mode, every parameter trainable.

    Memory holds the GPT and at most one stored tensor. `own_name` turns a stored name into one of transformers'.
    `expected` says in errors where `config` comes from. Raises `WeightsError` as `load_gpt` does.
    """
    require_numbers(numbers_of(config), stored.contents(), stored.where, expected)
    gpt = empty_gpt(config)

    def wanted(name: str) -> str | None:
        plain = own_name(name).removeprefix(PREFIX)
        computed = MASKS.fullmatch(plain) or plain.startswith(f"{HEAD}.") or (plain == OUTPUT and config.tied_output)
        return None if computed else plain

    fill_tensors(named_tensors(gpt), stored, own_name=wanted, expected=expected)
    if config.tied_output:
        _require_tied_output(gpt, stored)
    return gpt


def named_tensors(gpt: GPT) -> dict[str, Tensor]:
    """Returns GPT-2's tensors under transformers' names as views: writing to one writes to the network.

    transformers keeps GPT-2's "Conv1D" layout, (inputs, outputs); torch's linear layers are transposed. A tied output
    matrix is left out.
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
    if gpt.output is not None:
        tensors[OUTPUT] = gpt.output.weight
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _require_tied_output(gpt: GPT, stored: StoredTensors) -> None:
    """Refuses a stored output matrix that differs from the token embedding although config.json ties them."""
    if OUTPUT not in stored.contents():
        return
    embedding, output = gpt.token_embedding.weight.detach(), stored.read(OUTPUT)
    rows = [slice(start, start + COMPARED_ROWS) for start in range(0, len(embedding), COMPARED_ROWS)]
    if embedding.shape != output.shape or not all(torch.equal(embedding[some], output[some].float()) for some in rows):
        raise WeightsError(
            f"{stored.where} has an output matrix ({OUTPUT}) that differs from the token embedding, and its config.json"
            " says that one matrix is both (tie_word_embeddings): use the weights of a GPT-2, or say false there"
        )
