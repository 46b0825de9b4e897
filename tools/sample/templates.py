"""Sentences with slots, and how the slots are filled. The words themselves are in assets/templates.yaml."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.sample.dice import Dice

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Group:
    """Templates of one label that are written in one voice, and how many messages they yield."""

    label: str
    voice: str
    messages: int
    templates: Sequence[str]


def fill(template: str, slots: Mapping[str, Sequence[str]], dice: Dice) -> str:
    """Replace each `{slot}` by one of its lines, and the slots in that, and then each `#` by a digit.

    A slot that nobody has described raises KeyError.
    """
    while match := _SLOT.search(template):
        template = template[: match.start()] + dice.pick(slots[match[1]]) + template[match.end() :]
    return re.sub("#", lambda _: str(dice.below(10)), template)


def endless(group: Group, slots: Mapping[str, Sequence[str]], dice: Dice) -> Iterator[str]:
    """Filled templates for ever: every template of the group once, in a random order, then again."""
    while True:
        for template in dice.shuffled(group.templates):
            yield fill(template, slots, dice)
