"""A folder of weights in Hugging Face layout, as far as it can be understood without torch.

Here belong which files such a folder has, what its `config.json` says and what identifies it. The tensors are
read and written in `weights.py`.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.checksum import file_sha256
from lib.errors import RecipeError, WeightsError
from lib.model.sizes import SIZES, GPTConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SCRATCH = "scratch"  # in place of a folder: numbers drawn from a seed

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
    """Read the shape from `folder`/config.json, whose fields are those of transformers' GPT2Config.

    `dropout` comes from the caller, because it is about training and not part of the weights. Raises
    `WeightsError` if the file is missing, is no JSON object, or describes a network that is not a GPT-2.
    """
    fields = _read_fields(_existing(folder, CONFIG))
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
    sizes = {field: _whole_number(fields, field, where) for field in _SIZE_FIELDS}
    inner = fields.get("n_inner")
    if inner not in (None, 4 * sizes["n_embd"]):
        raise WeightsError(f"{where} has n_inner = {inner!r}, and only 4 * n_embd = {4 * sizes['n_embd']} is supported")
    epsilon = fields.get("layer_norm_epsilon", 1e-5)
    if not isinstance(epsilon, float):
        raise WeightsError(f"{where} has layer_norm_epsilon = {epsilon!r}, and it must be a number such as 1e-05")
    try:
        return GPTConfig(
            **{_SIZE_FIELDS[field]: size for field, size in sizes.items()},
            dropout=dropout,
            layer_norm_epsilon=epsilon,
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
    """Write `folder`/config.json with the fields of transformers' GPT2Config, so that it can be read
    there."""
    fields = FIXED_FIELDS | {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": TANH_GELU[0],
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "n_inner": None,
        "tie_word_embeddings": True,
    }
    fields |= {field: getattr(config, ours) for field, ours in _SIZE_FIELDS.items()}
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def model_config(size: str, weights: str, *, dropout: float = 0.0) -> GPTConfig:
    """The shape that the recipe fields `model.size` and `model.weights` mean together.

    Raises `WeightsError` for a folder that cannot be read, `RecipeError` if it has another shape than `size`.
    """
    if weights == SCRATCH:
        return replace(SIZES[size], dropout=dropout)
    config = read_config(weights_folder(weights), dropout=dropout)
    if size != "from-weights" and config != replace(SIZES[size], dropout=dropout):
        raise RecipeError(
            f"model.size is {size!r}, but the weights in {weights} have another shape ({_in_words(config)}):"
            " set model.size to 'from-weights'"
        )
    return config


def weights_folder(weights: str) -> Path:
    """The folder that the recipe field `model.weights` means, `~` expanded; raises `WeightsError` if there is none."""
    # os.path's leave the "~" of an unknown user as it is, and call a name that is too long no folder; pathlib's raise.
    folder = os.path.expanduser(weights)  # noqa: PTH111
    if not os.path.isdir(folder):  # noqa: PTH112
        raise WeightsError(
            f"model.weights is {weights!r}, which is no folder here, and names on a model hub are not fetched by this"
            f" version: give a local folder with {CONFIG} and {WEIGHTS}, or {SCRATCH!r}"
        )
    return Path(folder)


def weights_identity(folder: Path) -> dict[str, str]:
    """SHA-256, in hexadecimal, of `config.json` and `model.safetensors`: equal for equal weights anywhere.

    Raises `WeightsError` if one of them is missing.
    """
    return {name: file_sha256(_existing(folder, name)) for name in (CONFIG, WEIGHTS)}


def weights_file(folder: Path) -> Path:
    """The file with the tensors; raises `WeightsError` if it is not there, and says what is there instead."""
    return _existing(folder, WEIGHTS)


def _existing(folder: Path, name: str) -> Path:
    file = folder / name
    if file.is_file():
        return file
    if name == WEIGHTS and (folder / "model.safetensors.index.json").is_file():
        raise WeightsError(
            f"{folder} has its weights in several files: save them as one {WEIGHTS}"
            " (in transformers: save_pretrained with a max_shard_size above the model's size)"
        )
    if name == WEIGHTS and (folder / "pytorch_model.bin").is_file():
        raise WeightsError(
            f"{folder} has only pytorch_model.bin, which is a pickle and could run any code when"
            f" it is opened: save the weights as {WEIGHTS}"
        )
    raise WeightsError(
        f"{file} does not exist: a folder of weights must have {CONFIG} and {WEIGHTS}, in the layout that"
        " Hugging Face's transformers saves a GPT-2 in"
    )


def _read_fields(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): get the file again") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{file} is not a JSON object: get the file again")
    return fields


def _whole_number(fields: dict[str, Any], field: str, where: str) -> int:
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WeightsError(f"{where} has {field} = {value!r}, and it must be a whole number: use a GPT-2's config.json")
    return value


def _in_words(config: GPTConfig) -> str:
    return (
        f"{config.n_layers} layers, {config.emb_dim} dimensions, {config.n_heads} heads,"
        f" {config.context_length} positions, {config.vocab_size} tokens"
    )
