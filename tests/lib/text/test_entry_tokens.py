"""Entries as tokens: where the response starts, cutting, and what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data.entries.reading import read_entries
from lib.data.entries.split import split_entries
from lib.data.tables import ENTRY_TOKENS, load_table, save_table
from lib.errors import RecipeError
from lib.text.entry_tokens import TokenizedEntries, tokenize_entries
from lib.text.gpt2 import PAD, gpt2_tokenizer
from lib.text.prompts import STYLES, Style
from lib.text.turns import Turn
from tests.support.characters import Characters
from tests.support.entries import entry

GPT2 = gpt2_tokenizer()
SHORT = Style(before_instruction="?", before_input=",", before_response="!")


def table(*rows: tuple[int, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "instruction", "input", "output"])


SPLITS = {
    "train": table((4, "ab", "c", "xyz"), (2, "d", "", "w")),
    "validation": table((0, "abcdef", "", "x")),
    "test": table((1, "ab", "", "x")),
}


def tokens_of(max_length: int | None, context_length: int = 10) -> TokenizedEntries:
    return tokenize_entries(
        SPLITS, style=SHORT, tokenizer=Characters(end=10), max_length=max_length, context_length=context_length
    )


# Where the response starts


@pytest.mark.parametrize("prompt", ["Say hello.", "Sort: 3, 1", "Größe der 🐘", "say 'x'", "<|user|>\nwhat?"])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_it_is_the_length_of_the_encoded_prompt_where_no_token_crosses_the_border(style: Style, prompt: str) -> None:
    tokens, start = entry(GPT2, prompt, style.response("yes"))
    assert tokens[:start] == GPT2.encode([prompt])[0]
    assert GPT2.decode(tokens[start:]) == style.response("yes")


@pytest.mark.parametrize(
    ("prompt", "response", "crossing"),
    [("Say it. ", "yes", " yes"), ("Say it.\n", "\n\nyes", None), ("caps", "lock", "lock"), ("ab\n", "\nyes", None)],
)
def test_a_token_that_crosses_the_border_belongs_to_the_response(
    prompt: str, response: str, crossing: str | None
) -> None:
    tokens, start = entry(GPT2, prompt, response)
    before = GPT2.encoding.decode_tokens_bytes(tokens[:start])
    assert prompt.encode().startswith(b"".join(before))
    up_to_it = b"".join([*before, *GPT2.encoding.decode_tokens_bytes(tokens[start : start + 1])])
    assert len(up_to_it) > len(prompt.encode())
    if crossing is not None:
        assert GPT2.decode([tokens[start]]) == crossing


def test_a_joint_token_makes_a_count_over_the_prompt_alone_wrong() -> None:
    tokens, start = entry(GPT2, "Say it. ", "yes")
    assert len(GPT2.encode(["Say it. "])[0]) == len(tokens) == 4  # nothing would be left of the response
    assert start == 3


def test_end_of_text_in_an_entry_is_ordinary_text() -> None:
    tokens, start = entry(GPT2, "What is <|endoftext|>", "? <|endoftext|>")
    assert PAD not in tokens
    assert GPT2.decode(tokens[start:]) == "? <|endoftext|>"


# Tables


def test_every_split_is_formatted_encoded_and_cut_behind_one_more_token() -> None:
    result = tokens_of(6)
    assert result.max_length == 6
    assert result.tokens["train"].to_dict("list") == {
        "id": [4, 2],
        "tokens": [[ord(character) for character in "?ab,c!x"], [ord(character) for character in "?d!w"]],
        "response_start": [5, 2],
    }
    assert result.tokens["validation"]["response_start"].tolist() == [7]
    assert len(result.tokens["validation"]["tokens"][0]) == 7
    assert result.report == {
        "max_length": 6,
        "end": 10,
        "pad": 0,
        "splits": {
            "train": {
                "rows": 2,
                "tokens": 10,
                "response_tokens": 3,
                "truncated": 1,
                "without_response": 0,
                "left_out": 0,
                "median": 6.5,
                "p95": pytest.approx(8.75),
                "longest": 9,
            },
            "validation": {
                "rows": 1,
                "tokens": 6,
                "response_tokens": 0,
                "truncated": 1,
                "without_response": 1,
                "left_out": 0,
                "median": 9,
                "p95": 9,
                "longest": 9,
            },
            "test": {
                "rows": 1,
                "tokens": 5,
                "response_tokens": 2,
                "truncated": 0,
                "without_response": 0,
                "left_out": 0,
                "median": 5,
                "p95": 5,
                "longest": 5,
            },
        },
    }


def test_max_length_null_is_all_that_the_model_can_see() -> None:
    assert tokens_of(None).max_length == 10
    assert tokens_of(None, context_length=4).tokens["test"]["tokens"].tolist() == [[63, 97, 98, 33, 120]]


def test_max_length_over_the_context_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^encoding\.max_length 11 is over the model's context of 10: choose 10 or"):
        tokens_of(11)


def test_a_table_of_tokens_comes_back_from_parquet(tmp_path: Path) -> None:
    made = tokens_of(None).tokens["train"]
    save_table(made, tmp_path / "train.parquet", ENTRY_TOKENS)
    back = load_table(tmp_path / "train.parquet", ENTRY_TOKENS)
    assert [tokens.tolist() for tokens in back["tokens"]] == made["tokens"].tolist()
    assert back["tokens"][0].dtype == np.int32
    assert back[["id", "response_start"]].to_dict("list") == made[["id", "response_start"]].to_dict("list")
    assert back["response_start"].dtype == "int64"


# Several turns, and entries that are too long

EARLIER = [Turn("user", "q"), Turn("assistant", "r")]


def talk(*rows: tuple[int, list[Turn], str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(number, asked, "", output, earlier) for number, earlier, asked, output in rows],
        columns=["id", "instruction", "input", "output", "earlier"],
    )


def tokens_of_talk(max_length: int, **options: Any) -> TokenizedEntries:
    return tokenize_entries(
        {"train": talk((0, EARLIER, "ab", "x"), (1, [], "c", "yz"))},
        style=SHORT,
        tokenizer=Characters(end=10),
        max_length=max_length,
        context_length=20,
        **options,
    )


def test_earlier_answers_end_with_the_end_token_and_say_where_they_stand() -> None:
    made = tokens_of_talk(20)
    train = made.tokens["train"]
    assert ["".join(map(chr, tokens)) for tokens in train["tokens"]] == ["?q!r\n?ab!x", "?c!yz"]
    assert train["response_start"].tolist() == [8, 2]
    assert train["earlier_answers"].tolist() == [[2, 5], []]  # "!r\n"
    assert made.report["splits"]["train"]["response_tokens"] == 3 + 2 + 3
    assert made.long.empty


def test_of_an_entry_that_is_cut_earlier_answers_are_left() -> None:
    made = tokens_of_talk(6)
    assert made.report["splits"]["train"]["without_response"] == 0
    assert made.long.to_dict("list") == {"id": [0], "split": ["train"], "tokens": [10], "outcome": ["cut"]}
    assert tokens_of_talk(1).long["outcome"].tolist() == ["cut, with nothing left of an answer"] * 2


def test_entries_that_are_too_long_can_be_left_out() -> None:
    made = tokens_of_talk(6, too_long="drop")
    assert made.tokens["train"]["id"].tolist() == [1]
    assert list(made.tokens["train"].columns) == ["id", "tokens", "response_start"]
    assert made.long.to_dict("list") == {"id": [0], "split": ["train"], "tokens": [10], "outcome": ["left out"]}
    report = made.report["splits"]["train"]
    assert (report["rows"], report["left_out"], report["truncated"], report["longest"]) == (1, 1, 0, 5)


# The real file


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "tokens", "longest"), [("alpaca", [52_760, 3_116, 6_149], 91), ("phi3", [36_410, 2_151, 4_239], 75)]
)
def test_the_published_file(real_data: Path, name: str, tokens: list[int], longest: int) -> None:
    entries = read_entries(real_data / "instruction-data.json").table
    splits = split_entries(entries, train=0.85, test=0.1, shuffle=False, seed=123, group_duplicates=False)
    style = STYLES[name]
    result = tokenize_entries(splits.tables(), style=style, tokenizer=GPT2, max_length=1024, context_length=1024)
    reports = result.report["splits"]
    assert [reports[split]["tokens"] for split in ("train", "validation", "test")] == tokens
    assert reports["train"]["longest"] == longest
    assert sum(report["truncated"] for report in reports.values()) == 0
    # No token crosses the border in any of them: the start is what the published masking counts.
    for split, entries in splits.tables().items():
        prompts = [style.prompt(*each) for each in zip(entries["instruction"], entries["input"], strict=True)]
        counted = [len(GPT2.encode([prompt])[0]) for prompt in prompts]
        assert result.tokens[split]["response_start"].tolist() == counted
