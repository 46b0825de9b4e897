"""Chooses the next token of each text from its logits: the likeliest, or drawn with a generator of its own."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lib.errors import MessagesError, RecipeError, WeightsError

LEAST_TEMPERATURE = 1e-6  # below it, logits divided by the temperature may overflow; 0 means the same


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen from its logits; raises `RecipeError` for other values.

    temperature: 0 takes the likeliest token; above 0 tokens are drawn, the more evenly the higher it is.
    top_k: draw from this many of the likeliest (None: from all), plus any that tie with the last of them.
    top_p: draw from the fewest tokens whose probabilities, after `top_k`, add up to this much, in (0, 1]; Holtzman et
    al. 2019, "The Curious Case of Neural Text Degeneration", section 3.1.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if self.temperature != 0 and not LEAST_TEMPERATURE <= self.temperature < math.inf:
            raise RecipeError(
                f"temperature is {self.temperature}: use 0 for the likeliest token, or a number from"
                f" {LEAST_TEMPERATURE:f} to draw tokens"
            )
        if self.top_k is not None and self.top_k < 1:
            raise RecipeError(f"top_k is {self.top_k}: use a number of tokens from 1, or none to draw from all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise RecipeError(f"top_p is {self.top_p}: use a probability above 0 and at most 1")

    def tokens(self, logits: Tensor, generators: Sequence[torch.Generator]) -> list[int]:
        """Returns one token for each row of logits (rows, vocab_size) float32, drawn from the row's generator.

        `torch.multinomial` draws on the CPU, so a seed means the same on every device. Raises `WeightsError` for NaN
        logits.
        """
        if self.temperature == 0:
            # Read together, because each reading makes a GPU's host wait.
            tokens, broken = torch.stack([logits.argmax(dim=1), logits.isnan().any(dim=1)]).tolist()
            _require_numbers(not any(broken))
            return cast(list[int], tokens)
        shares = self.probabilities(logits).cpu()
        _require_numbers(not bool(shares.isnan().any()))
        draws = (torch.multinomial(row, 1, generator=own) for row, own in zip(shares, generators, strict=True))
        return [int(token) for token in draws]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Returns the probabilities (rows, vocab_size) to draw with, for a temperature above 0."""
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, logits.shape[1])).values[:, -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        shares = (logits / self.temperature).softmax(dim=1)
        if self.top_p is None:
            return shares
        ordered, tokens = shares.sort(dim=1, descending=True, stable=True)
        unneeded = ordered.cumsum(dim=1) - ordered >= self.top_p  # those before it are enough
        unneeded[:, 0] = False
        shares = shares.masked_fill(torch.zeros_like(unneeded).scatter(1, tokens, unneeded), 0)
        return shares / shares.sum(dim=1, keepdim=True)


def _require_numbers(true: bool) -> None:
    if not true:
        raise WeightsError("the model's output is not a number (NaN): its weights are damaged, get them again")


def require_tokens(vocabulary: int, prompts: Sequence[Sequence[int]], stops: Collection[int]) -> None:
    """Raises `MessagesError` for an empty prompt, and `WeightsError` for a token that the network does not know."""
    for number, prompt in enumerate(prompts, start=1):
        if not len(prompt):
            raise MessagesError(f"prompt {number} has no tokens: leave empty texts out")
        for token in (min(prompt), max(prompt)):
            if not 0 <= token < vocabulary:
                raise WeightsError(
                    f"prompt {number} has the token {token}, and the model knows {vocabulary} tokens (from 0): use"
                    " weights that were made with this encoding"
                )
    for token in stops:
        if not 0 <= token < vocabulary:
            raise WeightsError(
                f"a text is to end with the token {token}, and the model knows {vocabulary} tokens (from 0): it would"
                " never come"
            )
