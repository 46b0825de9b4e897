"""Which part of a classifier learns, and where its frozen part ends; without torch."""

from typing import Literal

Trainable = Literal["head", "last_block", "last_two_blocks", "all", "lora"]  # the recipe's `classifier.trainable`

LEARNING_BLOCKS: dict[Trainable, int | None] = {"head": 0, "last_block": 1, "last_two_blocks": 2, "all": None}


def learning_blocks(trainable: Trainable, *, lora_blocks: int | None = None) -> int | None:
    """How many of the last blocks learn; None: all of them.

    `lora_blocks` is how many of the last blocks get adapters with `lora` (None: all).
    """
    return lora_blocks if trainable == "lora" else LEARNING_BLOCKS[trainable]


def frozen_blocks(trainable: Trainable, n_layers: int, *, lora_blocks: int | None = None) -> int:
    """How many of the first blocks never learn, with the embeddings before them."""
    learning = learning_blocks(trainable, lora_blocks=lora_blocks)
    return 0 if learning is None else max(0, n_layers - learning)
