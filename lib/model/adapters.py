"""Adds low-rank adapters (Hu et al. 2021, "LoRA", arXiv:2106.09685) beside linear layers, and merges them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lib.errors import RecipeError
from lib.files.jsonfile import save_json
from lib.model.weights.tensors import write_tensors

ADAPTER = "default"  # peft's name for the only adapter that a layer has


def linear_layers(block: nn.Module) -> dict[str, nn.Module]:
    """Returns a block's matrix products by name: torch's linear layers, and transformers' `Conv1D` of GPT-2."""
    return {
        name: module
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    }


def adapters(module: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of adapters that are not merged."""
    return [parameter for name, parameter in module.named_parameters() if ".lora_" in name]


def add_adapters(
    network: nn.Module,
    modules: Iterable[nn.Module],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    layers: Sequence[str] | None,
    blocks: int | None,
) -> None:
    """Puts an adapter beside linear layers of the last `blocks` (None: all) of the network's blocks, `modules`.

    A layer W then computes W x + (alpha / rank) B A dropout(x), with A (rank, inputs) drawn from torch's global
    generator and B (outputs, rank) zero, so that nothing changes before the first step.

    layers: names inside a block, or their last parts, such as "attention.qkv" or "q_proj" (None: every linear layer).
    Raises RecipeError for a name that a block does not have.
    """
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and only lora needs it

    every = list(modules)
    last = every if blocks is None else every[-blocks:]
    targets = [_path(network, layer) for block in last for layer in _chosen(block, layers)]
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
    inject_adapter_in_model(config, network, ADAPTER)


def _chosen(block: nn.Module, layers: Sequence[str] | None) -> list[nn.Module]:
    linear = linear_layers(block)
    if layers is None:
        return list(linear.values())
    for wanted in layers:
        if not any(_is_called(name, wanted) for name in linear):
            raise RecipeError(
                f"lora.layers has {wanted!r}, and the linear layers of this model's blocks are"
                f" {', '.join(linear)}: name some of them, or null for all"
            )
    return [module for name, module in linear.items() if any(_is_called(name, wanted) for wanted in layers)]


def _is_called(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _path(network: nn.Module, wanted: nn.Module) -> str:
    return next(str(name) for name, module in network.named_modules() if module is wanted)


@dataclass(frozen=True)
class AdapterParts:
    """What was trained of a classifier with adapters, by the names in transformers' class of the family.

    layers: those with an adapter. modules: those that are kept whole, by the last parts of their names; `tensors` are
    theirs, by their whole names. transposed: whether transformers keeps the layers' weights as (inputs, outputs).
    """

    layers: Mapping[str, nn.Module]
    modules: Sequence[str]
    tensors: Mapping[str, Tensor]
    transposed: bool


def adapted_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Returns the layers that have an adapter, by name."""
    return {name: module for name, module in network.named_modules() if hasattr(module, "lora_A")}


def save_adapters(
    folder: Path, parts: AdapterParts, *, rank: int, alpha: float, dropout: float, base: str | None
) -> None:
    """Writes adapters in peft's format into a new folder: adapter_config.json and adapter_model.safetensors, with which
    `PeftModel.from_pretrained` makes the classifier of its base. base: the repository that has it, if one does."""
    fields = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "bias": "none",
        "fan_in_fan_out": parts.transposed,
        "inference_mode": True,
        "target_modules": sorted(parts.layers),
        "modules_to_save": sorted(parts.modules),
    }
    tensors = dict(parts.tensors)
    for name, layer in parts.layers.items():
        for matrix in ("lora_A", "lora_B"):
            tensors[f"{name}.{matrix}.weight"] = getattr(layer, matrix)[ADAPTER].weight
    folder.mkdir()
    save_json(fields, folder / "adapter_config.json")
    write_tensors(
        folder / "adapter_model.safetensors", {f"base_model.model.{name}": each for name, each in tensors.items()}
    )


def merge_adapters(network: nn.Module) -> None:
    """Merges each adapter into its layer's weights, in place; the function stays the same. Layers that had an adapter
    no longer require gradients."""
    if not adapters(network):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, module.get_base_layer())


def adapter_settings(network: nn.Module) -> dict[str, tuple[float, float]]:
    """Returns each adapted layer's alpha / rank and dropout probability, which the adapters' tensors do not contain."""
    if not adapters(network):
        return {}
    from peft.tuners.lora import LoraLayer

    return {
        name: (module.scaling[ADAPTER], getattr(module.lora_dropout[ADAPTER], "p", 0.0))
        for name, module in network.named_modules()
        if isinstance(module, LoraLayer)
    }
