"""Adds low-rank adapters (Hu et al. 2021, "LoRA", arXiv:2106.09685) to a backbone's linear layers and merges them."""

from collections.abc import Iterable

from lib.model.gpt2.freezing import adapters
from lib.model.gpt2.gpt import GPT

ADAPTER = "default"  # peft's name for the only adapter that a layer has


def add_adapters(
    backbone: GPT, *, rank: int, alpha: float, dropout: float, layers: Iterable[str], blocks: int | None
) -> None:
    """Puts an adapter beside each named linear layer of the last `blocks` blocks (None: all), in place.

    A layer W then computes W x + (alpha / rank) B A dropout(x), with A (rank, inputs) drawn from torch's global
    generator and B (outputs, rank) zero, so that nothing changes before the first step. `layers` are names inside a
    block, such as "attention.qkv".
    """
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and only lora needs it

    last = len(backbone.blocks)
    first = 0 if blocks is None else max(0, last - blocks)
    targets = [f"blocks.{index}.{layer}" for index in range(first, last) for layer in layers]
    # peft declares alpha an int, but only divides it by the rank.
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone, ADAPTER)


def merge_adapters(backbone: GPT) -> None:
    """Merges each adapter into its layer's weights, in place; the function stays the same. Layers that had an adapter
    no longer require gradients."""
    if not adapters(backbone):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.get_base_layer())


def adapter_settings(backbone: GPT) -> dict[str, tuple[float, float]]:
    """Returns each adapted layer's alpha / rank and dropout probability, which the adapters' tensors do not contain."""
    if not adapters(backbone):
        return {}
    from peft.tuners.lora import LoraLayer

    return {
        name: (module.scaling[ADAPTER], getattr(module.lora_dropout[ADAPTER], "p", 0.0))
        for name, module in backbone.named_modules()
        if isinstance(module, LoraLayer)
    }
