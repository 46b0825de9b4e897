"""The GPT-2 encoding without a network: tiktoken's encoder with bundled ranks. `assets/gpt2.tiktoken` is tiktoken's
`r50k_base.tiktoken`; tests prove that they are the same."""

from __future__ import annotations

import binascii
import functools
import hashlib
from pathlib import Path

import tiktoken

from lib.errors import RecipeError, StoreError

RANKS = Path(__file__).parent / "assets" / "gpt2.tiktoken"
# tiktoken's published checksum of r50k_base.tiktoken; as code, it makes the ranks a part of cache keys.
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"

# GPT-2's split of a text before pairing bytes, in tiktoken's version of the original pattern.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
VOCABULARY = 50257  # 256 bytes, 50,000 merges and <|endoftext|>
LONGEST_TEXT = 900_000  # characters; tiktoken's regular expression overflows at a million consecutive spaces
PAD = 50256  # <|endoftext|>: GPT-2 has no padding token


def load_encoding(name: str = "gpt2") -> tiktoken.Encoding:
    """Returns the encoding called `name`, built once per process.

    Use its `encode_ordinary`, which treats "<|endoftext|>" in a message as text. Raises RecipeError for an unknown
    name, StoreError if the ranks are missing or damaged.
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
    """Reads token bytes and ranks from a file with one `base64 rank` pair per line. Raises StoreError if the file is
    missing or does not have the checksum."""
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
