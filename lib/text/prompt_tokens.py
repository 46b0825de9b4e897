"""Turns prompts and responses of a style into tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.errors import RecipeError

if TYPE_CHECKING:
    from lib.text.prompts import PromptStyle
    from lib.text.tokenizer import Tokenizer


def entry_tokens(style: PromptStyle, tokenizer: Tokenizer, prompt: str, response: str = "") -> tuple[list[int], int]:
    """Returns the tokens of `prompt + response`, with those that the family expects before a text, and the position
    where the response starts. A chat template has written them itself."""
    begin = [] if style.marked else list(tokenizer.begin)
    tokens, start = tokenizer.entry(prompt, response, marked=style.marked)
    return [*begin, *tokens], len(begin) + start


def end_token(style: PromptStyle, tokenizer: Tokenizer) -> int:
    """Returns the token that ends a response: the one that ends a turn of the chat template, or else any text. Raises
    RecipeError if there is neither."""
    turn, _ = tokenizer.entry(style.end, "", marked=True) if style.end else ([], 0)
    if turn and not tokenizer.decode(turn[:1]):  # a special token, and not only a sign that answers may have too
        return turn[0]
    if tokenizer.end is None:
        raise RecipeError(
            f"{tokenizer.name}, the tokenizer of model.weights, has no token that ends a text, so no model could learn"
            " to stop: choose weights whose tokenizer_config.json names an eos_token"
        )
    return tokenizer.end
