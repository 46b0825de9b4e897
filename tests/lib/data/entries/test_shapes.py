"""Entries as data sets write them: recognised by their fields, pairs and conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from lib.data.entries.files import load_entries, save_entries
from lib.data.entries.reading import Entries, entries_in_words, joined, profile_entries, questions, read_entries
from lib.data.entries.shapes import Columns
from lib.errors import MessagesError
from lib.text.turns import Turn

SYSTEM, ONE, TWO, THREE, FOUR = (
    Turn("system", "Be brief."),
    Turn("user", "one?"),
    Turn("assistant", "1"),
    Turn("user", "two?"),
    Turn("assistant", "2"),
)
TALK = [SYSTEM, ONE, TWO, THREE, FOUR]


def openai(*turns: Turn) -> list[dict[str, Any]]:
    return [turn._asdict() for turn in turns]


def sharegpt(*turns: Turn) -> list[dict[str, Any]]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return [{"from": names[turn.role], "value": turn.content} for turn in turns]


def read(folder: Path, records: Any, **options: Any) -> Entries:
    file = folder / "mine.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return read_entries(file, **options)


def only_entry(found: Entries) -> tuple[Any, ...]:
    """Instruction, input, output and earlier turns of the only entry."""
    (row,) = found.table.to_dict("records")
    return row["instruction"], row["input"], row["output"], row.get("earlier", ())


# Pairs


@pytest.mark.parametrize(
    ("record", "expected", "shape"),
    [
        ({"instruction": "a", "output": "c"}, ("a", "", "c", ()), "Alpaca instructions"),
        ({"instruction": "a", "input": "b", "output": "c"}, ("a", "b", "c", ()), "Alpaca instructions"),
        ({"instruction": "a", "input": None, "output": "c", "text": "abc"}, ("a", "", "c", ()), "Alpaca instructions"),
        (
            {"system": "s", "instruction": "a", "output": "c"},
            ("a", "", "c", (Turn("system", "s"),)),
            "Alpaca instructions",
        ),
        (
            {"instruction": "a", "context": "b", "response": "c", "category": "d"},
            ("a", "b", "c", ()),
            "Dolly instructions",
        ),
        ({"prompt": "a", "completion": " c"}, ("a", "", " c", ()), "prompts and completions"),
        ({"prompt": "a", "response": "c"}, ("a", "", "c", ()), "prompts and responses"),
        ({"question": "a", "answer": "c"}, ("a", "", "c", ()), "questions and answers"),
        ({"context": "b", "question": "a", "answer": "c"}, ("a", "b", "c", ()), "questions and answers"),
        (
            {"system_prompt": "s", "question": "a", "response": "c"},
            ("a", "", "c", (Turn("system", "s"),)),
            "questions and responses",
        ),
    ],
)
def test_pairs_are_recognised_by_their_fields(
    tmp_path: Path, record: dict[str, Any], expected: tuple[Any, ...], shape: str
) -> None:
    found = read(tmp_path, [record])
    assert only_entry(found) == expected
    assert found.found["shape"] == shape
    assert set(found.found["fields"]) | set(found.found["unused_fields"]) == record.keys()


def test_fields_of_other_names_are_named_in_the_recipe(tmp_path: Path) -> None:
    record = {"Instruction": "a", "given": "b", "Output": "c", "instruction": "d"}
    columns = Columns(instruction="Instruction", input="given", output="Output")
    found = read(tmp_path, [record], columns=columns)
    assert only_entry(found) == ("a", "b", "c", ())
    assert found.found["unused_fields"] == ["instruction"]
    spoken = {"dialog": [{"who": "user", "what": "a"}, {"who": "bot", "what": "c"}], "rules": "s"}
    columns = Columns(messages="dialog", role="who", content="what", system="rules")
    assert only_entry(read(tmp_path, [spoken], columns=columns)) == ("a", "", "c", (Turn("system", "s"),))


def test_the_first_entry_with_known_fields_says_what_the_others_are(tmp_path: Path) -> None:
    records = [{"id": 1}, {"instruction": "a", "output": "b"}]
    with pytest.raises(
        MessagesError, match=r"entry 1 .* has no 'instruction', only 'id': fill in, remove, or leave out"
    ):
        read(tmp_path, records)
    found = read(tmp_path, records, empty_text="drop")
    assert found.left_out[["row", "reason"]].values.tolist() == [[0, "no 'instruction', only 'id'"]]
    assert found.table["id"].tolist() == [1]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            {"Instruction": "a", "OUTPUT": "b"},
            """--data.columns '{"instruction": "Instruction", "output": "OUTPUT"}'""",
        ),
        (
            {"Prompt ": "a", "Completion": "b"},
            """--data.columns '{"instruction": "Prompt ", "output": "Completion"}'""",
        ),
        ({"Messages": [{"role": "user"}]}, """--data.columns '{"messages": "Messages"}'"""),
        ({"instruktion": "a", "output": "b"}, "'instruktion'"),
    ],
)
def test_what_was_meant_is_asked(tmp_path: Path, record: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MessagesError, match="has no 'instruction', only") as refused:
        read(tmp_path, [record])
    assert f"{refused.value}".endswith(f"did you mean {sentence}?")


# Conversations


@pytest.mark.parametrize("field", ["messages", "conversations", "conversation"])
@pytest.mark.parametrize(("write", "shape"), [(openai, "OpenAI messages"), (sharegpt, "ShareGPT conversations")])
def test_the_last_answer_is_the_output_and_earlier_turns_are_kept(
    tmp_path: Path, field: str, write: Any, shape: str
) -> None:
    records = [{"id": 5, field: write(*TALK)}, {field: write(*TALK[1:3])}]
    found = read(tmp_path, records)
    profile = profile_entries(found)
    assert found.table[["instruction", "input", "output"]].values.tolist() == [["two?", "", "2"], ["one?", "", "1"]]
    assert found.table["earlier"].tolist() == [(SYSTEM, ONE, TWO), ()]
    assert entries_in_words(profile) == f"2 ({shape}, 1 of several turns, 1 with a system's words)"
    assert profile["unused_fields"] == ["id"]
    assert questions(found.table).nunique() == 1  # both begin with the same question
    assert (profile["duplicate_questions"], profile["duplicate_entries"]) == (1, 0)


def test_tables_of_conversations_come_back_from_parquet(tmp_path: Path) -> None:
    table = read(tmp_path, [{"messages": openai(*TALK)}, {"messages": openai(ONE, TWO)}]).table
    save_entries(table, tmp_path / "talk.parquet")
    back = load_entries(tmp_path / "talk.parquet")
    assert back.to_dict("list") == table.to_dict("list")
    pairs = read(tmp_path, [{"messages": openai(ONE, TWO)}]).table
    save_entries(pairs, tmp_path / "pairs.parquet")
    assert pq.read_schema(tmp_path / "pairs.parquet").names == ["id", "instruction", "input", "output"]


def test_messages_of_one_side_become_one_and_what_nobody_answers_is_left_out(tmp_path: Path) -> None:
    talk = [Turn("assistant", "Hello!"), ONE, Turn("user", "Please."), TWO, THREE]
    found = read(tmp_path, [{"messages": openai(*talk)}])
    assert only_entry(found) == ("one?\n\nPlease.", "", "1", ())
    assert (found.found["messages_joined"], found.found["messages_left_out"]) == (1, 2)


@pytest.mark.parametrize("content", [None, " \n"])
def test_conversations_with_nothing_to_learn_are_left_out_on_request(tmp_path: Path, content: str | None) -> None:
    records = [
        {"messages": openai(ONE, TWO)},
        {"messages": openai(ONE)},
        {"messages": []},
        {"messages": None},
        {"messages": [*openai(ONE), {"role": "assistant", "content": content}]},
    ]
    with pytest.raises(MessagesError, match=r"2 entries \(2, 3; counted from 1\) have no answer: fill in, remove, or"):
        read(tmp_path, records)
    found = read(tmp_path, records, empty_text="drop")
    reasons = ["no answer", "no answer", "no 'messages', only 'messages'", "empty message"]
    assert found.left_out["reason"].tolist() == reasons
    assert found.left_out["row"].tolist() == [1, 2, 3, 4]
    assert len(found.table) + len(found.left_out) == len(records)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([*openai(ONE), {"role": "tool", "content": "x"}], r"entry 1 .*, message 2 is by 'tool': only messages of the"),
        ([*openai(ONE), {"role": None, "content": "x"}], "message 2 is by None"),
        ([*openai(ONE, TWO), "x"], "message 3 is a text: every message must look like"),
        (
            [*openai(ONE), {"role": "assistant"}],
            "message 2 has no 'content': every message must have 'role' and 'content'",
        ),
        ([*openai(ONE), {"role": "assistant", "content": 7}], "message 2: 'content' is a number"),
        (openai(ONE, TWO, SYSTEM, THREE, FOUR), "the system speaks after others have spoken"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, *openai(TWO)],
            "message 1 has a piece of type 'image_url': only text can be learnt from",
        ),
    ],
)
def test_conversations_that_cannot_be_learnt_are_refused_in_one_sentence(
    tmp_path: Path, messages: Any, sentence: str
) -> None:
    with pytest.raises(MessagesError, match=sentence) as refused:
        read(tmp_path, [{"messages": messages}])
    assert "\n" not in f"{refused.value}"


def test_pieces_of_text_are_one_text(tmp_path: Path) -> None:
    pieces = [{"type": "text", "text": "one"}, {"type": "text", "text": "more?"}]
    found = read(tmp_path, [{"messages": [{"role": "user", "content": pieces}, *openai(TWO)]}])
    assert only_entry(found) == ("one\nmore?", "", "1", ())


# Files


def test_parquet_and_cells_of_a_table_hold_conversations_too(tmp_path: Path) -> None:
    records = [{"messages": openai(*TALK)}, {"messages": openai(ONE, TWO)}]
    expected = read(tmp_path, records).table.to_dict("list")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "mine.parquet")
    assert read_entries(tmp_path / "mine.parquet").table.to_dict("list") == expected
    cells = [json.dumps(record["messages"]).replace('"', '""') for record in records]
    (tmp_path / "mine.csv").write_text("messages\n" + "\n".join(f'"{cell}"' for cell in cells) + "\n")
    assert read_entries(tmp_path / "mine.csv").table.to_dict("list") == expected


def test_workbooks_and_tables_of_every_dialect_hold_pairs(tmp_path: Path) -> None:
    rows = [("Größe?", "2 m; breit"), ('Wie "so"?', "darum")]
    table = "".join(f'"{asked.replace(chr(34), chr(34) * 2)}";"{answer}"\n' for asked, answer in rows)
    (tmp_path / "mine.csv").write_text(f"Frage;Antwort\n{table}", encoding="cp1252")
    sheet = Workbook()
    assert sheet.active is not None
    for row in [("Frage", "Antwort"), *rows]:
        sheet.active.append(row)
    sheet.save(tmp_path / "mine.xlsx")
    columns = Columns(instruction="Frage", output="Antwort")
    for name in ("mine.csv", "mine.xlsx"):
        table_of = read_entries(tmp_path / name, columns=columns).table
        assert table_of[["instruction", "output"]].values.tolist() == [list(row) for row in rows]


def test_several_files_are_one_table(tmp_path: Path) -> None:
    talks = read(tmp_path, [{"messages": openai(*TALK)}, {"messages": []}], empty_text="drop")
    pairs = read(tmp_path, [{"instruction": "a", "output": "b", "more": 1}], name="pairs.json")
    found = joined([talks, pairs, talks])
    assert found.table["id"].tolist() == [0, 2, 3]
    assert found.table["earlier"].tolist() == [(SYSTEM, ONE, TWO), (), (SYSTEM, ONE, TWO)]
    assert found.left_out[["file", "row"]].values.tolist() == [["mine.json", 1], ["mine.json", 1]]
    profile = profile_entries(found)
    assert profile["shape"] == "OpenAI messages and Alpaca instructions"
    assert (profile["unused_fields"], len(profile["read_as"])) == (["more"], 3)
    assert joined([talks]) is talks


PAIR = {"instruction": "a", "output": "b"}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([PAIR, PAIR]),
        json.dumps({"data": [PAIR, PAIR]}),
        json.dumps({"version": 1, "rows": [PAIR, PAIR]}),
        json.dumps({"7": PAIR, "8": PAIR}),
        json.dumps([[PAIR], [PAIR]]),
        json.dumps(PAIR, indent=2) * 2,
        "instruction,output\na,b\na,b\n",
        "output\tinstruction\nb\ta\nb\ta\n",
    ],
    ids=["list", "wrapped", "wrapped beside", "by id", "nested", "concatenated", "csv", "tsv"],
)
def test_every_arrangement_gives_the_same_entries(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mine"
    file.write_text(content)
    assert read_entries(file).table.to_dict("list") == {
        "id": [0, 1],
        "instruction": ["a", "a"],
        "input": ["", ""],
        "output": ["b", "b"],
    }
