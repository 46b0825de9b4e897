"""Which part of a classifier learns, and so where its frozen part ends.

Here belong the names and what they mean in blocks, without torch: steps that only plan ask for it too. Freezing is in
`classifier.py`, adapters are in `adapters.py`.
"""

from typing import Literal

Trainable = Literal["head", "last_block", "last_two_blocks", "all", "lora"]  # the recipe's `classifier.trainable`

LEARNING_BLOCKS = {"head": 0, "last_block": 1, "last_two_blocks": 2}


def frozen_blocks(trainable: Trainable, n_layers: int, *, lora_blocks: int | None = None) -> int:
    """How many of the first blocks never learn; 0 where the embeddings, or adapters in the first block, do.

    `lora_blocks` is how many of the last blocks get adapters (None: all).
    """
    if trainable == "all" or (trainable == "lora" and lora_blocks is None):
        return 0
    learning = lora_blocks if trainable == "lora" else LEARNING_BLOCKS[trainable]
    assert learning is not None
    return max(0, n_layers - learning)
