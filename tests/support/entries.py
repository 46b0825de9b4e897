"""A prompt with its response as tokens."""

from __future__ import annotations

from lib.text.tokenizer import Tokenizer
from lib.text.turns import Part


def entry(tokenizer: Tokenizer, prompt: str, response: str, *, marked: bool = False) -> tuple[list[int], int]:
    """Returns the tokens of `prompt + response` and the position where the response starts; marked: whether names of
    special tokens in both are special tokens."""
    tokens, owners = tokenizer.join([Part(prompt, marked), Part(response, marked)])
    return tokens, owners.count(0)


def special(tokenizer: Tokenizer, name: str) -> int:
    """Returns the special token of this name."""
    (token,), _ = tokenizer.join([Part(name, marked=True)])
    return token
