"""Tokenizers out of folders of weights as people have them: with tokenizer.json, with a vocabulary only, damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from lib.errors import WeightsError
from lib.text.gpt2 import gpt2_tokenizer
from lib.text.tokenizer import load_tokenizer
from lib.text.tokenizer_folder import has_gpt2_vocabulary, prepare_tokenizer
from tests.support.entries import entry
from tests.support.tiny_tokenizers import FAMILIES, TEXTS, byte_pair, unigram, wordpiece

MESSAGES = [*TEXTS, "naïve 👍 ok", "a  b\n\nc", "привет", ""]


def folder(place: Path, model_type: str, **settings: Any) -> Path:
    """A folder of weights without a tokenizer."""
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": model_type}))
    if settings:
        (place / "tokenizer_config.json").write_text(json.dumps(settings))
    return place


def prepared(source: Path) -> Path:
    target = source.parent / "prepared"
    target.mkdir()
    prepare_tokenizer(source, target)
    return target


def settings_of(place: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((place / "tokenizer_config.json").read_text())
    return settings


def sentence_pieces(prefix: Path, **options: Any) -> None:
    """Trains a SentencePiece model."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_prefix=str(prefix), hard_vocab_limit=False, minloglevel=2, **options
    )
    prefix.with_suffix(".vocab").unlink()


def assert_as_transformers_reads_it(source: Path, target: Path, *, model_type: str) -> None:
    """Our tokens are transformers' of the source; and of what was prepared, with and without a configuration."""
    expected = AutoTokenizer.from_pretrained(source)(MESSAGES)["input_ids"]
    assert load_tokenizer(target).encode(MESSAGES) == expected
    assert AutoTokenizer.from_pretrained(target)(MESSAGES)["input_ids"] == expected
    (target / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = AutoTokenizer.from_pretrained(target)
    assert theirs(MESSAGES)["input_ids"] == expected
    assert theirs.pad_token_id == load_tokenizer(target).pad
    assert list(theirs("a")) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_json_is_copied_byte_by_byte(family: str, tmp_path: Path) -> None:
    source = FAMILIES[family](tmp_path / "source")
    target = prepared(source)
    assert (target / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert_as_transformers_reads_it(source, target, model_type="llama")


def test_a_wordpiece_vocabulary_alone(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "bert")
    pieces = [
        *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "win", "a", "free", "prize", "naive", "ok"],
        *"bcde",
        *["##a", "##b", "##e"],
    ]
    (source / "vocab.txt").write_text("\n".join(pieces) + "\n")
    target = prepared(source)
    assert_as_transformers_reads_it(source, target, model_type="bert")
    tokenizer = load_tokenizer(target)
    assert tokenizer.encode(["Win a PRIZE"]) == [[2, 5, 6, 8, 3]]
    assert (tokenizer.name, tokenizer.pad, tokenizer.end) == (f"WordPiece ({len(pieces)} tokens)", 0, None)


def test_a_cased_vocabulary_stays_cased(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "bert", do_lower_case=False)
    (source / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nWin\nwin\n")
    assert load_tokenizer(prepared(source)).encode(["Win win WIN"]) == [[2, 5, 6, 1, 3]]


@pytest.mark.parametrize("model_type", ["roberta", "opt"])
def test_a_vocabulary_with_merges(model_type: str, tmp_path: Path) -> None:
    core = Tokenizer.from_file(str(byte_pair(tmp_path / "trained") / "tokenizer.json"))
    named = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "add_bos_token": True}
    source = folder(tmp_path / "source", model_type, **(named if model_type == "opt" else {}))
    core.model.save(str(source))
    target = prepared(source)
    assert_as_transformers_reads_it(source, target, model_type=model_type)
    tokenizer = load_tokenizer(target)
    assert tokenizer.name.startswith("byte-pair encoding (")
    assert tokenizer.end == core.token_to_id("</s>")
    (around,) = tokenizer.encode([""])
    assert len(around) == (1 if model_type == "opt" else 2)


@pytest.mark.parametrize(
    ("model_type", "name", "options"),
    [
        (
            "deberta-v2",
            "spm",
            {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
            | {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
        ),
        ("t5", "spiece", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
        ("llama", "tokenizer", {"model_type": "bpe", "byte_fallback": True}),
    ],
)
def test_a_sentencepiece_model_alone(model_type: str, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", model_type)
    sentence_pieces(source / name, vocab_size=340 if "byte_fallback" in options else 80, **options)
    target = prepared(source)
    assert_as_transformers_reads_it(source, target, model_type=model_type)
    tokenizer = load_tokenizer(target)
    (whole,) = tokenizer.encode(["Win a free prize"])
    assert tokenizer.decode(whole) == "Win a free prize"
    (hostile,) = tokenizer.encode(["free [SEP] </s> now"])
    assert not set(hostile[1:-1]) & {tokenizer.end, *tokenizer.encode([""])[0]}


def test_special_tokens_have_their_usual_names_where_the_settings_say_none(tmp_path: Path) -> None:
    source = wordpiece(tmp_path / "source")
    (source / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))
    settings = settings_of(prepared(source))
    assert {role: settings[role] for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")} == {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    assert settings["model_max_length"] == 512


def test_the_padding_token_is_settled_and_stands_at_the_right(tmp_path: Path) -> None:
    source = byte_pair(tmp_path / "source")  # has no padding token
    kept = settings_of(source) | {"padding_side": "left", "model_max_length": 1e30, "pad_token": "<not in it>"}
    (source / "tokenizer_config.json").write_text(json.dumps(kept))
    target = prepared(source)
    settings = settings_of(target)
    assert (settings["pad_token"], settings["padding_side"], "model_max_length" in settings) == ("</s>", "right", False)
    assert load_tokenizer(target).pad == 1
    theirs = AutoTokenizer.from_pretrained(target)
    assert theirs(["win", "win a prize"], padding=True)["input_ids"][0][-1] == 1


def test_names_of_special_tokens_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    source = unigram(tmp_path / "source")
    (source / "tokenizer_config.json").unlink()
    roles = {"eos_token": {"content": "</s>", "lstrip": False}, "pad_token": "<pad>"}
    (source / "special_tokens_map.json").write_text(json.dumps(roles))
    tokenizer = load_tokenizer(prepared(source))
    assert (tokenizer.pad, tokenizer.end) == (0, 1)


@pytest.mark.parametrize("how", ["file", "field", "several", "none"])
def test_the_chat_template_comes_along(how: str, tmp_path: Path) -> None:
    source = byte_pair(tmp_path / "source")
    template = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>\n{% endfor %}"
    field: Any = [{"name": "tool", "template": "no"}, {"name": "default", "template": template}]
    if how == "file":
        (source / "chat_template.jinja").write_text(template)
    elif how != "none":
        field = template if how == "field" else field
        (source / "tokenizer_config.json").write_text(json.dumps({**settings_of(source), "chat_template": field}))
    target = prepared(source)
    theirs = AutoTokenizer.from_pretrained(target)
    assert theirs.chat_template == (None if how == "none" else template)
    if how != "none":
        tokens = theirs.apply_chat_template([{"role": "user", "content": "win"}], tokenize=True, return_dict=False)
        assert tokens == entry(load_tokenizer(target), "<|im_start|>win<|im_end|>\n", "", marked=True)[0]
        load_tokenizer(target).save(tmp_path)
        assert (tmp_path / "chat_template.jinja").read_text() == template


# Refused


def test_no_tokenizer_is_refused(tmp_path: Path) -> None:
    """transformers would make one of five tokens for a BERT."""
    with pytest.raises(WeightsError, match=r"source has no tokenizer \(tokenizer\.json, or a vocabulary such as"):
        prepared(folder(tmp_path / "source", "bert"))


def test_a_tokenizer_of_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "bert", auto_map={"AutoTokenizer": ["own.Own", None]})
    (source / "own.py").write_text("raise SystemExit('it ran')")
    (source / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(WeightsError, match="can only be made by code that comes with the weights, which is not run"):
        prepared(source)


@pytest.mark.parametrize(
    ("model_type", "files"),
    [
        ("t5", {"spiece.model": "nonsense"}),
        ("roberta", {"vocab.json": "{", "merges.txt": "a b"}),
        ("unheard-of", {"vocab.txt": "[PAD]"}),
    ],
)
def test_a_damaged_vocabulary_is_refused(model_type: str, files: dict[str, str], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", model_type)
    for name, content in files.items():
        (source / name).write_text(content)
    with pytest.raises(WeightsError, match=r"has .+, of which transformers cannot make a tokenizer \(.+\): get the"):
        prepared(source)


def test_a_damaged_tokenizer_is_refused_by_the_name_of_the_source(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "bert")
    (source / "tokenizer.json").write_text('{"model"')
    with pytest.raises(WeightsError, match=r"source/tokenizer\.json is damaged"):
        prepared(source)


# Whose vocabulary it is


def test_gpt2s_vocabulary_is_known_in_either_form(tmp_path: Path) -> None:
    assert has_gpt2_vocabulary(tmp_path)  # there is none
    gpt2_tokenizer().save(tmp_path)
    assert has_gpt2_vocabulary(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *content["model"]["merges"]]))
    assert has_gpt2_vocabulary(tmp_path)
    one, other = "Ġthe", "Ġand"
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    assert not has_gpt2_vocabulary(tmp_path)


def test_another_vocabulary_is_not_gpt2s(tmp_path: Path) -> None:
    assert not has_gpt2_vocabulary(byte_pair(tmp_path / "byte_pair"))
    assert not has_gpt2_vocabulary(unigram(tmp_path / "unigram"))
    (tmp_path / "spiece.model").write_bytes(b"")
    assert not has_gpt2_vocabulary(tmp_path)
