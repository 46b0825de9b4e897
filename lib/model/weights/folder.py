"""The files of a folder of weights in Hugging Face layout, without torch."""

import json
import shlex
from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.files.jsonfile import read_strange_json
from lib.text.tokenizer_folder import FILES

CONFIG = "config.json"
GENERATION = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # for sharded weights: which file has which tensor
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = "adapter_config.json"  # of low-rank adapters without their base model
CONVERTED = "converted"  # the output folder of the command that converts a pickle


def weights_file(folder: Path) -> Path:
    """Returns the single file of tensors; raises `WeightsError` as `existing` does."""
    return existing(folder, WEIGHTS)


def weights_files(folder: Path) -> list[Path]:
    """Returns the file of tensors, or its shards sorted by name; raises `WeightsError` as `existing` does."""
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [existing(folder, WEIGHTS)]
    return [existing(folder, name) for name in shards(folder / INDEX)]


def network_files(folder: Path) -> list[Path]:
    """Returns what a network is read from: config.json, generation_config.json if there, and the tensors with their
    index; raises `WeightsError` as `existing` does."""
    optional = [folder / name for name in (GENERATION, INDEX) if (folder / name).is_file()]
    return [existing(folder, CONFIG), *optional, *weights_files(folder)]


def shards(index: Path) -> list[str]:
    """Returns the file names in an index of tensors; raises `WeightsError` if it is not an index."""
    files = read_fields(index).get("weight_map")
    names = sorted(set(files.values())) if isinstance(files, dict) and all(map(_is_name, files.values())) else []
    if not names:
        raise WeightsError(f"{index} must map names of tensors to names of files beside it: get it again")
    return names


def pickle_refusal(where: str, source: str, folder: Path, *, revision: str | None = None) -> WeightsError:
    """Returns the error for weights that exist only as a pickle, with the command that converts them.

    source, revision: the arguments of `from_pretrained`. folder: has its small files, as far as they are here.
    """
    fields = read_fields(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    named = fields.get("architectures")
    kinds = [str(named[0]) if isinstance(named, list) and named else "AutoModel"]
    if any((folder / name).is_file() for name in FILES):
        kinds.append("AutoTokenizer")
    chosen = "" if revision is None else f", revision={json.dumps(revision)}"
    given = f"{json.dumps(source, ensure_ascii=False)}{chosen}"
    saves = [f'{kind}.from_pretrained({given}).save_pretrained("{CONVERTED}")' for kind in kinds]
    script = f"from transformers import {', '.join(kinds)}; {'; '.join(saves)}"
    return WeightsError(
        f"{where} has its weights only as a pickle ({PICKLES[0]}), which can run any code when it is opened, and is not"
        f" read here: if you trust it, convert it with `python -c {shlex.quote(script)}`, and set model.weights to"
        f" {CONVERTED}"
    )


def adapter_refusal(where: str) -> WeightsError:
    """Returns the error for adapters without the model that they belong to."""
    return WeightsError(
        f"{where} has adapters ({ADAPTER}) without their base model: merge them into it with peft (merge_and_unload),"
        " save the result and the tokenizer with save_pretrained, and set model.weights to that folder"
    )


def read_fields(file: Path) -> dict[str, Any]:
    """Reads a JSON object; raises `WeightsError` if it is none."""
    try:
        fields = read_strange_json(file)
    except ValueError as error:  # not JSON, or not UTF-8
        raise WeightsError(f"{file} is not JSON ({error}): get the file again") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{file} is not a JSON object: get the file again")
    return fields


def whole_number(fields: dict[str, Any], field: str, where: str) -> int:
    """Returns a field that must be a whole number; raises `WeightsError` otherwise."""
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WeightsError(f"{where} has {field} = {value!r}, and it must be a whole number: get the file again")
    return value


def _is_name(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file


def existing(folder: Path, name: str) -> Path:
    """Returns a file of the folder; if it is missing, raises `WeightsError` that says what is there instead."""
    file = folder / name
    if file.is_file():
        return file
    if name == WEIGHTS and any((folder / pickle).is_file() for pickle in PICKLES):
        raise pickle_refusal(f"{folder}", f"{folder}", folder)
    if name == CONFIG and (folder / ADAPTER).is_file():
        raise adapter_refusal(f"{folder}")
    raise WeightsError(
        f"{file} does not exist: a folder of weights must have {CONFIG} and {WEIGHTS}, in the layout that"
        " Hugging Face's transformers saves a model in"
    )
