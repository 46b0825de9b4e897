"""A GPT as the backbone of a classifier: one vector for each text."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.errors import RecipeError
from lib.model.adapters import AdapterParts, adapters, add_adapters
from lib.model.backbone import Pooling
from lib.model.gpt2.freezing import freeze_gpt
from lib.model.gpt2.gpt import GPT, Block
from lib.model.gpt2.sizes import GPTConfig, require_vocabulary
from lib.model.gpt2.weights import adapter_parts, load_gpt, read_head, save_classifier_gpt
from lib.model.trainable import Trainable
from lib.text.gpt2 import PAD


class PooledGPT(nn.Module):
    """A `Backbone`; raises `WeightsError` for a GPT that has fewer tokens than its encoding, and `RecipeError` for the
    pooling `cls`, which it does not have."""

    network = "gpt2"
    family = "gpt2"
    head_bias = True  # as in the published procedure
    family_pooling: Pooling = "last_token"

    def __init__(self, gpt: GPT, *, pooling: Pooling) -> None:
        super().__init__()
        require_vocabulary(gpt.config)
        if pooling == "cls":
            raise RecipeError(
                "classifier.pooling is 'cls', which gpt2 does not have: choose last_token or mean, or auto"
            )
        self.gpt = gpt
        self.pooling: Pooling = pooling
        self.cut = 0

    @property
    def config(self) -> GPTConfig:
        return self.gpt.config

    @property
    def causal_mask(self) -> bool:
        return self.gpt.config.causal_mask

    @property
    def width(self) -> int:
        return self.gpt.config.emb_dim

    @property
    def pooled_width(self) -> int:
        return self.gpt.config.emb_dim

    @property
    def depth(self) -> int:
        return self.gpt.config.n_layers

    @property
    def context_length(self) -> int:
        return self.gpt.config.context_length

    @property
    def pad(self) -> int:
        return PAD

    def pooled(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns (batch, width); it depends on the padding only with `padded_last`, which treats it as text."""
        rows = torch.arange(len(inputs), device=inputs.device)
        places = torch.arange(inputs.shape[1], device=inputs.device)
        causal, padding_is_text = self.gpt.config.causal_mask, self.pooling == "padded_last"
        real = places < (inputs.shape[1] if padding_is_text else lengths[:, None])  # (batch, length), or (length,)
        mask = None if causal or padding_is_text else real[:, None, None, :]
        x, start = (inputs.float(), self.cut) if inputs.is_floating_point() else (self.gpt.embed(inputs), 0)
        blocks = [cast(Block, block) for block in self.gpt.blocks[start:]]
        if self.pooling == "mean":
            for block in blocks:
                x = block(x, mask)
            x = self.gpt.final_norm(x)  # (batch, length, emb_dim)
            return cast(Tensor, (x * real[:, :, None]).sum(dim=1) / lengths[:, None])
        position = self._position(inputs, lengths)
        for block in blocks[:-1]:
            x = block(x, mask)
        visible = places <= position[:, None] if causal else real.expand(inputs.shape[:2])
        pooled = blocks[-1].at(x, position, visible) if len(blocks) else x[rows, position]  # (batch, emb_dim)
        return cast(Tensor, self.gpt.final_norm(pooled))

    def whole(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Returns (batch, emb_dim), every layer at every position; of texts without `padded_last`, which reads
        padding."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        real = places < lengths[:, None]  # (batch, length)
        seen = places <= places[:, None] if self.gpt.config.causal_mask else real[:, None, :]
        x = self.gpt.embed(tokens)
        for block in self.gpt.blocks:
            x = block(x, seen[None, None] if self.gpt.config.causal_mask else seen[:, None])
        x = self.gpt.final_norm(x)  # (batch, length, emb_dim)
        if self.pooling == "mean":
            return cast(Tensor, (x * real[:, :, None]).sum(dim=1) / lengths[:, None])
        return cast(Tensor, x[torch.arange(tokens.shape[0], device=tokens.device), self._position(tokens, lengths)])

    def _position(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The position of each text that feeds the head: (batch,) int64."""
        if self.pooling == "last_token":
            return lengths - 1
        return torch.full_like(lengths, inputs.shape[1] - 1 if self.pooling == "padded_last" else 0)

    def frozen_part(self, tokens: Tensor, lengths: Tensor, blocks: int) -> Tensor:
        """Returns what leaves the first `blocks` blocks: (batch, length, emb_dim)."""
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        mask = None if self.gpt.config.causal_mask else real[:, None, None, :]
        x = self.gpt.embed(tokens)
        for block in self.gpt.blocks[:blocks]:
            x = block(x, mask)
        return x

    def frozen_modules(self, blocks: int) -> Iterable[nn.Module]:
        return self.gpt.blocks[:blocks].modules()

    def freeze(self, trainable: Trainable) -> None:
        """With `all`, the token embedding learns as an input; an untied output matrix is unused and never learns."""
        self.cut = freeze_gpt(self.gpt, trainable)
        if self.gpt.output is not None:
            self.gpt.output.requires_grad_(False)

    def add_adapters(self, **settings: Any) -> None:
        add_adapters(self.gpt, self.gpt.blocks, **settings)

    @property
    def standard(self) -> bool:
        return self.pooling == self.family_pooling and self.causal_mask

    def adapter_parts(self, head: nn.Linear) -> AdapterParts:
        """The names are those of GPT2ForSequenceClassification; raises `ValueError` as `weights.adapter_parts`."""
        return adapter_parts(self.gpt, head)

    def use(self) -> dict[str, object]:
        return {"network": self.network, "pooling": self.pooling, "cut": self.cut}

    def save(self, folder: Path, head: nn.Linear, labels: Sequence[str]) -> None:
        """Writes what transformers' GPT2ForSequenceClassification reads, where it computes the same."""
        if adapters(self.gpt):
            raise ValueError("the classifier has adapters: merge them into its weights first")
        save_classifier_gpt(self.gpt, head, labels, pooling=self.pooling, padding=PAD, folder=folder)


def load_pooled_gpt(folder: Path, pooling: Pooling, labels: Sequence[str]) -> tuple[PooledGPT, nn.Linear]:
    """Reads what `PooledGPT.save` wrote, and its head; raises `WeightsError` as `load_gpt` does."""
    return PooledGPT(load_gpt(folder), pooling=pooling), read_head(folder, len(labels))
