"""How many tokens a network of transformers can see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lib.model.hugging_face.loading import empty_network, load_config
from lib.text.tokenizer_files import read_object

UNSAID = 2048  # tokens, where neither the network nor its tokenizer has a limit
NO_LIMIT = 10**6  # from here on, a tokenizer's limit means that it has none


def context_length_of(folder: Path) -> int:
    """Returns the tokens of a text, special ones included, from config.json and tokenizer_config.json in `folder`:
    what the network has positions for, and no more than its tokenizer was made for. Raises `WeightsError` if there is
    no network of transformers."""
    config = load_config(folder)
    limits = [_positions(folder, config), _of_tokenizer(folder / "tokenizer_config.json")]
    return min((limit for limit in limits if limit is not None), default=UNSAID)


def _positions(folder: Path, config: Any) -> int | None:
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # Some families (RoBERTa, MPNet) count positions from behind that of padding, and have rows that no text reaches.
    skipped = [
        module.padding_idx + 1
        for module in empty_network("AutoModel", folder, config).modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings == positions and module.padding_idx is not None
    ]
    return positions - max(skipped, default=0)


def _of_tokenizer(file: Path) -> int | None:
    limit = read_object(file).get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and 0 < limit < NO_LIMIT else None
