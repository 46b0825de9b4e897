"""A tokenizer that can be read by eye: its tokens are character codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


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

    def entry(self, prompt: str, response: str, *, marked: bool = False) -> tuple[list[int], int]:
        return [ord(character) for character in prompt + response], len(prompt)

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        raise NotImplementedError
