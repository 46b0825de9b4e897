"""Says what a tokenizer can do, and reads one from a folder: GPT-2's own, or any `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lib.errors import WeightsError
from lib.text.tokenizer_files import TOKENIZER

if TYPE_CHECKING:
    from lib.text.turns import Part

LONGEST_TEXT = 900_000  # characters; tiktoken's regular expression overflows at a million consecutive spaces


class Tokenizer(Protocol):
    """Turns texts into tokens and back.

    name: as reports and errors say it, such as "WordPiece (30,522 tokens)".
    vocabulary: every token is below it, added ones included.
    pad: what rows are padded with. It may be a token of texts too, so rows' real lengths always travel beside them.
    end: the token that ends a text; None if the family has none.
    begin, after: the special tokens that the family expects before and after a text.
    unknown: the token that stands for what the vocabulary cannot write; None if it can write every text.
    """

    @property
    def name(self) -> str: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    @property
    def begin(self) -> tuple[int, ...]: ...
    @property
    def after(self) -> tuple[int, ...]: ...
    @property
    def unknown(self) -> int | None: ...

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Returns the tokens of each whole text, with the special tokens that the family expects around one text.

        The name of a special token inside a text ("[SEP]", "<|endoftext|>") is ordinary text.
        """
        ...

    def cut(self, tokens: Sequence[int], max_length: int) -> list[int]:
        """Returns at most `max_length` of the tokens of a text; special tokens around the text are kept."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens, without special tokens and without an incomplete character at the end.

        Other bytes that are not UTF-8 become U+FFFD. Tokens outside the vocabulary (a model's may be padded to a round
        number) have no text.
        """
        ...

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Returns the tokens of a text without special ones around it, each with the positions in the text, in
        characters, where it begins and ends. Tokens that share a character have overlapping positions."""
        ...

    def join(self, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
        """Returns the tokens of the parts' texts, encoded as one text, and for each token the position of its part: the
        one with its last character. Tokens that the family expects around a text are not added.

        Names of special tokens are special tokens in marked parts only.
        """
        ...

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Writes the tokenizer's files, from which `load_tokenizer` and transformers' AutoTokenizer make the same one.

        max_length: tokens at which transformers cuts a text when it is asked to cut (None: as in the source).
        """
        ...


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer that `prepare_tokenizer` or `Tokenizer.save` wrote to a folder; raises WeightsError if its
    files are missing or damaged."""
    from lib.text import gpt2, hugging_face

    file = folder / TOKENIZER
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be read ({error.strerror}): a model's folder must have its tokenizer, so make it again"
        ) from error
    if gpt2.is_own_file(content):
        return gpt2.gpt2_tokenizer()
    return hugging_face.HuggingFaceTokenizer.read(folder)
