"""Turns prompts and responses of a style into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lib.errors import RecipeError
from lib.text.turns import Part

if TYPE_CHECKING:
    from lib.text.prompts import PromptStyle
    from lib.text.tokenizer import Tokenizer

Span = tuple[int, int]  # the position of the first token, and of the one behind the last


class EntryTokens(NamedTuple):
    """The tokens of an entry, without the one that ends its response.

    answers: where the assistant's earlier answers stand, each with the token that ends it, and last the response.
    """

    tokens: list[int]
    answers: list[Span]

    @property
    def response_start(self) -> int:
        return self.answers[-1][0]


def entry_tokens(style: PromptStyle, tokenizer: Tokenizer, texts: Sequence[Sequence[Part]], *, end: int) -> EntryTokens:
    """Returns the tokens of what `style.texts` made, one text after the other, with those that the family expects
    before a text; a chat template has written them itself. `end`, which ends a response (see `end_token`), stands
    between two texts."""
    begin = [] if style.marked else list(tokenizer.begin)
    tokens: list[int] = []
    answers: list[Span] = []
    for parts in texts:
        if tokens:
            tokens.append(end)
            answers[-1] = (answers[-1][0], len(tokens))
        tokens += begin
        ids, owners = tokenizer.join(parts)
        found = _answers(ids, [parts[owner].answer for owner in owners], end)
        answers += [(len(tokens) + first, len(tokens) + behind) for first, behind in found]
        tokens += ids
        if parts[-1].answer and (not found or found[-1][1] < len(ids)):
            answers.append((len(tokens), len(tokens)))  # the words of the answer have no token
    return EntryTokens(tokens, answers)


def _answers(tokens: Sequence[int], learnt: Sequence[bool], end: int) -> list[Span]:
    """Returns the stretches of tokens that belong to answers, each with the end token right behind it."""
    edges = pairwise([False, *learnt, False])
    changes = [place for place, (one, other) in enumerate(edges) if one != other]
    spans = zip(changes[::2], changes[1::2], strict=True)
    return [(first, behind + (tokens[behind : behind + 1] == [end])) for first, behind in spans]


def end_token(style: PromptStyle, tokenizer: Tokenizer) -> int:
    """Returns the token that ends a response: the one that ends a turn of the chat template, or else any text. Raises
    RecipeError if there is neither."""
    turn, _ = tokenizer.join([Part(style.end, marked=True)])
    if turn and not tokenizer.decode(turn[:1]):  # a special token, and not only a sign that answers may have too
        return turn[0]
    if tokenizer.end is None:
        raise RecipeError(
            f"{tokenizer.name}, the tokenizer of model.weights, has no token that ends a text, so no model could learn"
            " to stop: choose weights whose tokenizer_config.json names an eos_token"
        )
    return tokenizer.end
