"""Reads and writes the shape of a GPT-2 as config.json with the fields of transformers' GPT2Config; without torch."""

import json
from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.model.gpt2.sizes import GPTConfig
from lib.model.weights.folder import CONFIG, whole_number
from lib.model.weights.saved import network_fields

# transformers calls GPT-2's own tanh approximation `gelu_new`; the second name is the same formula.
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")

# Fields of transformers' GPT2Config that change the network, with the only value that our GPT computes.
FIXED_FIELDS: dict[str, Any] = {
    "model_type": "gpt2",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def read_config(folder: Path, *, dropout: float = 0.0) -> GPTConfig:
    """Reads the shape from `folder`/config.json, plus our own field `causal_mask`, present only if false. Raises
    `WeightsError` if the file is missing, is not a JSON object, or describes no GPT-2."""
    fields = network_fields(folder)
    where = f"{folder / CONFIG}"
    for field, wanted in FIXED_FIELDS.items():
        if fields.get(field, wanted) != wanted:
            raise WeightsError(
                f"{where} has {field} = {fields[field]!r}, and only {wanted!r} is supported: use the weights of a GPT-2"
            )
    activation = fields.get("activation_function", TANH_GELU[0])
    if activation not in TANH_GELU:
        raise WeightsError(
            f"{where} has activation_function = {activation!r}, and only {TANH_GELU[0]!r} is supported:"
            " use the weights of a GPT-2"
        )
    sizes = {field: whole_number(fields, field, where) for field in _SIZE_FIELDS}
    inner = fields.get("n_inner")
    if inner not in (None, 4 * sizes["n_embd"]):
        raise WeightsError(f"{where} has n_inner = {inner!r}, and only 4 * n_embd = {4 * sizes['n_embd']} is supported")
    epsilon = fields.get("layer_norm_epsilon", 1e-5)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:  # neither is NaN, which JSON here may hold
        raise WeightsError(f"{where} has layer_norm_epsilon = {epsilon!r}, and it must be a number such as 1e-05")
    try:
        return GPTConfig(
            **{_SIZE_FIELDS[field]: size for field, size in sizes.items()},
            dropout=dropout,
            layer_norm_epsilon=epsilon,
            causal_mask=_switch(fields, "causal_mask", where),
            tied_output=_switch(fields, "tie_word_embeddings", where),
        )
    except ValueError as error:
        raise WeightsError(f"{where} describes no GPT: {error}") from error


_SIZE_FIELDS = {
    "n_positions": "context_length",
    "n_embd": "emb_dim",
    "n_head": "n_heads",
    "n_layer": "n_layers",
    "vocab_size": "vocab_size",
}


def write_config(config: GPTConfig, folder: Path) -> None:
    """Writes `folder`/config.json for transformers' GPT2LMHeadModel."""
    text = json.dumps(config_fields(config, "GPT2LMHeadModel"), indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def config_fields(config: GPTConfig, architecture: str) -> dict[str, Any]:
    """Returns the fields of transformers' GPT2Config, with our own `causal_mask` only if it is false."""
    fields = FIXED_FIELDS | {
        "architectures": [architecture],
        "activation_function": TANH_GELU[0],
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "n_inner": None,
        "tie_word_embeddings": config.tied_output,
    }
    fields |= {field: getattr(config, ours) for field, ours in _SIZE_FIELDS.items()}
    if not config.causal_mask:
        fields["causal_mask"] = False
    return fields


def _switch(fields: dict[str, Any], field: str, where: str) -> bool:
    value = fields.get(field, True)
    if not isinstance(value, bool):
        raise WeightsError(f"{where} has {field} = {value!r}, and it must be true or false")
    return value
