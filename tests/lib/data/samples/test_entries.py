"""The bundled instructions: what they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib.data.entries.reading import profile_entries, questions, read_entries
from lib.data.entries.split import split_entries
from lib.data.samples.entries import ENTRIES, FILE, SHA256
from lib.files.checksum import file_sha256
from lib.recipes.instruct import PRESETS


def test_the_file_has_the_stated_checksum_in_both_places() -> None:
    assert file_sha256(FILE) == SHA256 == PRESETS["sample"]["sha256"]


def test_one_entry_a_line_with_all_three_fields() -> None:
    begin, *lines, end = FILE.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert (begin, end) == ("[", "]")
    assert len(lines) == ENTRIES == 200
    for line in lines:
        assert list(json.loads(line.removesuffix(","))) == ["instruction", "input", "output"]


def test_what_the_readme_says_of_it() -> None:
    read = read_entries(FILE)
    entries, profile = read.table, profile_entries(read)
    assert profile["rows"] - profile["with_input"] == 73
    assert (profile["near_duplicate_questions"], profile["duplicate_questions"]) == (8, 1)
    assert sum("### Response:" in output for output in entries["output"]) == 1
    assert sum("<|endoftext|>" in instruction for instruction in entries["instruction"]) == 1


def test_keeping_duplicates_together_has_something_to_do() -> None:
    splits = split_entries(
        read_entries(FILE).table, train=0.85, test=0.1, shuffle=False, seed=123, group_duplicates=True
    )
    assert splits.report["rows"] == {"train": 170, "validation": 10, "test": 20}
    straddling = splits.report["straddling"]
    assert straddling["plain"]["near_duplicates"] == {"validation": 2, "test": 1}
    assert straddling["made"]["near_duplicates"] == {"validation": 0, "test": 0}


def test_texts_have_no_stray_white_space_and_no_two_answers_to_one_question() -> None:
    entries = read_entries(FILE).table
    for field in ("instruction", "input", "output"):
        assert (entries[field] == entries[field].str.strip()).all()
    answers: dict[tuple[str, str], set[str]] = {}
    for entry in entries.itertuples():
        answers.setdefault((str(entry.instruction), str(entry.input)), set()).add(str(entry.output))
    assert {len(given) for given in answers.values()} == {1}


def test_importing_the_constants_loads_no_pandas() -> None:
    code = "import sys, lib.data.samples.entries; print('pandas' in sys.modules)"
    command = [sys.executable, "-c", code]
    folder = Path(__file__).resolve().parents[4]
    assert subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.data
def test_nothing_is_copied_from_the_published_file(real_data: Path) -> None:
    published = read_entries(real_data / "instruction-data.json").table
    ours = read_entries(FILE).table
    assert not set(questions(ours)) & set(questions(published))
    assert not set(ours["output"]) & set(published["output"])
