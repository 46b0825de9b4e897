"""Freezes a GPT except for the part that a recipe names."""

from lib.model.adapters import adapters
from lib.model.gpt2.gpt import GPT
from lib.model.trainable import Trainable, frozen_blocks


def freeze_gpt(gpt: GPT, trainable: Trainable) -> int:
    """Makes only the named part trainable: nothing (`head`), the final norm and the last block or two, everything, or
    the adapters. Returns how many of the first blocks, and the embeddings before them, never learn.

    The output matrix, tied or not, learns with `all` only. Raises `ValueError` if `lora` finds no adapters.
    """
    adapted = [index for index, block in enumerate(gpt.blocks) if adapters(block)]
    if trainable == "lora" and not adapted:
        raise ValueError("trainable is 'lora', and the GPT has no adapters: add them first")
    lora_blocks = len(gpt.blocks) - adapted[0] if adapted else None
    cut = frozen_blocks(trainable, len(gpt.blocks), lora_blocks=lora_blocks)
    gpt.requires_grad_(trainable == "all")
    if trainable == "lora":
        for parameter in adapters(gpt):
            parameter.requires_grad_(True)
    elif trainable in ("last_block", "last_two_blocks"):
        gpt.final_norm.requires_grad_(True)
        gpt.blocks[cut:].requires_grad_(True)
    return cut
