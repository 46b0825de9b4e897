"""A tokenizer that can be read by eye: its tokens are character codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.text.turns import Part


@dataclass(frozen=True)
class Characters:
    """Has no special tokens, or `ending` behind every text."""

    ending: str = ""
    name: str = "characters"
    vocabulary: int = 0x110000
    pad: int = 0
    end: int | None = None
    begin: tuple[int, ...] = ()
    unknown: int | None = None

    @property
    def after(self) -> tuple[int, ...]:
        return tuple(map(ord, self.ending))

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        return [[ord(character) for character in text + self.ending] for text in texts]

    def cut(self, tokens: Sequence[int], max_length: int) -> list[int]:
        return list(tokens) if len(tokens) <= max_length else [*tokens[: max_length - len(self.after)], *self.after]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens)).removesuffix(self.ending)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        return [(ord(character), place, place + 1) for place, character in enumerate(text)]

    def join(self, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
        owned = [(ord(character), owner) for owner, part in enumerate(parts) for character in part.text]
        return [token for token, _ in owned], [owner for _, owner in owned]

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        raise NotImplementedError
