"""Makes a text look typed on a telephone: slang, typos, lost vowels, capitals, stray quotes.

Rates and slang are in noise.yaml. Amounts, codes, telephone numbers and addresses stay as they are.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tools.sample.dice import Dice

_WORD = re.compile(r"[^\W\d_][\w'./:-]*")
_PLAIN = re.compile(r"[^\W\d_]+('[^\W\d_]+)?")
_SMS = 160  # characters that one SMS holds: where forwarded texts break off
_NEIGHBOURS = {"a": "s", "e": "w", "g": "h", "i": "o", "l": "k", "n": "m", "o": "p", "r": "t", "s": "d", "t": "y"}


@dataclass(frozen=True)
class Habits:
    """The words of noise.yaml."""

    voices: Mapping[str, Mapping[str, float]]
    styles: Mapping[str, Mapping[str, float]]
    emoji: Sequence[str]
    slang: Mapping[str, Sequence[str]]


def rewrite(text: str, voice: str, habits: Habits, dice: Dice) -> str:
    """`text` as somebody with this voice would have typed it; one style is drawn and kept to."""
    style = habits.styles[dice.weighted(habits.voices[voice])]
    text = _WORD.sub(lambda match: _word(match[0], style, habits, dice), text)
    for name, change in _MESSAGE_NOISE.items():
        if dice.chance(style.get(name, 0)):
            text = change(text, dice)
    if dice.chance(style.get("emoji", 0)):
        text = f"{text} {dice.pick(habits.emoji)}"
    return text


def near_copy(text: str, known: Collection[str], dice: Dice) -> str:
    """The same message again but for digits, case, closing punctuation or spaces; none of the `known` texts.

    Of the digits only the last two change: the sample's telephone numbers are reserved in blocks of a thousand.
    """
    changes = [_other_digits, _other_case, _other_end, _double_space]
    while True:
        copy = dice.pick(changes)(text, dice)
        if copy not in known:
            return copy


def _word(word: str, style: Mapping[str, float], habits: Habits, dice: Dice) -> str:
    if not _PLAIN.fullmatch(word):
        return word
    if word.lower() in habits.slang and dice.chance(style.get("slang", 0)):
        return dice.pick(habits.slang[word.lower()])
    for name, change in _WORD_NOISE.items():
        if len(word) > 3 and dice.chance(style.get(name, 0)):
            return change(word, dice)
    return word


def _drop_vowels(word: str, dice: Dice) -> str:
    """tomato -> tmto: the first and last letter stay."""
    return word[0] + "".join(c for c in word[1:-1] if c not in "aeiou" or dice.chance(0.25)) + word[-1]


def _typo(word: str, dice: Dice) -> str:
    """Two letters change places, one is lost, typed twice, or its neighbour on the keyboard is hit."""
    i = 1 + dice.below(len(word) - 2)
    swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    missed = word[:i] + _NEIGHBOURS.get(word[i], word[i]) + word[i + 1 :]
    return dice.pick([swapped, word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], missed])


def _stretch(word: str, dice: Dice) -> str:
    return word + word[-1] * (1 + dice.below(3))


def _double_space(text: str, dice: Dice) -> str:
    gaps = [i for i, c in enumerate(text) if c == " "]
    if not gaps:
        return text
    i = dice.pick(gaps)
    return f"{text[:i]} {text[i:]}"


def _dots(text: str, dice: Dice) -> str:
    """Commas and full stops between words become two or three dots."""
    return re.sub(r"[,.] (?=\w)", dice.pick(["... ", ".. ", "..", "…"]), text)


def _forward(text: str, dice: Dice) -> str:
    """A forwarded text that breaks off: one SMS long at most, and often less."""
    head = dice.pick(["Fwd: ", "FW: ", "fwd: Fwd: ", "Fwd - "])
    return (head + text)[: min(_SMS, len(head) + len(text) * 3 // 4)].rstrip()


def _quotes(text: str, dice: Dice) -> str:
    """Double quotes around one word, the last one at times forgotten."""
    words = [match for match in _WORD.finditer(text) if len(match[0]) > 3]
    if not words:
        return text
    start, end = dice.pick(words).span()
    close = "" if dice.chance(0.1) else '"'
    return f'{text[:start]}"{text[start:end]}{close}{text[end:]}'


def _other_digits(text: str, dice: Dice) -> str:
    """`... code 4471 pm` -> `... code 4408 pm`: the last two digits of the last number."""
    return re.sub(r"\d{1,2}(?=\D*$)", lambda match: "".join(str(dice.below(10)) for _ in match[0]), text)


def _other_case(text: str, dice: Dice) -> str:
    return dice.pick([text.lower(), text.upper(), _sentence(text, dice)])


def _other_end(text: str, dice: Dice) -> str:
    bare = text.rstrip(".!?")
    return bare + dice.pick(["", ".", "!", "!!", "..", "..."]) if bare else text


def _sentence(text: str, dice: Dice) -> str:  # noqa: ARG001 - one signature for all of them
    return text[:1].upper() + text[1:]


_Change = Callable[[str, Dice], str]
_WORD_NOISE: dict[str, _Change] = {
    "vowels": _drop_vowels,
    "typo": _typo,
    "stretch": _stretch,
    "shout": lambda word, _: word.upper(),
}
_MESSAGE_NOISE: dict[str, _Change] = {
    "sentence": _sentence,
    "full_stop": lambda text, _: text if text[-1] in ".!?" else f"{text}.",
    "lower": lambda text, _: text.lower(),
    "upper": lambda text, _: text.upper(),
    "apostrophe": lambda text, _: text.replace("'", ""),
    "squeeze": lambda text, _: re.sub(r"([,.]) (?=\w)", r"\1", text),
    "dots": _dots,
    "bangs": lambda text, dice: text.rstrip(".") + dice.pick(["!", "!!", "!!!"]),
    "double_space": _double_space,
    "quotes": _quotes,
    "forward": _forward,
}
