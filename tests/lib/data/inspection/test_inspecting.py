"""What an inspection finds in files of labelled texts and of instructions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.data.inspection.inspecting import Inspected, inspect_source
from lib.data.inspection.labelled import BYTES
from lib.data.source.data_file import DataFile
from lib.data.source.reader import How
from lib.errors import MessagesError

Look = Callable[..., Inspected]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Inspects files of these contents, by name."""

    def inspect(files: dict[str, str], **said: Any) -> Inspected:
        for name, contents in files.items():
            (tmp_path / name).write_text(contents)
        return inspect_source([DataFile(tmp_path / name, name) for name in files], How(), **said)

    return inspect


def table(*rows: str, header: str = "text,label") -> str:
    return "\n".join((header, *rows, ""))


GOOD = [f"good words {number},x\nbad words {number},y" for number in "abcdefghij"]


def test_a_file_without_a_flaw(look: Look) -> None:
    found = look({"a.csv": table(*GOOD)})
    assert (found.kind, found.rows, found.read, found.refusal) == ("labelled texts", 20, 20, None)
    assert found.findings is not None
    assert found.findings.classes == {"x": 10, "y": 10}
    assert list(found.findings.sentences) == []
    assert found.changes == {"data.text_column": "text", "data.label_column": "label"}


def test_rows_that_cannot_be_used(look: Look) -> None:
    found = look({"a.csv": table(*GOOD, ",x", "no label,", "a,b,c", "text,label", "last words,z")})
    assert [(row.line, row.row, row.reason) for row in found.left_out] == [
        (24, 22, "wrong number of fields"),
        (25, 23, "the header again"),
    ]
    assert found.rows == 25
    assert found.findings is not None
    assert (found.findings.empty_texts, found.findings.empty_labels, found.findings.unreadable) == (1, 1, 2)
    dropped = ["data.bad_rows", "data.empty_text", "data.empty_label", "data.rare_labels"]
    assert [field for field, value in found.changes.items() if value == "drop"] == dropped


def test_labels_that_are_spelled_in_several_ways(look: Look) -> None:
    rows = [
        f"words {number},{label}" for number, label in enumerate(["spam", "Spam", "spam ", "spam", "ham", "1.0", "1"])
    ]
    found = look({"a.csv": table(*rows, *rows, *rows)})
    assert found.findings is not None
    assert found.findings.classes == {"spam": 9, "1": 3, "1.0": 3, "Spam": 3, "ham": 3}
    assert found.changes["data.labels"] == {"spam": ["spam", "Spam"], "1": ["1", "1.0"]}
    assert any("'spam' (9), 'Spam' (3); '1' (3), '1.0' (3)" in sentence for sentence in found.findings.sentences)
    assert found.refusal is None


def test_texts_that_contradict_each_other_and_ratings(look: Look) -> None:
    rows = [f"words of review {number},{number % 5 + 1}" for number in [*range(10), *range(10)]]
    found = look({"a.csv": table(*rows, "words of review 1,5", header="review,stars")})
    assert found.findings is not None
    sentences = " ".join(found.findings.sentences)
    assert "1 text stands there with different labels (rows 1 and 20" in sentences
    assert "the labels are the numbers 1 to 5" in sentences


def test_one_class_is_what_a_run_refuses(look: Look) -> None:
    found = look({"a.csv": table("some words,x", "other words,x", "more words,x")})
    assert found.refusal == "a.csv: every message has the label 'x': a classifier needs messages of at least two labels"
    with pytest.raises(MessagesError, match="every message has the label"):
        found.require_trainable()


def test_no_column_of_labels(look: Look) -> None:
    assert "no column looks like labels" in str(look({"a.csv": table("a b", "c d", header="text")}).refusal)
    lists = "".join(json.dumps({"text": f"words {number}", "labels": ["x", "y"]}) + "\n" for number in range(9))
    assert "'labels' holds lists or objects, and one label a text" in str(look({"a.jsonl": lists}).refusal)


@pytest.mark.parametrize(
    ("name", "contents", "sentence"),
    [
        ("a.csv", "", "a.csv is empty: is it the right file?"),
        ("a.csv", "text,label\n", "a.csv has no messages, only a header row or blank lines: is it the right file?"),
        ("a.jsonl", '{"text": "a"},\n{"text": "b"},\n{"text": "c"}\n', "a.jsonl, line 1 ends with a comma, as inside"),
        ("a.csv", "<!doctype html><title>Sign in</title>", "is a web page ('Sign in'), not data"),
    ],
)
def test_what_a_run_refuses_is_refused_in_the_same_words(name: str, contents: str, sentence: str, look: Look) -> None:
    with pytest.raises(MessagesError) as raised:
        look({name: contents})
    assert sentence in str(raised.value)


def test_a_column_that_is_not_there(look: Look) -> None:
    with pytest.raises(MessagesError, match=r"a\.csv has no column 'txt'.*did you mean 'text'"):
        look({"a.csv": table(*GOOD)}, text="txt")


def test_several_files_are_one_source(look: Look) -> None:
    found = look({"a.csv": table(*GOOD), "b.csv": table("more words,z", "and more,z", "and again,z")})
    assert (found.origin.name, found.rows) == ("a.csv and 1 more", 23)
    assert found.findings is not None
    assert found.findings.classes == {"x": 10, "y": 10, "z": 3}
    with pytest.raises(MessagesError, match=r"b\.csv has no column 'label'"):
        look({"a.csv": table(*GOOD), "b.csv": table("more words,z", header="text,class")})


def test_of_a_long_file_the_beginning_is_read_and_all_labels_are_counted(look: Look) -> None:
    """As where a file is sorted by its labels."""
    row = f"{'words ' * 40},"
    rows = [f"{row}{label}" for label in "xy" for _ in range(BYTES // len(row))]
    found = look({"a.csv": table(*rows)})
    assert found.findings is not None
    assert (found.rows, found.findings.of_all) == (len(rows), True)
    assert found.read <= len(rows) / 2 + 1
    assert found.findings.classes == {"x": len(rows) // 2, "y": len(rows) // 2}
    assert found.refusal is None


def test_a_long_file_that_cannot_be_counted_is_not_refused_for_its_first_rows(look: Look) -> None:
    row = json.dumps({"text": "words " * 400, "label": "x"})
    odd = json.dumps({"text": "words", "label": 1})
    found = look({"a.jsonl": "\n".join([row] * (BYTES // len(row) + 9) + [odd, ""])})
    assert found.findings is not None
    assert (found.rows, found.findings.of_all, found.refusal) == (None, False, None)
    assert any("have one label: perhaps the file is sorted" in sentence for sentence in found.findings.sentences)


def test_instructions_are_told_by_their_fields(look: Look) -> None:
    entries = [{"instruction": f"Say {word}.", "input": "", "output": word} for word in ("yes", "no", "")]
    found = look({"a.json": json.dumps(entries)})
    assert (found.kind, found.rows, found.refusal) == ("instructions", 3, None)
    assert found.instructions is not None
    assert found.instructions.shape == "Alpaca instructions"
    assert [(row.row, row.reason) for row in found.left_out] == [(2, "empty output")]
    assert found.changes == {"data.empty_text": "drop"}
    said = look({"a.json": json.dumps(entries)}, text="instruction", label="output")
    assert said.kind == "labelled texts"


def test_an_entry_that_a_run_refuses(look: Look) -> None:
    entries = [{"instruction": "Say yes.", "output": "yes"}, {"instruction": "Say no.", "output": ["no"]}]
    found = look({"a.jsonl": "".join(json.dumps(entry) + "\n" for entry in entries)})
    assert str(found.refusal).startswith("a.jsonl, entry 2: 'output' is a list")
