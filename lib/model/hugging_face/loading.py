"""Loads a network of transformers from a local folder: safetensors only, no code of the folder's own, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lib.errors import WeightsError
from lib.model.hugging_face.possible import require_possible
from lib.model.weights.folder import CONFIG, weights_files
from lib.model.weights.saved import network_fields
from lib.model.weights.tensors import Safetensors, require_finite, require_numbers

IN_WORDS = {
    "AutoModel": "network",
    "AutoModelForSequenceClassification": "classifier of texts",
    "AutoModelForCausalLM": "network that writes text",
}
OF_TEXTS = ("AutoModelForSequenceClassification", "AutoModelForCausalLM")
MOST_MASKS = 2**28  # numbers of the masks for all positions that some families make for each block
POOLER = "pooler"  # a layer that many checkpoints lack, because their pretraining had no use for it


def load_config(folder: Path, **changes: Any) -> Any:
    """Returns transformers' config of a folder, with changes. Raises `WeightsError` if transformers has no such model
    type, or if the network is not one encoder or decoder of text."""
    import transformers

    fields = network_fields(folder)
    kind = fields.get("model_type")
    if kind is None:
        raise WeightsError(f"{folder / CONFIG} has no model_type: choose weights that transformers saved")
    if kind not in transformers.CONFIG_MAPPING:
        raise WeightsError(
            f"{folder / CONFIG} has model_type = {kind!r}, which the installed transformers does not have, and code"
            " that comes with weights is not run: choose another model, or a newer transformers if it has this one"
        )
    require_possible(fields, folder / CONFIG)
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(fields)
    except Exception as error:  # whatever a family's own checks raise
        raise WeightsError(
            f"{folder / CONFIG} describes no {kind} ({' '.join(str(error).split())}): get the file again"
        ) from error
    if not any(type(config) in getattr(transformers, auto)._model_mapping for auto in OF_TEXTS):
        raise WeightsError(
            f"{folder / CONFIG} describes a {kind}, of which transformers has neither a classifier of texts nor a"
            " network that writes text: choose an encoder or a decoder of texts"
        )
    if config.is_encoder_decoder:
        raise WeightsError(
            f"{folder / CONFIG} describes an encoder with a decoder ({kind}): choose a model that is one of the two"
        )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def drop(config: Any, probability: float) -> None:
    """Sets every probability of dropping an activation."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, probability)


def load_network(auto: str, folder: Path, config: Any, *, new_head: bool = False) -> nn.Module:
    """Returns the network that `auto`, one of transformers' AutoModel classes, makes of a folder: float32, on the CPU.

    Numbers of the same type stay mapped from the file until they are changed. new_head: whether what lies above the
    base network may be new, drawn from torch's global generator. Raises `WeightsError` if tensors are missing or of
    another shape, or if transformers has no such class for the network.
    """
    import transformers

    if type(config) not in getattr(transformers, auto)._model_mapping:
        raise WeightsError(f"transformers has no {IN_WORDS[auto]} of {config.model_type!r}: choose another model")

    stored = Safetensors(weights_files(folder))
    contents = stored.contents()  # a damaged file is said in our words
    needed = _numbers_of(empty_network(auto, folder, config))
    require_numbers(needed, contents, stored.where, "the config.json beside it")
    for name in contents:
        require_finite(stored.read(name), name, stored.where)
    with quiet():
        try:
            network, report = getattr(transformers, auto).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the weights in {folder} cannot be loaded ({_first_line(error)}): get them again"
            ) from error
    _require_whole(report, network, folder, new_head)
    return cast(nn.Module, network)


def _numbers_of(network: nn.Module) -> int:
    """Returns how many numbers a network needs; masks of a usual size, which are in no file, do not count."""
    parameters, buffers = (sum(each.numel() for each in some) for some in (network.parameters(), network.buffers()))
    return parameters + (buffers if buffers > MOST_MASKS else 0)


def empty_network(auto: str, folder: Path, config: Any) -> nn.Module:
    """Returns the network that `auto` makes of a config, without any numbers; torch's global generator is left as it
    was. Raises WeightsError if the config describes none."""
    import transformers

    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
            network: nn.Module = getattr(transformers, auto).from_config(config)
    except Exception as error:  # whatever a family's own sizes raise: heads that do not divide a width, none of them
        raise WeightsError(
            f"{folder / CONFIG} describes no {config.model_type} ({_first_line(error)}): get the file again"
        ) from error
    return network


def _require_whole(report: Mapping[str, Any], network: Any, folder: Path, new_head: bool) -> None:
    """Refuses a network with parts that did not come from the folder, except the new ones."""

    def may_be_new(name: str) -> bool:
        in_base = name.startswith(f"{network.base_model_prefix}.") or network is network.base_model
        return POOLER in name or (new_head and not in_base)

    problems = []
    if missing := sorted(name for name in report["missing_keys"] if not may_be_new(name)):
        problems.append("missing " + ", ".join(missing))
    for name, stored, expected in sorted(report["mismatched_keys"]):
        if not may_be_new(name):
            problems.append(f"{name} has the shape {list(stored)}, not {list(expected)}")
    if problems:
        raise WeightsError(
            f"the tensors in {folder} do not fit the config.json beside them: {'; '.join(problems)}; use the files of"
            " one and the same model"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' reports and progress bars out of the terminal: what matters of them is said here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
