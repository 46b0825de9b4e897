"""GPT-2's tokenizer without a network: tiktoken's encoder with bundled ranks, and the same as Hugging Face's files.
`assets/gpt2.tiktoken` is tiktoken's `r50k_base.tiktoken`; tests prove that they are the same."""

from __future__ import annotations

import binascii
import codecs
import functools
import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import tiktoken

from lib.errors import StoreError
from lib.files.jsonfile import save_json
from lib.text.byte_letters import LETTERS
from lib.text.tokenizer_files import SETTINGS, TOKENIZER

if TYPE_CHECKING:
    from lib.text.turns import Part

RANKS = Path(__file__).parent / "assets" / "gpt2.tiktoken"
# tiktoken's published checksum of r50k_base.tiktoken; as code, it makes the ranks a part of cache keys.
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
TOKENIZER_SHA256 = "1da656970ce6f81c8501b60d0140d6dbc81c18f11ae52b9dea260fb11d0e1781"  # of `tokenizer_json`

# GPT-2's split of a text before pairing bytes, in tiktoken's version of the original pattern.
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
VOCABULARY = 50257  # 256 bytes, 50,000 merges and <|endoftext|>
END = "<|endoftext|>"
PAD = 50256  # <|endoftext|>: GPT-2 has no padding token


@dataclass(frozen=True)
class Gpt2Tokenizer:
    """GPT-2's byte-pair encoding. It has no special tokens around a text, and can write every text."""

    encoding: tiktoken.Encoding
    name: str = f"GPT-2's byte-pair encoding ({VOCABULARY:,} tokens)"
    vocabulary: int = VOCABULARY
    pad: int = PAD
    end: int | None = PAD
    begin: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    unknown: int | None = None

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Returns the tokens of each text.

        Texts are encoded as one, with <|endoftext|> between them, where none has that itself: for short ones it takes
        as long as one by one, and lets other threads run. On texts as short as messages, tiktoken's thread pool costs
        more than it saves."""
        every = list(texts)
        if len(every) < 2 or any(END in text for text in every):
            return [self.encoding.encode_ordinary(text) for text in every]
        flat = self.encoding.encode(END.join(every), allowed_special={END}, disallowed_special=())
        ends = [place for place, token in enumerate(flat) if token == PAD]
        return [flat[begin:end] for begin, end in zip([0, *(end + 1 for end in ends)], [*ends, len(flat)], strict=True)]

    def cut(self, tokens: Sequence[int], max_length: int) -> list[int]:
        """Returns the first `max_length` tokens."""
        return list(tokens[:max_length])

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens without <|endoftext|>, without an incomplete character at the end."""
        known = [token for token in tokens if token < PAD]
        # Without `final`, the decoder holds back an incomplete character.
        return codecs.getincrementaldecoder("utf-8")("replace").decode(self.encoding.decode_bytes(known))

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Returns each token with the characters of the text that it has a byte of, as begin and end."""
        tokens = self.encoding.encode_ordinary(text)
        character = [place for place, letter in enumerate(text) for _ in letter.encode()]  # of each byte
        lengths = list(map(len, self.encoding.decode_tokens_bytes(tokens)))
        ends = list(accumulate(lengths))
        return [
            (token, character[end - length], character[end - 1] + 1)
            for token, length, end in zip(tokens, lengths, ends, strict=True)
        ]

    def join(self, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
        """Returns the tokens of the parts' texts, encoded as one text, and each one's part: that of its last byte.

        Where one token spans a border, as after a prompt that ends in white space, it belongs to the part behind.
        """
        stretches = [""]  # between <|endoftext|> in marked parts
        for part in parts:
            first, *others = part.text.split(END) if part.marked else [part.text]
            stretches[-1] += first
            stretches += others
        ordinary, *behind = map(self.encoding.encode_ordinary, stretches)
        tokens = [*ordinary, *(token for stretch in behind for token in (PAD, *stretch))]
        ends = accumulate(map(len, self.encoding.decode_tokens_bytes(tokens)))  # bytes up to and with each token
        borders = list(accumulate(len(part.text.encode()) for part in parts))
        return tokens, [bisect_left(borders, end) for end in ends]

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Writes tokenizer.json and tokenizer_config.json; `max_length` as in `Tokenizer.save`."""
        (folder / TOKENIZER).write_bytes(tokenizer_json())
        settings = {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END),
            "padding_side": "right",
            "truncation_side": "right",
            "clean_up_tokenization_spaces": False,
        }
        save_json(settings if max_length is None else {**settings, "model_max_length": max_length}, folder / SETTINGS)


@functools.cache
def gpt2_tokenizer() -> Gpt2Tokenizer:
    """Returns GPT-2's tokenizer, built once in a process; raises StoreError if its ranks are missing or damaged."""
    return Gpt2Tokenizer(
        tiktoken.Encoding(
            name="gpt2",
            explicit_n_vocab=VOCABULARY,
            pat_str=PATTERN,
            mergeable_ranks=read_ranks(RANKS),
            special_tokens={END: PAD},
        )
    )


def is_own_file(content: bytes) -> bool:
    """Tells whether a tokenizer.json is the one that `Gpt2Tokenizer.save` writes."""
    return hashlib.sha256(content).hexdigest() == TOKENIZER_SHA256


@functools.cache
def tokenizer_json() -> bytes:
    """Returns GPT-2's tokenizer.json; the same bytes on every machine. It takes a third of a second once a process."""
    ranks = read_ranks(RANKS)
    by_rank = sorted(ranks, key=ranks.__getitem__)
    shown = {token: "".join(LETTERS[byte] for byte in token) for token in by_rank}
    merges = [" ".join(shown[part] for part in last_merge(token, ranks)) for token in by_rank if len(token) > 1]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    end = {"id": PAD, "content": END, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**end, "special": True}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {**{shown[token]: ranks[token] for token in by_rank}, END: PAD},
            "merges": merges,
        },
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """Returns the two tokens that byte-pair encoding merges into `token` last."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        best = min(range(len(pairs)), key=pairs.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    left, right = parts
    return left, right


def read_ranks(file: Path, *, sha256: str = RANKS_SHA256) -> dict[bytes, int]:
    """Reads token bytes and ranks from a file with one `base64 rank` pair per line. Raises StoreError if the file is
    missing or does not have the checksum."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"GPT-2's ranks cannot be read from {file} ({error.strerror}): install finetune-flows again"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"GPT-2's ranks in {file} are damaged (wrong sha256): install finetune-flows again")
    pairs = (line.split() for line in content.splitlines())
    return {binascii.a2b_base64(token): int(rank) for token, rank in pairs}
