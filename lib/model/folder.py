"""A folder of weights in Hugging Face layout, as far as it can be understood without torch.

Here belong which files such a folder has and what its `config.json` says. The tensors are read and written in
`weights.py`; other places that weights come from, and what identifies each, are in `places.py`.
"""

import json
import shlex
from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.model.sizes import GPTConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # in place of it: which file has which tensor
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
CONVERTED = "gpt2-safetensors"  # where the command that converts a pickle writes

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

    `dropout` comes from the caller, because it is about training and not part of the weights. A field of our own,
    `causal_mask`, is there where it is false. Raises `WeightsError` if the file is missing, is no JSON object, or
    describes a network that is not a GPT-2.
    """
    fields = read_fields(_existing(folder, CONFIG))
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
    if not isinstance(epsilon, float):
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
    """Write `folder`/config.json with the fields of transformers' GPT2Config, so that it can be read there.

    transformers knows no GPT-2 without a causal mask; that one field of ours is written only where it is false.
    """
    fields = FIXED_FIELDS | {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": TANH_GELU[0],
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "n_inner": None,
        "tie_word_embeddings": config.tied_output,
    }
    fields |= {field: getattr(config, ours) for field, ours in _SIZE_FIELDS.items()}
    if not config.causal_mask:
        fields["causal_mask"] = False
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def weights_file(folder: Path) -> Path:
    """The one file with the tensors; raises `WeightsError` if it is not there, and says what is there instead."""
    return _existing(folder, WEIGHTS)


def weights_files(folder: Path) -> list[Path]:
    """The file with the tensors, or the files that share them out, in the order of their names.

    Raises `WeightsError` if one of them is missing, and says what is there instead.
    """
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [_existing(folder, WEIGHTS)]
    return [_existing(folder, name) for name in shards(folder / INDEX)]


def shards(index: Path) -> list[str]:
    """The names of the files that an index of tensors lists; raises `WeightsError` if it is none."""
    files = read_fields(index).get("weight_map")
    names = sorted(set(files.values())) if isinstance(files, dict) and all(map(_is_name, files.values())) else []
    if not names:
        raise WeightsError(f"{index} must map names of tensors to names of files beside it: get it again")
    return names


def pickle_refusal(where: str, source: str, *, revision: str | None = None) -> WeightsError:
    """For weights that exist only as a pickle: what to do. `source`: what transformers' `from_pretrained` is given."""
    chosen = "" if revision is None else f", revision={json.dumps(revision)}"
    load = f"GPT2LMHeadModel.from_pretrained({json.dumps(source, ensure_ascii=False)}{chosen})"
    script = f'from transformers import GPT2LMHeadModel; {load}.save_pretrained("{CONVERTED}")'
    return WeightsError(
        f"{where} has its weights only as a pickle ({PICKLES[0]}), which can run any code when it is opened, and is not"
        f" read here: if you trust it, convert it with `python -c {shlex.quote(script)}` where transformers and torch"
        f" are installed, and set model.weights to {CONVERTED}"
    )


def read_fields(file: Path) -> dict[str, Any]:
    """The file's JSON object; raises `WeightsError` if it is none."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): get the file again") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{file} is not a JSON object: get the file again")
    return fields


def whole_number(fields: dict[str, Any], field: str, where: str) -> int:
    """A field that must be a whole number; raises `WeightsError` if it is not."""
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WeightsError(f"{where} has {field} = {value!r}, and it must be a whole number: use the file of a GPT-2")
    return value


def _switch(fields: dict[str, Any], field: str, where: str) -> bool:
    value = fields.get(field, True)
    if not isinstance(value, bool):
        raise WeightsError(f"{where} has {field} = {value!r}, and it must be true or false")
    return value


def _is_name(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file


def _existing(folder: Path, name: str) -> Path:
    file = folder / name
    if file.is_file():
        return file
    if name == WEIGHTS and any((folder / pickle).is_file() for pickle in PICKLES):
        raise pickle_refusal(f"{folder}", f"{folder}")
    raise WeightsError(
        f"{file} does not exist: a folder of weights must have {CONFIG} and {WEIGHTS}, in the layout that"
        " Hugging Face's transformers saves a GPT-2 in"
    )
