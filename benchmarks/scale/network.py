"""Counts the operations of a GPT's blocks. One multiplication and addition of a matrix product are two (FLOP).

A parameter of a linear layer takes 2 FLOP a token forward and 4 backward (J. Kaplan et al., "Scaling Laws for Neural
Language Models", arXiv:2001.08361, section 2.1); attention's scores and its sums of values take 4 L d T FLOP a token
forward for L blocks of width d and T positions, masked ones included, and twice as many backward (A. Chowdhery et al.,
"PaLM", arXiv:2204.02311, appendix B: 12 L H Q T of a training). The embedding is looked up, and a classifier's head is
too small to count.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.model.gpt2.sizes import SIZES, GPTConfig

ALIASES = {"gpt2": "gpt2-small"}
TRAINING = 3  # times the forward pass: once forward, twice backward
STATE = 16  # bytes of a parameter that learns: weight, gradient and AdamW's two moments in float32


@dataclass(frozen=True)
class Backbone:
    """A GPT by its name: `gpt2`, or one of `lib.model.gpt2.sizes`."""

    name: str
    config: GPTConfig

    @property
    def block_parameters(self) -> int:
        """Of one block: four products of width by width and two of width by four widths, biases and norms."""
        width = self.config.emb_dim
        return 12 * width**2 + 13 * width

    def forward(self, tokens: float, blocks: int | None = None) -> float:
        """FLOP of a token of a message with so many, through all or the first blocks."""
        blocks = self.config.n_layers if blocks is None else blocks
        return blocks * (2 * self.block_parameters + 4 * self.config.emb_dim * tokens)

    def features(self, tokens: float) -> float:
        """FLOP of a token through all blocks but the last."""
        return self.forward(tokens, self.config.n_layers - 1)

    def training(self, tokens: float) -> float:
        """FLOP of a token in one epoch of a training of all layers."""
        return TRAINING * self.forward(tokens)


def backbone(name: str) -> Backbone:
    """Raises ValueError for a name that nobody knows."""
    known = ALIASES.get(name, name)
    if known not in SIZES:
        raise ValueError(f"there is no backbone {name!r}: use one of {', '.join([*ALIASES, *SIZES])}")
    return Backbone(known, SIZES[known])
