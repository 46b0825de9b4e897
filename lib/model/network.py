"""Loads the network of a backbone's folder: this project's GPT, or any of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.model.backbone import Backbone, Pooling


@dataclass(frozen=True)
class SavedNetwork:
    """A backbone as its folder has it, and how it is to be used; plain values, so that other processes can load it.

    own: whether it is this project's network. context_length, pad: those of its tokenizer. seed: of what the weights do
    not have.
    """

    folder: Path
    own: bool
    pooling: Pooling
    context_length: int
    pad: int
    causal_mask: bool
    seed: int

    def load(self, labels: Sequence[str], *, dropout: float = 0.0, new_head: bool = True) -> Backbone:
        """Returns the network, on which a classifier of these labels can be made; `new_head` as in `load_backbone`."""
        if self.own:
            from lib.model.gpt2.pooled import PooledGPT
            from lib.model.gpt2.weights import load_gpt

            gpt = load_gpt(self.folder, dropout=dropout, causal_mask=self.causal_mask)
            return PooledGPT(gpt, pooling=self.pooling)
        from lib.model.hugging_face.pooled import load_backbone

        return load_backbone(
            self.folder,
            labels,
            pooling=self.pooling,
            context_length=self.context_length,
            pad=self.pad,
            dropout=dropout,
            causal_mask=self.causal_mask,
            seed=self.seed,
            new_head=new_head,
        )
