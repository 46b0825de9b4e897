"""Names the trainable parts of a classifier and counts their blocks, without torch."""

from typing import Literal

Trainable = Literal["head", "last_block", "last_two_blocks", "all", "lora"]  # the recipe's `classifier.trainable`

LEARNING_BLOCKS: dict[Trainable, int | None] = {"head": 0, "last_block": 1, "last_two_blocks": 2, "all": None}


def learning_blocks(trainable: Trainable, *, lora_blocks: int | None = None) -> int | None:
    """Returns how many last blocks learn (None: all); with `lora`, the `lora_blocks` that have adapters."""
    return lora_blocks if trainable == "lora" else LEARNING_BLOCKS[trainable]


def frozen_blocks(trainable: Trainable, n_layers: int, *, lora_blocks: int | None = None) -> int:
    """Returns how many of the first blocks, and the embeddings before them, never learn."""
    learning = learning_blocks(trainable, lora_blocks=lora_blocks)
    return 0 if learning is None else max(0, n_layers - learning)
