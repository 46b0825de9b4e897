"""From a JSON file to a table of entries; what is refused, and the sentence that says so."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib.data.entries.reading import profile_entries, questions, read_entries
from lib.data.source.reader import How
from lib.data.tables import ENTRIES, load_table, save_table
from lib.errors import MessagesError

GOOD = {"instruction": "Spell it.", "input": "wierd", "output": "weird"}


def written(folder: Path, content: Any, name: str = "mine.json") -> Path:
    file = folder / name
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    file.write_bytes(content)
    return file


def texts(entries: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(entries[["instruction", "input", "output"]].itertuples(index=False, name=None))


# What is read

TWO = [("a b", "", " NA "), ("c\u2028d", "x\ny", "007")]
OBJECTS = [
    {"instruction": "a b", "output": " NA ", "more": [1]},
    {"output": "007", "input": "x\ny", "instruction": "c\u2028d"},
]
LINES = "\n".join(json.dumps(record, ensure_ascii=False) for record in OBJECTS)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS, indent=4),
        json.dumps(OBJECTS, ensure_ascii=False).encode("utf-8-sig"),
        json.dumps(OBJECTS, ensure_ascii=False, indent=1).encode("utf-16"),
        LINES,
        "\r\n \r\n" + LINES.replace("\n", "\r\n") + "\r\n",
        LINES.encode("utf-8-sig"),
    ],
)
def test_a_list_and_one_object_a_line_give_the_same_table(tmp_path: Path, content: str | bytes) -> None:
    entries = read_entries(written(tmp_path, content)).table
    assert texts(entries) == TWO
    assert entries["id"].tolist() == [0, 1]
    assert list(entries.columns) == ["id", "instruction", "input", "output"]
    assert entries["id"].dtype == "int64"


@pytest.mark.parametrize("given", [{}, {"input": ""}, {"input": None}])
def test_the_input_may_be_missing_empty_or_null(tmp_path: Path, given: dict[str, Any]) -> None:
    file = written(tmp_path, [{"instruction": "Hello?", **given, "output": "Hello!"}])
    assert texts(read_entries(file).table) == [("Hello?", "", "Hello!")]


def test_a_table_of_entries_comes_back_from_parquet_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    entries = read_entries(written(tmp_path, OBJECTS)).table
    save_table(entries, tmp_path / "entries.parquet", ENTRIES)
    back = load_table(tmp_path / "entries.parquet", ENTRIES)
    assert texts(back) == TWO
    save_table(back, tmp_path / "again.parquet", ENTRIES)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "entries.parquet").read_bytes()


def test_entries_with_an_empty_text_are_left_out_on_request_and_counted(tmp_path: Path) -> None:
    lacking = [GOOD | {"output": " "}, GOOD, GOOD | {"instruction": None}, GOOD | {"input": " "}]
    read = read_entries(written(tmp_path, lacking), empty_text="drop")
    assert read.table["id"].tolist() == [1, 3]
    assert profile_entries(read)["left_out"] == {"empty output": 1, "empty instruction": 1}
    assert read.left_out[["file", "row", "reason"]].values.tolist() == [
        ["mine.json", 0, "empty output"],
        ["mine.json", 2, "empty instruction"],
    ]


# What is refused


def line(**changed: Any) -> str:
    return json.dumps(GOOD | changed)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"mine\.json is empty: is it the right file\?"),
        ("\ufeff \n", r"mine\.json is empty"),
        ("[]", r"mine\.json has no entries"),
        ("[{", r"mine\.json, line 1 is not JSON \(Expecting property name.*\): correct it there"),
        ("[" * 100_000, r"mine\.json, line 1 is not JSON \(.*recursion"),
        (f"[1]\n{line()}", r"line 2 is not JSON \(something stands behind the end of the list\)"),
        (json.dumps({"data": [GOOD]}, indent=2)[:-1], r"line 9 is not JSON .*: correct it there"),
        (f"{line()}\n\n{line()[:-1]}", r"mine\.json, line 3 is not JSON"),
        (line() + "}", r"mine\.json, line 1 is not JSON \(Extra data"),
        (f"{line()}\n\n7", r"mine\.json, line 3 is not a JSON object: every line must look like \{\"instr"),
        ([GOOD, "text"], r"mine\.json, entry 2 \(counted from 1\) is not a JSON object: every entry must look like"),
        ([None], r"entry 1 \(counted from 1\) is not a JSON object: every"),
        ([{}], r"entry 1 .* has no 'instruction', nor anything else: every entry must"),
        ([GOOD, {"instruction": "a", "ouput": "b"}], r"no 'output', only 'instruction', 'ouput': .*'ouput'\?"),
        ([dict.fromkeys(["x" * 99, *"abcdefg"])], r"only 'x{39}…', 'a', 'b', 'c', 'd', …: every"),
        ([GOOD | {"output": 5}], r"entry 1 .*: 'output' is a number: put text there, in double quotes"),
        ('[{"instruction": "a", "output": NaN}]', r"entry 1 .* has an empty output"),
        ([GOOD | {"input": ["a"]}], r"entry 1 .*: 'input' is a list"),
        ([GOOD | {"instruction": True}], r"entry 1 .*: 'instruction' is true"),
        (line(input="\ud83d"), r"entry 1 \(line 1\): 'input' holds half a character \(\\ud83d without its pair\)"),
        ([GOOD, GOOD | {"output": ""}], r"mine\.json: entry 2 \(counted from 1\) has an empty output: .* drop"),
        ([GOOD, GOOD | {"instruction": "\n"}], r"entry 2 \(counted from 1\) has an empty instruction"),
        ([GOOD | {"output": None}] * 5, r"5 entries \(1, 2, 3, …; counted from 1\) have an empty output"),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(MessagesError, match=sentence) as caught:
        read_entries(written(tmp_path, content, "source"), name="mine.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_first_byte_that_is_no_character_is_named(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"mine\.json is not UTF-8: byte 18 \(counted from 0\) is 0xff"):
        read_entries(written(tmp_path, b'[{"instruction": "\xff"}]'), how=How(encoding="utf-8"))


def test_rows_that_cannot_be_read_are_left_out_on_request(tmp_path: Path) -> None:
    file = written(tmp_path, f"{line()}\n7\n{line()[:-1]}\n{line()}")
    read = read_entries(file, bad_rows="drop")
    assert read.table["id"].tolist() == [0, 3]
    assert read.left_out[["row", "line"]].values.tolist() == [[1, 2], [2, 3]]
    assert sum(profile_entries(read)["left_out"].values()) == 2
    table = written(tmp_path, "instruction,output\na,b\nc,d,e\n", "mine.csv")
    with pytest.raises(MessagesError, match=r"mine\.csv, line 3 .* has 3 fields where the first line has 2"):
        read_entries(table)
    assert read_entries(table, bad_rows="drop").left_out["reason"].tolist() == ["wrong number of fields"]


def test_nothing_but_empty_texts_is_refused_even_where_they_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(MessagesError, match=r"mine\.json: every entry has an empty output: is it the right file\?"):
        read_entries(written(tmp_path, [GOOD | {"output": ""}]), empty_text="drop")


# The profile


def test_near_duplicates_ask_the_same_whatever_the_answer() -> None:
    entries = pd.DataFrame({"instruction": ["Add 3!", "add", "Add"], "input": ["", "5", "up"], "output": list("abc")})
    first, second, third = questions(entries)
    assert first == second != third


def test_profile_by_hand(tmp_path: Path) -> None:
    records = [GOOD, GOOD | {"output": "odd"}, GOOD | {"instruction": "spell it"}, GOOD | {"input": ""}]
    profile = profile_entries(read_entries(written(tmp_path, records)))
    assert profile == {
        "shape": "Alpaca instructions",
        "fields": ["instruction", "input", "output"],
        "unused_fields": [],
        "messages_joined": 0,
        "messages_left_out": 0,
        "read_as": {
            "format": "jsonl",
            "layout": "list",
            "encoding": "utf-8, contents",
            "columns": ["instruction", "input", "output"],
        },
        "rows": 4,
        "with_input": 3,
        "several_turns": 0,
        "with_system": 0,
        "characters": {
            "instruction": {"min": 8, "median": 9.0, "p95": 9.0, "max": 9, "total": 35},
            "input": {"min": 0, "median": 5.0, "p95": 5.0, "max": 5, "total": 15},
            "output": {"min": 3, "median": 5.0, "p95": 5.0, "max": 5, "total": 18},
        },
        "duplicate_questions": 1,
        "near_duplicate_questions": 2,
        "duplicate_entries": 0,
        "near_duplicate_entries": 1,
        "left_out": {},
    }


@pytest.mark.data
def test_the_published_file(real_data: Path) -> None:
    read = read_entries(real_data / "instruction-data.json")
    assert texts(read.table)[50] == (
        "Identify the correct spelling of the following word.",
        "Ocassion",
        "The correct spelling is 'Occasion.'",
    )
    profile = profile_entries(read)
    assert (profile["rows"], profile["with_input"]) == (1100, 325)
    assert (profile["duplicate_questions"], profile["near_duplicate_questions"]) == (25, 82)
    assert (profile["duplicate_entries"], profile["near_duplicate_entries"]) == (0, 48)
    assert json.loads(json.dumps(profile)) == profile


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps([GOOD]).encode())
    with pytest.raises(MessagesError, match=r"mine\.json\.gz cannot be read as gzipped .*write it again"):
        read_entries(written(tmp_path, whole[:40], "mine.json.gz"))
