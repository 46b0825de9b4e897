"""The contract between a pretrained network that writes text and what trains, measures and asks it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lib.model.trainable import Trainable
from lib.progress import Progress, silent


@dataclass(frozen=True)
class Writing:
    """How texts are written.

    max_new_tokens: at most so many tokens. batch_size: texts that are written at the same time. temperature, top_k,
    top_p: see `lib.model.choice.Choice`. seed: of every text's own drawing (None: from the system).
    """

    max_new_tokens: int
    batch_size: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Continuation:
    """What follows a prompt.

    tokens: the new ones, without the one that ended them. stopped: whether such a token came, before a limit did.
    """

    tokens: list[int]
    stopped: bool


class LanguageModel(Protocol):
    """A network that predicts each next token of a text from those before it. It is an `nn.Module`, and
    `add_adapters` and `freeze` decide which of its parameters learn."""

    network: str  # which code computes it: see `lib.model.places.network_of`
    gradient_checkpointing: bool  # keep only what enters each block, and compute the rest again for the gradients

    @property
    def config(self) -> object:
        """Its shape and settings; equal ones have the same `repr`."""

    @property
    def width(self) -> int:
        """The numbers of a vector that leaves a block."""

    @property
    def longest_prompt(self) -> int | None:
        """The most tokens that a prompt may have; None: of a longer one the last part is seen."""

    @property
    def stops(self) -> tuple[int, ...]:
        """The tokens that end a text, as far as its weights say."""

    def hidden(self, tokens: Tensor) -> Tensor:
        """Returns the vectors from which next tokens are predicted, (batch, length, width), of tokens (batch, length)
        int64. No position sees those after it, so padding on the right changes nothing."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits of the next token, (rows, vocabulary), of vectors (rows, width)."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        writing: Writing,
        *,
        stops: Sequence[int],
        precision: str = "float32",
        progress: Progress = silent,
    ) -> list[Continuation]:
        """Writes on after each prompt, until a token of `stops` or a limit comes. A text does not depend on the others
        of its batch, and draws from a generator of its own. `progress` counts tokens. Raises `RecipeError` for a
        setting out of range, `MessagesError` for an empty prompt, `WeightsError` for an unknown token or logits that
        are not numbers."""

    def freeze(self, trainable: Trainable) -> None:
        """Makes only the named part trainable: nothing (`head`); the last block or two and what follows them;
        everything; or the adapters. The output matrix, tied or not, learns with `all` only. Raises `ValueError` if
        `lora` finds no adapters."""

    def add_adapters(self, **settings: Any) -> None:
        """Puts low-rank adapters beside linear layers of the last blocks; `settings` are those of
        `lib.model.adapters.add_adapters`."""

    def use(self) -> dict[str, object]:
        """Returns what inference.json says of it: `network`, and what else its loading needs."""

    def save(self, folder: Path, stops: Sequence[int]) -> None:
        """Writes config.json and model.safetensors in Hugging Face layout, and as far as the family has it
        generation_config.json with `stops`."""
