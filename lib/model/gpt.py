"""The GPT: tokens in, one vector per token out, or the logits of the next token.

Here belong the network and its initial numbers. Its named shapes are in `sizes.py`, pretrained numbers in
`weights.py`, and what is built on top of it in `classifier.py`. The network is GPT-2 (Radford et al. 2019):
pre-norm blocks, learned positions, tanh-approximated GELU, and an output matrix tied to the token embedding.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.model.sizes import GPTConfig

INITIAL_STD = 0.02  # GPT-2's; positions too, as in transformers and nanoGPT


class Attention(nn.Module):
    """Causal self-attention over several heads."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.dropout_probability = config.dropout
        self.qkv = nn.Linear(config.emb_dim, 3 * config.emb_dim)
        self.projection = nn.Linear(config.emb_dim, config.emb_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, emb_dim) -> (batch, length, emb_dim); position i sees positions 0 to i."""
        batch, length, emb_dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.n_heads, emb_dim // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, length, emb_dim / heads)
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout_probability if self.training else 0.0, is_causal=True
        )
        joined = mixed.transpose(1, 2).reshape(batch, length, emb_dim)
        return cast(Tensor, self.dropout(self.projection(joined)))


class MLP(nn.Module):
    """Two linear layers with a GELU between them, four times as wide inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expansion = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.projection = nn.Linear(4 * config.emb_dim, config.emb_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, emb_dim) -> (batch, length, emb_dim)."""
        return cast(Tensor, self.dropout(self.projection(F.gelu(self.expansion(x), approximate="tanh"))))


class Block(nn.Module):
    """Attention, then an MLP; each reads a normalised input and adds to the residual stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.emb_dim, eps=config.layer_norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.emb_dim, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, emb_dim) -> (batch, length, emb_dim)."""
        x = x + self.attention(self.attention_norm(x))
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))


class GPT(nn.Module):
    """A decoder-only transformer, in three stages: `embed`, then each of `blocks`, then `final_norm`.

    Frozen stages below the first trainable parameter cost no gradients: nothing that enters them asks for
    one, so autograd records nothing there.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.emb_dim)  # the output matrix as well
        self.position_embedding = nn.Embedding(config.context_length, config.emb_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.emb_dim, eps=config.layer_norm_epsilon)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) int64 -> input of the first block (batch, length, emb_dim).

        Raises `ValueError` if length is over the context length.
        """
        length = tokens.shape[1]
        if length > self.config.context_length:
            raise ValueError(f"{length} tokens are more than the context length of {self.config.context_length}")
        positions = torch.arange(length, device=tokens.device)
        return cast(Tensor, self.dropout(self.token_embedding(tokens) + self.position_embedding(positions)))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) int64 -> vectors after the final norm (batch, length, emb_dim)."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.final_norm(x))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) int64 -> logits of the next token (batch, length, vocab_size)."""
        return F.linear(self.hidden(tokens), self.token_embedding.weight)


def new_gpt(config: GPTConfig, *, seed: int) -> GPT:
    """A GPT from scratch, float32 on the CPU; the same seed gives the same numbers on every machine.

    Weights are normal with standard deviation 0.02, those that write to the residual stream scaled down by
    sqrt(2 * n_layers), since that many of them add up; biases are zero (GPT-2 paper, section 2.3). Torch's
    global generator is neither read nor changed.
    """
    gpt = empty_gpt(config)
    generator = torch.Generator().manual_seed(seed)
    for name, module in gpt.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Embedding):
            scale = math.sqrt(2 * config.n_layers) if name.endswith(".projection") else 1.0
            nn.init.normal_(module.weight, std=INITIAL_STD / scale, generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
    return gpt


def empty_gpt(config: GPTConfig) -> GPT:
    """A GPT on the CPU whose numbers are not set yet, for callers that set every one of them.

    Made on torch's "meta" device first, because torch would otherwise draw numbers that are thrown away: slow
    for the large sizes, and a change to the global generator.
    """
    with torch.device("meta"):
        gpt = GPT(config)
    return gpt.to_empty(device="cpu")
