"""GPT-2 (Radford et al. 2019): pre-norm blocks, learned positions, tanh-approximated GELU, tied output matrix."""

import math
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.model.gpt2.sizes import GPTConfig

INITIAL_STD = 0.02  # GPT-2's; positions too, as in transformers and nanoGPT


class KeyValues:
    """One block's keys and values, each (batch, heads, length, head size), with room for `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Adds those of new positions (batch, heads, new, head size) and returns those of all positions."""
        if self._keys is None or self._values is None:
            batch, heads, _, size = key.shape
            self._keys = key.new_empty(batch, heads, self.capacity, size)
            self._values = value.new_empty(batch, heads, self.capacity, size)
        end = self.length + key.shape[2]
        self._keys[:, :, self.length : end] = key
        self._values[:, :, self.length : end] = value
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drops all sequences except those in `rows` (kept,) int64."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.causal = config.causal_mask
        self.dropout_probability = config.dropout
        self.qkv = nn.Linear(config.emb_dim, 3 * config.emb_dim)
        self.projection = nn.Linear(config.emb_dim, config.emb_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: KeyValues | None = None) -> Tensor:
        """(batch, length, emb_dim) -> (batch, length, emb_dim).

        `mask`, bool and broadcast to (batch, heads, length, positions), is true where a position (third axis) sees
        another; without one, position i sees positions 0 to i, or all of them if the GPT has no causal mask. With a
        `cache`, x follows its positions and sees them too; several new positions after cached ones need a mask.
        """
        query, key, value = self._heads(self.qkv(x))
        if cache is not None:
            key, value = cache.extend(key, value)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self._dropping,
            is_causal=self.causal and mask is None and x.shape[1] > 1,
        )
        return cast(Tensor, self.dropout(self.projection(mixed.transpose(1, 2).flatten(2))))

    def at(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """The row of `forward` at one position of each sequence: (batch, length, emb_dim) -> (batch, emb_dim).

        positions: (batch,) int64. visible: (batch, length) bool, what that position sees.

        With one query per sequence no keys or values are needed: q (W x + b) = (q W) x + q b, so the query is
        multiplied by the key weights once, and q b, equal at every position, cancels in the softmax. Likewise positions
        are mixed first and then multiplied by the value weights.
        """
        rows = torch.arange(len(x), device=x.device)
        linear: nn.Module = self.qkv
        if not isinstance(linear, nn.Linear):  # an adapter around it has weights of its own
            query, key, value = self._heads(self.qkv(x))
            mixed = F.scaled_dot_product_attention(
                query[rows, :, positions, None],
                key,
                value,
                attn_mask=visible[:, None, None, :],
                dropout_p=self._dropping,
            ).flatten(1)  # (batch, emb_dim)
            return cast(Tensor, self.dropout(self.projection(mixed)))
        emb_dim = x.shape[2]
        query_weight, key_weight, value_weight = linear.weight.chunk(3)  # each (emb_dim, emb_dim)
        query_bias, _, value_bias = linear.bias.chunk(3)
        size = emb_dim // self.n_heads
        query = F.linear(x[rows, positions], query_weight, query_bias).view(-1, self.n_heads, size)
        query = torch.einsum("bhs,hse->bhe", query, key_weight.view(self.n_heads, size, emb_dim))
        scores = query @ x.transpose(1, 2) / math.sqrt(size)  # (batch, heads, length)
        shares = scores.masked_fill(~visible[:, None, :], -math.inf).softmax(dim=2)
        shares = F.dropout(shares, self._dropping)
        mixed = torch.einsum("bhe,hse->bhs", shares @ x, value_weight.view(self.n_heads, size, emb_dim))
        # Without dropout the shares sum to 1; with it, their sum scales the bias.
        mixed = mixed + shares.sum(dim=2, keepdim=True) * value_bias.view(self.n_heads, size)
        return cast(Tensor, self.dropout(self.projection(mixed.flatten(1))))

    @property
    def _dropping(self) -> float:
        return self.dropout_probability if self.training else 0.0

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, length, 3 * emb_dim) -> query, key and value, each (batch, heads, length, head size)."""
        batch, length, width = qkv.shape
        heads = qkv.view(batch, length, 3, self.n_heads, width // (3 * self.n_heads))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value


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

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: KeyValues | None = None) -> Tensor:
        """(batch, length, emb_dim) -> (batch, length, emb_dim); `mask` and `cache` are `Attention.forward`'s."""
        x = x + self.attention(self.attention_norm(x), mask, cache)
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))

    def at(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """The row of `forward` at one position of each sequence, for a fraction of the work; see `Attention.at`."""
        row = x[torch.arange(len(x), device=x.device), positions]
        row = row + self.attention.at(self.attention_norm(x), positions, visible)
        return cast(Tensor, row + self.mlp(self.mlp_norm(row)))


class GPT(nn.Module):
    """A decoder-only transformer in three stages: `embed`, then each of `blocks`, then `final_norm`. Frozen stages
    below the first trainable parameter cost no gradients, because autograd records nothing there."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = _embedding(config.vocab_size, config.emb_dim)
        self.position_embedding = _embedding(config.context_length, config.emb_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.emb_dim, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False
        # None: tied to the token embedding.
        self.output = None if config.tied_output else nn.Linear(config.emb_dim, config.vocab_size, bias=False)

    def embed(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Tokens (batch, length) int64 -> input of the first block (batch, length, emb_dim).

        `positions` have the shape of `tokens` or of its last axis (None: counted from 0). Raises `ValueError` if length
        exceeds the context length.
        """
        length = tokens.shape[1]
        if length > self.config.context_length:
            raise ValueError(f"{length} tokens are more than the context length of {self.config.context_length}")
        if positions is None:
            positions = torch.arange(length, device=tokens.device)
        return cast(Tensor, self.dropout(self.token_embedding(tokens) + self.position_embedding(positions)))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) int64 -> vectors after the final norm (batch, length, emb_dim)."""
        x = self.embed(tokens)
        repeated = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if repeated else block(x)
        return cast(Tensor, self.final_norm(x))

    def untie_output(self) -> None:
        """Gives the GPT its own output matrix, initially equal to the token embedding."""
        if self.output is None:
            self.output = nn.Linear(self.config.emb_dim, self.config.vocab_size, bias=False, device="meta")
            self.output.weight = nn.Parameter(self.token_embedding.weight.detach().clone())
            self.config = replace(self.config, tied_output=False)

    def logits(self, hidden: Tensor) -> Tensor:
        """Vectors after the final norm (..., emb_dim) -> logits of the next token (..., vocab_size)."""
        return F.linear(hidden, self.token_embedding.weight if self.output is None else self.output.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) int64 -> logits of the next token (batch, length, vocab_size)."""
        return self.logits(self.hidden(tokens))


def _embedding(rows: int, columns: int) -> nn.Embedding:
    """An embedding with uninitialised numbers: drawing them on the "meta" device imports torch's compiler, which takes
    a second."""
    return nn.Embedding(rows, columns, _weight=torch.empty(rows, columns))


def new_gpt(config: GPTConfig, *, seed: int) -> GPT:
    """Returns a GPT from scratch, float32 on the CPU; a seed gives the same numbers on every machine.

    Weights are normal with standard deviation 0.02, those that write to the residual stream divided by sqrt(2 *
    n_layers), their number; biases are zero (GPT-2 paper, section 2.3). Torch's global generator is not used.
    """
    gpt = empty_gpt(config)
    generator = torch.Generator().manual_seed(seed)
    for name, module in gpt.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Embedding):
            scale = math.sqrt(2 * config.n_layers) if name.endswith(".projection") else 1.0
            nn.init.normal_(module.weight, std=INITIAL_STD / scale, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:  # an untied output has none
                nn.init.zeros_(module.bias)
    return gpt


def empty_gpt(config: GPTConfig) -> GPT:
    """Returns a GPT on the CPU with uninitialised numbers. It is made on torch's "meta" device, since drawing numbers
    would be slow and change the global generator."""
    with torch.device("meta"):
        gpt = GPT(config)
    return gpt.to_empty(device="cpu")
