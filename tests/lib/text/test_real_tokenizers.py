"""Tokenizers of weights that were really pretrained: our tokens are those of transformers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lib.data.samples.messages import ARCHIVE, MEMBER
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import has_gpt2_vocabulary, prepare_tokenizer
from tests.support.entries import entry
from tests.support.real_models import real_model

AWKWARD = ["Naïve 👍🏽 привет 日本語\n\n\t x  y", "def f(x):\n    return 1234567", "[x] {y} <z>", " lead", "trail ", ""]


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "said", "pad", "end"),
    [
        ("all-minilm-l6-v2", "WordPiece (30,522 tokens)", 0, None),
        ("smollm2-135m-instruct", "byte-pair encoding (49,152 tokens)", 2, 2),
    ],
)
def test_real_weights(name: str, said: str, pad: int, end: int | None, tmp_path: Path) -> None:
    source = real_model(name)
    prepare_tokenizer(source, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.name, tokenizer.pad, tokenizer.end) == (said, pad, end)
    assert not has_gpt2_vocabulary(source)
    texts = [*zipfile.ZipFile(ARCHIVE).read(MEMBER).decode().splitlines(), *AWKWARD]
    theirs = AutoTokenizer.from_pretrained(source)
    assert (
        tokenizer.encode(texts)
        == theirs(texts)["input_ids"]
        == AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"]
    )
    if theirs.chat_template:
        asked = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello!"}]
        text = theirs.apply_chat_template(asked, tokenize=False)
        tokens = theirs.apply_chat_template(asked, tokenize=True, return_dict=False)
        assert entry(tokenizer, text, "", marked=True) == (tokens, len(tokens))
