"""The contract between a pretrained network and the classifier on it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from lib.model.adapters import AdapterParts
from lib.model.trainable import Trainable

# Where the head's input comes from: the recipe's `classifier.pooling`, once `auto` is resolved.
Pooling = Literal["last_token", "padded_last", "first_token", "cls", "mean"]


class Backbone(Protocol):
    """A network that turns tokens into one vector for each text. Its blocks, all alike, follow one another; those below
    `cut` never learn, and features are what leaves them. It is an `nn.Module`."""

    network: str  # which code computes it: see `lib.model.places.network_of`
    family_pooling: Pooling  # that of the family's classifier in transformers
    head_bias: bool  # whether a head on it has a bias, as the classes that read it have
    pooling: Pooling
    cut: int

    @property
    def standard(self) -> bool:
        """Whether the family's classifier in transformers pools as this one does."""

    @property
    def config(self) -> object:
        """Its shape and settings; equal ones have the same `repr`."""

    @property
    def family(self) -> str:
        """Its family, by transformers' name of the model type."""

    @property
    def causal_mask(self) -> bool:
        """Whether a decoder's position sees only itself and those before it, as the family does; true of encoders."""

    @property
    def width(self) -> int:
        """The numbers of a feature: what a block passes on for each token."""

    @property
    def pooled_width(self) -> int:
        """The numbers of what the head reads."""

    @property
    def depth(self) -> int:
        """How many blocks there are."""

    @property
    def context_length(self) -> int:
        """How many tokens a text may have."""

    @property
    def pad(self) -> int:
        """The token that rows are padded with."""

    def pooled(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Returns what the head reads, (batch, pooled_width), of padded texts whose real lengths are `lengths` (batch,)
        int64.

        inputs: tokens (batch, length) int64, padded on the right; or features (batch, length, width) floating point,
        what enters block `cut`, with any values at the padding.
        """

    def whole(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Returns what `pooled` does of tokens, (batch, pooled_width), without shortcuts: every layer at every
        position, in operations that torch.export can trace. With `padded_last` the padding is no text here."""

    def frozen_part(self, tokens: Tensor, lengths: Tensor, blocks: int) -> Tensor:
        """Returns what leaves the first `blocks` blocks (1 or more): (batch, length, width)."""

    def frozen_modules(self, blocks: int) -> Iterable[nn.Module]:
        """The modules of the first `blocks` blocks."""

    def freeze(self, trainable: Trainable) -> None:
        """Makes only the named part trainable, as far as it is not the head, and sets `cut`. Raises `ValueError` if
        `lora` finds no adapters."""

    def add_adapters(self, **settings: Any) -> None:
        """Puts low-rank adapters beside linear layers of the last blocks; `settings` are those of
        `lib.model.adapters.add_adapters`."""

    def adapter_parts(self, head: nn.Linear) -> AdapterParts:
        """Returns what was trained of a classifier with adapters and this head; only if `standard`."""

    def use(self) -> dict[str, object]:
        """Returns what inference.json says of it: `network`, `pooling`, `cut`, and what else its loading needs."""

    def save(self, folder: Path, head: nn.Linear, labels: Sequence[str]) -> None:
        """Writes config.json and model.safetensors in Hugging Face layout, the head with its labels among them."""
