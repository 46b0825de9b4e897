"""The GPT-2 encoding without a network: tiktoken's encoder over ranks that ship with the project.

`assets/gpt2.tiktoken` is tiktoken's `r50k_base.tiktoken`; tests prove that they are the same.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
from pathlib import Path

import tiktoken

from lib.errors import RecipeError, StoreError

RANKS = Path(__file__).parent / "assets" / "gpt2.tiktoken"
# The checksum that tiktoken publishes for r50k_base.tiktoken. Standing in the code, it also makes the ranks a
# part of every cache key that a step using them has.
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

# How GPT-2 cuts a text before pairing bytes, in tiktoken's wording of the pattern of the original release.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
VOCABULARY = 50257  # 256 bytes, 50,000 merges and <|endoftext|>
LONGEST_TEXT = 900_000  # characters; tiktoken's regular expression overflows at a million of white space in a row
PAD = 50256  # <|endoftext|>: GPT-2 has no padding token of its own


def load_encoding(name: str = "gpt2") -> tiktoken.Encoding:
    """The encoding called `name`, built once in a process.

    Texts are meant to go through its `encode_ordinary`, for which "<|endoftext|>" in a message is ordinary
    text and not the special token.

    Raises:
        RecipeError: there is no such encoding.
        StoreError: the file with the ranks is missing or damaged.
    """
    if name != "gpt2":
        raise RecipeError(f"encoding.name {name!r} is not known: choose 'gpt2'")
    return _gpt2()


@functools.cache
def _gpt2() -> tiktoken.Encoding:
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=VOCABULARY,
        pat_str=PATTERN,
        mergeable_ranks=read_ranks(RANKS),
        special_tokens={"<|endoftext|>": PAD},
    )


def read_ranks(file: Path, *, sha256: str = RANKS_SHA256) -> dict[bytes, int]:
    """Token bytes to rank, from a file with one `base64 rank` pair a line.

    Raises:
        StoreError: the file is missing, or its bytes are not those of the checksum.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"the encoding's ranks cannot be read from {file} ({error.strerror}): install finetune-flows again"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"the encoding's ranks in {file} are damaged (wrong sha256): install finetune-flows again")
    pairs = (line.split() for line in content.splitlines())
    return {binascii.a2b_base64(token): int(rank) for token, rank in pairs}
