"""Adds low-rank adapters (Hu et al. 2021, "LoRA", arXiv:2106.09685) beside linear layers, and merges them."""

from collections.abc import Iterable, Sequence

from torch import nn

from lib.errors import RecipeError

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
    # peft declares alpha an int, but only divides it by the rank.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)  # type: ignore[arg-type]
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
