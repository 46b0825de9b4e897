"""Looks at a network of transformers before it is used: what it is, and whether it can be cut and batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import WeightsError
from lib.model.hugging_face.blocks import Blocks
from lib.model.hugging_face.loading import load_config, load_network
from lib.model.padding import pad_batch

TOLERANCE = 1e-4  # largest difference of a vector's numbers, relative to the largest of them


@dataclass(frozen=True)
class Network:
    """What a network is.

    width: numbers of a vector that leaves a block. depth: blocks. causal: whether a position sees only itself and
    those before it. uncut: why it cannot be cut at a block (None: it can).
    """

    family: str
    width: int
    depth: int
    heads: int
    vocabulary: int
    parameters: int
    causal: bool
    uncut: str | None


def inspect_network(folder: Path, texts: Sequence[Sequence[int]], *, vocabulary: int, pad: int) -> Network:
    """Loads the network in `folder` and runs a few texts (tokens) of different lengths, alone, together and cut.

    vocabulary, pad: the tokenizer's. Raises `WeightsError` if it is not whole, if the tokenizer has tokens that it does
    not know, or if what it computes of a text depends on the others of a batch.
    """
    config = load_config(folder, use_cache=False)
    text = config.get_text_config()
    network = load_network("AutoModel", folder, config).eval()
    rows = _embedded(network)
    if vocabulary > rows:
        raise WeightsError(
            f"the tokenizer has {vocabulary:,} tokens, and the network in {folder} knows {rows:,}: use the tokenizer"
            " that came with the weights"
        )
    tokens, lengths = pad_batch(texts, pad=pad)
    with torch.inference_mode():
        together = _run(network, tokens, lengths)
        alone = [
            _run(network, tokens[row : row + 1, :length], lengths[row : row + 1])[0] for row, length in _rows(lengths)
        ]
        if not all(_close(together[row, :length], alone[row]) for row, length in _rows(lengths)):
            raise WeightsError(
                f"what the {config.model_type} in {folder} computes of a text depends on the other texts of its batch:"
                " choose another model"
            )
        uncut = _obstacle(network, int(text.num_hidden_layers), tokens, lengths, together)
        causal = _is_causal(network, tokens[:1], lengths[:1])
    return Network(
        family=str(config.model_type),
        width=int(text.hidden_size),
        depth=int(text.num_hidden_layers),
        heads=int(text.num_attention_heads),
        vocabulary=rows,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        causal=causal,
        uncut=uncut,
    )


def _embedded(network: nn.Module) -> int:
    embedding: Any = network.get_input_embeddings()  # type: ignore[operator]
    return int(embedding.weight.shape[0])


def _obstacle(network: nn.Module, depth: int, tokens: Tensor, lengths: Tensor, whole: Tensor) -> str | None:
    """Returns why the network cannot be cut; None if cut at any block, with stored vectors, it computes the same."""
    blocks = Blocks(network, depth)
    if blocks.uncut:
        return blocks.uncut
    blocks.learn_forms(lambda: _run(network, tokens, lengths))
    fillers = torch.zeros_like(tokens)
    for cut in range(1, depth + 1):
        stored = blocks.output_of(cut, lambda: _run(network, tokens, lengths))
        with blocks.passed_over(cut, stored):
            found = _run(network, fillers, lengths)
        if not all(_close(found[row, :length], whole[row, :length]) for row, length in _rows(lengths)):
            return f"cut after block {cut} it does not compute the same"
    return None


def _is_causal(network: nn.Module, tokens: Tensor, lengths: Tensor) -> bool:
    other = tokens.clone()
    other[0, lengths[0] - 1] = tokens[0, 0] if tokens[0, 0] != tokens[0, lengths[0] - 1] else tokens[0, 1]
    return bool(torch.equal(_run(network, tokens, lengths)[0, 0], _run(network, other, lengths)[0, 0]))


def _run(network: nn.Module, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Returns the vectors after the last block, (batch, length, width)."""
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    vectors: Tensor = network(input_ids=tokens, attention_mask=mask).last_hidden_state
    return vectors


def _rows(lengths: Tensor) -> list[tuple[int, int]]:
    return list(enumerate(lengths.tolist()))


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= TOLERANCE * max(1.0, float(wanted.abs().max())))
