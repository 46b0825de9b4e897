"""Refuses a config.json whose numbers no network has, before anything of that size is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.errors import WeightsError

# About ten times what published networks have: 126 blocks, 512 experts, 128 heads, a vocabulary of a million tokens.
MOST = {
    "blocks": (re.compile(r"(num_|n_)?(hidden_|encoder_|decoder_|text_)?(layers?|blocks?)"), 1000),
    "experts": (re.compile(r"(num_|n_)?(local_|routed_|shared_)?experts?"), 4096),
    "heads": (re.compile(r"(num_|n_)?(attention_|key_value_|kv_)?heads?"), 4096),
    "numbers of a vector": (re.compile(r"hidden_size|d_model|dim|n_embd|embedding_size|head_dim"), 2**18),
    "numbers inside a block": (re.compile(r"(moe_)?(intermediate_size|ffn_dim|d_ff|hidden_dim|n_inner)"), 2**22),
    "tokens": (re.compile(r"vocab_size"), 2**24),
    "positions": (re.compile(r"max_position_embeddings|n_positions|n_ctx|max_sequence_length|max_seq_len"), 2**26),
}
EPSILON = re.compile(r".*(_eps|_epsilon)|eps|epsilon")


def require_possible(fields: Mapping[str, Any], file: Path) -> None:
    """Raises WeightsError for a field, also one of a part, that is beyond what any network has, or an epsilon that is
    not between 0 and 1."""
    for path, value in _leaves(fields):
        name = path.rpartition(".")[2]
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if EPSILON.fullmatch(name) and not 0 < value < 1:
            raise WeightsError(
                f"{file} has {path} = {value!r}, and it must be a number such as 1e-05: get the file again"
            )
        for what, (pattern, most) in MOST.items():
            if pattern.fullmatch(name) and not -1 <= value <= most:
                raise WeightsError(
                    f"{file} has {path} = {value!r}, and no network has so many {what}: get the file again"
                )


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
