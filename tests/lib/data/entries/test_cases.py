"""Files of instructions that people really have, of ../shared/cases: how many entries they have, or what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lib.data.entries.reading import entries_in_words, profile_entries, read_entries
from lib.data.entries.shapes import Columns
from lib.errors import MessagesError
from tests.support.cases import case

CHATS, ALPACA = "36-chat-formats", "37-alpaca-variants"


@pytest.mark.parametrize(
    ("folder", "file", "said"),
    [
        (CHATS, "sharegpt.json", "120 (ShareGPT conversations)"),
        (CHATS, "messages.jsonl", "120 (OpenAI messages, 120 with a system's words)"),
        (CHATS, "multiturn.jsonl", "60 (OpenAI messages, 60 of several turns)"),
        (CHATS, "dolly.jsonl", "120 (Dolly instructions)"),
        (CHATS, "completion.jsonl", "120 (prompts and completions)"),
        (CHATS, "pairs.csv", "120 (Alpaca instructions)"),
        (ALPACA, "fine.json", "120 (Alpaca instructions)"),
        (ALPACA, "fine-bom-crlf.jsonl", "120 (Alpaca instructions)"),
        (ALPACA, "wrapped.json", "120 (Alpaca instructions)"),
        (ALPACA, "by-id.json", "120 (Alpaca instructions)"),
        (ALPACA, "nested-list.json", "120 (Alpaca instructions)"),
        (ALPACA, "pretty-concatenated.json", "120 (Alpaca instructions)"),
    ],
)
def test_files_are_read_and_said(folder: str, file: str, said: str) -> None:
    read = read_entries(case(folder, file))
    assert entries_in_words(profile_entries(read)) == said
    assert read.left_out.empty
    assert read.table["id"].tolist() == list(range(len(read.table)))


def test_every_form_of_the_same_pairs_gives_the_same_table() -> None:
    tables = {
        (folder, file): read_entries(case(folder, file)).table[["id", "instruction", "input", "output"]]
        for folder, file in (
            (CHATS, "sharegpt.json"),
            (CHATS, "messages.jsonl"),
            (CHATS, "dolly.jsonl"),
            (CHATS, "pairs.csv"),
            (ALPACA, "fine.json"),
            (ALPACA, "fine-bom-crlf.jsonl"),
            (ALPACA, "wrapped.json"),
            (ALPACA, "by-id.json"),
            (ALPACA, "nested-list.json"),
            (ALPACA, "pretty-concatenated.json"),
        )
    }
    first = next(iter(tables.values()))
    assert [name for name, table in tables.items() if not table.equals(first)] == []


def test_two_turns_of_a_conversation_are_the_pairs_of_two_entries() -> None:
    talks, pairs = read_entries(case(CHATS, "multiturn.jsonl")).table, read_entries(case(CHATS, "pairs.csv")).table
    said = [
        (turn[0].content, turn[1].content, asked, answer)
        for turn, asked, answer in zip(talks["earlier"], talks["instruction"], talks["output"], strict=True)
    ]
    rows = pairs[["instruction", "output"]].values.tolist()
    assert said == [(*one, *other) for one, other in zip(rows[::2], rows[1::2], strict=True)]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            "no-output.json",
            r"entry 42 \(counted from 1\) has no 'output', only 'instruction', 'input': fill in, remove",
        ),
        ("number.json", r"entry 8 \(counted from 1\): 'output' is a number: put text there"),
        ("list.json", r"entry 8 \(counted from 1\): 'output' is a list"),
        ("dict.json", r"entry 8 \(counted from 1\): 'output' is an object"),
        ("null.json", r"entry 8 \(counted from 1\) has an empty output"),
        ("empty.json", r"3 entries \(4, 6, 10; counted from 1\) have an empty output: .* --data.empty_text drop"),
        ("capitals.json", r"did you mean --data.columns '\{\"instruction\": \"Instruction\""),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(file: str, sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence) as refused:
        read_entries(case(ALPACA, file))
    assert "\n" not in f"{refused.value}"


@pytest.mark.parametrize(("file", "rows"), [("empty.json", [3, 5, 9]), ("null.json", [7]), ("no-output.json", [41])])
def test_what_has_nothing_to_learn_is_left_out_on_request(file: str, rows: list[int]) -> None:
    read = read_entries(case(ALPACA, file), empty_text="drop")
    assert read.left_out["row"].tolist() == rows
    assert len(read.table) == 120 - len(rows)


def test_the_advice_about_capitals_works() -> None:
    file: Path = case(ALPACA, "capitals.json")
    with pytest.raises(MessagesError) as refused:
        read_entries(file)
    advice = re.search(r"--data\.columns '(.*)'", f"{refused.value}")
    assert advice
    read = read_entries(file, columns=Columns(**json.loads(advice[1])))
    assert read.table.equals(read_entries(case(ALPACA, "wrapped.json")).table)
