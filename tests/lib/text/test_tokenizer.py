"""Tokenizers of each family from their folders: special tokens, cutting, text again, entries, saving."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lib.errors import WeightsError
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.hugging_face import HuggingFaceTokenizer
from lib.text.tokenizer import Tokenizer, load_tokenizer
from tests.support.e2e import PROJECT
from tests.support.entries import entry
from tests.support.tiny_tokenizers import FAMILIES, byte_fallback, byte_pair, unigram, wordpiece

MESSAGES = ["Win a free prize", "are you coming home?", "naïve 👍 ok", "a  b\n\nc", "1234", "привет мир", "日本"]


@pytest.fixture(scope="module", params=[*FAMILIES, "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "gpt2":
        gpt2_tokenizer().save(folder)
    else:
        FAMILIES[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def test_transformers_makes_the_same_tokens(folder: Path, tokenizer: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.encode(MESSAGES) == theirs(MESSAGES)["input_ids"]
    assert tokenizer.vocabulary == len(theirs)
    assert tokenizer.end == theirs.eos_token_id


def test_what_was_saved_is_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, max_length=77)
    again = load_tokenizer(tmp_path)
    assert (again.name, again.vocabulary, again.pad, again.end) == (
        tokenizer.name,
        tokenizer.vocabulary,
        tokenizer.pad,
        tokenizer.end,
    )
    assert again.encode(MESSAGES) == tokenizer.encode(MESSAGES)
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 77


def test_cutting_keeps_what_stands_around_a_text(tokenizer: Tokenizer) -> None:
    (whole,) = tokenizer.encode(["win a free prize now"])
    (empty,) = tokenizer.encode([""])
    for most in range(len(empty) + 1, len(whole) + 2):
        cut = tokenizer.cut(whole, most)
        assert len(cut) == min(most, len(whole))
        kept = [token for token in cut if token not in empty]
        assert kept == [token for token in whole if token not in empty][: len(kept)]
        assert len(cut) - len(kept) == len(empty)
    assert [len(tokenizer.cut(whole, most)) for most in range(1, 4)] == [1, 2, 3]


def test_a_response_starts_at_its_first_character(tokenizer: Tokenizer) -> None:
    """Whatever the border: spaces, line ends, several bytes a character."""
    for prompt, response in itertools.product(["ab", "ab ", "naïve 👍", "a:\n"], ["yes", " yes", "\n\nyes", "é!"]):
        tokens, start = entry(tokenizer, prompt, response)
        assert tokenizer.decode(tokens).split() == tokenizer.decode(tokenizer.encode([prompt + response])[0]).split()
        before = tokenizer.decode(tokens[:start]).replace(" ", "")
        assert prompt.replace(" ", "").startswith(before.rstrip("\n")) or tokenizer.name.startswith(("Word", "Uni"))
        assert start < len(tokens)


def test_spans_lie_where_their_tokens_come_from(tokenizer: Tokenizer) -> None:
    text = "win a 👍 prize  now"
    spans = tokenizer.spans(text)
    assert [token for token, _, _ in spans] == entry(tokenizer, text, "")[0]
    for token, begin, end in spans:
        piece = tokenizer.decode([token])
        assert piece.strip(" #\ufffd").casefold() in text[begin:end].casefold()
    assert [place for place in range(len(text)) if all(not begin <= place < end for _, begin, end in spans)] in (
        [], [place for place, letter in enumerate(text) if letter == " "]
    )  # fmt: skip
    assert tokenizer.spans("") == []


def test_an_entry_has_no_special_tokens_around_it(tokenizer: Tokenizer) -> None:
    tokens, start = entry(tokenizer, "win a", " free prize")
    (empty,) = tokenizer.encode([""])
    assert not set(tokens) & set(empty)
    assert start == len(entry(tokenizer, "win a", "")[0])
    assert entry(tokenizer, "win a", "") == (tokens[:start], start)


def test_tokens_outside_the_vocabulary_have_no_text(tokenizer: Tokenizer) -> None:
    (tokens,) = tokenizer.encode(["win"])
    assert tokenizer.decode([*tokens, tokenizer.vocabulary, 10**6]) == tokenizer.decode(tokens) == "win"


@pytest.mark.parametrize("family", [byte_pair, byte_fallback])
def test_an_incomplete_character_at_the_end_is_left_out(family: Callable[[Path], Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(family(tmp_path))
    tokens, _ = entry(tokenizer, "yes é👍", "")
    texts = [tokenizer.decode(tokens[:count]) for count in range(len(tokens) + 1)]
    assert all("yes é👍".startswith(text) for text in texts)
    assert texts[-1] == "yes é👍"
    assert "yes é" in texts
    replaced, _ = entry(tokenizer, "yes �", "")
    assert tokenizer.decode(replaced) == "yes �"


@pytest.mark.parametrize(
    ("family", "name"), [(wordpiece, "[SEP]"), (byte_pair, "<|im_end|>"), (byte_fallback, "</s>"), (unigram, "</s>")]
)
def test_the_name_of_a_special_token_in_a_text_is_text(
    family: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(family(tmp_path))
    (plain,), (hostile,) = tokenizer.encode(["win free"]), tokenizer.encode([f"win {name} free"])
    special = AutoTokenizer.from_pretrained(tmp_path).convert_tokens_to_ids(name)
    assert hostile.count(special) == plain.count(special)
    assert special not in entry(tokenizer, f"win {name}", " free")[0]
    assert special in entry(tokenizer, f"win {name}", " free", marked=True)[0]


def test_half_a_character_becomes_what_tiktoken_makes_of_it(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a \ud83d b", "win"]) == tokenizer.encode(["a \ufffd b", "win"])


def test_a_special_token_of_other_letters_is_spelled_in_bytes(tmp_path: Path) -> None:
    folder = byte_pair(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    added = {**content["added_tokens"][0], "content": "<｜end｜>", "id": len(content["model"]["vocab"])}
    content["added_tokens"].append(added)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(folder)
    (tokens,) = tokenizer.encode(["a<｜end｜>b"])
    assert added["id"] not in tokens
    assert tokenizer.decode(tokens) == "a<｜end｜>b"


def test_names_say_kind_and_size(tmp_path: Path) -> None:
    assert load_tokenizer(wordpiece(tmp_path / "w")).name == "WordPiece (120 tokens)"
    assert load_tokenizer(byte_pair(tmp_path / "b")).name == "byte-pair encoding (330 tokens)"
    assert gpt2_tokenizer().name == "GPT-2's byte-pair encoding (50,257 tokens)"


def test_padding_falls_back_to_end_unknown_and_the_first_token(tmp_path: Path) -> None:
    assert load_tokenizer(unigram(tmp_path)).pad == 0
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for role, expected in (("pad_token", 1), ("eos_token", 2), ("unk_token", 0)):
        settings.pop(role)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        assert load_tokenizer(tmp_path).pad == expected
    assert load_tokenizer(tmp_path).end is None


def test_truncation_and_padding_in_the_file_do_not_count(tmp_path: Path) -> None:
    wordpiece(tmp_path)
    before = load_tokenizer(tmp_path).encode(MESSAGES)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).encode(MESSAGES) == before


def test_gpt2s_own_file_gives_tiktokens_tokenizer(tmp_path: Path) -> None:
    gpt2_tokenizer().save(tmp_path)
    assert load_tokenizer(tmp_path) is gpt2_tokenizer()
    content = (tmp_path / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(content + b"\n")
    assert isinstance(load_tokenizer(tmp_path), HuggingFaceTokenizer)


def test_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tokenizer\.json cannot be read \(No such file or directory\)"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_lacks_its_unknown_token_is_refused(tmp_path: Path) -> None:
    file = wordpiece(tmp_path) / "tokenizer.json"
    written = json.loads(file.read_bytes())
    written["model"]["unk_token"] = "[NONE]"
    file.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer\.json is damaged \(.*from the vocabulary\): get the file again"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "None"}}'])
def test_a_damaged_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match=r"tokenizer\.json is damaged \(.+\): get the file again$"):
        load_tokenizer(tmp_path)
    wordpiece(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"tokenizer_config\.json is not JSON"):
        load_tokenizer(tmp_path)


def test_a_process_that_forks_neither_hangs_nor_hears_a_warning(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from lib.text.tokenizer import load_tokenizer
from tests.support.entries import entry
tokenizer = load_tokenizer(Path({str(wordpiece(tmp_path))!r}))
before = tokenizer.encode(["win a prize"] * 100)
child = os.fork()
assert tokenizer.encode(["win a prize"] * 100) == before
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    unset = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, env=unset, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
