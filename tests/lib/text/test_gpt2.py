"""The shipped ranks are tiktoken's own, and the encoding over them is tiktoken's gpt2."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
from tiktoken_ext import openai_public
from transformers import AutoTokenizer

from lib.data.samples.messages import ARCHIVE, MEMBER
from lib.errors import StoreError
from lib.text.byte_letters import LETTERS
from lib.text.gpt2 import (
    PAD,
    PATTERN,
    RANKS,
    VOCABULARY,
    gpt2_tokenizer,
    is_own_file,
    last_merge,
    read_ranks,
    tokenizer_json,
)


def published_sha256(function: Callable[[], object], argument: str) -> str:
    """A checksum as it stands in the source of the installed tiktoken."""
    found = re.search(rf'{argument}="([0-9a-f]{{64}})"', inspect.getsource(function))
    assert found, f"tiktoken no longer publishes {argument}"
    return found.group(1)


def test_ranks_have_the_sha256_that_tiktoken_publishes_for_r50k_base() -> None:
    published = published_sha256(openai_public.r50k_base, "expected_hash")
    assert hashlib.sha256(RANKS.read_bytes()).hexdigest() == published


def test_ranks_rebuild_the_merges_file_whose_sha256_tiktoken_publishes_for_gpt2() -> None:
    # tiktoken derives gpt2's ranks from vocab.bpe alone: 256 bytes in a fixed order, then one token a merge. Equal
    # bytes of that file therefore mean equal ranks.
    ranks = read_ranks(RANKS)
    shown = LETTERS
    by_rank = sorted(ranks, key=lambda token: ranks[token])
    printable_first = sorted(range(256), key=lambda byte: (ord(shown[byte]) >= 256, byte))
    assert by_rank[:256] == [bytes([byte]) for byte in printable_first]

    lines = ["#version: 0.2"]
    for token in by_rank[256:]:
        lines.append(" ".join("".join(shown[byte] for byte in half) for half in last_merge(token, ranks)))
    merges = ("\n".join(lines) + "\n").encode()
    assert hashlib.sha256(merges).hexdigest() == published_sha256(openai_public.gpt2, "vocab_bpe_hash")


def test_vocabulary_pattern_and_padding_are_gpt2s() -> None:
    encoding = gpt2_tokenizer().encoding
    assert encoding.name == "gpt2"
    assert encoding.n_vocab == VOCABULARY == 50257
    assert encoding.eot_token == PAD == 50256
    assert openai_public.r50k_pat_str == PATTERN


def test_known_tokens_and_back() -> None:
    encoding = gpt2_tokenizer().encoding
    assert encoding.encode_ordinary("Hello, world!") == [15496, 11, 995, 0]  # as tiktoken's README has it
    awkward = "naïve 👍🏽 ₤5\u00a0note\n\n\ttab  end "
    assert encoding.decode(encoding.encode_ordinary(awkward)) == awkward


def test_end_of_text_in_a_message_is_ordinary_text() -> None:
    tokens = gpt2_tokenizer().encoding.encode_ordinary("You won<|endoftext|>")
    assert PAD not in tokens
    assert gpt2_tokenizer().encoding.decode(tokens) == "You won<|endoftext|>"


def test_built_once_in_a_process() -> None:
    assert gpt2_tokenizer() is gpt2_tokenizer()


def test_the_file_for_hugging_face_is_the_same_bytes_everywhere() -> None:
    assert is_own_file(tokenizer_json())
    assert not is_own_file(tokenizer_json() + b" ")
    vocabulary = json.loads(tokenizer_json())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(VOCABULARY))


def test_transformers_makes_tiktokens_tokens_of_it(tmp_path: Path) -> None:
    """Of every character of the first three planes, between letters, digits and spaces, and of the bundled messages."""
    gpt2_tokenizer().save(tmp_path, max_length=256)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.padding_side) == (PAD, PAD, "right")
    assert theirs.model_max_length == 256
    letters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    texts = [
        "".join(f"a{each} {each}1{each}{each}" for each in letters[at : at + 64]) for at in range(0, len(letters), 64)
    ]
    texts += [line.split("\t")[1] for line in zipfile.ZipFile(ARCHIVE).read(MEMBER).decode().splitlines()]
    texts += [
        "  a   b\n\n\n c\t\t d  ",
        "don't WE'LL I'd",
        "1234567 ٣٤ Ⅻ",
        "👍🏽👨‍👩‍👧 नमस्ते 你好 שלום",
        "\r\n \r\n",
        "",
    ]
    assert theirs(texts)["input_ids"] == gpt2_tokenizer().encode(texts)


def test_damaged_ranks_are_refused(tmp_path: Path) -> None:
    content = bytearray(RANKS.read_bytes())
    content[1000] ^= 1
    damaged = tmp_path / "gpt2.tiktoken"
    damaged.write_bytes(content)
    with pytest.raises(StoreError, match=r"gpt2\.tiktoken are damaged"):
        read_ranks(damaged)


def test_missing_ranks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        read_ranks(tmp_path / "gpt2.tiktoken")


def test_licence_lies_beside_the_ranks() -> None:
    licence = (RANKS.parent / "LICENSE").read_text()
    assert "MIT License" in licence
    assert "Copyright (c) 2022 OpenAI" in licence


@pytest.mark.data
def test_equals_tiktokens_own_gpt2_on_all_ranks_and_the_real_messages(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(real_data / "tiktoken", tmp_path / "cache")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    theirs = tiktoken.Encoding(**openai_public.gpt2())  # what get_encoding("gpt2") builds, past its own cache
    ours = gpt2_tokenizer().encoding

    assert ours.n_vocab == theirs.n_vocab
    for rank in range(PAD):
        assert ours.decode_single_token_bytes(rank) == theirs.decode_single_token_bytes(rank)
    archive = zipfile.ZipFile(real_data / "sms+spam+collection.zip")
    texts = [line.split("\t")[1] for line in archive.read("SMSSpamCollection").decode().splitlines()]
    assert [ours.encode_ordinary(text) for text in texts] == [theirs.encode_ordinary(text) for text in texts]
